"""What MLflow's SQL store wrote, of any version since 1.0: a table or column that an older one has not is read as empty.

The database is opened to be read only, and each statement lets go of it again: MLflow may go on writing meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import sqlalchemy as sa

from everloop.domain.adoption import (
    AdoptedExperiment,
    AdoptedLoggedModel,
    AdoptedModel,
    AdoptedRun,
    AdoptedVersion,
    MetricColumns,
    run_identifier,
)
from everloop.domain.logged_models import INPUT, OUTPUT, MeasuredPoint, RunModel
from everloop.domain.run_inputs import LoggedDataset
from everloop.domain.times import EPOCH
from everloop.errors import InvalidInput, MissingExtra
from everloop.exchange.folders import files_below
from everloop.exchange.mlflow import conventions
from everloop.exchange.mlflow.ahead import Ahead
from everloop.exchange.mlflow.locations import Locations
from everloop.exchange.source import ForeignFile, Head, Skipped

TABLES = (
    "experiments", "experiment_tags", "runs", "params", "tags", "metrics", "datasets", "inputs", "input_tags",
    "logged_models", "logged_model_params", "logged_model_tags", "logged_model_metrics", "registered_models",
    "registered_model_tags", "registered_model_aliases", "model_versions", "model_version_tags",
)  # fmt: skip
NEEDED = ("experiments", "runs", "params", "tags", "metrics")
DEFAULT_WORKSPACE = "default"
POINTS_AT_ONCE = 1_000_000
_MAPPED = 1 << 40
"""How much of a file is read as memory (SQLite takes what it can): asking the system for each page doubles the time."""
_BIND = 500
"""How many values one statement names; older SQLite takes 999."""

Row = sa.Row[Any]


class DatabaseSource:
    """A `Source` over a database of MLflow's. `where`: a file of SQLite's, or a URL with its driver in SQLAlchemy's manner."""

    def __init__(self, where: str | Path, moved: Sequence[tuple[str, str]] = ()) -> None:
        self.skipped: list[Skipped] = []
        folder = Path.cwd()
        self._ahead: Ahead | None = None
        self._heads: dict[str, tuple[int, str]] = {}
        """By run: where it comes in the order, and what its status was when the heads were read."""
        if isinstance(where, Path):
            folder = where.resolve().parent
            self._ahead = Ahead(where)
            self.origin, self._engine = f"mlflow {where}", _open_file(where)
        else:
            url = _url(where)
            self.origin, self._engine = f"mlflow {url.render_as_string()}", _open_url(url)
        self._locations = Locations(folder, moved)
        try:
            self._tables = self._reflect()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._ahead is not None:
            self._ahead.close()
        self._engine.dispose()

    # Statements

    def _reflect(self) -> dict[str, dict[str, sa.ColumnClause[Any]]]:
        """The columns of the tables that are there."""
        try:
            inspector = sa.inspect(self._engine)
            there = set(inspector.get_table_names())
            lacking = [name for name in NEEDED if name not in there]
            if lacking:
                raise InvalidInput(
                    f"{self.origin.removeprefix('mlflow ')} is no database of MLflow's: it has no table '{lacking[0]}'",
                    hint="give the file that the tracking URI sqlite:///… names",
                )
            found = {}
            for name in (name for name in TABLES if name in there):
                columns = [column["name"] for column in inspector.get_columns(name)]
                table = sa.table(name, *(sa.column(column) for column in columns))
                found[name] = dict(table.c.items())
            return found
        except sa.exc.SQLAlchemyError as error:
            raise self._damaged(error) from None

    def _damaged(self, error: sa.exc.SQLAlchemyError) -> InvalidInput:
        said = str(error.orig if isinstance(error, sa.exc.DBAPIError) else error).splitlines()[0]
        return InvalidInput(
            f"{self.origin.removeprefix('mlflow ')} cannot be read: {said}",
            hint="whatever was brought in so far is whole; import again once it can be read",
        )

    def _run(self, query: sa.Select[Any], take: Callable[[sa.CursorResult[Any]], Any]) -> Any:
        try:
            with self._engine.connect() as connection:
                return take(connection.execute(query))
        except sa.exc.SQLAlchemyError as error:
            raise self._damaged(error) from None
        except sqlite3.Error as error:  # met while rows are fetched past SQLAlchemy
            raise self._damaged(sa.exc.DBAPIError("", None, error)) from None

    def _rows(
        self,
        table: str,
        names: Sequence[str],
        among: tuple[str, Sequence[Any]] | None = None,
        order: Sequence[str] = (),
    ) -> Iterator[Row]:
        """Rows of a table with these columns, None where it has no such column; nothing if there is no such table."""
        columns = self._tables.get(table)
        if columns is None or (among is not None and among[0] not in columns):
            return
        query = sa.select(*(columns.get(name, sa.null()).label(name) for name in names))
        query = query.order_by(*(columns[name] for name in order if name in columns))
        if among is None:
            yield from self._run(query, lambda result: result.all())
            return
        for start in range(0, len(among[1]), _BIND):
            some = columns[among[0]].in_(among[1][start : start + _BIND])
            yield from self._run(query.where(some), lambda result: result.all())

    def _grouped(
        self, table: str, owner: str, key: str, value: str, owners: Sequence[Any] | None = None
    ) -> Any:
        """Keys with their values by owner."""
        found: dict[Any, dict[str, str]] = defaultdict(dict)
        among = None if owners is None else (owner, owners)
        for row in self._rows(table, (owner, key, value), among):
            of, name, text = tuple(row)
            found[of][str(name)] = "" if text is None else str(text)
        return found

    # Experiments and runs

    def experiments(self) -> dict[str, AdoptedExperiment]:
        tags = self._grouped("experiment_tags", "experiment_id", "key", "value")
        names = (
            "experiment_id",
            "name",
            "artifact_location",
            "lifecycle_stage",
            "creation_time",
            "last_update_time",
            "workspace",
        )
        return {
            str(row.experiment_id): conventions.experiment(
                str(row.experiment_id),
                _in_workspace(row.name, row.workspace),
                str(row.artifact_location or ""),
                row.creation_time,
                state=conventions.state_word(row.lifecycle_stage),
                updated=conventions.moment(row.last_update_time),
                tags=tags[row.experiment_id],
            )
            for row in self._rows("experiments", names, order=("experiment_id",))
        }

    def heads(self) -> Sequence[Head]:
        names = ("run_uuid", "experiment_id", "status", "artifact_uri")
        found = [
            Head(
                run_identifier(row.run_uuid),
                row.run_uuid,
                str(row.experiment_id),
                conventions.status_word(row.status),
                str(row.artifact_uri or ""),
            )
            for row in self._rows("runs", names, order=("start_time", "run_uuid"))
        ]
        self._heads = {head.given: (at, head.status) for at, head in enumerate(found)}
        return found

    def read(self, heads: Sequence[Head]) -> Iterator[AdoptedRun]:
        for start in range(0, len(heads), _BIND):
            some = [head.given for head in heads[start : start + _BIND]]
            metrics = self._read_ahead(some)
            if metrics is not None:
                yield from self._read(some, metrics)
                continue
            counts = self._counts(some)
            batch: list[str] = []
            waiting = 0
            for each in some:
                points = sum(counts[each].values())
                if batch and waiting + points > POINTS_AT_ONCE:
                    yield from self._read(batch, self._metrics(batch, counts))
                    batch, waiting = [], 0
                batch.append(each)
                waiting += points
            yield from self._read(batch, self._metrics(batch, counts))

    def _has_changed(self, given: str, status: object) -> bool:
        """Whether a run began or ended since the heads were read."""
        return self._heads.get(given, (0, ""))[1] != conventions.status_word(status)

    def metrics_of(self, given: Sequence[str]) -> dict[str, MetricColumns] | None:
        """The points of runs; None if they are too many to be had at once."""
        counts = self._counts(given)
        if sum(sum(sizes.values()) for sizes in counts.values()) > POINTS_AT_ONCE:
            return None
        return self._metrics(given, counts)

    def _read_ahead(self, given: list[str]) -> dict[str, MetricColumns] | None:
        """The metrics of these runs, if they were read ahead; those of as many runs behind them will be."""
        if self._ahead is None:
            return None
        found = self._ahead.take(given)
        last, _ = self._heads.get(given[-1], (len(self._heads), ""))
        self._ahead.ask(list(islice(self._heads, last + 1, last + 1 + len(given))))
        return found

    def _read(self, given: list[str], metrics: dict[str, MetricColumns]) -> Iterator[AdoptedRun]:
        params = self._grouped("params", "run_uuid", "key", "value", given)
        tags = self._grouped("tags", "run_uuid", "key", "value", given)
        datasets, models = self._datasets(given), self._models(given)
        names = (
            "run_uuid", "name", "source_name", "source_version", "user_id", "status", "start_time", "end_time",
            "lifecycle_stage", "deleted_time", "experiment_id",
        )  # fmt: skip
        rows = {row.run_uuid: row for row in self._rows("runs", names, ("run_uuid", given))}
        late = [each for each, row in rows.items() if self._has_changed(each, row.status)]
        if late:  # what such a run logged at the end may not have been read yet
            metrics = metrics | self._metrics(late, self._counts(late))
        for each in given:
            if each not in rows:  # deleted since the list of runs was read
                continue
            info = dict(rows[each]._mapping) | {"run_id": each, "run_name": rows[each].name}
            points = metrics.get(each, MetricColumns())
            yield conventions.run(info, params[each], tags[each], points, datasets[each], models[each])

    def _counts(self, given: Sequence[str]) -> dict[str, dict[str, int]]:
        """How many points each metric of each run has, in the order of the database (which sorts texts as it likes)."""
        metrics = self._tables["metrics"]
        run, key = metrics["run_uuid"], metrics["key"]
        query = (
            sa.select(run, key, sa.func.count()).where(run.in_(given)).group_by(run, key).order_by(run, key)
        )
        found: dict[str, dict[str, int]] = defaultdict(dict)
        for row in self._run(query, lambda result: result.all()):
            found[row[0]][row[1]] = row[2]
        return found

    def _metrics(self, given: Sequence[str], counts: dict[str, dict[str, int]]) -> dict[str, MetricColumns]:
        """The points of runs, read straight into columns: a point takes well under a microsecond."""
        import numpy as np

        columns = self._tables["metrics"]
        run, key = columns["run_uuid"], columns["key"]
        step = columns.get("step", sa.literal(0))
        nan = sa.func.coalesce(columns.get("is_nan", sa.literal(0)), 0)
        query = sa.select(step, columns["timestamp"], columns["value"], nan)
        query = query.where(run.in_(given)).order_by(run, key, step)
        kind = np.dtype([("step", "i8"), ("time", "i8"), ("value", "f8"), ("nan", "i1")])
        points = self._run(query, lambda result: np.fromiter(cast(Any, result.cursor), kind))
        of_runs = {each: sizes for each, sizes in counts.items() if each in set(given)}
        if len(points) != sum(sum(sizes.values()) for sizes in of_runs.values()):
            return self._metrics(given, self._counts(given))  # somebody logs at this moment: look again
        values = conventions.infinite(points["value"])
        values[points["nan"] != 0] = np.nan
        found: dict[str, MetricColumns] = defaultdict(MetricColumns)
        at = 0
        for each, sizes in of_runs.items():
            part = slice(at, at := at + sum(sizes.values()))
            steps, times = points["step"][part], points["time"][part]
            found[each] = conventions.columns(list(sizes), list(sizes.values()), steps, times, values[part])
        return found

    def _datasets(self, given: Sequence[str]) -> dict[str, list[LoggedDataset]]:
        found: dict[str, list[LoggedDataset]] = defaultdict(list)
        names = ("input_uuid", "source_type", "source_id", "destination_type", "destination_id")
        uses = [
            row
            for row in self._rows("inputs", names, ("destination_id", given))
            if (row.source_type, row.destination_type) == ("DATASET", "RUN")
        ]
        fields = (
            "dataset_uuid",
            "name",
            "digest",
            "dataset_source_type",
            "dataset_source",
            "dataset_schema",
            "dataset_profile",
        )
        wanted = ("dataset_uuid", sorted({row.source_id for row in uses}))
        described = {row.dataset_uuid: row for row in self._rows("datasets", fields, wanted)}
        tags = self._grouped("input_tags", "input_uuid", "name", "value", [row.input_uuid for row in uses])
        for use in uses:
            if row := described.get(use.source_id):
                facts = {name.removeprefix("dataset_"): value for name, value in row._mapping.items()}
                found[use.destination_id].append(conventions.dataset(facts, tags[use.input_uuid]))
        return found

    def _models(self, given: Sequence[str]) -> dict[str, list[RunModel]]:
        roles = {("RUN_INPUT", "MODEL_INPUT"): INPUT, ("RUN_OUTPUT", "MODEL_OUTPUT"): OUTPUT}
        found: dict[str, list[RunModel]] = defaultdict(list)
        names = ("source_type", "source_id", "destination_type", "destination_id", "step")
        for row in self._rows("inputs", names, ("source_id", given)):
            role = roles.get((row.source_type, row.destination_type))
            if role:
                link = RunModel(run_identifier(row.source_id), row.destination_id, role, row.step or 0)
                found[row.source_id].append(link)
        return found

    def files(self, head: Head) -> Iterable[ForeignFile]:
        folder = self._locations.find(head.files, head.given)
        return files_below(folder, "artifact", f"run:{head.run_id}", self.skipped)

    # Models

    def logged_models(self) -> Iterator[tuple[AdoptedLoggedModel, Callable[[], Iterable[ForeignFile]]]]:
        params = self._grouped("logged_model_params", "model_id", "param_key", "param_value")
        tags = self._grouped("logged_model_tags", "model_id", "tag_key", "tag_value")
        names = (
            "model_id", "experiment_id", "name", "artifact_location", "creation_timestamp_ms", "last_updated_timestamp_ms",
            "status", "lifecycle_stage", "model_type", "source_run_id", "status_message",
        )  # fmt: skip
        for row in self._rows("logged_models", names, order=("creation_timestamp_ms", "model_id")):
            info = {name.removesuffix("_ms"): value for name, value in row._mapping.items()}
            model = conventions.logged_model(
                info, params[row.model_id], tags[row.model_id], list(self._measured(row.model_id))
            )
            place, model_id = str(row.artifact_location or ""), row.model_id
            yield (
                AdoptedLoggedModel(model, str(row.experiment_id)),
                partial(self._model_files, place, model_id),
            )

    def _model_files(self, place: str, model_id: str) -> Iterable[ForeignFile]:
        return files_below(self._locations.find(place, model_id), "model file", model_id, self.skipped)

    def _measured(self, model_id: str) -> Iterator[MeasuredPoint]:
        names = (
            "metric_name", "metric_value", "metric_step", "metric_timestamp_ms", "run_id", "dataset_name", "dataset_digest",
        )  # fmt: skip
        for row in self._rows("logged_model_metrics", names, ("model_id", [model_id])):
            yield MeasuredPoint.of(
                row.metric_name,
                float("nan") if row.metric_value is None else float(row.metric_value),
                row.metric_step or 0,
                conventions.moment(row.metric_timestamp_ms) or EPOCH,
                model_id,
                run_identifier(row.run_id) if row.run_id else "",
                row.dataset_name or "",
                row.dataset_digest or "",
            )

    def models(self) -> Iterator[AdoptedModel]:
        names = ("name", "creation_time", "last_updated_time", "description", "workspace")
        versions = self._versions()
        tags, aliases = defaultdict[Any, dict[str, str]](dict), defaultdict[Any, dict[str, int]](dict)
        for row in self._rows("registered_model_tags", ("name", "key", "value", "workspace")):
            tags[row.name, row.workspace][row.key] = row.value or ""
        for row in self._rows("registered_model_aliases", ("name", "alias", "version", "workspace")):
            aliases[row.name, row.workspace][row.alias] = int(row.version)
        for row in self._rows("registered_models", names, order=("name",)):
            key = (row.name, row.workspace)
            kept, latest = versions[key]
            created = conventions.moment(row.creation_time) or EPOCH
            yield AdoptedModel(
                name=_in_workspace(row.name, row.workspace),
                created=created,
                updated=conventions.moment(row.last_updated_time) or created,
                latest=latest,
                description=row.description or "",
                tags=tags[key],
                aliases=aliases[key],
                versions=kept,
            )

    def _versions(self) -> dict[Any, tuple[list[AdoptedVersion], int]]:
        """The versions of each model and its highest number, which a deleted version keeps."""
        tags = defaultdict[Any, dict[str, str]](dict)
        for row in self._rows("model_version_tags", ("name", "version", "key", "value", "workspace")):
            tags[row.name, row.workspace, row.version][row.key] = row.value or ""
        names = (
            "name", "version", "creation_time", "last_updated_time", "description", "user_id", "current_stage", "source",
            "run_id", "run_link", "storage_location", "workspace",
        )  # fmt: skip
        found: dict[Any, tuple[list[AdoptedVersion], int]] = defaultdict(lambda: ([], 0))
        for row in self._rows("model_versions", names, order=("name", "version")):
            kept, latest = found[row.name, row.workspace]
            if row.current_stage != conventions.DELETED_VERSION:
                kept.append(
                    conventions.version(dict(row._mapping), tags[row.name, row.workspace, row.version])
                )
            found[row.name, row.workspace] = kept, max(latest, int(row.version))
        return found


def _in_workspace(name: str, workspace: str | None) -> str:
    """MLflow's own workspaces (3.10 on) may each have a thing of the same name."""
    return name if workspace in {None, "", DEFAULT_WORKSPACE} else f"{workspace}/{name}"


def _open_file(path: Path) -> sa.Engine:
    address = f"file:{quote(str(path.resolve()))}?mode=ro"

    def connect() -> sqlite3.Connection:
        raw = sqlite3.connect(address, uri=True, timeout=20)
        raw.execute(f"PRAGMA mmap_size = {_MAPPED}")
        return raw

    return sa.create_engine("sqlite://", creator=connect)


def _url(text: str) -> sa.URL:
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        raise InvalidInput(
            f"'{text}' is not the URL of a database", hint="such as postgresql://user@host/mlflow"
        ) from None
    return url.set(drivername="postgresql+psycopg") if url.drivername in {"postgresql", "postgres"} else url


def _open_url(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() not in {"postgresql", "sqlite"}:
        raise InvalidInput(
            f"databases of the kind {url.get_backend_name()} are not read",
            hint="start `mlflow server` over it and import from its address",
        )
    try:
        return sa.create_engine(url)
    except ModuleNotFoundError:
        raise MissingExtra(
            "reading from Postgres needs psycopg", hint="pip install 'everloop[postgres]'"
        ) from None
