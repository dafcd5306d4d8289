"""The cells of a notebook: the code of a run that no file holds, since cells are run before they are saved, and in any order."""

import os
import re
import sys
from typing import Any

from everloop.tracking.secrets import MASK, is_secret, masked_text

CELLS = "notebook_cells.py"
"""The name under which the cells are kept with a run's code."""

_ASSIGNED = re.compile(r"""^(\s*(?:%env\s+|os\.environ\[['"])?)([\w.\-]+)(['"\]]*\s*=\s*)(?!=)(\S.*)$""")


def cells() -> str | None:
    """What has been run in this notebook or IPython session so far, in the order in which it was run, the running cell last.
    Values that are assigned to names of secrets are masked. None where there is no such session."""
    shell = _shell()
    inputs = shell.user_ns.get("In") if shell is not None else None
    if not inputs:
        return None
    numbered = ((number, text) for number, text in enumerate(inputs) if text.strip())
    return "\n".join(f"# In [{number}]\n{_masked(text)}\n" for number, text in numbered)


def name() -> str | None:
    """The notebook's file, where what runs it tells; "notebook" where it does not; None outside of notebooks."""
    shell = _shell()
    if shell is None or "ipykernel" not in sys.modules:
        return None
    told = shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME", "")
    file = os.path.basename(str(told))
    return file if file.endswith(".ipynb") else "notebook"


def _shell() -> Any:
    package = sys.modules.get("IPython")
    return package.get_ipython() if package is not None and hasattr(package, "get_ipython") else None


def _masked(text: str) -> str:
    return "\n".join(map(_masked_line, text.split("\n")))


def _masked_line(line: str) -> str:
    r"""
    >>> _masked_line('api_key = "s3cr3t"'), _masked_line("%env HF_TOKEN=abc"), _masked_line("key_size = 3")
    ("api_key = '***'", "%env HF_TOKEN='***'", 'key_size = 3')
    """
    found = _ASSIGNED.match(line)
    if found is not None and is_secret(found[2]):
        return f"{found[1]}{found[2]}{found[3]}'{MASK}'"
    return masked_text(line)
