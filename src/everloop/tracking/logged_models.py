"""Logged models: the operations on models as runs log them, before anyone registers them.

A logged model has an identifier of its own (``m-…``), files, parameters, tags, and the points of metrics that were measured on
it. `Run.log_model` makes one, and so do the clients of MLflow 3.
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from everloop.domain.logged_models import (
    INPUT,
    MAX_MODEL_KEY,
    MAX_MODEL_VALUE,
    OUTPUT,
    LoggedModel,
    LoggedModelOrder,
    LoggedModelPage,
    LoggedModelStatus,
    MeasuredPoint,
    ModelDataset,
    RunModel,
    checked_logged_name,
    is_model_id,
)
from everloop.domain.runs import (
    ACTIVE,
    DELETED,
    ArtifactRecord,
    checked_artifact_path,
    checked_key,
    checked_text,
    param_number,
    random_name,
)
from everloop.errors import Conflict, InvalidInput, NotFound
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.ledger import Transaction, insert_for
from everloop.store.schema.logged_models import (
    logged_model_files,
    logged_model_metrics,
    logged_model_params,
    logged_model_tags,
    logged_models,
    run_models,
)
from everloop.tracking import logged_reading, logged_searching, writing


class LoggedModels(Room):
    """The part of tracking that keeps logged models."""

    @operation(Permission.WRITE)
    def create_logged_model(
        self,
        experiment: str,
        name: str = "",
        kind: str = "",
        source_run: str = "",
        params: dict[str, str] = {},  # noqa: B006 (not changed)
        tags: dict[str, str] = {},  # noqa: B006
        model_id: str = "",
    ) -> LoggedModel:
        """Begin a logged model; its files follow, then its status. Without a name, one is drawn at random.

        `source_run`: the run that logs it. `model_id`: chosen by the caller (an import keeps the identifiers it finds).
        """
        identifier = model_id or f"m-{self.context.ids()}"
        if not is_model_id(identifier):
            raise InvalidInput(
                f"'{identifier}' is not the identifier of a logged model",
                hint="m- and 32 hexadecimal digits, or nothing",
            )
        given = checked_logged_name(name or random_name(bytes.fromhex(identifier[-8:])))
        with self.change() as tx:
            group = writing.find_experiment(tx, experiment)
            if group.state != ACTIVE:
                raise Conflict(
                    f"experiment '{group.name}' is deleted: it must be in the 'active' state",
                    hint="restore it, or name another",
                )
            if source_run:
                writing.existing_run(tx, source_run)
            self._begin(tx, identifier, group.id, given, kind, source_run, LoggedModelStatus.PENDING)
            _add_params(tx, identifier, params)
            _set_tags(tx, identifier, tags)
            return logged_reading.record(tx, identifier)

    @operation(Permission.WRITE)
    def log_run_model(
        self, run_id: str, name: str, kind: str, files: list[ArtifactRecord], step: int = 0
    ) -> LoggedModel:
        """A model that came out of a run, whole: its files are in the object store already."""
        identifier = f"m-{self.context.ids()}"
        with self.change() as tx:
            run = writing.writable(tx, run_id)
            checked_logged_name(name)
            self._begin(tx, identifier, run.experiment, name, kind, run_id, LoggedModelStatus.READY)
            self._add_files(tx, identifier, files)
            tx.put(run_models, {"run": run_id, "model": identifier, "role": OUTPUT, "step": step})
            return logged_reading.record(tx, identifier)

    @operation(Permission.READ)
    def logged_model(self, model_id: str) -> LoggedModel:
        """One logged model with its parameters, tags and measured points. A deleted one is not found."""
        with self.look() as look:
            return logged_reading.record(look, model_id)

    @operation(Permission.WRITE)
    def finish_logged_model(self, model_id: str, status: LoggedModelStatus, message: str = "") -> LoggedModel:
        """Say whether all files of a logged model have arrived."""
        with self.change() as tx:
            logged_reading.existing(tx, model_id)
            checked_text(message, "the message of the status", 5_000)
            _touch(tx, model_id, status=status.value, status_message=message)
            tx.event(f"logged_model.{status}", _subject(model_id))
            return logged_reading.record(tx, model_id)

    @operation(Permission.WRITE)
    def change_logged_model(
        self,
        model_id: str,
        params: dict[str, str] = {},  # noqa: B006 (not changed)
        tags: dict[str, str] = {},  # noqa: B006
        remove_tags: list[str] = [],  # noqa: B006
    ) -> LoggedModel:
        """Add parameters (written once), set or remove tags: all of it or, on an error, nothing."""
        with self.change() as tx:
            logged_reading.existing(tx, model_id)
            _add_params(tx, model_id, params)
            _set_tags(tx, model_id, tags)
            for key in remove_tags:
                named = (logged_model_tags.c.model == model_id) & (logged_model_tags.c.key == key)
                if not tx.execute(sa.delete(logged_model_tags).where(named)).rowcount:
                    raise NotFound(f"the logged model {model_id} has no tag '{key}'")
            _touch(tx, model_id)
            said = {"params": params, "tags": tags, "removed": remove_tags}
            tx.event(
                "logged_model.changed",
                _subject(model_id),
                {key: value for key, value in said.items() if value},
            )
            return logged_reading.record(tx, model_id)

    @operation(Permission.WRITE)
    def delete_logged_model(self, model_id: str) -> None:
        """Put a logged model aside. Versions that were registered from it stay whole."""
        with self.change() as tx:
            row = logged_reading.existing(tx, model_id)
            _touch(tx, model_id, state=DELETED)
            tx.release(_subject(model_id))
            tx.event("logged_model.deleted", _subject(model_id), {"name": row.name})

    @operation(Permission.READ)
    def search_logged_models(
        self,
        experiment: list[str],
        where: str = "",
        datasets: list[ModelDataset] = [],  # noqa: B006 (not changed)
        order_by: list[LoggedModelOrder] = [],  # noqa: B006
        limit: int = 100,
        page: str = "",
    ) -> LoggedModelPage:
        """Logged models of experiments that match a filter (see `everloop.domain.search`), newest first unless `order_by` says
        otherwise. `datasets`: only metrics measured on these count. `page`: `next_page` of the page before."""
        with self.look() as look:
            return logged_searching.search(look, experiment, where, datasets, order_by, limit, page)

    # Files and points

    @operation(Permission.WRITE)
    def add_logged_model_files(self, model_id: str, files: list[ArtifactRecord]) -> None:
        """Files of a logged model whose bytes are in the object store already. A path that is there is replaced."""
        with self.change() as tx:
            logged_reading.existing(tx, model_id)
            self._add_files(tx, model_id, files)

    @operation(Permission.READ)
    def logged_model_files(self, model_id: str, path: str = "") -> list[ArtifactRecord]:
        """Files of a logged model, all or those at or below `path`."""
        with self.look() as look:
            logged_reading.existing(look, model_id)
            return logged_reading.files(look, model_id, path)

    @operation(Permission.WRITE)
    def remove_logged_model_files(self, model_id: str, paths: list[str]) -> None:
        """Take files out of a logged model; a folder takes what is in it along."""
        with self.change() as tx:
            logged_reading.existing(tx, model_id)
            gone = [each.path for path in paths for each in logged_reading.files(tx, model_id, path)]
            named = (logged_model_files.c.model == model_id) & logged_model_files.c.path.in_(gone)
            tx.execute(sa.delete(logged_model_files).where(named))
            tx.event(
                "logged_model.files_removed",
                _subject(model_id),
                {"paths": gone[:100], "count": len(gone)},
            )

    @operation(Permission.WRITE)
    def measure_models(self, points: list[MeasuredPoint]) -> None:
        """Points of metrics that were measured on logged models. A point said twice is one point."""
        with self.change() as tx:
            for model_id in {each.model_id for each in points}:
                logged_reading.existing(tx, model_id)
            if points:
                insert = insert_for(tx.dialect)(logged_model_metrics)
                tx.execute(insert.on_conflict_do_nothing(), [_point_row(each) for each in points])

    @operation(Permission.WRITE)
    def link_models(
        self,
        run_id: str,
        inputs: list[str] = [],  # noqa: B006 (not changed)
        outputs: dict[str, int] = {},  # noqa: B006
    ) -> None:
        """Which logged models a run used, and which came out of it at which step."""
        rows = [{"run": run_id, "model": each, "role": INPUT, "step": 0} for each in inputs]
        rows += [
            {"run": run_id, "model": each, "role": OUTPUT, "step": step} for each, step in outputs.items()
        ]
        with self.change() as tx:
            writing.writable(tx, run_id)
            for row in rows:
                logged_reading.existing(tx, str(row["model"]))
            tx.insert_new(run_models, rows)
            said = {"inputs": inputs, "outputs": outputs}
            tx.event("run.models", f"run:{run_id}", {key: value for key, value in said.items() if value})

    @operation(Permission.READ)
    def models_of_runs(self, run_ids: list[str]) -> list[RunModel]:
        """The logged models that runs used or made."""
        with self.look() as look:
            return logged_reading.of_runs(look, run_ids)

    # Within

    def _begin(
        self,
        tx: Transaction,
        model_id: str,
        experiment: int,
        name: str,
        kind: str,
        source_run: str,
        status: LoggedModelStatus,
    ) -> None:
        row = {
            "id": model_id,
            "experiment": experiment,
            "name": name,
            "kind": checked_text(kind, "the type of the model", 500),
            "status": status.value,
            "status_message": "",
            "source_run": source_run or None,
            "user": tx.actor,
            "created": tx.now,
            "updated": tx.now,
            "state": ACTIVE,
        }
        if not tx.insert_new(logged_models, row):
            raise Conflict(f"there is a logged model {model_id} already")
        facts = {"name": name, "kind": kind, "experiment": experiment, "run": source_run or None}
        tx.event("logged_model.created", _subject(model_id), facts)

    def _add_files(self, tx: Transaction, model_id: str, files: list[ArtifactRecord]) -> None:
        absent = self.objects.missing({each.digest for each in files})
        if absent:
            raise NotFound(
                f"object {min(absent)} is not in the store", hint="store the bytes before naming them"
            )
        for each in files:
            path = checked_artifact_path(each.path)
            tx.put(
                logged_model_files,
                {"model": model_id, "path": path, "digest": each.digest, "size": each.size},
            )
            tx.hold(each.digest, each.size, _subject(model_id))
        _touch(tx, model_id)
        facts = [{"path": each.path, "digest": each.digest, "size": each.size} for each in files[:100]]
        tx.event("logged_model.files", _subject(model_id), {"count": len(files), "first": facts})


def _subject(model_id: str) -> str:
    """What events and held objects call a logged model."""
    return f"logged model {model_id}"


def _touch(tx: Transaction, model_id: str, **values: Any) -> None:
    tx.execute(
        sa.update(logged_models).where(logged_models.c.id == model_id).values(updated=tx.now, **values)
    )


def _add_params(tx: Transaction, model_id: str, params: Mapping[str, str]) -> None:
    if not params:
        return
    query = sa.select(logged_model_params.c.key, logged_model_params.c.value).where(
        logged_model_params.c.model == model_id
    )
    known = {row.key: row.value for row in tx.all(query)}
    for key, value in params.items():
        _checked_entry(key, value, "parameter")
        if known.get(key, value) != value:
            raise Conflict(
                f"the parameter {key} of the logged model {model_id} is '{known[key]}' already, not '{value}'",
                hint="a parameter is written once",
            )
    rows = [
        {"model": model_id, "key": key, "value": value, "number": param_number(value)}
        for key, value in params.items()
        if key not in known
    ]
    if rows:
        tx.execute(sa.insert(logged_model_params), rows)


def _set_tags(tx: Transaction, model_id: str, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        _checked_entry(key, value, "tag")
        tx.put(logged_model_tags, {"model": model_id, "key": key, "value": value})


def _checked_entry(key: str, value: str, what: str) -> None:
    checked_text(key, f"the {what} key", MAX_MODEL_KEY)
    if not key.strip():
        raise InvalidInput(f"a {what} key is blank", hint="name it")
    checked_text(value, f"the {what} {key}", MAX_MODEL_VALUE)


def _point_row(point: MeasuredPoint) -> dict[str, Any]:
    checked_text(point.dataset, "the name of the dataset", 500)
    checked_text(point.dataset_digest, "the digest of the dataset", 36)
    number = point.number
    return {
        "model": point.model_id,
        "key": checked_key(point.key, "metric"),
        "run": point.run_id,
        "step": point.step,
        "time": point.time,
        "written": repr(number),
        "dataset": point.dataset,
        "dataset_digest": point.dataset_digest,
        "value": None if number != number else number,
    }
