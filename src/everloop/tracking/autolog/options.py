"""What the user has chosen; the names are those that users of MLflow know."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

FLAVOURS = ("sklearn", "xgboost", "lightgbm", "keras")


class Options(msgspec.Struct, frozen=True):
    """See `autolog`."""

    log_models: bool = True
    log_datasets: bool = True
    log_input_examples: bool = False
    log_model_signatures: bool = True
    log_post_training_metrics: bool = True
    max_tuning_runs: int | None = 5
    registered_model_name: str | None = None
    pos_label: Any = None
    extra_tags: Mapping[str, str] = {}
    exclude_flavors: tuple[str, ...] = ()
    exclusive: bool = False
    silent: bool = False
    tracking: Callable[[], Any] = lambda: None
    """Gives the tracking room of the workspace of this process, at the time it is needed."""
    register: Callable[[Any, str], None] | None = None
    """Registers the model of a run under a name."""


_chosen: Options | None = None


def chosen() -> Options | None:
    """What holds now; None while autologging is off."""
    return _chosen


def choose(options: Options | None) -> None:
    global _chosen
    _chosen = options


def wanted(flavour: str) -> Options | None:
    """What holds for a library; None when nothing of it is to be logged."""
    return _chosen if _chosen is not None and flavour not in _chosen.exclude_flavors else None
