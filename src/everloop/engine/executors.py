"""An executor by the name a profile or a command gives it."""

from __future__ import annotations

from everloop.domain.settings import EngineSettings
from everloop.engine.contract import Executor
from everloop.engine.inline import InlineExecutor
from everloop.errors import InvalidInput, nearest

NAMES = ("local", "inline", "ray")


def open_executor(name: str, settings: EngineSettings = EngineSettings()) -> Executor:  # noqa: B008 (frozen)
    """``local``: worker processes on this machine. ``inline``: this process. ``ray``: a Ray cluster, on this machine or the one
    that the settings name. Opening one starts nothing yet."""
    if name == "inline":
        return InlineExecutor()
    if name == "local":
        from everloop.engine.processes import ProcessExecutor

        return ProcessExecutor(purpose="to train")
    if name == "ray":
        from everloop.engine.ray_cluster import RayExecutor

        return RayExecutor(settings.ray)
    raise InvalidInput(
        f"there is no executor '{name}'", hint=nearest(name, NAMES) or f"executors are: {', '.join(NAMES)}"
    )
