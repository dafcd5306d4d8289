"""Where the examples' source is: in an installed package beside the code, in a checkout at its top."""

from __future__ import annotations

from pathlib import Path

import everloop
from everloop.errors import NotFound


def example_folder(name: str) -> Path:
    """The folder of an example, such as ``flights``."""
    package = Path(everloop.__file__).parent
    for top in (package / "_examples", package.parent.parent / "examples"):
        if (top / name).is_dir():
            return top / name
    raise NotFound(
        f"this installation has no example '{name}'", hint="install the package from its wheel or a checkout"
    )
