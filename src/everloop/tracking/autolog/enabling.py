"""Turning autologging on and off."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from everloop.errors import InvalidInput
from everloop.tracking.autolog import boosting, keras, scikit
from everloop.tracking.autolog.options import FLAVOURS, Options, choose
from everloop.tracking.autolog.patches import undo_all, when_imported

_LIBRARIES: dict[str, tuple[str, Callable[[], None]]] = {
    "sklearn": ("sklearn.base", scikit.prepare),
    "xgboost": ("xgboost", boosting.prepare_xgboost),
    "lightgbm": ("lightgbm", boosting.prepare_lightgbm),
    "keras": ("keras", keras.prepare),
}
"""What is waited for, and what is done when it is there."""


def autolog(
    log_input_examples: bool = False,
    log_model_signatures: bool = True,
    log_models: bool = True,
    log_datasets: bool = True,
    disable: bool = False,
    exclusive: bool = False,
    silent: bool = False,
    extra_tags: Mapping[str, str] | None = None,
    exclude_flavors: Sequence[str] | None = None,
    *,
    log_post_training_metrics: bool = True,
    max_tuning_runs: int | None = 5,
    registered_model_name: str | None = None,
    pos_label: Any = None,
    tracking: Callable[[], Any],
    register: Callable[[Any, str], None] | None = None,
) -> None:
    """Make trainings of scikit-learn, xgboost, lightgbm and keras into runs from here on. Calling it again changes the options.

    log_input_examples, log_model_signatures: whether a few rows go with a model, so that what it takes is known.
    log_models: whether models are kept. log_datasets: whether the data are described.
    disable: turn it off, and leave every library as it was.
    exclusive: leave runs alone that the user has started. silent: no warnings. extra_tags: tags of the runs that are made.
    exclude_flavors: libraries to leave alone. log_post_training_metrics: whether functions of `sklearn.metrics` and `score` log
    too, when they are called on what a trained model predicted. max_tuning_runs: how many candidates of a search get a child run;
    None: all. registered_model_name: register each model so. pos_label: the positive class of precision, recall and F1;
    without one they are weighted means over the classes.
    """
    unknown = set(exclude_flavors or ()) - set(FLAVOURS)
    if unknown:
        raise InvalidInput(f"there is no flavour '{min(unknown)}'", hint=f"there are: {', '.join(FLAVOURS)}")
    if max_tuning_runs is not None and max_tuning_runs < 0:
        raise InvalidInput("max_tuning_runs is less than 0", hint="0 for no child runs, None for all")
    undo_all()
    if disable:
        choose(None)
        return
    choose(
        Options(
            log_models=log_models,
            log_datasets=log_datasets,
            log_input_examples=log_input_examples,
            log_model_signatures=log_model_signatures,
            log_post_training_metrics=log_post_training_metrics,
            max_tuning_runs=max_tuning_runs,
            registered_model_name=registered_model_name,
            pos_label=pos_label,
            extra_tags=dict(extra_tags or {}),
            exclude_flavors=tuple(exclude_flavors or ()),
            exclusive=exclusive,
            silent=silent,
            tracking=tracking,
            register=register,
        )
    )
    for flavour, (module, prepare) in _LIBRARIES.items():
        if flavour not in (exclude_flavors or ()):
            when_imported(module, prepare)
