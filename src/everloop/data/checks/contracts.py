"""Verdicts on versions, and the contracts that ask for them at every add."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from everloop.data import records
from everloop.domain import contracts as rules
from everloop.domain.checks import AnyCheck, CheckReport, Suite
from everloop.domain.contracts import Contract, Terms
from everloop.domain.datasets import VersionRecord
from everloop.domain.references import Kind, Reference
from everloop.errors import InvalidInput, NotFound, Refused, nearest
from everloop.governance.audit import Governance
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.schema.base import definitions, events
from everloop.store.schema.data import dataset_checks

if TYPE_CHECKING:
    from everloop.data.dataset import Dataset


class Contracts(Room):
    """Operations about checks and contracts, and checking itself, which happens where the caller is."""

    name = "data"

    if TYPE_CHECKING:  # of `Data`, which this is a part of

        def dataset(self, reference: str) -> Dataset: ...
        def version(self, reference: str) -> VersionRecord: ...

    @operation(Permission.WRITE)
    def record_check(self, report: CheckReport) -> CheckReport:
        """Keep a verdict with the version it is about."""
        with self.change() as tx:
            records.version(tx, Reference.parse(report.reference, Kind.DATA))
            records.keep_report(tx, report, self.context.ids)
            return msgspec.structs.replace(report, user=tx.actor)

    @operation(Permission.READ)
    def reports(self, reference: str) -> list[CheckReport]:
        """The verdicts on a version, or on all versions of a dataset, newest first."""
        wanted = Reference.parse(reference, Kind.DATA)
        with self.look() as look:
            matching = (
                dataset_checks.c.reference == str(wanted)
                if wanted.version is not None
                else dataset_checks.c.reference.startswith(f"data:{wanted.name}@", autoescape=True)
            )
            rows = look.all(
                sa.select(dataset_checks.c.report, dataset_checks.c.user)
                .where(matching)
                .order_by(dataset_checks.c.time.desc(), dataset_checks.c.id.desc())
            )
        return [msgspec.convert(row.report | {"user": row.user}, CheckReport) for row in rows]

    @operation(Permission.READ)
    def contracts(self) -> list[Contract]:
        """The contracts that are bound, by the datasets they are bound to."""
        every = self.context.room(Governance).definitions(rules.KIND)
        return [contract for contract in map(_contract, every) if contract.bound]

    @operation(Permission.READ)
    def contract(self, dataset: str) -> Contract | None:
        """The contract that holds for a dataset, which need not be there yet; None when there is none."""
        with self.look() as look:
            return governing(look, Reference.parse(dataset, Kind.DATA).name)

    @operation(Permission.READ)
    def contract_versions(self, pattern: str) -> list[Contract]:
        """All that was ever bound to a name or a beginning of names, newest first."""
        with self.look() as look:
            rows = look.all(
                sa.select(definitions)
                .where(definitions.c.kind == rules.KIND, definitions.c.name == pattern)
                .order_by(definitions.c.version.desc())
            )
            if not rows:
                known = look.all(
                    sa.select(definitions.c.name).where(definitions.c.kind == rules.KIND).distinct()
                )
                raise NotFound(
                    f"no contract was ever bound to '{pattern}'",
                    hint=nearest(pattern, [row.name for row in known], see="everloop data contract list"),
                )
        return [_contract(row) for row in rows]

    @operation(Permission.READ)
    def contract_history(self, dataset: str) -> list[Contract]:
        """All that ever held for a dataset, newest first, with who bound or ended it; the dataset need not be there yet."""
        names = rules.candidates(Reference.parse(dataset, Kind.DATA).name)
        bound_by: dict[tuple[str, int], str] = {}
        with self.look() as look:
            rows = look.all(
                sa.select(definitions)
                .where(definitions.c.kind == rules.KIND, definitions.c.name.in_(names))
                .order_by(definitions.c.created.desc(), definitions.c.version.desc())
            )
            subjects = {f"{rules.KIND}:{row.name}": row.name for row in rows}
            for event in look.all(sa.select(events).where(events.c.subject.in_(subjects))):
                version = msgspec.json.decode(event.payload)["version"]
                bound_by[subjects[event.subject], version] = event.actor
        return [
            msgspec.structs.replace(_contract(row), user=bound_by.get((row.name, row.version), ""))
            for row in rows
        ]

    @operation(Permission.WRITE)
    def bind_contract(self, pattern: str, suite: Suite) -> Contract:
        """From now on, every version of these datasets must pass these checks on its way in. The same checks again are the same
        version of the contract."""
        if not suite.checks:
            raise InvalidInput("a contract without a check promises nothing", hint="declare at least one")
        for check in suite.checks:
            if getattr(check, "function", "").startswith("__main__:"):
                raise InvalidInput(
                    f"{check.name} is a function of a script or notebook, which others cannot find",
                    hint="move it to a module of the project",
                )
        declaration = {"suite": msgspec.to_builtins(suite), "bound": True, "reason": ""}
        return self._record_contract(rules.checked_pattern(pattern), declaration)

    @operation(Permission.WRITE)
    def unbind_contract(self, pattern: str, reason: str = "") -> Contract:
        """End a contract. It stays in the history, with the reason."""
        newest = self.contract_versions(pattern)[0]
        if not newest.bound:
            raise NotFound(
                f"no contract is bound to '{pattern}' any more", hint="see: everloop data contract list"
            )
        declaration = {"suite": msgspec.to_builtins(newest.suite), "bound": False, "reason": reason}
        return self._record_contract(pattern, declaration)

    def _record_contract(self, pattern: str, declaration: dict[str, Any]) -> Contract:
        return _contract(self.context.room(Governance).record_definition(rules.KIND, pattern, declaration))

    # Where the caller is

    def bind(self, suite: Suite, dataset: str = "") -> Contract:
        """Bind checks as a contract to a dataset, or to all whose names begin so (``raw/*``): the one the suite names when none
        is given. A Python function is bound as it is now; another text of it will not be run under this contract."""
        from everloop.data.checks.custom import pinned

        checks = tuple(pinned(check, self.context.project) for check in suite.checks)
        return self.bind_contract(dataset or suite.dataset, msgspec.structs.replace(suite, checks=checks))

    def check(self, reference: str, checks: Suite | Iterable[AnyCheck] | None = None) -> CheckReport:
        """Check a version's table, by the contract that holds for the dataset when no checks are given. The verdict is recorded
        with the version. Raises NotFound when there is neither."""
        from everloop.data.checks.checking import Examination
        from everloop.data.tables.scanning import connection

        dataset = self.dataset(reference)
        wanted = self._wanted(dataset.name, checks)
        with connection() as con:
            examination = Examination(
                con,
                dataset.scan(),
                wanted.checks,
                fetch=self.fetch,
                now=self.context.clock(),
                previous=lambda: self.version(dataset.record.parent) if dataset.record.parent else None,
                project=self.context.project,
            )
            report = wanted.signed(examination.report(dataset.reference, wanted.name))
        return self.record_check(report)

    def infer(self, reference: str, name: str = "") -> Suite:
        """Propose checks that a version passes: types, missing shares, ranges with a margin, small sets, keys, order, and the
        form of texts. A beginning, to be corrected by who knows the data."""
        from everloop.data.checks.inferring import infer
        from everloop.data.tables.scanning import connection

        dataset = self.dataset(reference)
        with connection() as con:
            return infer(con, dataset.scan(), name or dataset.name, dataset.name)

    def fetch(self, reference: str) -> Any:
        """A version as something DuckDB can read, for foreign keys and comparisons."""
        return self.dataset(reference).scan()

    def terms(
        self, name: str, checks: Suite | Iterable[AnyCheck] | None, without_contract: str = ""
    ) -> Terms:
        """What rows must pass on their way into a dataset: by its contract, and the checks given. With `without_contract`, the
        reason why this time its contract's checks are not made."""
        return rules.terms(self.contract(name), self._suite(name, checks), without_contract.strip())

    def _wanted(self, name: str, checks: Suite | Iterable[AnyCheck] | None) -> Terms:
        suite = self._suite(name, checks)
        if suite is not None:
            if not suite.checks:
                raise InvalidInput(
                    "no checks are given", hint="a verdict that nothing was looked at for says nothing"
                )
            return Terms(name=suite.name, checks=suite.checks)
        contract = self.contract(name)
        if contract is None:
            raise NotFound(
                f"no contract is bound to dataset '{name}'",
                hint="give the checks, or bind them: everloop data contract bind NAME --checks FILE",
            )
        return rules.terms(contract, None)

    def _suite(self, name: str, checks: Suite | Iterable[AnyCheck] | None) -> Suite | None:
        """Checks as a suite; a declared one is recorded as a definition, so that a verdict says by which rules."""
        if checks is None:
            return None
        if not isinstance(checks, Suite):
            return Suite("", name, tuple(checks))
        self.context.room(Governance).record_definition("checks", checks.name, msgspec.to_builtins(checks))
        return checks


def governing(look: Any, dataset: str) -> Contract | None:
    """The contract that holds for a dataset, as the ledger has it at this moment."""
    names = rules.candidates(dataset)
    newest = (
        sa.select(definitions.c.name, sa.func.max(definitions.c.version).label("version"))
        .where(definitions.c.kind == rules.KIND, definitions.c.name.in_(names))
        .group_by(definitions.c.name)
        .subquery()
    )
    same = (definitions.c.name == newest.c.name) & (definitions.c.version == newest.c.version)
    rows = look.all(sa.select(definitions).join(newest, same).where(definitions.c.kind == rules.KIND))
    return rules.governing(map(_contract, rows), dataset)


def require_contract_kept(tx: Any, name: str, report: CheckReport | None) -> None:
    """Refuse a version of a dataset under contract whose checks were not made, or failed."""
    contract = governing(tx, name)
    why = rules.broken(contract, report) if contract is not None else ""
    if why:
        raise Refused(
            f"'{name}' {why}",
            hint="add it with data add, which makes them; or say why not: --without-contract",
        )


def _contract(row: Any) -> Contract:
    return Contract(
        pattern=row.name,
        suite=msgspec.convert(row.declaration["suite"], Suite),
        version=row.version,
        created=row.created,
        bound=row.declaration["bound"],
        reason=row.declaration["reason"],
    )
