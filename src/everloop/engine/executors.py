"""An executor by the name a profile or a command gives it."""

from __future__ import annotations

from everloop.engine.contract import Executor
from everloop.engine.inline import InlineExecutor
from everloop.errors import InvalidInput, nearest

NAMES = ("local", "inline")


def open_executor(name: str) -> Executor:
    """``local``: worker processes on this machine. ``inline``: this process. Opening one starts nothing yet."""
    if name == "inline":
        return InlineExecutor()
    if name == "local":
        from everloop.engine.processes import ProcessExecutor

        return ProcessExecutor()
    if name == "ray":
        raise InvalidInput("this version of Everloop has no Ray executor", hint="use the executor 'local'")
    raise InvalidInput(
        f"there is no executor '{name}'", hint=nearest(name, NAMES) or f"executors are: {', '.join(NAMES)}"
    )
