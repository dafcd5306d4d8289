"""keras: each epoch's measurements of `fit`, by a callback that only looks."""

from collections.abc import Callable
from typing import Any

from everloop.tracking.autolog.options import wanted
from everloop.tracking.autolog.patches import replace, safely, within
from everloop.tracking.autolog.session import Session, recorded

_NOT_PARAMS = ("x", "y", "callbacks", "validation_data", "sample_weight", "class_weight")


def prepare() -> None:
    import keras

    for kind in dict.fromkeys((keras.Model, keras.Sequential)):
        for base in kind.__mro__:
            if "fit" in vars(base) and base.__module__.partition(".")[0] == "keras":
                replace(base, "fit", _fit)


def _fit(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    options = wanted("keras")
    if options is None or within.get() or not args:
        return original(*args, **kwargs)
    import keras

    class Epochs(keras.callbacks.Callback):
        session: Session | None = None

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            values = {name: float(value) for name, value in (logs or {}).items()}
            if self.session is not None:
                session = self.session
                safely(lambda: session.metrics(values, step=epoch), "logging an epoch")

    model, callback = args[0], Epochs()
    more = dict(kwargs)
    chosen = more.get("callbacks") or []
    more["callbacks"] = [*(chosen if isinstance(chosen, (list, tuple)) else [chosen]), callback]

    def before(session: Session) -> None:
        callback.session = session
        session.params({name: value for name, value in kwargs.items() if name not in _NOT_PARAMS})
        optimizer = getattr(model, "optimizer", None)
        if optimizer is not None:
            session.params({f"optimizer_{name}": value for name, value in optimizer.get_config().items()})
        if len(args) > 1 or "x" in kwargs:
            session.dataset(args[1] if len(args) > 1 else kwargs["x"], "train")

    def after(session: Session, _: Any) -> None:
        lines: list[str] = []
        model.summary(print_fn=lambda line, **_: lines.append(line))
        session.run.log_text("\n".join(lines), "model_summary.txt")
        session.model_file("model.keras", model.save)

    return recorded("keras", options, lambda: original(*args, **more), before, after)
