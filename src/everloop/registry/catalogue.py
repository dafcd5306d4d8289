"""The catalogue: making, describing, finding, renaming and deleting models and versions; the part of the registry that other
tools' clients ask most of.

What goes in here is not asked for provenance: it is told what it is, and `missing_provenance` says what is not known. Gates hold
all the same: who moves the alias they guard needs to have passed them (`claim_alias`).
"""

import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from everloop.domain.gates import GateSet
from everloop.domain.models import (
    ModelPage,
    ModelRecord,
    ModelState,
    ModelVersionRecord,
    Stage,
    VersionPage,
)
from everloop.domain.names import checked_name, shown
from everloop.domain.references import Kind, Reference
from everloop.domain.runs import checked_text
from everloop.errors import Conflict, InvalidInput, NotFound, Refused
from everloop.governance.audit import Governance
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.registry import aliases, reading, searching, sources
from everloop.store.ledger import Transaction
from everloop.store.schema.base import edges, objects_held
from everloop.store.schema.registry import (
    model_alias_history,
    model_aliases,
    model_tags,
    model_version_tags,
    model_versions,
    models,
    promotions,
    retired_models,
)
from everloop.tracking.tracking import Tracking

if TYPE_CHECKING:
    from everloop.registry.sources import Origin

GATES = "gates"
"""The kind under which the gates of a model are kept."""
MAX_DESCRIPTION = 5_000
MAX_TAG_KEY = 250
MAX_TAG = 100_000


class Catalogue(Room):
    """Models and versions as entries of a catalogue."""

    # Models

    @operation(Permission.WRITE)
    def create_model(
        self,
        name: str,
        description: str = "",
        tags: dict[str, str] = {},  # noqa: B006 (not changed)
    ) -> ModelRecord:
        """Make a model that has no versions yet. Conflict when the name is taken."""
        with self.change() as tx:
            if not begin_model(tx, name, description):
                raise Conflict(f"there is a model {shown(name)} already", hint="add a version to it")
            _set_tags(tx, model_tags, {"name": name}, tags)
            tx.event("model.created", f"model:{name}", {"description": description, "tags": tags})
            return reading.find_model(tx, name)

    @operation(Permission.READ)
    def described(self, name: str) -> ModelRecord:
        """One model by its name alone. Raises NotFound with the nearest names."""
        with self.look() as look:
            return reading.find_model(look, name)

    @operation(Permission.READ)
    def newest_versions(self, name: str) -> list[ModelVersionRecord]:
        """The newest version of each stage of a model, oldest first."""
        with self.look() as look:
            found = reading.find_model(look, name).name
            return searching.newest_of_stages(look, [found]).get(found, [])

    @operation(Permission.WRITE)
    def change_model(
        self,
        name: str,
        description: str | None = None,
        tags: dict[str, str] = {},  # noqa: B006 (not changed)
        remove_tags: list[str] = [],  # noqa: B006
    ) -> ModelRecord:
        """Describe a model, set and remove tags of it; tags alone leave its time of change as it is. Removing a tag that is not
        there is no error."""
        with self.change() as tx:
            model = reading.find_model(tx, name)
            if description is not None:
                values = {"updated": tx.now, "description": _checked_description(description)}
                tx.execute(sa.update(models).where(models.c.name == model.name).values(values))
            _set_tags(tx, model_tags, {"name": model.name}, tags)
            _remove_tags(tx, model_tags, model_tags.c.name == model.name, remove_tags)
            said = {"description": description, "tags": tags, "removed": remove_tags}
            tx.event(
                "model.changed", f"model:{model.name}", {key: each for key, each in said.items() if each}
            )
            return reading.find_model(tx, model.name)

    @operation(Permission.WRITE)
    def rename_model(self, name: str, new_name: str) -> ModelRecord:
        """Give a model another name, with versions, aliases, history and gates. It goes on answering to the old one, until
        another model takes that."""
        governance = self.context.room(Governance)
        with self.change() as tx:
            model = reading.find_model(tx, name)
            checked_name(new_name, "model name")
            if new_name == model.name:
                return model
            if not begin_model(tx, new_name, model.description):
                raise Conflict(f"there is a model {shown(new_name)} already", hint="choose another name")
            _move(tx, model.name, new_name)
            tx.event("model.renamed", f"model:{new_name}", {"from": model.name, "to": new_name})
            renamed = reading.find_model(tx, new_name)
        gates = self._recorded_gates(model.name)
        if gates is not None:
            kept = msgspec.structs.replace(gates, model=new_name)
            governance.record_definition(GATES, new_name, msgspec.to_builtins(kept))
        return renamed

    @operation(Permission.WRITE)
    def delete_model(self, name: str) -> None:
        """Take a model out of the catalogue with its versions, aliases and tags. What predictions and events name stays
        readable by its exact reference, and its version numbers are not given again."""
        with self.change() as tx:
            model = reading.find_model(tx, name)
            named = model_versions.c.name == model.name
            tx.execute(
                sa.update(model_versions).where(named).values(state=ModelState.DELETED, updated=tx.now)
            )
            for alias in model.aliases:
                aliases.remember(tx, self.context.ids, model.name, alias, None, "the model was deleted")
            for table in (model_aliases, model_version_tags, model_tags):
                tx.execute(sa.delete(table).where(table.c.name == model.name))
            tx.put(retired_models, {"name": model.name, "latest": model.latest, "successor": None})
            tx.event("model.deleted", f"model:{model.name}", {"versions": model.versions})

    @operation(Permission.READ)
    def search_models(
        self,
        where: str = "",
        order_by: list[str] = [],  # noqa: B006 (not changed)
        limit: int = 100,
        page: str = "",
    ) -> ModelPage:
        """Models that match a filter (see `everloop.domain.search`): ``name`` and ``tags.KEY``; by name unless `order_by` says
        otherwise."""
        with self.look() as look:
            return searching.search_models(look, where, order_by, limit, page)

    # Versions

    @operation(Permission.WRITE)
    def add_version(
        self,
        name: str,
        source: str = "",
        run: str = "",
        artifact: str = "",
        logged_model: str = "",
        copy_of: str = "",
        run_link: str = "",
        description: str = "",
        tags: dict[str, str] = {},  # noqa: B006 (not changed)
    ) -> ModelVersionRecord:
        """The next version of a model that is there, without asking for provenance.

        Made of the folder `artifact` of `run`, of a `logged_model`, or as a copy of another version; else its files are
        elsewhere and `source` is the address of them. `source` and `run_link` are kept as they were said.
        """
        origin = self._origin(run, artifact, logged_model, copy_of)
        with self.change() as tx:
            model = reading.find_model(tx, name)
            version = next_version(tx, model.name)
            reference = Reference(Kind.MODEL, model.name, version=version)
            metrics, params, commit = self._logged(origin)
            row = version_row(tx, reference, origin) | {
                "run": origin.run or run,
                "metrics": metrics,
                "params": params,
                "commit": commit,
                "description": _checked_description(description),
                "logged_model": origin.logged_model,
                "source": checked_text(source, "the source", 20_000),
                "run_link": checked_text(run_link, "the link to the run", 5_000),
            }
            tx.execute(sa.insert(model_versions), row)
            _set_tags(tx, model_version_tags, {"name": model.name, "version": version}, tags)
            hold_files(tx, reference, origin)
            if copy_of:
                tx.edge(reading.resolve(tx, copy_of), reference, "produced")
            facts = {
                "run": f"run:{origin.run}" if origin.run else None,
                "digest": origin.digest,
                "flavour": origin.model.flavour,
                "source": source,
            }
            tx.event("model.registered", reference, facts)
            return reading.find_version(tx, str(reference))

    @operation(Permission.WRITE)
    def change_version(
        self,
        reference: str,
        description: str | None = None,
        tags: dict[str, str] = {},  # noqa: B006 (not changed)
        remove_tags: list[str] = [],  # noqa: B006
    ) -> ModelVersionRecord:
        """Describe a version, set and remove tags of it; tags alone leave its time of change as it is. Removing a tag that is
        not there is no error."""
        with self.change() as tx:
            record = _living_version(tx, reference)
            if description is not None:
                values = {"updated": tx.now, "description": _checked_description(description)}
                tx.execute(sa.update(model_versions).where(_is(record)).values(values))
            _set_tags(tx, model_version_tags, {"name": record.name, "version": record.version}, tags)
            here = (model_version_tags.c.name == record.name) & (
                model_version_tags.c.version == record.version
            )
            _remove_tags(tx, model_version_tags, here, remove_tags)
            said = {"description": description, "tags": tags, "removed": remove_tags}
            tx.event("model.changed", record.reference, {key: each for key, each in said.items() if each})
            return reading.find_version(tx, record.reference)

    @operation(Permission.WRITE)
    def set_stage(self, reference: str, stage: Stage, archive_others: bool = False) -> ModelVersionRecord:
        """Label a version with a stage. `archive_others`: versions that have it now become archived.

        Production means what the guarded alias means: where gates are declared, a version gets there after it passed them.
        """
        if archive_others and stage in (Stage.NONE, Stage.ARCHIVED):
            raise InvalidInput(
                f"other versions cannot be archived when a version becomes {stage or 'None'}",
                hint="that goes with Staging and Production",
            )
        gates = self._recorded_gates(self._name_of(reference)) if stage is Stage.PRODUCTION else None
        with self.change() as tx:
            record = _living_version(tx, reference)
            if gates is not None:
                _require_passed(tx, record, gates, f"the stage {stage}")
            if archive_others:
                others = sa.and_(
                    model_versions.c.name == record.name,
                    model_versions.c.stage == stage.value,
                    model_versions.c.version != record.version,
                )
                archived = {"stage": Stage.ARCHIVED.value, "updated": tx.now}
                tx.execute(sa.update(model_versions).where(others).values(archived))
            tx.execute(sa.update(model_versions).where(_is(record)).values(stage=stage.value, updated=tx.now))
            tx.event("model.staged", record.reference, {"stage": stage.value, "archive": archive_others})
            return reading.find_version(tx, record.reference)

    @operation(Permission.WRITE)
    def claim_alias(self, reference: str, alias: str) -> ModelVersionRecord:
        """Let an alias mean this version, as a client does that knows no gates. Refused for the alias that declared gates
        guard, unless this version has passed them for it."""
        gates = self._recorded_gates(self._name_of(reference))
        with self.change() as tx:
            record = _living_version(tx, reference)
            if gates is not None and alias == gates.alias and alias not in record.aliases:
                _require_passed(tx, record, gates, f"the alias '{alias}'")
            aliases.move_alias(tx, self.context.ids, record, alias, "a client of MLflow set it")
            return reading.find_version(tx, record.reference)

    @operation(Permission.WRITE)
    def delete_version(self, reference: str) -> None:
        """Take a version out of the catalogue with its aliases and tags. It stays readable by its exact reference, for the
        predictions and events that name it, and its number is not given again."""
        with self.change() as tx:
            record = _living_version(tx, reference)
            changed = {"state": ModelState.DELETED.value, "stage": "", "updated": tx.now}
            tx.execute(sa.update(model_versions).where(_is(record)).values(changed))
            for alias in record.aliases:
                aliases.remember(tx, self.context.ids, record.name, alias, None, "the version was deleted")
            for table in (model_aliases, model_version_tags):
                here = (table.c.name == record.name) & (table.c.version == record.version)
                tx.execute(sa.delete(table).where(here))
            tx.event("model.version_deleted", record.reference, {"aliases": list(record.aliases)})

    @operation(Permission.READ)
    def search_versions(
        self,
        where: str = "",
        order_by: list[str] = [],  # noqa: B006 (not changed)
        limit: int = 1_000,
        page: str = "",
    ) -> VersionPage:
        """Versions that match a filter (see `everloop.domain.search`): ``name``, ``version_number``, ``run_id``,
        ``source_path`` and ``tags.KEY``; changed last first unless `order_by` says otherwise."""
        with self.look() as look:
            return searching.search_versions(look, where, order_by, limit, page)

    # Within

    def _origin(self, run: str, artifact: str, logged_model: str, copy_of: str) -> "Origin":
        tracking = self.context.room(Tracking)
        if copy_of:
            with self.look() as look:
                return sources.from_version(_living_version(look, copy_of))
        if logged_model:
            return sources.from_logged_model(tracking, self.objects, logged_model)
        if run and artifact:
            resolved = tracking.resolve(run)
            found = sources.from_run(tracking, self.objects, resolved, artifact)
            return found if found is not None else sources.from_elsewhere(resolved)
        if run:
            with contextlib.suppress(
                NotFound
            ):  # a run of another server: its identifier is kept, nothing follows from it
                return sources.from_elsewhere(tracking.resolve(run))
        return sources.from_elsewhere()

    def _logged(self, origin: "Origin") -> tuple[dict[str, Any], dict[str, str], str]:
        """Metrics, parameters and commit: those of the run, with what was measured on the logged model itself."""
        tracking = self.context.room(Tracking)
        metrics: dict[str, Any] = {}
        params: dict[str, str] = {}
        commit = ""
        if origin.run:
            with contextlib.suppress(NotFound):  # it has been purged since it logged the model
                run = tracking.run(origin.run)
                metrics, params, commit = dict(run.metrics), dict(run.params), run.version
        if origin.logged_model:
            logged = tracking.logged_model(origin.logged_model)
            metrics, params = metrics | logged.metrics, params | logged.params
        return metrics, params, commit

    def _recorded_gates(self, name: str) -> GateSet | None:
        """The gates that were declared when the model was last judged: the server never imports a project's definitions."""
        try:
            found = self.context.room(Governance).definition(GATES, name)
        except NotFound:
            return None
        return msgspec.convert(found.declaration, GateSet)

    def _name_of(self, reference: str) -> str:
        with self.look() as look:
            return reading.resolve(look, reference).name


def begin_model(tx: Transaction, name: str, description: str) -> bool:
    """Make a model unless there is one of that name; False when there is. A name that another model had goes on with its
    numbers."""
    checked_name(name, "model name")
    retired = tx.first(sa.select(retired_models).where(retired_models.c.name == name))
    row = {
        "name": name,
        "latest": retired.latest if retired is not None else 0,
        "description": _checked_description(description),
        "created": tx.now,
        "updated": tx.now,
    }
    new = tx.insert_new(models, row)
    if retired is None:
        return bool(new)
    tx.execute(sa.delete(retired_models).where(retired_models.c.name == name))
    if not new:  # it was deleted, its row stayed for the versions that predictions name
        tx.execute(sa.update(models).where(models.c.name == name).values(row))
    return True


def next_version(tx: Transaction, name: str) -> int:
    """The next number of a model, which is taken by asking."""
    row = tx.first(sa.select(models.c.latest).where(models.c.name == name).with_for_update())
    assert row is not None
    version = int(row.latest) + 1
    tx.execute(sa.update(models).where(models.c.name == name).values(latest=version, updated=tx.now))
    return version


def version_row(tx: Transaction, reference: Reference, origin: "Origin") -> dict[str, Any]:
    """The columns of a new version that follow from what it is made of."""
    return {
        "name": reference.name,
        "version": reference.version,
        "run": origin.run,
        "artifact": origin.artifact,
        "state": ModelState.READY.value,
        "created": tx.now,
        "user": tx.actor,
        "digest": origin.digest,
        "content": origin.model.content,
        "size": sum(file.size for file in origin.files.values()),
        "model": origin.model,
        "files": origin.files,
        "data": (),
        "commit": "",
    }


def hold_files(tx: Transaction, reference: Reference, origin: "Origin") -> None:
    """The version needs its files, and came out of its run."""
    for file in origin.files.values():
        tx.hold(file.digest, file.size, reference)
    if origin.run:
        tx.edge(f"run:{origin.run}", reference, "produced")


def _living_version(look: Any, reference: str) -> ModelVersionRecord:
    record = reading.find_version(look, reference)
    if record.state is ModelState.DELETED:
        raise NotFound(f"{record.reference} is deleted", hint=f"see: everloop models show {record.name}")
    return record


def _require_passed(tx: Transaction, record: ModelVersionRecord, gates: GateSet, what: str) -> None:
    passed = sa.select(promotions.c.id).where(
        promotions.c.name == record.name,
        promotions.c.version == record.version,
        promotions.c.alias == gates.alias,
        promotions.c.allowed.is_(True),
    )
    if tx.first(passed) is None:
        raise Refused(
            f"{record.reference} has not passed the gates that guard {what}",
            hint=f"ask them: everloop models promote {record.name}@v{record.version} --to {gates.alias}",
        )


def _is(record: ModelVersionRecord) -> sa.ColumnElement[bool]:
    return sa.and_(model_versions.c.name == record.name, model_versions.c.version == record.version)


def _checked_description(text: str) -> str:
    return checked_text(text, "the description", MAX_DESCRIPTION)


def _set_tags(tx: Transaction, table: sa.Table, owner: dict[str, Any], tags: dict[str, str]) -> None:
    for key, value in tags.items():
        if not key.strip():
            raise InvalidInput("a tag key is blank", hint="name it")
        checked_text(key, "the tag key", MAX_TAG_KEY)
        checked_text(value, f"the tag {key}", MAX_TAG)
        tx.put(table, owner | {"key": key, "value": value})


def _remove_tags(tx: Transaction, table: sa.Table, owner: sa.ColumnElement[bool], keys: list[str]) -> None:
    if keys:
        tx.execute(sa.delete(table).where(owner, table.c.key.in_(keys)))


def _move(tx: Transaction, old: str, new: str) -> None:
    """Put everything of a model under another name. Lineage keeps the old references and gains the new ones."""
    source = tx.first(sa.select(models).where(models.c.name == old))
    assert source is not None
    taken = tx.scalar(sa.select(models.c.latest).where(models.c.name == new))
    tx.execute(
        sa.update(models)
        .where(models.c.name == new)
        .values(latest=max(int(source.latest), int(taken)), created=source.created)
    )
    tags = [dict(row._mapping) for row in tx.all(_named(model_version_tags, old))]
    tx.execute(sa.delete(model_version_tags).where(model_version_tags.c.name == old))
    for table in (model_versions, model_aliases, model_tags, model_alias_history, promotions):
        tx.execute(sa.update(table).where(table.c.name == old).values(name=new))
    if tags:
        tx.execute(sa.insert(model_version_tags), [each | {"name": new} for each in tags])
    for row in tx.all(_named(model_versions, new)):
        before, after = f"model:{old}@v{row.version}", f"model:{new}@v{row.version}"
        linked = sa.or_(edges.c.source == before, edges.c.target == before)
        for edge in tx.all(sa.select(edges).where(linked)):
            ends = [after if each == before else each for each in (edge.source, edge.target)]
            tx.edge(ends[0], ends[1], edge.role)
        for held in tx.all(sa.select(objects_held).where(objects_held.c.holder == before)):
            tx.hold(held.digest, held.size, after)
        tx.release(before)
    tx.execute(sa.delete(models).where(models.c.name == old))
    tx.put(retired_models, {"name": old, "latest": int(source.latest), "successor": new})


def _named(table: sa.Table, name: str) -> sa.Select[Any]:
    return sa.select(table).where(table.c.name == name)
