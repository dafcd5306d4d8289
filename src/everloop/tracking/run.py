"""The handle that a training script holds."""

import atexit
import contextlib
import os
import sys
import tempfile
import threading
import time as system_time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from everloop.domain.consumption import collecting
from everloop.domain.logged_models import logged_name
from everloop.domain.runs import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    MAX_PARAM,
    MAX_TAG,
    ArtifactRecord,
    CheckpointRecord,
    RunRecord,
    checked_artifact_path,
    checked_key,
    checked_text,
    flat_params,
)
from everloop.domain.times import micros, require_zone, system_clock
from everloop.errors import Conflict, InvalidInput, MissingExtra, NotFound
from everloop.governance.audit import Governance
from everloop.tracking import checkpoints, records
from everloop.tracking.places import place
from everloop.tracking.shipping import RunJournal, journal_folder

if TYPE_CHECKING:
    import pyarrow as pa

    from everloop.tracking.tracking import Tracking

_POINTS_IN_A_RECORD = 100_000

_active: ContextVar[tuple["Run", ...]] = ContextVar("everloop_runs", default=())


def active_run() -> "Run | None":
    """The run that was started last in this thread or task and has not ended."""
    open_runs = [run for run in _active.get() if run.is_open]
    return open_runs[-1] if open_runs else None


class Run:
    """One run: log to it while it is open, read it at any time.

        with workspace.tracking.start(params={"alpha": 0.5}) as run:
            for step in range(10):
                run.log_metric("loss", loss, step=step)

    As a context manager it ends with the block: `finished`, or `failed` when the block raises, `interrupted` on Ctrl-C.
    A handle may be used by several threads. Handles that a search returned are read-only.
    """

    def __init__(self, tracking: "Tracking", record: RunRecord) -> None:
        self._tracking = tracking
        self._record = record
        self._journal: RunJournal | None = None
        self._process = 0
        self._seen: dict[str, None] = {}
        self._scopes = contextlib.ExitStack()
        self._steps: dict[str, int] = {}
        self._next = threading.Lock()
        clock = tracking.context.clock
        self._now: Callable[[], int] = _system_micros if clock is system_clock else lambda: micros(clock())

    # What it is

    @property
    def run_id(self) -> str:
        return self._record.run_id

    @property
    def reference(self) -> str:
        """``run:ID``"""
        return self._record.reference

    @property
    def name(self) -> str:
        return self._record.name

    @property
    def experiment(self) -> str:
        return self._record.experiment

    @property
    def status(self) -> str:
        return self._record.status

    @property
    def params(self) -> dict[str, str]:
        return dict(self._record.params)

    @property
    def metrics(self) -> dict[str, float]:
        """The last value of each metric."""
        return dict(self._record.metrics)

    @property
    def tags(self) -> dict[str, str]:
        return dict(self._record.tags)

    @property
    def resumed_from(self) -> str | None:
        """The run that this one goes on with, if any."""
        return self._record.resumed_from

    @property
    def record(self) -> RunRecord:
        return self._record

    @property
    def is_open(self) -> bool:
        """Whether this handle may log."""
        return self._journal is not None

    def refresh(self) -> "Run":
        """Read the run again: what other processes logged, and whether it still runs."""
        if self._journal is not None:
            self._journal.try_flush()
        self._record = self._tracking.run(self.run_id)
        return self

    def __repr__(self) -> str:
        return f"Run({self.name!r}, {self.run_id}, {self.status})"

    # Logging

    def log_metric(
        self, key: str, value: float, step: int | None = None, timestamp: datetime | None = None
    ) -> None:
        """One point of a metric. Without a step it gets the one after the key's last, from 0 on. NaN and infinities are kept."""
        if step is None or key not in self._steps:
            step = self._step(key, step)
        elif type(step) is not int:
            step = int(step)
        if type(value) is not float:
            value = _number(key, value)
        time = self._now() if timestamp is None else micros(require_zone(timestamp, "the timestamp"))
        self._append(records.encode((records.POINT, key, value, step, time)))

    def log_metrics(
        self, metrics: Mapping[str, float], step: int | None = None, timestamp: datetime | None = None
    ) -> None:
        """One point of each of several metrics, in one record: all of them are kept or none."""
        values = {key: _number(key, value) for key, value in metrics.items()}
        steps = [self._step(key, step) for key in values]
        time = self._now() if timestamp is None else micros(require_zone(timestamp, "the timestamp"))
        if values:
            self._append(records.encode((records.POINTS, values, steps if step is None else step, time)))

    def log_points(
        self,
        key: str,
        values: Sequence[float],
        steps: Sequence[int] | None = None,
        times: Sequence[datetime] | None = None,
    ) -> None:
        """Many points of one metric in one call. Steps go on from the key's last where none are given; times are now."""
        import numpy as np

        count = len(values)
        if count == 0:
            return
        start = self._step(key, None if steps is None else int(max(steps)))
        numbers = np.asarray(values, "<f8")
        if steps is None:
            with self._next:
                self._steps[key] = start + count
        step_column = (
            np.arange(start, start + count, dtype="<i8") if steps is None else np.asarray(steps, "<i8")
        )
        if times is None:
            time_column = np.full(count, self._now(), "<i8")
        else:
            time_column = np.asarray([micros(require_zone(each, "the timestamp")) for each in times], "<i8")
        if not numbers.shape == step_column.shape == time_column.shape == (count,):
            raise InvalidInput(
                "values, steps and times differ in length", hint="give one step and one time for each value"
            )
        for begin in range(0, count, _POINTS_IN_A_RECORD):
            part = slice(begin, begin + _POINTS_IN_A_RECORD)
            columns = (step_column[part].tobytes(), time_column[part].tobytes(), numbers[part].tobytes())
            self._append(records.encode((records.COLUMN, key, *columns)))

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Parameters, as text; nested ones as ``outer.inner``. Each is written once: another value later is a Conflict."""
        texts = {
            key: _cut(value, MAX_PARAM, f"parameter {key}") for key, value in flat_params(params).items()
        }
        for key, value in texts.items():
            checked_text(value, f"the parameter {checked_key(key, 'parameter')}", MAX_PARAM)
            if self._record.params.get(key, value) != value:
                raise Conflict(
                    f"the parameter {key} is '{self._record.params[key]}' already, not '{value}'",
                    hint="a parameter is written once: start another run, or log it under another name",
                )
        if texts:
            self._append(records.encode((records.PARAMS, texts)))
            self._record.params.update(texts)

    def log_param(self, key: str, value: Any) -> None:
        """One parameter."""
        self.log_params({key: value})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Tags, as text; a later value replaces an earlier one."""
        texts = {key: _cut(str(value), MAX_TAG, f"tag {key}") for key, value in tags.items()}
        for key, value in texts.items():
            checked_text(value, f"the tag {checked_key(key, 'tag')}", MAX_TAG)
        if texts:
            self._append(records.encode((records.TAGS, texts)))
            self._record.tags.update(texts)

    def set_tag(self, key: str, value: Any) -> None:
        """One tag."""
        self.set_tags({key: value})

    def flush(self) -> None:
        """Bring everything logged so far into the ledger now; it happens by itself every few seconds and at the end."""
        self._open().flush()

    # Files

    def log_artifact(self, file: str | os.PathLike[str], path: str | None = None) -> ArtifactRecord:
        """Keep a file, at `path` within the run (its own name, when none is given)."""
        source = Path(file)
        if source.is_dir():
            raise InvalidInput(f"{source} is a folder", hint="log_artifacts keeps folders")
        return self._keep([(path or source.name, source)])[0]

    def log_artifacts(self, folder: str | os.PathLike[str], path: str = "") -> list[ArtifactRecord]:
        """Keep all files of a folder, below `path` within the run."""
        top = Path(folder)
        if not top.is_dir():
            raise NotFound(f"there is no folder {top}", hint="log_artifact keeps single files")
        found = sorted(each for each in top.rglob("*") if each.is_file())
        head = f"{path.rstrip('/')}/" if path else ""
        return self._keep([(head + each.relative_to(top).as_posix(), each) for each in found])

    def log_bytes(self, content: bytes, path: str) -> ArtifactRecord:
        """Keep bytes as a file."""
        return self._keep([(path, content)])[0]

    def log_text(self, text: str, path: str) -> ArtifactRecord:
        """Keep a text as a file, UTF-8."""
        return self.log_bytes(text.encode(), path)

    def log_dict(self, value: Any, path: str) -> ArtifactRecord:
        """Keep a dict, a list or a msgspec Struct as a JSON file."""
        import msgspec

        return self.log_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2), path)

    def log_table(self, table: Any, path: str) -> ArtifactRecord:
        """Keep a table as a Parquet file: an Arrow table, a pandas frame, or a dict of columns. `path` ends in ``.parquet``."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not isinstance(table, pa.Table):
            table = pa.Table.from_pandas(table) if hasattr(table, "iloc") else pa.table(table)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        return self.log_bytes(
            sink.getvalue().to_pybytes(), path if path.endswith(".parquet") else f"{path}.parquet"
        )

    def log_figure(self, figure: Any, path: str) -> ArtifactRecord:
        """Keep a figure: one of matplotlib (``savefig``) by the ending of `path`, one of plotly (``to_html``) as HTML."""
        import io

        if hasattr(figure, "savefig"):
            sink = io.BytesIO()
            figure.savefig(
                sink, format=path.rpartition(".")[2] if "." in path else "png", bbox_inches="tight"
            )
            return self.log_bytes(sink.getvalue(), path)
        if hasattr(figure, "to_html"):
            return self.log_text(figure.to_html(include_plotlyjs="directory"), path)
        raise InvalidInput(
            f"a {type(figure).__name__} is not a figure", hint="give a figure of matplotlib or plotly"
        )

    def log_model(
        self, model: Any, name: str = "model", *, example: Any = None, features: Sequence[str] = ()
    ) -> Any:
        """Keep a model as a folder of the run, in the format of its library, with signature and environment; from there it can
        be registered. `example`: a few rows of input, which the signature is read from. `features`: references of the feature
        views that its inputs come from. Returns the `ModelFile`."""
        try:
            from everloop.tracking.formats import save_model
        except ModuleNotFoundError as error:
            raise MissingExtra(
                f"models cannot be saved: {error.name} is missing", hint="pip install 'everloop[sklearn]'"
            ) from error
        with tempfile.TemporaryDirectory(prefix="everloop-model-") as folder:
            saved = save_model(model, Path(folder), example=example, features=features)
            kept = self.log_artifacts(folder, name)
        files = [ArtifactRecord(each.path[len(name) + 1 :], each.digest, each.size) for each in kept]
        self._tracking.log_run_model(self.run_id, logged_name(name), saved.flavour, files)
        return saved

    def artifacts(self, path: str = "") -> list[ArtifactRecord]:
        """Files of the run, all or those at or below `path`."""
        return self._tracking.artifacts(self.run_id, path)

    def read_artifact(self, path: str) -> bytes:
        """The content of one file."""
        found = [each for each in self.artifacts(path) if each.path == path]
        if not found:
            raise NotFound(
                f"run {self.name} has no file {path!r}", hint=f"see: everloop runs show {self.run_id}"
            )
        return self._tracking.objects.read(found[0].digest)

    def download(self, folder: str | os.PathLike[str], path: str = "") -> Path:
        """Write the run's files, or those at or below `path`, into a folder; returns the folder."""
        import shutil

        top = Path(folder)
        for each in self.artifacts(path):
            inner = (
                each.path[len(path) :].lstrip("/")
                if path and each.path != path
                else each.path.rpartition("/")[2]
                if path
                else each.path
            )
            place = top / checked_artifact_path(inner)
            place.parent.mkdir(parents=True, exist_ok=True)
            with self._tracking.objects.open(each.digest) as source, place.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
        return top

    def _keep(self, files: Sequence[tuple[str, Path | bytes]]) -> list[ArtifactRecord]:
        self._open()
        kept = []
        with self._tracking.objects.writer() as writer:
            for path, source in files:
                checked_artifact_path(path)
                stored = writer.add(source)
                kept.append(ArtifactRecord(path, stored.digest, stored.size))
        if kept:
            self._tracking.add_artifacts(self.run_id, kept)
        return kept

    # Checkpoints

    def checkpoint(self, state: Any, step: int | None = None) -> CheckpointRecord:
        """Save a state that the run can be resumed from: whole or absent. Metrics logged up to now belong to it.

        Numbers, texts, lists, dicts, numpy arrays and Arrow tables are kept exactly and can be read anywhere; a state with
        other objects in it is pickled, and read again only by you on this machine (see `everloop.tracking.checkpoints`).
        """
        data, format = checkpoints.save(state)
        arrived = self._open().flush()
        stored = self._tracking.objects.put(data)
        return self._tracking.add_checkpoint(
            self.run_id, stored.digest, stored.size, format, arrived, place(), step
        )

    def restore(self, default: Any = None, *, trust: bool = False) -> Any:
        """The state of the last checkpoint, or `default` where there is none: a script that begins with
        ``state = run.restore(first_state)`` can be resumed."""
        found = self._tracking.checkpoints(self.run_id)
        if not found:
            return default
        last = found[-1]
        if last.format == "pickle" and not trust:
            who = self._tracking.context.room(
                Governance
            ).whoami()  # as the ledger knows us, which is how it signed the record
            checkpoints.check_trusted(last, user=who.user, place=place())
        return checkpoints.load(
            self._tracking.objects.read(last.digest), "plain" if last.format == "plain" else "pickle"
        )

    # Lineage and history

    def use(self, reference: Any) -> Any:
        """Say that data, features or a model went into this run; what is read through Everloop within the run is noted by itself.
        Takes a reference or anything that has one, and returns it."""
        self._seen[str(getattr(reference, "reference", reference))] = None
        self._note_consumed()
        return reference

    def produced(self, references: Iterable[str]) -> None:
        """Say what came out of this run."""
        self._tracking.produced(self.run_id, list(references))

    def history(self, key: str) -> "pa.Table":
        """The points of a metric as a table: step, timestamp, value."""
        from everloop.tracking.frames import history_table

        if self._journal is not None:
            self._journal.try_flush()
        return history_table(self._tracking.history(self.run_id, key))

    # Beginning and end

    def begin(self) -> "Run":
        """Open the handle for logging and make it the active run. `Tracking.start` does this."""
        path = journal_folder(self._tracking.context.folder) / f"{self.run_id}.journal"
        self._process = os.getpid()
        first = 0
        if self._record.resumed_from is not None:
            for each in self._tracking.summaries(self.run_id):
                self._steps[each.key] = each.last_step + 1
            found = self._tracking.checkpoints(self.run_id)
            first = found[-1].records if found else 0
        self._journal = RunJournal(path, self.run_id, first, self._tracking)
        _opened.add(self)
        _active.set((*(run for run in _active.get() if run.is_open), self))
        self._seen = self._scopes.enter_context(collecting())
        atexit.register(self._at_exit)
        return self

    def finish(self, status: str = FINISHED) -> None:
        """End the run. Ending it twice is no error."""
        journal = self._journal
        if journal is None:
            return
        self._note_consumed()
        journal.append(records.encode((records.END, status, self._now())))
        self._journal = None
        journal.close()
        atexit.unregister(self._at_exit)
        _active.set(tuple(run for run in _active.get() if run is not self))
        with contextlib.suppress(
            ValueError
        ):  # begun in another thread or task: its context is not ours to reset
            self._scopes.close()
        with contextlib.suppress(NotFound):
            self._record = self._tracking.run(self.run_id)

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        elif issubclass(kind, KeyboardInterrupt):
            self.finish(INTERRUPTED)
        elif issubclass(kind, SystemExit) and getattr(error, "code", None) in (None, 0):
            self.finish()
        else:
            self.finish(FAILED)

    def _at_exit(self) -> None:
        raised = getattr(sys, "last_value", None)
        self.finish(
            INTERRUPTED
            if isinstance(raised, KeyboardInterrupt)
            else FAILED
            if raised is not None
            else FINISHED
        )

    def _note_consumed(self) -> None:
        if self._seen:
            self._tracking.consumed(self.run_id, [each for each in self._seen if each != self.reference])
            self._seen.clear()

    def _open(self) -> RunJournal:
        if self._journal is None:
            if self._process not in (0, os.getpid()):
                raise Conflict(
                    f"run {self.name} was opened by another process",
                    hint=f"start a run here: ev.start_run(parent='{self.run_id}')",
                )
            raise Conflict(f"run {self.name} has ended", hint="start another: ev.start_run(...)")
        return self._journal

    def _append(self, record: bytes) -> None:
        journal = self._journal
        if journal is None:
            journal = self._open()
        journal.append(record)

    def _step(self, key: str, given: int | None) -> int:
        with self._next:
            if key not in self._steps:
                self._steps[checked_key(key, "metric")] = 0
            step = self._steps[key] if given is None else _whole(key, given)
            self._steps[key] = step + 1
            return step


_opened: "WeakSet[Run]" = WeakSet()


def _let_go_after_fork() -> None:
    """In a forked child: its parent's runs are the parent's. The thread that sends is not here, and a lock may be held."""
    for run in list(_opened):
        run._journal = None


os.register_at_fork(after_in_child=_let_go_after_fork)


def _number(key: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(
            f"the metric {key} is {value!r}, which is not a number", hint="log text with set_tags or log_text"
        ) from None


def _whole(key: str, step: Any) -> int:
    try:
        number = int(step)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(f"the step {step!r} of the metric {key} is not a whole number") from None
    if not -(2**63) <= number < 2**63 - 1:
        raise InvalidInput(f"the step {step!r} of the metric {key} does not fit in 64 bits")
    return number


def _cut(text: str, limit: int, what: str) -> str:
    if len(text) <= limit:
        return text
    warnings.warn(f"the {what} has {len(text)} characters; {limit} are kept", RuntimeWarning, stacklevel=4)
    return text[:limit]


def _system_micros() -> int:
    return system_time.time_ns() // 1000
