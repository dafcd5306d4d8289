"""The handle that a training script holds."""

import atexit
import contextlib
import os
import sys
import threading
import time as system_time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import msgspec

from everloop.domain.consumption import collecting
from everloop.domain.runs import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    CheckpointRecord,
    RunRecord,
    checked_key,
)
from everloop.domain.times import from_micros, micros, system_clock
from everloop.errors import Conflict, EverloopError, InvalidInput, NotFound, StorageError, Unavailable
from everloop.governance.audit import Governance
from everloop.tracking import checkpoints, machine, output, records, showing
from everloop.tracking.errands import Errand
from everloop.tracking.given import (
    LEAST_STEP,
    MOST_STEP,
    column_of,
    moment_of,
    named,
    number_of,
    param_texts,
    step_of,
    tag_texts,
)
from everloop.tracking.leftbehind import journal_folder
from everloop.tracking.places import place
from everloop.tracking.runfiles import RunFiles
from everloop.tracking.shipping import RunJournal

if TYPE_CHECKING:
    import pyarrow as pa

    from everloop.tracking.tracking import Tracking

_POINTS_IN_A_RECORD = 100_000
_encode, _POINT = records.encode, records.POINT

_active: ContextVar[tuple["Run", ...]] = ContextVar("everloop_runs", default=())


def active_run() -> "Run | None":
    """The run that was started last in this thread or task and has not ended."""
    open_runs = [run for run in _active.get() if run.is_open]
    return open_runs[-1] if open_runs else None


def run_before_fork() -> "Run | None":
    """The run that is open in the process which this one was forked from, and not here."""
    left = [run for run in _active.get() if run._process not in (0, os.getpid())]
    return left[-1] if left else None


class Run(RunFiles):
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
        self._output: output.Listener | None = None
        self._followers: list[Callable[[], None]] = []
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
    def location(self) -> str:
        """What names the run's workspace: a folder, or a server's address."""
        return self._tracking.context.location

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
        """One point of a metric. Without a step it gets the one after the key's largest, from 0 on. NaN and infinities are kept.
        The last point sent once more (same step, time and value) is one point."""
        after = self._steps.get(key)
        if step is None or after is None or type(step) is not int or not LEAST_STEP <= step <= MOST_STEP:
            step = self._step(key, step)
        elif step >= after:
            self._steps[key] = step + 1
        if type(value) is not float:
            value = number_of(key, value)
        time = self._now() if timestamp is None else moment_of(timestamp)
        (self._journal or self._open()).append(_encode((_POINT, key, value, step, time)))

    def log_metrics(
        self, metrics: Mapping[str, float], step: int | None = None, timestamp: datetime | None = None
    ) -> None:
        """One point of each of several metrics, in one record: all of them are kept or none."""
        given = named(metrics, "metrics")
        values = {
            key: value if type(value) is float else number_of(key, value) for key, value in given.items()
        }
        steps: Any
        if step is None:
            steps = [self._step(key, None) for key in values]
        else:
            steps = step_of(next(iter(values), ""), step)
            for key in values:
                after = self._steps.get(key)
                if after is None or after <= steps:
                    self._step(key, steps)
        time = self._now() if timestamp is None else moment_of(timestamp)
        if values:
            self._append(records.encode((records.POINTS, values, steps, time)))

    def log_points(
        self,
        key: str,
        values: Sequence[float],
        steps: Sequence[int] | None = None,
        times: Sequence[datetime] | None = None,
    ) -> None:
        """Many points of one metric in one call. Steps go on from the key's largest where none are given; times are now."""
        import numpy as np

        count = len(values)
        if count == 0:
            return
        start = self._step(key, None if steps is None else int(max(steps)))
        numbers = column_of(key, values, "<f8")
        if steps is None:
            step_of(key, start + count - 1)
            with self._next:
                self._steps[key] = start + count
        step_column = (
            np.arange(start, start + count, dtype="<i8") if steps is None else column_of(key, steps, "<i8")
        )
        if times is None:
            time_column = np.full(count, self._now(), "<i8")
        else:
            time_column = np.asarray([moment_of(each) for each in times], "<i8")
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
        texts = param_texts(params)
        for key, value in texts.items():
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
        texts = tag_texts(tags)
        if texts:
            self._append(records.encode((records.TAGS, texts)))
            self._record.tags.update(texts)

    def set_tag(self, key: str, value: Any) -> None:
        """One tag."""
        self.set_tags({key: value})

    def flush(self) -> None:
        """Bring everything logged so far into the ledger now; it happens by itself every few seconds and at the end. Raises
        Unavailable when the ledger is away; nothing is lost then."""
        self._open().flush()

    # Checkpoints

    def checkpoint(self, state: Any, step: int | None = None) -> CheckpointRecord:
        """Save a state that the run can be resumed from: whole or absent. Metrics logged up to now belong to it.

        Numbers, texts, lists, dicts, numpy arrays and Arrow tables are kept exactly and can be read anywhere; a state with
        other objects in it is pickled, and read again only by you on this machine (see `everloop.tracking.checkpoints`).
        """
        data, format = checkpoints.save(state)
        journal = self._open()
        try:
            arrived = journal.flush()
            stored = self._tracking.objects.put(data)
            return self._tracking.add_checkpoint(
                self.run_id, stored.digest, stored.size, format, arrived, place(), step
            )
        except (Unavailable, StorageError) as error:
            return self._checkpoint_later(journal, error, data, format, step)

    def _checkpoint_later(
        self,
        journal: RunJournal,
        error: EverloopError,
        data: bytes,
        format: checkpoints.Format,
        step: int | None,
    ) -> CheckpointRecord:
        """Keep a checkpoint beside the journal. What is returned has the number 0: the ledger will give it one."""
        journal.away(error)
        user = self._record.user
        try:
            count = journal.count
            stored = journal.spool.add(data)
        except StorageError as full:
            journal.warn("checkpoint", f"a checkpoint is lost: {full.message}")
            return CheckpointRecord(0, "", 0, format, step, 0, from_micros(self._now()), user, place())
        journal.later(
            Errand.of(
                "add_checkpoint",
                run_id=self.run_id,
                digest=stored.digest,
                size=stored.size,
                format=format,
                records=count,
                place=place(),
                step=step,
            )
        )
        return CheckpointRecord(
            0, stored.digest, stored.size, format, step, count, from_micros(self._now()), user, place()
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
        self._say_or_note("produced", references=list(references))

    def history(self, key: str, points: int = 0) -> "pa.Table":
        """The points of a metric as a table: step, timestamp, value. `points`: at most how many, for drawing; the least and the
        greatest are among them. 0: all."""
        from everloop.tracking.frames import history_table

        if self._journal is not None:
            self._journal.try_flush()
        return history_table(self._tracking.history(self.run_id, key, points))

    def output(self) -> str:
        """What the run has printed, standard output and error as they came."""
        if self._journal is not None:
            self._journal.try_flush()
        pieces, after = [], -1
        while found := self._tracking.output(self.run_id, after):
            pieces += [each.text for each in found]
            after = found[-1].record
        return "".join(pieces)

    # In a notebook

    def _repr_html_(self) -> str:
        record = self._record
        if self._journal is not None:
            with contextlib.suppress(EverloopError):  # what the ledger has; away, what this handle knows
                record = self._tracking.run(self.run_id)
        return showing.run_html(record, self._tracking.context.clock())

    def show(self) -> None:
        """In a notebook: a small table of this run below the cell, which follows the run while it is open."""
        showing.show(self, self._followers.append)

    def _follow(self) -> None:
        for each in self._followers:
            each()

    # Beginning and end

    def begin(self, later: Errand | None = None, *, seen: Mapping[str, bool] | None = None) -> "Run":
        """Open the handle for logging and make it the active run. `Tracking.start` does this.

        `later`: the errand that makes the run, where the ledger was away. `seen`: whether ``output`` and ``machine`` are
        recorded; the environment says so where this does not.
        """
        path = journal_folder(self._tracking.context.folder) / f"{self.run_id}.journal"
        self._process = os.getpid()
        first = 0
        if self._record.resumed_from is not None:
            for each in self._tracking.summaries(self.run_id):
                self._steps[each.key] = each.last_step + 1
            found = self._tracking.checkpoints(self.run_id)
            first = found[-1].records if found else 0
        self._journal = RunJournal(path, self.run_id, first, self._tracking, begin=later)
        _opened.add(self)
        _active.set((*(run for run in _active.get() if run.is_open), self))
        self._seen = self._scopes.enter_context(collecting())
        self._watch(seen or {})
        atexit.register(self._at_exit)
        return self

    def _watch(self, wanted: Mapping[str, bool]) -> None:
        """Begin to record what the run prints, and what its machine does."""
        assert self._journal is not None
        self._journal.chores.append(self._follow)
        if wanted.get("output", output.is_wanted()):
            self._output = output.Listener(self._say)
            output.listen(self._output, _outputs_here)
        every = machine.interval() or (machine.SECONDS if wanted.get("machine") else 0.0)
        if every and wanted.get("machine", True):
            sampler = machine.Machine(self._log_machine, every, folder=self._tracking.context.folder)
            self._journal.chores.append(sampler.measure)

    def say_away(self, error: EverloopError) -> None:
        """Warn once that the ledger is away, and that the run goes on without it."""
        if self._journal is not None:
            self._journal.away(error)

    def _log_machine(self, values: dict[str, float]) -> None:
        with contextlib.suppress(Conflict):  # the run has ended while the machine was measured
            self.log_metrics(values)

    def _say(self, stream: str, text: str) -> None:
        journal = self._journal
        if journal is not None:
            clean = text.replace("\0", "\ufffd").encode(errors="replace").decode()
            journal.append(records.encode((records.OUTPUT, stream, clean, self._now())))

    def finish(self, status: str = FINISHED) -> None:
        """End the run. Ending it twice is no error."""
        journal = self._journal
        if journal is None:
            return
        self._note_consumed()
        if self._output is not None:
            output.stop(self._output)
        ended = self._now()
        journal.append(records.encode((records.END, status, ended)))
        self._journal = None
        journal.close()
        atexit.unregister(self._at_exit)
        _active.set(tuple(run for run in _active.get() if run is not self))
        with contextlib.suppress(
            ValueError
        ):  # begun in another thread or task: its context is not ours to reset
            self._scopes.close()
        try:
            self._record = self._tracking.run(self.run_id)
        except (NotFound, Unavailable, StorageError):
            self._record = msgspec.structs.replace(self._record, status=status, end_time=from_micros(ended))
        self._follow()

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
            if self._output is not None and error is not None:  # Python prints it when the run has ended
                self._output.hear("stderr", "".join(traceback.format_exception(error)))
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
            references = [each for each in self._seen if each != self.reference]
            self._seen.clear()
            self._say_or_note("consumed", references=references)

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
            after = self._steps[key]
            step = step_of(key, after if given is None else given)
            self._steps[key] = max(after, step + 1)
            return step


_opened: "WeakSet[Run]" = WeakSet()


def _let_go_after_fork() -> None:
    """In a forked child: its parent's runs are the parent's. The thread that sends is not here, and a lock may be held."""
    output.forget()
    for run in list(_opened):
        if run._journal is not None:
            run._journal.let_go()
        run._journal = None


os.register_at_fork(after_in_child=_let_go_after_fork)


def _outputs_here() -> list[output.Listener]:
    """Of the runs that are open in this thread or task, those that record what is printed."""
    return [run._output for run in _active.get() if run._output is not None]


def _system_micros() -> int:
    return system_time.time_ns() // 1000
