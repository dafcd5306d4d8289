"""Taking in logged models that another store has kept until now."""

from typing import Any

import sqlalchemy as sa

from everloop.domain.adoption import Adopted, AdoptedLoggedModel
from everloop.domain.logged_models import (
    MAX_MODEL_KEY,
    MAX_MODEL_VALUE,
    checked_logged_name,
    is_model_id,
)
from everloop.domain.runs import HeldObject, checked_artifact_path, checked_text, param_number
from everloop.errors import InvalidInput, NotFound
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.ledger import Transaction
from everloop.store.schema.logged_models import (
    logged_model_files,
    logged_model_params,
    logged_model_tags,
    logged_models,
)
from everloop.tracking import writing


class LoggedModelAdoption(Room):
    """The operation that brings logged models in under their own identifiers."""

    name = "tracking"

    @operation(Permission.WRITE)
    def adopt_logged_models(self, found: list[AdoptedLoggedModel], origin: str) -> Adopted:
        """Take in logged models with parameters, tags and files; what was measured on them comes by `measure_models`.

        One that is here is left alone but for files that it lacks. Files must be in the object store.
        """
        absent = self.objects.missing({file.digest for each in found for file in each.files.values()})
        if absent:
            raise NotFound(
                f"object {min(absent)} is not in the store", hint="store the bytes before naming them"
            )
        with self.change() as tx:
            new = sum(_adopt(tx, each, origin) for each in found)
            return Adopted(new, present=len(found) - new)


def _adopt(tx: Transaction, found: AdoptedLoggedModel, origin: str) -> bool:
    """Whether it is new."""
    model = found.model
    if not is_model_id(model.model_id):
        raise InvalidInput(
            f"'{model.model_id}' is not the identifier of a logged model", hint="m- and 32 hexadecimal digits"
        )
    number = writing.find_experiment(tx, found.experiment).id
    row = {
        "id": model.model_id,
        "experiment": number,
        "name": checked_logged_name(model.name),
        "kind": checked_text(model.kind, "the type of the model", 500),
        "status": model.status.value,
        "status_message": checked_text(model.status_message, "the message of the status", 5_000),
        "source_run": model.source_run,
        "user": checked_text(model.user, "the user", 5_000),
        "created": model.created,
        "updated": model.updated,
        "state": model.state,
    }
    new = bool(tx.insert_new(logged_models, row))
    subject = f"logged model {model.model_id}"
    if new:
        _write_entries(tx, logged_model_params, model.model_id, model.params)
        _write_entries(tx, logged_model_tags, model.model_id, model.tags)
        facts = {
            "name": model.name,
            "kind": model.kind,
            "experiment": number,
            "run": model.source_run,
            "from": origin,
        }
        tx.event("logged_model.adopted", subject, facts)
    files: list[dict[str, Any]] = [
        {
            "model": model.model_id,
            "path": checked_artifact_path(path),
            "digest": file.digest,
            "size": file.size,
        }
        for path, file in found.files.items()
    ]
    added = [file for file in files if tx.insert_new(logged_model_files, file)]
    if added:
        writing.hold(tx, [HeldObject(file["digest"], file["size"]) for file in added], subject)
        first = [
            {"path": file["path"], "digest": file["digest"], "size": file["size"]} for file in added[:100]
        ]
        tx.event("logged_model.files", subject, {"count": len(added), "first": first})
    return new


def _write_entries(tx: Transaction, table: sa.Table, model_id: str, entries: dict[str, str]) -> None:
    for key, value in entries.items():
        checked_text(key, "the key", MAX_MODEL_KEY)
        checked_text(value, f"the value of {key}", MAX_MODEL_VALUE)
        row: dict[str, Any] = {"model": model_id, "key": key, "value": value}
        if table is logged_model_params:
            row["number"] = param_number(value)
        tx.insert_new(table, row)
