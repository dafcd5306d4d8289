"""Taking in experiments and runs that another store has kept until now: whole, many at once, under their own identifiers."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from everloop.domain.adoption import (
    BYTES_A_POINT,
    Adopted,
    AdoptedExperiment,
    AdoptedRun,
    KnownRun,
    derived_id,
    has_ended_since,
)
from everloop.domain.ids import is_id
from everloop.domain.run_inputs import LoggedDataset
from everloop.domain.runs import (
    ACTIVE,
    DEFAULT_EXPERIMENT,
    DEFAULT_EXPERIMENT_ID,
    DELETED,
    MAX_PARAM,
    MAX_TAG,
    STATUSES,
    ArtifactRecord,
    Experiment,
    HeldObject,
    checked_artifact_path,
    checked_key,
    checked_text,
    param_number,
)
from everloop.domain.times import from_micros, micros
from everloop.errors import InvalidInput, NotFound
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.ledger import Transaction
from everloop.store.schema.logged_models import run_models
from everloop.store.schema.tracking import (
    INDEXED_CHARACTERS,
    experiment_tags,
    experiments,
    logged_datasets,
    metric_blocks,
    run_artifacts,
    run_datasets,
    run_metrics,
    run_params,
    run_tags,
    runs,
)
from everloop.tracking import reading, writing
from everloop.tracking.adopting_models import LoggedModelAdoption
from everloop.tracking.blocks import Points, encode_each

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_AT_ONCE = 1_000
"""How many runs one call takes."""
ALSO_KNOWN_AS = "everloop.import."
"""Begins the tag of an experiment that took one of the same name in; the rest is the `key` of that one."""
BIGGEST_NUMBER = 2**31 - 1
_EARLIEST, _LATEST = micros(datetime(1, 1, 1, tzinfo=UTC)), micros(datetime(9999, 12, 31, tzinfo=UTC))


class Adoption(LoggedModelAdoption, Room):
    """Operations that bring in what was recorded elsewhere. Brought in twice, it is there once."""

    name = "tracking"

    @operation(Permission.WRITE)
    def adopt_experiments(self, found: list[AdoptedExperiment]) -> list[Experiment]:
        """Take in experiments; answers those of this ledger that they are now, in the same order.

        One that came before (by `key`) is left as it is. An active one joins the active one of its name, which keeps its tags and
        gets those it lacks. Others are made, with the same number where that is free.
        """
        with self.change() as tx:
            free = {each.key: _is_free(tx, each.number) for each in found}
            # Those whose numbers are free come first, before the others are given the next ones.
            numbers = {
                each.key: _experiment(tx, each) for each in sorted(found, key=lambda each: not free[each.key])
            }
            return [reading.experiment(tx, str(numbers[each.key])) for each in found]

    @operation(Permission.READ)
    def known_runs(self, run_ids: list[str]) -> list[KnownRun]:
        """Which of these runs are here, in no order."""
        files = sa.select(sa.func.count()).where(run_artifacts.c.run == runs.c.id).scalar_subquery()
        found: list[KnownRun] = []
        with self.look() as look:
            for start in range(0, len(run_ids), MOST_AT_ONCE):
                query = sa.select(runs.c.id, runs.c.status, files.label("files"))
                rows = look.all(query.where(runs.c.id.in_(run_ids[start : start + MOST_AT_ONCE])))
                found += [KnownRun(row.id, row.status, row.files) for row in rows]
        return found

    @operation(Permission.WRITE)
    def adopt_runs(self, found: list[AdoptedRun], origin: str) -> Adopted:
        """Take in runs with all that was logged: all or, on an error, none of them. `origin` says where they are from.

        A run that is here is left alone, unless it was running when it came and has ended since. Files must be stored before.
        """
        if len(found) > MOST_AT_ONCE:
            raise InvalidInput(
                f"{len(found)} runs cannot be taken in at once", hint=f"at most {MOST_AT_ONCE}"
            )
        self._stored(file.digest for run in found for file in run.artifacts)
        points = {run.run_id: self._points(run) for run in found}
        with self.change() as tx:
            query = sa.select(runs.c.id, runs.c.status).where(runs.c.id.in_([run.run_id for run in found]))
            here = {row.id: row.status for row in tx.all(query)}
            new = [run for run in found if run.run_id not in here]
            ended = [
                run for run in found if run.run_id in here and has_ended_since(here[run.run_id], run.status)
            ]
            for run in ended:
                _forget(tx, run.run_id)
            _write(tx, [*new, *ended], points)
            for run in (*new, *ended):
                facts = {
                    "from": origin,
                    "experiment": run.experiment,
                    "name": run.name,
                    "user": run.user,
                    "status": run.status,
                    "started": run.start_time,
                    "ended": run.end_time,
                    "params": run.params,
                    "points": run.metrics.count,
                    "files": len(run.artifacts),
                }
                tx.event("run.adopted", f"run:{run.run_id}", facts)
            return Adopted(len(new), len(ended), len(found) - len(new) - len(ended))

    @operation(Permission.WRITE)
    def adopt_artifacts(self, files: dict[str, list[ArtifactRecord]], origin: str) -> int:
        """Add files to runs that are here, deleted ones too, where they have none under that path. Returns how many were new."""
        self._stored(file.digest for each in files.values() for file in each)
        with self.change() as tx:
            added = 0
            for run_id, found in files.items():
                writing.existing_run(tx, run_id)
                new = [file for file in found if tx.insert_new(run_artifacts, _file_row(run_id, file))]
                writing.hold(tx, [HeldObject(file.digest, file.size) for file in new], f"run:{run_id}")
                if new:
                    facts = {"from": origin, "count": len(new), "first": [file.path for file in new[:100]]}
                    tx.event("run.artifacts", f"run:{run_id}", facts)
                added += len(new)
            return added

    def _stored(self, digests: Iterator[str]) -> None:
        absent = self.objects.missing(set(digests))
        if absent:
            raise NotFound(
                f"object {min(absent)} is not in the store", hint="store the bytes before naming them"
            )

    def _points(self, run: AdoptedRun) -> bytes:
        """The columns of a run's metrics, checked for their length. Raises InvalidInput."""
        metrics = run.metrics
        data = self.objects.read(metrics.stored) if metrics.stored else metrics.points
        right = (
            len(metrics.keys) == len(metrics.counts) == len(set(metrics.keys))
            and min(metrics.counts, default=1) > 0
        )
        if not right or len(data) != BYTES_A_POINT * metrics.count:
            raise InvalidInput(
                f"the points of run {run.run_id} do not fit their keys and counts",
                hint="each key once, with the number of its points, and 24 bytes a point",
            )
        return data


# Experiments


def _experiment(tx: Transaction, found: AdoptedExperiment) -> int:
    """The number of the experiment here."""
    known = tx.scalar(sa.select(experiments.c.id).where(experiments.c.uuid == found.key))
    if known is None:
        tagged = sa.select(experiment_tags.c.experiment).where(
            experiment_tags.c.key == ALSO_KNOWN_AS + found.key
        )
        known = tx.scalar(tagged)
    if known is not None:
        return int(known)
    if found.state == ACTIVE:
        named = sa.select(experiments.c.id).where(
            experiments.c.name == found.name, experiments.c.state == ACTIVE
        )
        same = tx.scalar(named)
        if same is not None:
            return _joined(tx, int(same), found)
    return _made(tx, found)


def _joined(tx: Transaction, number: int, found: AdoptedExperiment) -> int:
    is_default = number == DEFAULT_EXPERIMENT_ID and found.name == DEFAULT_EXPERIMENT
    tags = found.tags if is_default else found.tags | {ALSO_KNOWN_AS + found.key: found.name}
    query = sa.select(experiment_tags.c.key).where(experiment_tags.c.experiment == number)
    there = {row.key for row in tx.all(query)}
    new = {key: value for key, value in tags.items() if key not in there}
    if new:
        writing.set_experiment_tags(tx, number, new)
        tx.event("experiment.tagged", f"experiment {number}", {"tags": new})
    return number


def _made(tx: Transaction, found: AdoptedExperiment) -> int:
    checked_text(found.name, "the name of an experiment", 500)
    if not found.name.strip() or not is_id(found.key) or found.state not in (ACTIVE, DELETED):
        raise InvalidInput(
            f"experiment '{found.name}' cannot be taken in",
            hint="it needs a name, a key of 32 hexadecimal digits, and to be active or deleted",
        )
    created = found.created or tx.now
    row: dict[str, Any] = {
        "uuid": found.key,
        "name": found.name,
        "state": found.state,
        "created": created,
        "updated": found.updated or created,
    }
    if _is_free(tx, found.number):
        _count_past(tx, found.number)
        row["id"] = found.number
    tx.execute(sa.insert(experiments), row)
    number = int(tx.scalar(sa.select(experiments.c.id).where(experiments.c.uuid == found.key)))
    writing.set_experiment_tags(tx, number, found.tags)
    tx.event("experiment.adopted", f"experiment {number}", {"name": found.name, "uuid": found.key})
    return number


def _is_free(tx: Transaction, number: int | None) -> bool:
    if number is None or not 0 < number <= BIGGEST_NUMBER:
        return False
    return tx.scalar(sa.select(experiments.c.id).where(experiments.c.id == number)) is None


def _count_past(tx: Transaction, number: int | None) -> None:
    """A number is given out of turn. SQLite goes on after the highest; Postgres counts in a sequence, which is moved."""
    if tx.dialect == "postgresql":
        sequence = sa.func.pg_get_serial_sequence("experiments", "id")
        highest = sa.select(sa.func.greatest(sa.func.max(experiments.c.id), number)).scalar_subquery()
        tx.execute(sa.select(sa.func.setval(sequence, highest)))


# Runs


def _forget(tx: Transaction, run_id: str) -> None:
    for table in (run_params, run_tags, run_metrics, metric_blocks, run_datasets):
        tx.execute(sa.delete(table).where(table.c.run == run_id))
    tx.execute(sa.delete(runs).where(runs.c.id == run_id))


def _write(tx: Transaction, found: Sequence[AdoptedRun], points: dict[str, bytes]) -> None:
    numbers = {name: int(writing.find_experiment(tx, name).id) for name in {run.experiment for run in found}}
    _insert(tx, runs, [_run_row(run, numbers[run.experiment]) for run in found])
    _insert(tx, run_params, [row for run in found for row in _param_rows(run)])
    _insert(tx, run_tags, [row for run in found for row in _tag_rows(run)])
    _write_metrics(tx, found, points)
    for run in found:
        reference = f"run:{run.run_id}"
        for file in run.artifacts:
            tx.put(run_artifacts, _file_row(run.run_id, file))
        held = [HeldObject(file.digest, file.size) for file in run.artifacts]
        writing.hold(tx, [*held, *run.captured.holds], reference)
        if run.parent:
            tx.edge(f"run:{run.parent}", reference, "child")
        for dataset in run.datasets:
            _write_dataset(tx, run.run_id, numbers[run.experiment], dataset)
    links = [msgspec.structs.asdict(each) for run in found for each in run.models]
    tx.insert_new(
        run_models, [{"run": each.pop("run_id"), "model": each.pop("model_id")} | each for each in links]
    )


def _insert(tx: Transaction, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        tx.execute(sa.insert(table), rows)


def _run_row(run: AdoptedRun, experiment: int) -> dict[str, Any]:
    if not is_id(run.run_id) or (run.parent and not is_id(run.parent)):
        raise InvalidInput(f"'{run.run_id}' is not an identifier", hint="32 hexadecimal digits")
    if run.status not in STATUSES or run.state not in (ACTIVE, DELETED):
        raise InvalidInput(
            f"run {run.run_id} cannot be {run.status} and {run.state}",
            hint=f"one of {', '.join(STATUSES)}; active or deleted",
        )
    return {
        "id": run.run_id,
        "experiment": experiment,
        "name": checked_text(run.name, "the name of the run", 5_000) or run.run_id[:8],
        "user": checked_text(run.user, "the user of the run", 5_000),
        "source": checked_text(run.captured.source, "the source of the run", 5_000),
        "version": checked_text(run.captured.commit, "the commit of the run", 64),
        "status": run.status,
        "start_time": run.start_time,
        "end_time": run.end_time,
        "state": run.state,
        "deleted_at": run.deleted_at,
        "parent": run.parent,
        "resumed_from": None,
        "records": 1,
        "place": "",
        "pid": 0,
        "process_began": 0.0,
        "heartbeat": run.end_time or run.start_time,
        "captured": run.captured,
    }


@lru_cache(10_000)
def _key(key: str, what: str) -> str:
    """`checked_key`, asked once: the same few keys come with every run."""
    return checked_key(key, what)


def _param_rows(run: AdoptedRun) -> Iterator[dict[str, Any]]:
    for key, value in run.params.items():
        checked_text(value, f"the parameter {_key(key, 'parameter')}", MAX_PARAM)
        head, number = value[:INDEXED_CHARACTERS], param_number(value)
        yield {"run": run.run_id, "key": key, "value": value, "head": head, "number": number}


def _tag_rows(run: AdoptedRun) -> Iterator[dict[str, Any]]:
    for key, value in run.tags.items():
        checked_text(value, f"the tag {_key(key, 'tag')}", MAX_TAG)
        yield {"run": run.run_id, "key": key, "value": value, "head": value[:INDEXED_CHARACTERS]}


def _file_row(run_id: str, file: ArtifactRecord) -> dict[str, Any]:
    return {"run": run_id, "path": checked_artifact_path(file.path), "digest": file.digest, "size": file.size}


def _write_dataset(tx: Transaction, run_id: str, experiment: int, found: LoggedDataset) -> None:
    """One row for a dataset of an experiment, whichever of its runs used it."""
    identifier = derived_id("dataset", str(experiment), found.name, found.digest)
    described = msgspec.structs.asdict(found)
    context, tags = described.pop("context"), described.pop("tags")
    tx.insert_new(logged_datasets, {"id": identifier, "experiment": experiment} | described)
    named = (
        (logged_datasets.c.experiment == experiment)
        & (logged_datasets.c.name == found.name)
        & (logged_datasets.c.digest == found.digest)
    )
    row = {"run": run_id, "dataset": tx.scalar(sa.select(logged_datasets.c.id).where(named))}
    tx.insert_new(run_datasets, row | {"context": context, "tags": tags})


# Metrics: all points of a batch are sorted and summarised together, because a call of numpy for each metric would take longer
# than everything else.


def _write_metrics(tx: Transaction, found: Sequence[AdoptedRun], points: dict[str, bytes]) -> None:
    owners = [(run.run_id, _key(key, "metric")) for run in found for key in run.metrics.keys]
    if not owners:
        return
    import numpy as np

    counts = np.array([count for run in found for count in run.metrics.counts], np.int64)
    columns = [_columns(points[run.run_id]) for run in found]
    steps, times, values = (np.concatenate([each[at] for each in columns]) for at in range(3))
    if times.min() < _EARLIEST or times.max() > _LATEST:
        raise InvalidInput("a metric was logged at a time beyond the years 1 to 9999")
    steps, times, values = _in_order(counts, steps, times, values)
    starts = np.cumsum(counts) - counts
    rows = _summaries(owners, counts, starts, steps, times, values)
    _insert(tx, run_metrics, rows)
    encoded = encode_each(Points(steps, times, values), counts)
    blocks = [
        {"run": run, "key": key, "record": 0, "count": count, "points": data}
        for (run, key), count, data in zip(owners, counts.tolist(), encoded, strict=True)
    ]
    _insert(tx, metric_blocks, blocks)


def _columns(data: bytes) -> tuple["NDArray[np.int64]", "NDArray[np.int64]", "NDArray[np.float64]"]:
    """Steps, times and values of a run."""
    import numpy as np

    count = len(data) // BYTES_A_POINT
    steps, times = np.frombuffer(data, "<i8", count), np.frombuffer(data, "<i8", count, 8 * count)
    return steps, times, np.frombuffer(data, "<f8", count, 16 * count)


def _in_order(
    counts: "NDArray[np.int64]",
    steps: "NDArray[np.int64]",
    times: "NDArray[np.int64]",
    values: "NDArray[np.float64]",
) -> tuple["NDArray[np.int64]", "NDArray[np.int64]", "NDArray[np.float64]"]:
    """The points of each metric by step, time and value (NaN as 0): the last is the metric's last value, as in MLflow."""
    import numpy as np

    metric = np.repeat(np.arange(len(counts)), counts)
    new = metric[1:] != metric[:-1]
    later = (steps[1:] > steps[:-1]) | ((steps[1:] == steps[:-1]) & (times[1:] > times[:-1]))
    if np.all(new | later):
        return steps, times, values
    order = np.lexsort((np.where(np.isnan(values), 0.0, values), times, steps, metric))
    return steps[order], times[order], values[order]


def _summaries(
    owners: Sequence[tuple[str, str]],
    counts: "NDArray[np.int64]",
    starts: "NDArray[np.int64]",
    steps: "NDArray[np.int64]",
    times: "NDArray[np.int64]",
    values: "NDArray[np.float64]",
) -> list[dict[str, Any]]:
    """The rows of `run_metrics`, as `blocks.Summary` would make them one by one."""
    import numpy as np

    lasts = starts + counts - 1
    known = ~np.isnan(values)
    numbers = np.add.reduceat(known.astype(np.int64), starts)
    with np.errstate(all="ignore"):
        means = np.add.reduceat(np.where(known, values, 0.0), starts) / numbers
        floats = {
            "first": values[starts],
            "last": values[lasts],
            "min": np.fmin.reduceat(values, starts),
            "max": np.fmax.reduceat(values, starts),
            "mean": means,
        }
    table = {
        "run": [run for run, _ in owners],
        "key": [key for _, key in owners],
        "count": counts.tolist(),
        "numbers": numbers.tolist(),
        "first_step": steps[starts].tolist(),
        "first_time": map(from_micros, times[starts].tolist()),
        "last_step": steps[lasts].tolist(),
        "last_time": map(from_micros, times[lasts].tolist()),
    } | {
        name: [None if each != each else each for each in column.tolist()] for name, column in floats.items()
    }
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
