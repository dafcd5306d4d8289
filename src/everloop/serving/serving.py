"""The operations of serving: endpoints and their arms, servers, the prediction log."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from everloop.domain.deployments import (
    Arm,
    ArmChange,
    ArmTraffic,
    Deployment,
    EndpointRecord,
    LoggedPrediction,
    Mode,
    PlacedArm,
    SegmentRecord,
    check_transform,
    checked_arms,
)
from everloop.domain.ids import is_id, made_at
from everloop.domain.names import checked_name, shown
from everloop.domain.references import Kind, Reference
from everloop.errors import Conflict, InvalidInput, NotFound, nearest
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.registry.packaging import check_servable, fetched_models, place, write_deployment
from everloop.registry.registry import Registry
from everloop.serving.snapshot import log_folder
from everloop.store.ledger import Reader, Transaction
from everloop.store.schema.serving import endpoint_revisions, endpoints, prediction_segments

if TYPE_CHECKING:
    import pyarrow as pa

    from everloop.governance.rooms import Context
    from everloop.serving.predictions import Part, Segment
    from everloop.serving.process import PredictionServer

CHAMPION = "champion"


class Serving(Room):
    """Endpoints answer with registered models; every answer is logged and can be found again."""

    name = "serving"

    def __init__(self, context: "Context") -> None:
        super().__init__(context)
        self._segments: dict[Path, Segment] = {}
        self._seen: set[str] = set()
        """Endpoints that are there: none ever goes."""

    # Endpoints

    @operation(Permission.WRITE)
    def deploy(
        self,
        endpoint: str,
        model: str,
        transform: dict[str, str] = {},  # noqa: B006 (not changed)
        reason: str = "",
    ) -> EndpointRecord:
        """Let one model version answer all requests of an endpoint, which is made if need be. A running server takes it over."""
        return self.set_arms(
            endpoint, [Arm(CHAMPION, model, transform=transform)], reason or f"deployed {model}"
        )

    @operation(Permission.WRITE)
    def set_arms(self, endpoint: str, arms: list[Arm], reason: str = "", salt: str = "") -> EndpointRecord:
        """Say which models answer an endpoint, with which share, and which only look on.

        The snapshot on disk is replaced as a whole; running servers notice it within a fraction of a second. `salt` decides
        which keys an arm gets: it stays as it is unless another is given (one a rollout).
        """
        checked_name(endpoint, "endpoint name", folders=False)
        checked_arms(arms)
        from everloop.tracking.formats.fresh import carry_proof

        registry = self.context.room(Registry)
        records = [registry.version(arm.model) for arm in arms]
        exact = tuple(
            msgspec.structs.replace(arm, model=record.reference)
            for arm, record in zip(arms, records, strict=True)
        )
        folder = self.folder(endpoint)
        for arm, record in zip(arms, records, strict=True):
            check_servable(record)
            check_transform(arm.transform, record.model.signature.names)
            put = place(folder / "models", record.digest, record.files, self.objects)
            carry_proof(fetched_models(self.context.folder) / record.digest, put)
        placed = tuple(
            PlacedArm(arm, f"models/{record.digest}", record.digest)
            for arm, record in zip(exact, records, strict=True)
        )
        reference = Reference(Kind.ENDPOINT, endpoint)
        with self.change() as tx:
            before = _row(tx, endpoint, lock=True)
            revision = 1 if before is None else before.revision + 1
            kept = salt or (before.salt if before is not None else self.context.ids())
            row = {
                "name": endpoint,
                "revision": revision,
                "arms": exact,
                "salt": kept,
                "user": tx.actor,
                "updated": tx.now,
            }
            tx.put(endpoints, row | {"created": tx.now if before is None else before.created})
            change = {
                "endpoint": endpoint,
                "revision": revision,
                "time": tx.now,
                "user": tx.actor,
                "arms": exact,
            }
            tx.execute(sa.insert(endpoint_revisions), change | {"reason": reason})
            for arm in exact:
                tx.edge(arm.model, reference, "deployed")
            shares = [
                {"name": arm.name, "model": arm.model, "mode": arm.mode, "weight": arm.weight}
                for arm in exact
            ]
            tx.event("endpoint.deployed", reference, {"revision": revision, "arms": shares, "reason": reason})
            # Written inside the transaction, so that of two writers the later revision is also the one on disk.
            write_deployment(folder, Deployment(endpoint, revision, placed, kept, tx.now))
            return _endpoint(_row(tx, endpoint))

    @operation(Permission.READ)
    def endpoints(self) -> list[EndpointRecord]:
        """All endpoints by name."""
        with self.look() as look:
            return [_endpoint(row) for row in look.all(sa.select(endpoints).order_by(endpoints.c.name))]

    @operation(Permission.READ)
    def endpoint(self, name: str) -> EndpointRecord:
        """One endpoint with its arms. Raises NotFound with the nearest names."""
        with self.look() as look:
            return _endpoint(_existing(look, name))

    @operation(Permission.READ)
    def revisions(self, endpoint: str) -> list[ArmChange]:
        """Which arms an endpoint had since when, newest first."""
        with self.look() as look:
            name = _existing(look, endpoint).name
            table = endpoint_revisions
            rows = look.all(
                sa.select(table).where(table.c.endpoint == name).order_by(table.c.revision.desc())
            )
            return [
                ArmChange(
                    row.revision, row.time, row.user, msgspec.convert(row.arms, tuple[Arm, ...]), row.reason
                )
                for row in rows
            ]

    def arms_at(self, endpoint: str, moment: datetime) -> tuple[Arm, ...]:
        """The arms an endpoint had at a moment; none before it was first deployed."""
        return next((each.arms for each in self.revisions(endpoint) if each.time <= moment), ())

    # Servers

    def folder(self, endpoint: str) -> Path:
        """Where an endpoint's snapshot, models and log are."""
        return self.context.folder / "endpoints" / endpoint

    def start(self, endpoint: str, port: int = 0, *, host: str = "127.0.0.1") -> "PredictionServer":
        """Start a prediction server as a child of this process and wait until it answers. Port 0 takes a free one."""
        from everloop.serving.process import start

        record = self.endpoint(endpoint)
        if self.context.remote:
            raise InvalidInput(
                "a remote workspace's endpoints are served where it is", hint="start it there: everloop up"
            )
        return start(self.folder(record.name), host=host, port=port)

    def address(self, endpoint: str) -> str | None:
        """Where the endpoint is being served on this machine, or None."""
        from everloop.serving.process import answers
        from everloop.serving.snapshot import read_running

        running = read_running(self.folder(self.endpoint(endpoint).name))
        return running.url if running is not None and answers(running.url) else None

    def apply(self, endpoint: str) -> int | None:
        """Let a running server take over the newest arms now, and wait until it has. Returns the revision it serves; None when
        no server runs here. Raises InvalidInput when it refuses a model; it goes on with the old arms then."""
        from everloop.serving.process import control

        said = control(self.folder(endpoint), "reload")
        return None if said is None else int(said["revision"])

    # Batch

    def predict(self, model: str, source: str | Path, out: str | Path) -> int:
        """Answer a Parquet or CSV file with a model version: its rows with the answers beside them. Returns how many rows."""
        from everloop.serving.batch import predict_file

        return predict_file(self.context.room(Registry).model(model), Path(source), Path(out))

    # The log

    @operation(Permission.WRITE)
    def collect(self, endpoint: str) -> list[SegmentRecord]:
        """Bring finished parts of the endpoint's prediction log into the object store, as Parquet. Doing it
        twice is doing it once.

        A running server closes the part it writes first. Returns what was brought in.
        """
        from everloop.serving.collecting import collect_segments
        from everloop.serving.process import control

        with self.look() as look:
            name = _existing(look, endpoint).name
        folder = self.folder(name)
        control(folder, "settle", {"close_segment": True})
        return collect_segments(log_folder(folder), name, self.objects, self._keep_segment, self._has_segment)

    def _has_segment(self, segment: str) -> bool:
        with self.look() as look:
            table = prediction_segments
            return look.first(sa.select(table.c.segment).where(table.c.segment == segment)) is not None

    def _keep_segment(self, record: SegmentRecord) -> None:
        with self.change() as tx:
            row = msgspec.structs.asdict(record)
            if not tx.insert_new(prediction_segments, row):
                return
            reference = f"endpoint:{record.endpoint}"
            tx.hold(record.digest, record.size, reference)
            facts = {
                "segment": record.segment,
                "rows": record.rows,
                "digest": record.digest,
                "models": record.rows_by_model,
            }
            tx.event("endpoint.predictions_collected", reference, facts)

    @operation(Permission.READ)
    def segments(
        self, endpoint: str = "", since: datetime | None = None, until: datetime | None = None
    ) -> list[SegmentRecord]:
        """The parts of prediction logs in the object store, oldest first; of one endpoint, or of all. With `since` and `until`,
        those that may hold predictions made in [since, until)."""
        table = prediction_segments
        query = sa.select(table).order_by(table.c.received_first, table.c.segment)
        if since is not None:
            query = query.where(table.c.last >= since)
        if until is not None:
            query = query.where(table.c.first < until)
        with self.look() as look:
            if endpoint:
                name = Reference.parse(endpoint, Kind.ENDPOINT).name
                query = query.where(table.c.endpoint == name)
            found = [SegmentRecord(**row._mapping) for row in look.all(query)]
            if endpoint and not found and name not in self._seen:
                self._seen.add(_existing(look, name).name)
            return found

    def predictions(
        self,
        endpoint: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        arms: Sequence[str] | None = None,
        modes: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        settle: bool = True,
    ) -> "pa.Table":
        """The predictions whose time lies in [since, until); see `everloop.serving.predictions` for the columns.

        `columns`: features wanted beside the columns every prediction has; None: all. Also reads what the server has not handed
        over yet (of a remote workspace, only what was collected). `settle`: let a running server's shadow arms finish first.
        """
        from everloop.serving import predictions as log

        # Journals before the ledger: what is collected in between is then found twice rather than not at all.
        journals = self._journals(endpoint, settle=settle)
        parts = [
            log.read_parquet(self.objects.open(record.digest), since, until, columns)
            for record in self.segments(endpoint, since, until)
            if record.segment not in journals
        ]
        found = log.joined(
            [rows for each in journals.values() for rows in log.overlapping(each, since, until)]
        )
        if columns is not None:
            found = found.select([name for name in found.column_names if name in {*log.HEAD.names, *columns}])
        parts.append(found)
        kept = [log.within(part, since, until, arms, modes) for part in parts]
        whole = log.joined([part for part in kept if part.num_rows] or kept[-1:])
        return whole.sort_by([("time", "ascending"), ("prediction_id", "ascending")])

    def traffic(
        self, endpoint: str, *, since: datetime | None = None, until: datetime | None = None
    ) -> list[ArmTraffic]:
        """What each arm answered in [since, until): rows, errors, and seconds a request took."""
        import numpy as np

        table = self.predictions(endpoint, since=since, until=until, columns=())
        found = []
        groups = table.group_by(["arm", "mode", "model"]).aggregate([("seconds", "list"), ("error", "count")])
        for row in groups.to_pylist():
            seconds = np.unique(
                np.asarray(row["seconds_list"])
            )  # one a request and arm, repeated for each row
            middle, high = (float(np.quantile(seconds, each)) for each in (0.5, 0.99))
            rows = len(row["seconds_list"])
            found.append(
                ArmTraffic(row["arm"], row["mode"], row["model"], rows, row["error_count"], middle, high)
            )
        return sorted(found, key=lambda each: (each.mode, each.arm, each.model))

    def prediction(self, reference: str) -> LoggedPrediction:
        """One prediction by its identifier (or a unique beginning), as a live arm gave it: features, key, model, revision."""
        wanted = Reference.parse(reference, Kind.PREDICTION).name
        found: dict[str, tuple[str, dict[str, Any]]] = {}
        for endpoint in self.endpoints():
            for row in self._rows_of(endpoint.name, wanted):
                held = found.get(row["prediction_id"])
                if held is None or row["mode"] == Mode.LIVE:
                    found[row["prediction_id"]] = (endpoint.name, row)
        if not found:
            raise NotFound(
                f"there is no prediction {wanted}",
                hint="see: everloop health ENDPOINT, or is its log collected?",
            )
        if len(found) > 1:
            raise Conflict(
                f"{len(found)} predictions begin with {wanted}", hint="give more digits of the one you mean"
            )
        return _logged(*next(iter(found.values())))

    def _rows_of(self, endpoint: str, wanted: str) -> list[dict[str, Any]]:
        """Logged rows whose identifier begins with `wanted`."""
        from everloop.serving import predictions as log
        from everloop.serving.collecting import rows_with

        # An identifier says when it was made, unless the caller brought its own: look there first.
        made = made_at(wanted)
        ordered = sorted(
            self.segments(endpoint),
            key=lambda each: made is None or not each.received_first <= made <= each.received_last,
        )
        journals = self._journals(endpoint, settle=False)
        whole = log.joined([part.rows for parts in journals.values() for part in parts])
        rows: list[dict[str, Any]] = rows_with(whole, wanted)
        for record in ordered:
            if rows and is_id(wanted):
                break
            if record.segment in journals:
                continue
            rows += rows_with(log.read_parquet(self.objects.open(record.digest), None, None, None), wanted)
        return rows

    def _journals(self, endpoint: str, *, settle: bool) -> "dict[str, list[Part]]":
        """What the endpoint's journals on this machine hold, by segment. Each is read once, as it grows."""
        from everloop.serving.predictions import Segment
        from everloop.serving.process import control

        folder = self.folder(Reference.parse(endpoint, Kind.ENDPOINT).name)
        if settle:
            control(folder, "settle")
        found = {}
        for path in sorted(log_folder(folder).glob("*.journal")):
            segment = self._segments.setdefault(path, Segment(path))
            try:
                found[path.stem] = segment.parts()
            except NotFound:  # collected meanwhile: the ledger knows it now
                continue
        gone = [
            path for path in self._segments if path.parent == log_folder(folder) and path.stem not in found
        ]
        for path in gone:
            self._segments.pop(path, None)
        return found


def _row(look: Reader, name: str, *, lock: bool = False) -> Any:
    query = sa.select(endpoints).where(endpoints.c.name == name)
    return look.first(query.with_for_update() if lock and isinstance(look, Transaction) else query)


def _existing(look: Reader, reference: str) -> Any:
    name = Reference.parse(reference, Kind.ENDPOINT).name
    row = _row(look, name)
    if row is None:
        known = [each.name for each in look.all(sa.select(endpoints.c.name))]
        raise NotFound(
            f"there is no endpoint {shown(name)}",
            hint=nearest(name, known) or "make one with: everloop serve",
        )
    return row


def _endpoint(row: Any) -> EndpointRecord:
    arms = msgspec.convert(row.arms, tuple[Arm, ...])
    return EndpointRecord(row.name, row.revision, arms, row.salt, row.created, row.updated, row.user)


def _logged(endpoint: str, row: dict[str, Any]) -> LoggedPrediction:
    known = {name: row.pop(name) for name in LoggedPrediction.__struct_fields__ if name in row}
    row.pop("seconds", None)
    return LoggedPrediction(
        endpoint=endpoint, **known, features={name: value for name, value in row.items() if value is not None}
    )
