"""Taking in what others made: registered models of another store, with the numbers their versions had, and models that clients
of MLflow logged, with what serving needs."""

import tempfile
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.domain.adoption import AdoptedModel, AdoptedModels, AdoptedVersion
from everloop.domain.models import ModelVersionRecord, Stage
from everloop.domain.names import checked_name
from everloop.domain.references import Kind, Reference, is_alias
from everloop.domain.runs import ArtifactRecord, checked_text
from everloop.domain.signature import StoredFile
from everloop.errors import Conflict, InvalidInput, NotFound, Refused
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.registry import aliases, reading, sources
from everloop.registry.catalogue import Catalogue, begin_model, hold_files, version_row
from everloop.registry.sources import Origin
from everloop.store.ledger import Transaction
from everloop.store.schema.registry import model_tags, model_version_tags, model_versions, models
from everloop.tracking.tracking import Tracking

_LONGEST = {"description": 5_000, "source": 20_000, "run_link": 5_000, "user": 5_000}


class ModelAdoption(Catalogue):
    """The operations that bring models in."""

    name = "registry"

    def make_servable(self, reference: str, *, trust: bool = False) -> ModelVersionRecord:
        """Give a version that a client of MLflow logged what an endpoint or a package needs: `model.json` with its signature, the
        rows it is proven with (its input example), and the model as skops. One that has it is left as it is.

        It is loaded here, in the caller's process. One that is pickled runs its author's code thereby, and is Refused unless
        `trust` says that this is wanted; what is served afterwards is no pickle.
        """
        from everloop.registry.registry import Registry

        record = self.context.room(Registry).version(reference)
        if sources.MANIFEST in record.files or not record.files:
            return record
        from everloop.registry.packaging import fetched_models, place
        from everloop.tracking.formats.adopting import adopt_folder

        fetched = place(fetched_models(self.context.folder), record.digest, record.files, self.objects)
        with tempfile.TemporaryDirectory(prefix="everloop-adopt-") as made:
            try:
                adopt_folder(fetched, Path(made), trust=trust)
            except Refused as error:
                named = record.reference.partition(":")[2]
                hint = f"if you trust its author: everloop models adopt {named} --trust"
                raise Refused(error.message, hint=error.hint if trust else hint) from None
            files = [
                ArtifactRecord(path.name, stored.digest, stored.size)
                for path in sorted(Path(made).iterdir())
                if path.name != sources.MLMODEL
                for stored in [self.objects.put(path.read_bytes())]
            ]
        return self.add_servable_files(record.reference, files)

    @operation(Permission.WRITE)
    def add_servable_files(self, reference: str, files: list[ArtifactRecord]) -> ModelVersionRecord:
        """Put Everloop's own files beside those that MLflow wrote of a version; `model.json` is among them and names the others.
        They must be in the object store, and the version must lack them. What MLflow's clients load stays what it was."""
        given = {each.path: StoredFile(each.digest, each.size) for each in files}
        with self.change() as tx:
            record = reading.find_version(tx, reference)
            if sources.MLMODEL not in record.files:
                raise InvalidInput(f"{record.reference} was not logged by MLflow", hint="log the model here")
            if sources.MANIFEST in record.files:
                raise Conflict(f"{record.reference} has its {sources.MANIFEST} already")
            made_of = sources.with_manifest(self.objects, record, given)
            row = version_row(tx, Reference.parse(record.reference, Kind.MODEL), made_of)
            wanted = ("digest", "content", "size", "model", "files")
            named = (model_versions.c.name == record.name) & (model_versions.c.version == record.version)
            changed = {name: row[name] for name in wanted} | {"updated": tx.now}
            tx.execute(sa.update(model_versions).where(named).values(changed))
            for each in given.values():
                tx.hold(each.digest, each.size, record.reference)
            facts = {"digest": made_of.digest, "content": made_of.model.content, "from": record.digest}
            tx.event("model.made_servable", record.reference, facts)
            return reading.find_version(tx, record.reference)

    @operation(Permission.WRITE)
    def adopt_model(self, found: AdoptedModel, origin: str) -> AdoptedModels:
        """Take in a model with its versions, tags, stages and aliases, as they were; the files are those of runs and logged
        models that are here. `origin` says where it is from.

        What is here is left as it is: a model of that name gets the versions it lacks, files that did not come along with one
        before, and aliases that mean nothing yet. What clashes is named in the answer.
        """
        checked_name(found.name, "model name")
        with self.look() as look:
            name = reading.current_name(look, found.name)
            deleted = reading.is_deleted(look, name)
            columns = (model_versions.c.version, model_versions.c.created, model_versions.c.digest)
            rows = look.all(sa.select(*columns).where(model_versions.c.name == name))
            here = {row.version: row.created for row in rows}
            hollow = {row.version for row in rows if not row.digest}
        if deleted:
            return AdoptedModels(refused=[f"{found.name}: it was deleted here"])
        clashing = [each for each in found.versions if here.get(each.version, each.created) != each.created]
        refused = [
            f"{found.name} version {each.version}: another one here has that number" for each in clashing
        ]
        new = [(each, self._source_of(each)) for each in found.versions if each.version not in here]
        again = [each for each in found.versions if each.version in hollow and each not in clashing]
        filled = [(each.version, made_of) for each in again if (made_of := self._source_of(each)).digest]
        with self.change() as tx:
            begun = self._begin(tx, name, found, origin)
            for version, made_of in new:
                self._add(tx, name, version, made_of, origin)
            for number, made_of in filled:
                _fill(tx, Reference(Kind.MODEL, name, version=number), made_of, origin)
            latest = max([found.latest, *(each.version for each, _ in new)], default=0)
            behind = (models.c.name == name) & (models.c.latest < latest)
            tx.execute(sa.update(models).where(behind).values(latest=latest))
            clashes = {each.version for each in clashing}
            for alias, number in found.aliases.items():
                if reason := self._point(tx, name, alias, number, clashes, origin):
                    refused.append(f"{found.name} alias {alias}: {reason}")
        present = len(found.versions) - len(new) - len(clashing)
        return AdoptedModels(int(begun), len(new), int(not begun), present, refused)

    def _source_of(self, version: AdoptedVersion) -> Origin:
        """What a version is made of; nothing but an address if that did not come along."""
        run = version.run if version.run and self._is_here(version.run) else ""
        try:
            return self._origin(run, version.artifact if run else "", version.logged_model, "")
        except NotFound:
            return sources.from_elsewhere(run)

    def _is_here(self, run: str) -> bool:
        return bool(self.context.room(Tracking).known_runs([run]))

    def _begin(self, tx: Transaction, name: str, found: AdoptedModel, origin: str) -> bool:
        if tx.first(sa.select(models.c.name).where(models.c.name == name)) is not None:
            return False
        begin_model(tx, name, found.description[: _LONGEST["description"]])
        dates = {"created": found.created, "updated": found.updated}
        tx.execute(sa.update(models).where(models.c.name == name).values(dates))
        for key, value in found.tags.items():
            tx.insert_new(
                model_tags, {"name": name, "key": checked_text(key, "the tag key", 250), "value": value}
            )
        facts = {"from": origin, "description": found.description, "tags": found.tags, "latest": found.latest}
        tx.event("model.adopted", f"model:{name}", facts)
        return True

    def _add(self, tx: Transaction, name: str, version: AdoptedVersion, made_of: Origin, origin: str) -> None:
        reference = Reference(Kind.MODEL, name, version=version.version)
        metrics, params, commit = self._logged(made_of)
        row: dict[str, Any] = version_row(tx, reference, made_of) | {
            "created": version.created,
            "updated": version.updated,
            "metrics": metrics,
            "params": params,
            "commit": commit,
            "logged_model": made_of.logged_model or version.logged_model,
            "stage": version.stage if version.stage in set(Stage) else "",
        }
        if made_of.run and not version.user:
            version = msgspec.structs.replace(version, user=self.context.room(Tracking).run(made_of.run).user)
        row |= {field: getattr(version, field)[:limit] for field, limit in _LONGEST.items()}
        tx.execute(sa.insert(model_versions), row)
        for key, value in version.tags.items():
            owner = {"name": name, "version": version.version}
            checked_text(key, "the tag key", 250)
            tx.insert_new(model_version_tags, owner | {"key": key, "value": value})
        hold_files(tx, reference, made_of)
        facts = {"from": origin, "run": version.run, "source": version.source, "digest": made_of.digest}
        tx.event("model.adopted", reference, facts | {"stage": version.stage})

    def _point(
        self, tx: Transaction, name: str, alias: str, number: int, clashing: set[int], origin: str
    ) -> str:
        """Let an alias mean its version, unless it means one here. Returns why not, where that is not as it should be."""
        if not is_alias(alias):
            return "it cannot be an alias here"
        meant = aliases.meant(tx, name, alias)
        if meant == number and number not in clashing:
            return ""
        if meant is not None:
            return f"it means version {meant} here"
        if number in clashing:
            return f"another version {number} is here"
        gates = self._recorded_gates(name)
        if gates is not None and gates.alias == alias:
            return "gates guard it here; promote the version through them"
        try:
            record = reading.find_version(tx, f"model:{name}@v{number}")
        except NotFound:
            return f"its version {number} is not in the store"
        aliases.move_alias(tx, self.context.ids, record, alias, f"it came so from {origin}")
        return ""


def _fill(tx: Transaction, reference: Reference, made_of: Origin, origin: str) -> None:
    """Give a version that was an address only the files it stands for."""
    named = (model_versions.c.name == reference.name) & (model_versions.c.version == reference.version)
    wanted = ("run", "artifact", "digest", "content", "size", "model", "files")
    row = version_row(tx, reference, made_of)
    tx.execute(sa.update(model_versions).where(named).values({name: row[name] for name in wanted}))
    hold_files(tx, reference, made_of)
    tx.event("model.adopted", reference, {"from": origin, "digest": made_of.digest})
