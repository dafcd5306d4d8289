"""The operations of the registry, and the promotion of models through their gates."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from everloop.domain.gates import Gate, GateResult, GateSet
from everloop.domain.models import (
    AliasChange,
    Best,
    ModelCard,
    ModelRecord,
    ModelState,
    ModelVersionRecord,
    Package,
    Promotion,
    complete,
)
from everloop.domain.names import checked_name, shown
from everloop.domain.references import Kind, Reference
from everloop.domain.runs import OF_THE_MACHINE, RunDetail
from everloop.domain.signature import StoredFile
from everloop.errors import Conflict, InvalidInput, NotFound, Refused
from everloop.governance.audit import Governance
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.pipelines.pipelines import Pipelines
from everloop.registry import aliases, reading, sources
from everloop.registry.adopting import ModelAdoption
from everloop.registry.catalogue import GATES, begin_model, hold_files, next_version, version_row
from everloop.registry.sources import says_environment
from everloop.store.schema.registry import (
    model_alias_history,
    model_aliases,
    model_versions,
    promotions,
)
from everloop.tracking.tracking import Tracking

if TYPE_CHECKING:
    import pyarrow as pa

    from everloop.registry.version import ModelVersion


class Registry(ModelAdoption):
    """Registered models, their versions and aliases, gates and cards."""

    name = "registry"

    # Registering and reading

    @operation(Permission.WRITE)
    def register(
        self, run: str, name: str, artifact: str = "model", description: str = ""
    ) -> ModelVersionRecord:
        """Make the model in a run's artifacts the next version of `name`.

        Raises Refused, naming what is missing, unless code, data, parameters and environment of the run are known; NotFound when
        the run has no such model.
        """
        checked_name(name, "model name")
        tracking = self.context.room(Tracking)
        origin = self._model_of(artifact, tracking.resolve(run))
        detail = tracking.describe(origin.run)
        data, missing = self._provenance(detail, origin.files)
        if missing:
            raise Refused(
                f"run {origin.run} cannot be registered, it is not known with which {' and '.join(missing)} the model was made",
                hint=_HINTS[missing[0]],
            )
        with self.change() as tx:
            begin_model(tx, name, description)
            reference = Reference(Kind.MODEL, name, version=next_version(tx, name))
            row = version_row(tx, reference, origin) | {
                "data": data,
                "commit": detail.run.version,
                "metrics": {
                    key: value
                    for key, value in detail.run.metrics.items()
                    if not key.startswith(OF_THE_MACHINE)
                },
                "params": detail.run.params,
                "description": description,
                "logged_model": origin.logged_model,
            }
            tx.execute(sa.insert(model_versions), row)
            hold_files(tx, reference, origin)
            facts = {
                "run": f"run:{origin.run}",
                "digest": origin.digest,
                "content": origin.model.content,
                "flavour": origin.model.flavour,
                "data": data,
            }
            tx.event("model.registered", reference, facts)
            return reading.find_version(tx, str(reference))

    @operation(Permission.READ)
    def models(self) -> list[ModelRecord]:
        """All registered models."""
        with self.look() as look:
            return reading.all_models(look)

    @operation(Permission.READ)
    def versions(self, name: str) -> list[ModelVersionRecord]:
        """The versions of a model, newest first."""
        with self.look() as look:
            return reading.versions_of(look, name)

    @operation(Permission.READ)
    def version(self, reference: str) -> ModelVersionRecord:
        """One version: ``model:delay@v3``, ``delay@champion``; without either, the latest."""
        with self.look() as look:
            return reading.find_version(look, reference)

    @operation(Permission.READ)
    def missing_provenance(self, reference: str) -> list[str]:
        """What is not known of a version: none, or some of code, data, parameters, environment."""
        record = self.version(reference)
        try:
            detail = self.context.room(Tracking).describe(record.run)
        except (NotFound, InvalidInput):  # no run was named, or it has been purged since
            return complete({"environment": says_environment(record.files)})
        return self._provenance(detail, record.files)[1]

    # Aliases and states

    @operation(Permission.WRITE)
    def set_alias(self, reference: str, alias: str, reason: str = "") -> ModelVersionRecord:
        """Let an alias mean this version from now on, without asking gates; `promote` asks them."""
        with self.change() as tx:
            record = reading.find_version(tx, reference)
            aliases.move_alias(tx, self.context.ids, record, alias, reason)
            return reading.find_version(tx, record.reference)

    @operation(Permission.WRITE)
    def remove_alias(self, name: str, alias: str, reason: str = "") -> None:
        """Take an alias away. Its history stays. `name`: the model; or a version, which the alias must mean."""
        with self.change() as tx:
            asked = Reference.parse(name, Kind.MODEL)
            meant = reading.resolve(tx, f"{asked.name}@{alias}")
            if str(asked) != str(Reference(Kind.MODEL, asked.name)) and reading.resolve(tx, name) != meant:
                raise Conflict(
                    f"{shown(alias)} means {meant}, not {asked}", hint="name the model without a version"
                )
            named = (model_aliases.c.name == meant.name) & (model_aliases.c.alias == alias)
            tx.execute(sa.delete(model_aliases).where(named))
            aliases.remember(tx, self.context.ids, meant.name, alias, None, reason)
            facts = {"alias": alias, "version": meant.version, "reason": reason}
            tx.event("model.alias_removed", f"model:{meant.name}", facts)

    @operation(Permission.READ)
    def alias_history(self, name: str) -> list[AliasChange]:
        """Which version each alias of a model meant since when, newest first."""
        with self.look() as look:
            asked = reading.find_model(look, name).name
            table = model_alias_history
            query = (
                sa.select(table).where(table.c.name == asked).order_by(table.c.time.desc(), table.c.id.desc())
            )
            return [
                AliasChange(row.alias, row.version, row.time, row.user, row.reason) for row in look.all(query)
            ]

    @operation(Permission.WRITE)
    def deprecate(self, reference: str, reason: str = "") -> ModelVersionRecord:
        """Say that a version is not to be used any more. Refused while an alias means it."""
        with self.change() as tx:
            record = reading.find_version(tx, reference)
            if record.aliases:
                raise Conflict(
                    f"{record.reference} is {' and '.join(record.aliases)}",
                    hint="give the alias to another version first",
                )
            chosen = (model_versions.c.name == record.name) & (model_versions.c.version == record.version)
            tx.execute(sa.update(model_versions).where(chosen).values(state=ModelState.DEPRECATED.value))
            tx.event("model.deprecated", record.reference, {"reason": reason})
            return reading.find_version(tx, record.reference)

    # Gates

    @operation(Permission.WRITE)
    def record_promotion(
        self, reference: str, alias: str, gates: list[GateResult], because: str = ""
    ) -> Promotion:
        """Record what the gates said of a version; if all passed, the alias means it from now on. because: why somebody wants it
        so."""
        with self.change() as tx:
            record = reading.find_version(tx, reference)
            aliases.checked_alias(alias)
            before = aliases.meant(tx, record.name, alias)
            allowed = all(gate.passed for gate in gates) and record.state is ModelState.READY
            row = {
                "id": self.context.ids(),
                "name": record.name,
                "version": record.version,
                "alias": alias,
                "allowed": allowed,
                "gates": gates,
                "previous": before,
                "time": tx.now,
                "user": tx.actor,
            }
            tx.execute(sa.insert(promotions), row)
            if allowed:
                passed = f"passed {len(gates)} gates"
                reason = f"{because} ({passed})" if because else passed
                aliases.move_alias(tx, self.context.ids, record, alias, reason)
            facts = {
                "alias": alias,
                "previous": before,
                "because": because,
                "gates": [
                    {"name": gate.name, "passed": gate.passed, "reason": gate.reason} for gate in gates
                ],
            }
            tx.event("model.promoted" if allowed else "model.refused", record.reference, facts)
            return _promotion(row)

    @operation(Permission.READ)
    def promotions(self, reference: str) -> list[Promotion]:
        """Every time a version (or any version of a model) asked for an alias, newest first, with what the gates said."""
        with self.look() as look:
            asked = Reference.parse(reference, Kind.MODEL)
            found = reading.resolve(look, reference)
            query = sa.select(promotions).where(promotions.c.name == found.name)
            if asked.version is not None or asked.alias is not None:
                query = query.where(promotions.c.version == found.version)
            rows = look.all(query.order_by(promotions.c.time.desc(), promotions.c.id.desc()))
            return [_promotion(dict(row._mapping)) for row in rows]

    def gates_for(self, name: str) -> GateSet | None:
        """The gates declared for a model in the project's definition modules, or None."""
        from everloop.governance.definitions import declared, load

        for spec in self.context.settings.definitions:
            for found in declared(load(spec, self.context.project), GateSet):
                if found.model == name:
                    return found
        return None

    def check(
        self,
        reference: str,
        gates: GateSet | Sequence[Gate] | None = None,
        *,
        alias: str = "champion",
        rows: Any = None,
    ) -> list[GateResult]:
        """What the gates say of a version, without recording it. `rows`: the table to compare models on, instead of the declared
        one."""
        from everloop.registry.gating import judge

        record = self.version(reference)
        return judge(self, record, self._declared(record.name, gates), alias, rows)

    def promote(
        self,
        reference: str,
        to: str = "champion",
        *,
        gates: GateSet | Sequence[Gate] | None = None,
        rows: Any = None,
        because: str = "",
    ) -> Promotion:
        """Ask the gates, record what each said, and give the version the alias `to` if all passed.

        `gates`: declared ones (None: those of the definition modules; none there: only that provenance is complete). `rows`: a
        table to compare models on, instead of the one the declaration names. `because`: why, kept with the alias's history.
        """
        aliases.checked_alias(to)
        record = self.version(reference)
        if record.state is not ModelState.READY:
            raise Refused(f"{record.reference} is {record.state}", hint="promote a version that is ready")
        found = self.check(record.reference, gates, alias=to, rows=rows)
        return self.record_promotion(record.reference, to, found, because)

    def best(
        self, name: str, *, metric: str = "", rows: Any = None, label: str = "", block: str = ""
    ) -> Best:
        """Which version is the good one: compared on the same rows where there are any, else by the metrics of their runs.

        The rows are those given, else those of the model's gate declaration. See `everloop.registry.comparing`.
        """
        from everloop.registry.comparing import best_version

        return best_version(self, name, metric=metric, rows=rows, label=label, block=block)

    # Cards, handles, packages

    @operation(Permission.WRITE)
    def store_card(self, card: ModelCard) -> str:
        """Keep a model card; returns the digest of its JSON."""
        with self.change() as tx:
            record = reading.find_version(tx, card.reference)
            stored = self.objects.put(msgspec.json.encode(card))
            chosen = (model_versions.c.name == record.name) & (model_versions.c.version == record.version)
            tx.execute(sa.update(model_versions).where(chosen).values(card=stored.digest))
            tx.hold(stored.digest, stored.size, record.reference)
            tx.event("model.card_written", record.reference, {"digest": stored.digest, "gaps": card.gaps})
            return stored.digest

    @operation(Permission.READ)
    def card(self, reference: str) -> ModelCard:
        """The model card of a version. Raises NotFound when none was written."""
        record = self.version(reference)
        if record.card is None:
            raise NotFound(
                f"{record.reference} has no model card",
                hint="write it: ev.workspace().registry.write_card(reference)",
            )
        return msgspec.json.decode(self.objects.read(record.card), type=ModelCard)

    def write_card(
        self, reference: str, *, intended_use: str = "", limits: str = "", ethics: str = ""
    ) -> ModelCard:
        """Write the card of a version from the ledger and keep it. What only a person knows is given here or stays a gap."""
        from everloop.registry.cards import compose

        card = compose(self, self.version(reference), intended_use=intended_use, limits=limits, ethics=ethics)
        self.store_card(card)
        return card

    def model(self, reference: str) -> "ModelVersion":
        """The handle on a version: it answers, it can be packaged."""
        from everloop.registry.version import ModelVersion

        return ModelVersion(self, self.version(reference))

    def reference_rows(self, reference: str) -> "pa.Table":
        """A sample of what the version was trained on with its answers, as monitoring compares with. NotFound
        if none was kept.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        record = self.version(reference)
        file = record.files.get("reference.parquet")
        if file is None:
            raise NotFound(
                f"{record.reference} keeps no rows it was trained on",
                hint="log the model with example=its training rows",
            )
        return pq.read_table(pa.BufferReader(self.objects.read(file.digest)))

    def package(
        self, reference: str, target: str = "folder", *, out: str | Path = "", verify: bool = True
    ) -> Package:
        """Build a version for a target; see `ModelVersion.package`."""
        return self.model(reference).package(target, out=out, verify=verify)

    # Within

    def _declared(self, name: str, gates: GateSet | Sequence[Gate] | None) -> GateSet:
        """The gates to ask: those given, else those declared here, else those that were declared when the model was last judged.
        Somebody who has not got the project's definitions must not get past its gates by that."""
        if gates is not None:
            return gates if isinstance(gates, GateSet) else GateSet(name, tuple(gates))
        governance = self.context.room(Governance)
        found = self.gates_for(name)
        if found is not None:
            governance.record_definition(GATES, name, msgspec.to_builtins(found))
            return found
        try:
            return msgspec.convert(governance.definition(GATES, name).declaration, GateSet)
        except NotFound:
            from everloop.domain.gates import provenance_complete

            return GateSet(name, (provenance_complete(),))

    def _model_of(self, artifact: str, run: str) -> "sources.Origin":
        """The model of the run itself if it has one; else, for the run of a pipeline, that of the last of its steps which has:
        the name of a pipeline's run is what people see, also when all of its steps came from the cache."""
        tracking = self.context.room(Tracking)
        steps = [step.run for step in reversed(self.context.room(Pipelines).steps(run)) if step.run]
        for each in [run, *steps]:
            found = sources.from_run(tracking, self.objects, each, artifact)
            if found is not None:
                return found
        raise NotFound(
            f"run {run} has no model called {shown(artifact)}",
            hint="log one with: run.log_model(model, example=rows)",
        )

    def _provenance(self, detail: RunDetail, files: Mapping[str, StoredFile]) -> tuple[list[str], list[str]]:
        """The datasets a run (or those it came from) read, and what is not known of a model with these files."""
        family = self._family(detail.run.reference)
        edges = [edge for each in family for edge in self.context.ledger.edges_of(each, upward=True)]
        data = sorted({source for source, _, _ in edges if source.startswith("data:")})
        tracking = self.context.room(Tracking)
        params = any(tracking.run(each.removeprefix("run:")).params for each in family)
        known = {
            "code": bool(detail.captured.commit or detail.captured.code or detail.run.version),
            "data": bool(data),
            "parameters": params,
            "environment": bool(detail.captured.environment) or says_environment(files),
        }
        return data, complete(known)

    def _family(self, run: str) -> list[str]:
        """A run, those it is a part of and all their parts: a step's data may have been read by the step before it."""
        ledger = self.context.ledger
        above = [source for source, _, role in ledger.edges_of(run, upward=True) if role == "child"]
        parts = [
            target
            for each in (run, *above)
            for _, target, role in ledger.edges_of(each, upward=False)
            if role == "child"
        ]
        return list(dict.fromkeys([run, *above, *parts]))


_HINTS = {
    "code": "start the run inside a git repository, or as a pipeline",
    "data": "read the training data through ev.data(…) inside the run",
    "parameters": "log what the model was trained with: run.log_params",
    "environment": "start the run with ev.start_run, which captures it",
}


def _promotion(row: dict[str, Any]) -> Promotion:
    name = row["name"]
    return Promotion(
        reference=f"model:{name}@v{row['version']}",
        alias=row["alias"],
        allowed=bool(row["allowed"]),
        gates=msgspec.convert(row["gates"], list[GateResult]),
        time=row["time"],
        user=row["user"],
        previous=None if row["previous"] is None else f"model:{name}@v{row['previous']}",
    )
