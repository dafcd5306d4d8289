"""A training that is being recorded: which run it belongs to, what it says, and how it ends."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from everloop.domain.runs import FAILED, FINISHED, INTERRUPTED, RUNNING
from everloop.errors import InvalidInput
from everloop.tracking import records
from everloop.tracking.autolog.options import Options
from everloop.tracking.autolog.patches import inside, safely
from everloop.tracking.given import param_texts
from everloop.tracking.run import Run, active_run

if TYPE_CHECKING:
    from everloop.tracking.tracking import Tracking

LONGEST_LOGGED = 500
"""Characters of a parameter's text: a pipeline writes itself out in its own, and nobody compares runs by that."""


class Session:
    """One call of a library's training function. It logs into the run that is open, or makes one and ends it."""

    def __init__(self, run: Run, flavour: str, options: Options, *, own: bool) -> None:
        self.run, self.flavour, self.options, self.own = run, flavour, options, own

    @classmethod
    def begin(cls, flavour: str, options: Options, name: str = "") -> "Session | None":
        """None where the user keeps autologging out of runs of one's own (`exclusive`)."""
        current = active_run()
        if current is not None:
            return None if options.exclusive else cls(current, flavour, options, own=False)
        room: Tracking = options.tracking()
        tags = {"everloop.autolog": flavour} | dict(options.extra_tags)
        return cls(room.start(name=name, tags=tags), flavour, options, own=True)

    def params(self, given: Mapping[str, Any]) -> None:
        """Log parameters. Those that the run has with another value, and keys that cannot be, are left out with a warning."""
        fitting: dict[str, str] = {}
        for key, value in given.items():
            text = str(value)
            shown = text if len(text) <= LONGEST_LOGGED else text[: LONGEST_LOGGED - 1] + "…"
            fitting |= safely(partial(param_texts, {key: shown}), f"the parameter {key}") or {}
        before = self.run.params
        clashing = [key for key, value in fitting.items() if before.get(key, value) != value]
        self.run.log_params({key: value for key, value in fitting.items() if key not in clashing})
        if clashing:
            raise InvalidInput(
                f"the run has {', '.join(clashing[:5])} with other values already; a parameter is written once, so those of the "
                "first training stand"
            )

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        if values:
            self.run.log_metrics({key: float(value) for key, value in values.items()}, step=step)

    def model(self, model: Any, name: str, example: Any) -> None:
        """Keep a model in the run's format for it, and register it where that is wanted."""
        if not self.options.log_models:
            return
        rows = example if self.options.log_model_signatures or self.options.log_input_examples else None
        self.run.log_model(model, name, example=rows)
        if self.options.registered_model_name and self.options.register is not None and name == "model":
            self.options.register(self.run, self.options.registered_model_name)

    def model_file(self, name: str, save: Callable[[str], object]) -> None:
        """Keep a model that its library writes into one file of its own format."""
        if self.options.log_models:
            with TemporaryDirectory(prefix="everloop-model-") as folder:
                place = Path(folder) / name
                save(str(place))
                self.run.log_artifact(place, f"model/{name}")

    def dataset(self, data: Any, context: str) -> None:
        if self.options.log_datasets and data is not None:
            self.run.log_dataset(data, "dataset" if context == "train" else context, context=context)

    def child(self, name: str, params: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """A run below this one, begun and ended at once."""
        room: Tracking = self.options.tracking()
        tags = {"everloop.autolog": self.flavour}
        with room.start(
            experiment=self.run.experiment, name=name, tags=tags, parent=self.run, output=False, machine=False
        ) as child:
            Session(child, self.flavour, self.options, own=True).params(params)
            child.log_metrics(metrics)

    def end(self, error: BaseException | None = None) -> None:
        """End the run, if it was made for this training."""
        if self.own and self.run.is_open:
            stopped = isinstance(error, KeyboardInterrupt)
            self.run.finish(INTERRUPTED if stopped else FAILED if error is not None else FINISHED)


def recorded(
    flavour: str,
    options: Options,
    train: Callable[[], Any],
    before: Callable[[Session], None],
    after: Callable[[Session, Any], None],
    name: str = "",
) -> Any:
    """Train, and record it: `before` says what is known at the start, `after` what came out. Returns and raises as `train`."""
    with inside():
        session = safely(lambda: Session.begin(flavour, options, name), "starting a run")
        if session is None:
            return train()
        safely(lambda: before(session), "logging what a training starts with")
        try:
            result = train()
        except BaseException as error:
            ended = error
            safely(lambda: session.end(ended), "ending a run")
            raise
        safely(lambda: after(session, result), "logging what came out of a training")
        safely(session.end, "ending a run")
        return result


def log_afterwards(run: Run, options: Options, metrics: Mapping[str, float]) -> None:
    """Metrics of a run that has ended by now, or of one that is still open."""
    if run.is_open:
        run.log_metrics(metrics)
        return
    room: Tracking = options.tracking()
    if room.run(run.run_id).status == RUNNING:
        return
    now = int(room.context.clock().timestamp() * 1_000_000)
    room.record(run.run_id, records.batch([records.encode((records.POINTS, dict(metrics), 0, now))]))
