"""Everloop: the whole life cycle of a machine-learning model, with one ledger that can prove what happened.

    import everloop as ev

    with ev.start_run(params={"alpha": 0.5}) as run:
        run.log_metric("rmse", 0.78)

Names are imported when they are first used, so that `import everloop` costs next to nothing.
"""

import importlib
from typing import Any

from everloop._version import __version__

_NAMES: dict[str, str] = {
    "workspace": "everloop.client.ambient:workspace",
    "connect": "everloop.client.ambient:connect",
    "errors": "everloop.errors",
}
"""Each public name and where it is defined (``module`` or ``module:attribute``)."""

__all__ = ["__version__", *sorted(_NAMES)]  # noqa: PLE0604  (the table above is the list)


def __getattr__(name: str) -> Any:
    place = _NAMES.get(name)
    if place is None:
        raise AttributeError(f"everloop has no '{name}'")
    module, _, attribute = place.partition(":")
    found = importlib.import_module(module)
    value = getattr(found, attribute) if attribute else found
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
