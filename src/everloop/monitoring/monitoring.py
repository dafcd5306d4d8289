"""The monitoring room."""

import functools
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from everloop.domain.alerts import CALLING
from everloop.domain.monitors import DAY, Outcome
from everloop.domain.references import Kind, Reference
from everloop.domain.times import EPOCH, require_zone
from everloop.errors import Conflict, NotFound
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.monitoring.alerts import Alerts
from everloop.monitoring.declared import DeclaredMonitors
from everloop.monitoring.records import (
    ActualsBatch,
    ActualsReceipt,
    Evaluation,
    EvaluationSummary,
    Health,
    Progress,
    ReferenceRecord,
    ResultRecord,
    WindowRecord,
)
from everloop.registry.registry import Registry
from everloop.serving.serving import Serving
from everloop.tracking.tracking import Tracking

if TYPE_CHECKING:
    import pyarrow as pa

    from everloop.domain.deployments import SegmentRecord
    from everloop.governance.rooms import Context
    from everloop.monitoring.references import Reference as ModelReference

REFERENCE_ARTIFACT = "reference.parquet"
"""What a training run logs, so that its model is watched without another step: see `Monitoring.set_reference`."""
HISTORY = 120
"""Final days of a model that a look reads: what trailing rules and the search for an onset look back on."""

BATCHES_HELD = 32
"""Batches of labels that are kept decoded: a day is judged several times while its labels come in."""
BATCHES_OF_A_DAY = 10_000
"""Batches of labels that are read to judge a day: its own, and those that wait for their predictions."""


class Monitoring(DeclaredMonitors, Alerts, Room):
    """What came in, what went out, what turned out to be true, and who must know.

    A day of an endpoint is *closed* once it is over: inputs and service are judged. It becomes *final* once
    its labels have come or their time is over: performance is judged. All times are those of the predictions;
    nothing reads the computer's clock to decide.
    """

    name = "monitoring"

    def __init__(self, context: "Context") -> None:
        super().__init__(context)
        self._decoded: dict[str, ModelReference] = {}
        self._batch = functools.lru_cache(maxsize=BATCHES_HELD)(self._read_batch)

    # References

    def set_reference(self, model: str, table: "pa.Table", *, day_starts_at: float = 0.0) -> ReferenceRecord:
        """Store what a model version looks like before it is served, from rows it was not fitted on: `time`,
        `label`, its answer (`probability`, `prediction` or `score`) and its features. What later days are
        compared with."""
        from everloop.monitoring.references import build

        built = build(table, day_starts_at=day_starts_at)
        stored = self.objects.put(built.encode())
        days = max((len(blocks.keys) for blocks in built.days.values()), default=0)
        return self.record_reference(
            model=model, digest=stored.digest, size=stored.size, rows=built.rows, days=days
        )

    @operation(Permission.WRITE)
    def record_reference(self, model: str, digest: str, size: int, rows: int, days: int) -> ReferenceRecord:
        """Say which object is the reference of a model version."""
        from everloop.store.schema.monitoring import model_references

        reference = str(Reference.parse(model, Kind.MODEL))
        with self.change() as tx:
            record = ReferenceRecord(reference, digest, rows, days, tx.now)
            tx.put(model_references, msgspec.structs.asdict(record))
            tx.hold(digest, size, f"{reference}#reference")
            tx.event("monitoring.reference_set", reference, {"digest": digest, "rows": rows, "days": days})
        return record

    @operation(Permission.READ)
    def reference(self, model: str) -> ReferenceRecord | None:
        """The stored reference of a model version, if it has one."""
        import sqlalchemy as sa

        from everloop.store.schema.monitoring import model_references as table

        with self.look() as look:
            row = look.first(sa.select(table).where(table.c.model == str(Reference.parse(model, Kind.MODEL))))
        return ReferenceRecord(**row._mapping) if row else None

    # The truth that came later

    def add_actuals(
        self,
        endpoint: str,
        given: "pa.Table | str | Path",
        *,
        received: datetime | None = None,
        source: str = "",
    ) -> ActualsReceipt:
        """Add labels: a table or file with `label` and either `prediction_id` or `key` (with the prediction's
        `time`, where a key was asked about more than once), and `observed`, when the truth became known.

        Labels may come late, unordered, twice, or corrected: the one observed last counts. The same batch
        again is taken once. Rows whose prediction is not logged yet are kept, and matched when it is. Raises
        InvalidInput, NotFound.
        """
        import pyarrow.compute as pc

        from everloop.monitoring import actuals

        table = actuals.normalised(actuals.read_table(given))
        moment = require_zone(received, "the time of receipt") if received else self.context.clock()
        name = source or (str(given) if isinstance(given, str | Path) else "table")
        digest = actuals.row_digest(table)
        before = self.actuals_batch(endpoint=endpoint, digest=digest)
        if before is not None:
            return ActualsReceipt(
                0, before.unmatched, before.rows - before.unmatched, 0, before.rows, before.id
            )
        outcome = self.outcome(endpoint=endpoint)
        found = self._match(endpoint, table, moment, outcome)
        days = actuals.as_datetimes(found["day"])
        known = pc.is_valid(found["day"])
        matched_rows = found.filter(known)
        earlier = self._batches_of(endpoint, days)
        _, counted = actuals.latest([*earlier, (matched_rows, moment)])
        _, without = actuals.latest(earlier)
        duplicates = counted["duplicates"] - without["duplicates"]
        corrections = counted["corrections"] - without["corrections"]
        stored = self.objects.put(actuals.to_parquet(found))
        batch = ActualsBatch(
            id=self.context.ids(),
            endpoint=endpoint,
            digest=digest,
            object=stored.digest,
            size=stored.size,
            source=name,
            rows=table.num_rows,
            matched=matched_rows.num_rows - duplicates,
            unmatched=table.num_rows - matched_rows.num_rows,
            duplicates=duplicates,
            corrections=corrections,
            received=moment,
            days=tuple(days),
        )
        kept = self.record_actuals(batch=batch)
        return ActualsReceipt(
            kept.matched, kept.unmatched, kept.duplicates, kept.corrections, kept.rows, kept.id
        )

    @operation(Permission.READ)
    def actuals_batch(self, endpoint: str, digest: str) -> ActualsBatch | None:
        """The batch with these rows, if it was added before."""

        import sqlalchemy as sa

        from everloop.monitoring.rows import batch_of
        from everloop.store.schema.monitoring import actuals_batches as table

        with self.look() as look:
            row = look.first(sa.select(table).where(table.c.endpoint == endpoint, table.c.digest == digest))
        return batch_of(row) if row else None

    @operation(Permission.WRITE)
    def record_actuals(self, batch: ActualsBatch) -> ActualsBatch:
        """Keep a batch of labels whose rows are in the object store; the same rows again give the batch kept
        first."""

        import sqlalchemy as sa

        from everloop.monitoring.rows import batch_of
        from everloop.store.schema.monitoring import actuals_batches, actuals_days

        with self.change() as tx:
            row = {
                name: getattr(batch, name) for name in batch.__struct_fields__ if name not in {"size", "days"}
            }
            if not tx.insert_new(actuals_batches, row):
                same = sa.and_(
                    actuals_batches.c.endpoint == batch.endpoint, actuals_batches.c.digest == batch.digest
                )
                kept = tx.first(sa.select(actuals_batches).where(same))
                if kept is None:
                    raise Conflict(f"there is a batch {batch.id} with other rows", hint="add it again")
                return batch_of(kept)
            tx.insert_new(
                actuals_days,
                [{"endpoint": batch.endpoint, "day": day, "batch": batch.id} for day in batch.days],
            )
            tx.hold(batch.object, batch.size, f"endpoint:{batch.endpoint}#actuals")
            counts = {
                name: getattr(batch, name)
                for name in ("rows", "matched", "unmatched", "duplicates", "corrections")
            }
            tx.event(
                "monitoring.actuals_added",
                f"endpoint:{batch.endpoint}",
                {"batch": batch.id, "source": batch.source, **counts},
            )
        return batch

    @operation(Permission.READ)
    def actuals_batches(
        self,
        endpoint: str,
        days: list[datetime] | None = None,
        unmatched_since: datetime | None = None,
        limit: int = 1000,
    ) -> list[ActualsBatch]:
        """Batches of labels in the order they were received: those that touch some days and those received
        since a time that have rows without a prediction, as far as asked for; else the newest."""

        import sqlalchemy as sa

        from everloop.monitoring.rows import batch_of
        from everloop.store.schema.monitoring import actuals_batches as table
        from everloop.store.schema.monitoring import actuals_days

        query = sa.select(table).where(table.c.endpoint == endpoint)
        asked: list[sa.ColumnElement[bool]] = []
        if days is not None:
            touching = sa.select(actuals_days.c.batch).where(
                actuals_days.c.endpoint == endpoint, actuals_days.c.day.in_(days)
            )
            asked.append(table.c.id.in_(touching))
        if unmatched_since is not None:
            asked.append(sa.and_(table.c.unmatched > 0, table.c.received >= unmatched_since))
        if asked:
            query = query.where(sa.or_(*asked))
        with self.look() as look:
            rows = look.all(query.order_by(table.c.received.desc(), table.c.id.desc()).limit(limit))
        return [batch_of(row) for row in reversed(rows)]

    def labels(
        self, endpoint: str, since: datetime, until: datetime, rows: "pa.Table | None" = None
    ) -> "pa.Table":
        """One final label (prediction_id, label, observed) for each prediction made in [since, until) that
        has one. rows: these predictions, where the caller has them."""
        import pyarrow as pa
        import pyarrow.compute as pc

        from everloop.domain.monitors import window_start

        outcome = self.outcome(endpoint=endpoint)
        rows = self._predictions(endpoint, since, until) if rows is None else rows
        parts = []
        start = window_start(since, outcome.day_starts_at)
        while start < until:
            parts.append(self._labels_of_day(endpoint, start, rows, outcome))
            start += DAY
        everything = pa.concat_tables(parts)
        return everything.filter(
            pc.is_in(everything["prediction_id"], value_set=rows["prediction_id"].combine_chunks())
        )

    # Looking

    def evaluate(self, endpoint: str, until: datetime) -> EvaluationSummary:
        """Close the days that are over by `until` and judge those whose labels have come. Incremental, and
        the same twice."""
        from everloop.monitoring.evaluation import Look

        moment = require_zone(until, "the time")
        progress = self.progress(endpoint=endpoint)
        found = Look(endpoint, progress, _RoomSources(self, endpoint, progress.outcome, moment), moment).run()
        return self.record_evaluation(endpoint=endpoint, evaluation=found)

    @operation(Permission.READ)
    def progress(self, endpoint: str) -> Progress:
        """How far the endpoint has been evaluated."""

        import sqlalchemy as sa

        from everloop.monitoring.rows import monitors_of, outcome_of, result_of
        from everloop.store.schema.monitoring import monitoring_results as results
        from everloop.store.schema.monitoring import monitoring_windows as windows

        with self.look() as look:
            monitors = monitors_of(look, endpoint)
            last = look.scalar(sa.select(sa.func.max(windows.c.start)).where(windows.c.endpoint == endpoint))
            waiting = look.all(
                sa.select(windows.c.start)
                .where(windows.c.endpoint == endpoint, windows.c.status != "final")
                .distinct()
                .order_by(windows.c.start)
            )
            newest = (
                sa.select(results.c.monitor, sa.func.max(results.c.start).label("start"))
                .where(results.c.endpoint == endpoint)
                .group_by(results.c.monitor)
                .subquery()
            )
            latest = look.all(
                sa.select(results)
                .join(
                    newest, sa.and_(results.c.monitor == newest.c.monitor, results.c.start == newest.c.start)
                )
                .where(results.c.endpoint == endpoint)
            )
            return Progress(
                monitors=tuple(monitors),
                outcome=outcome_of(look, endpoint),
                last_start=last,
                waiting=tuple(row.start for row in waiting),
                latest=tuple(result_of(row) for row in latest),
            )

    @operation(Permission.WRITE)
    def record_evaluation(self, endpoint: str, evaluation: Evaluation) -> EvaluationSummary:
        """Keep what a look found, move the alerts it speaks of, and tell the feed."""
        from everloop.monitoring.alerting import step_alerts
        from everloop.store.schema.monitoring import monitoring_results, monitoring_windows

        with self.change() as tx:
            windows = [
                {name: getattr(window, name) for name in window.__struct_fields__ if name != "state_size"}
                | {"computed": tx.now}
                for window in evaluation.windows
            ]
            tx.put(monitoring_windows, windows)
            for window in evaluation.windows:
                if window.state is not None and window.state_size:
                    tx.hold(window.state, window.state_size, f"endpoint:{endpoint}#windows")
            results = [
                {
                    "endpoint": endpoint,
                    "monitor": result.monitor,
                    "model": result.model,
                    "start": result.start,
                    "over": result.over,
                    "over_streak": result.streak.over,
                    "clear_streak": result.streak.clear,
                    "sustained": result.sustained,
                    "readings": msgspec.to_builtins(result.readings),
                }
                for result in evaluation.results
            ]
            tx.put(monitoring_results, results)
            for note in evaluation.notes:
                facts = {
                    "monitor": note.monitor,
                    "model": note.model,
                    "window_end": note.window_end,
                    "text": note.text,
                }
                tx.event("monitoring.noted", f"endpoint:{endpoint}", facts)
            changed = step_alerts(tx, self.context.ids, endpoint, evaluation)
            closed = {window.start for window in evaluation.windows}
            final = {window.start for window in evaluation.windows if window.status == "final"}
            if closed:
                facts = {
                    "first": min(closed),
                    "last": max(closed),
                    "closed": len(closed),
                    "final": len(final),
                }
                tx.event("monitoring.evaluated", f"endpoint:{endpoint}", facts)
        return EvaluationSummary(
            len(closed), len(final), tuple(changed), tuple(note.text for note in evaluation.notes)
        )

    @operation(Permission.READ)
    def windows(
        self,
        endpoint: str,
        since: datetime | None = None,
        until: datetime | None = None,
        model: str = "",
        mode: str = "",
        status: str = "",
        limit: int = 1000,
    ) -> list[WindowRecord]:
        """Day windows, oldest first; the newest ones where there are more than `limit`."""

        import sqlalchemy as sa

        from everloop.monitoring.rows import window_of
        from everloop.store.schema.monitoring import monitoring_windows as table

        query = sa.select(table).where(table.c.endpoint == endpoint)
        for column, value in ((table.c.model, model), (table.c.mode, mode), (table.c.status, status)):
            if value:
                query = query.where(column == value)
        if since is not None:
            query = query.where(table.c.start >= since)
        if until is not None:
            query = query.where(table.c.start < until)
        with self.look() as look:
            rows = look.all(query.order_by(table.c.start.desc(), table.c.model).limit(limit))
        return [window_of(row) for row in reversed(rows)]

    @operation(Permission.READ)
    def results(
        self, endpoint: str, monitor: str = "", since: datetime | None = None, limit: int = 1000
    ) -> list[ResultRecord]:
        """What monitors said of windows, oldest first."""

        import sqlalchemy as sa

        from everloop.monitoring.rows import result_of
        from everloop.store.schema.monitoring import monitoring_results as table

        query = sa.select(table).where(table.c.endpoint == endpoint)
        if monitor:
            query = query.where(table.c.monitor == monitor)
        if since is not None:
            query = query.where(table.c.start >= since)
        with self.look() as look:
            rows = look.all(query.order_by(table.c.start.desc(), table.c.monitor).limit(limit))
        return [result_of(row) for row in reversed(rows)]

    # How is it doing

    @operation(Permission.READ)
    def health(self, endpoint: str, until: datetime | None = None) -> Health:
        """How an endpoint is doing, by what has been evaluated (up to a time)."""

        import sqlalchemy as sa

        from everloop.monitoring.health import HEALTH_WINDOWS, health_of, watched_model
        from everloop.monitoring.rows import alert_of, monitors_of, result_of, window_of
        from everloop.store.schema.monitoring import alerts as alerts_table
        from everloop.store.schema.monitoring import monitoring_results as results
        from everloop.store.schema.monitoring import monitoring_windows as windows

        bound = require_zone(until, "the time") if until else None
        with self.look() as look:
            query = sa.select(windows).where(windows.c.endpoint == endpoint, windows.c.mode == "live")
            if bound is not None:
                query = query.where(windows.c.end <= bound)
            rows = look.all(
                query.order_by(windows.c.start.desc(), windows.c.rows.desc()).limit(4 * HEALTH_WINDOWS)
            )
            found = [window_of(row) for row in reversed(rows)]
            model = watched_model(found[-3:])
            newest = sa.select(results).where(results.c.endpoint == endpoint, results.c.model == model)
            if bound is not None:
                newest = newest.where(results.c.start < bound)
            read = [result_of(row) for row in look.all(newest.order_by(results.c.start.desc()).limit(200))]
            monitors = {monitor.name: monitor for monitor in monitors_of(look, endpoint)}
            calling = look.all(
                sa.select(alerts_table)
                .where(
                    alerts_table.c.endpoint == endpoint,
                    alerts_table.c.state.in_([str(each) for each in CALLING]),
                )
                .order_by(alerts_table.c.opened.desc())
            )
        return health_of(
            endpoint,
            model,
            [window for window in found if window.model == model],
            read,
            monitors,
            [alert_of(row) for row in calling],
        )

    # Where the caller is

    def model_reference(self, model: str, *, day_starts_at: float = 0.0) -> "ModelReference | None":
        """The decoded reference of a model version: the one set, else one made from what its training run logged as
        `reference.parquet` (then kept)."""
        from everloop.monitoring.references import Reference as ModelReference

        record = self.reference(model=model) or self._adopted_reference(model, day_starts_at)
        if record is None:
            return None
        if record.digest not in self._decoded:  # an object never changes, so neither does what it decodes to
            self._decoded[record.digest] = ModelReference.decode(self.objects.read(record.digest))
        return self._decoded[record.digest]

    def _adopted_reference(self, model: str, day_starts_at: float) -> ReferenceRecord | None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            version = self.context.room(Registry).version(model)
        except NotFound:  # an endpoint may answer with a model that is registered elsewhere
            return None
        logged = self.context.room(Tracking).artifacts(version.run, REFERENCE_ARTIFACT)
        if not logged:
            return None
        table = pq.read_table(pa.BufferReader(self.objects.read(logged[0].digest)))
        return self.set_reference(model, table, day_starts_at=day_starts_at)

    def _predictions(
        self,
        endpoint: str,
        since: datetime | None,
        until: datetime,
        *,
        settle: bool = False,
        asked_only: bool = False,
    ) -> "pa.Table":
        """Rows of the log. A live answer is in it before it is given; `settle` waits for shadow answers still computed.
        `asked_only`: what was asked and answered live, without features."""
        return self.context.room(Serving).predictions(
            endpoint,
            since=since or EPOCH,
            until=until,
            settle=settle,
            columns=() if asked_only else None,
            modes=["live"] if asked_only else None,
        )

    def _segments(self, endpoint: str) -> "list[SegmentRecord]":
        """The parts of the log."""
        return self.context.room(Serving).segments(endpoint)

    def _match(self, endpoint: str, table: "pa.Table", received: datetime, outcome: Outcome) -> "pa.Table":
        """The rows of a batch with the predictions they belong to."""
        from everloop.monitoring.matching import match

        def answers(since: datetime, until: datetime) -> "pa.Table":
            return self._predictions(endpoint, since, until, asked_only=True)

        return match(table, received, outcome, answers, lambda: self._segments(endpoint))

    def _batches_of(self, endpoint: str, days: Sequence[datetime]) -> list[tuple["pa.Table", datetime]]:
        if not days:
            return []
        return [
            (self._batch(batch.object), batch.received)
            for batch in self.actuals_batches(endpoint=endpoint, days=list(days))
        ]

    def _read_batch(self, digest: str) -> "pa.Table":
        from everloop.monitoring import actuals

        return actuals.from_parquet(self.objects.read(digest))

    def _labels_of_day(
        self, endpoint: str, start: datetime, rows: "pa.Table", outcome: Outcome
    ) -> "pa.Table":
        """The final labels of a day, with rows that came before their prediction was logged matched now."""
        import pyarrow as pa
        import pyarrow.compute as pc

        from everloop.monitoring import actuals

        early = start - timedelta(days=1)
        parts = []
        found = self.actuals_batches(
            endpoint=endpoint, days=[start], unmatched_since=early, limit=BATCHES_OF_A_DAY
        )
        for batch in found:
            table = self._batch(batch.object)
            if batch.unmatched and rows.num_rows:
                starts = actuals.window_starts(rows["time"], outcome.day_starts_at)
                table = actuals.matched(table, rows.select(["prediction_id", "key", "time"]), starts)
            day = pa.scalar(start, actuals.INSTANT)
            parts.append((table.filter(pc.fill_null(pc.equal(table["day"], day), False)), batch.received))
        return actuals.latest(parts)[0]


class _RoomSources:
    """What an evaluation reads, from the rooms."""

    def __init__(self, room: Monitoring, endpoint: str, outcome: Outcome, until: datetime) -> None:
        self._room, self._endpoint, self._outcome, self._until = room, endpoint, outcome, until
        self._references: dict[str, ModelReference | None] = {}
        self._settled = False

    def predictions(self, since: datetime | None, until: datetime) -> "pa.Table":
        settle, self._settled = not self._settled, True  # once a look: what it reads is over
        return self._room._predictions(self._endpoint, since, until, settle=settle)

    def labels(self, start: datetime, rows: "pa.Table") -> "pa.Table":
        return self._room._labels_of_day(self._endpoint, start, rows, self._outcome)

    def reference(self, model: str) -> "ModelReference | None":
        if model not in self._references:
            self._references[model] = self._room.model_reference(
                model, day_starts_at=self._outcome.day_starts_at
            )
        return self._references[model]

    def window(self, model: str, mode: str, start: datetime) -> WindowRecord | None:
        found = self._room.windows(
            endpoint=self._endpoint, since=start, until=start + DAY, model=model, mode=mode
        )
        return found[0] if found else None

    def history(self, model: str) -> list[WindowRecord]:
        return self._room.windows(
            endpoint=self._endpoint, model=model, mode="live", status="final", limit=HISTORY
        )

    def store(self, data: bytes) -> tuple[str, int]:
        stored = self._room.objects.put(data)
        return stored.digest, stored.size
