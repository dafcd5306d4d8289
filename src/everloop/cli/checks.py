"""Checks of data: data check, data infer, data contract bind, show, list, history, unbind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everloop.cli.frame import answer_no, command, emit, facts, table, workspace
from everloop.errors import InvalidInput, NotFound, StorageError

if TYPE_CHECKING:
    from everloop.domain.checks import CheckReport, CheckResult, Suite
    from everloop.domain.contracts import Contract
    from everloop.workspace.workspace import Workspace

CHECKS = (
    "The checks: a .toml file, a module or file of definitions (FILE:NAME for one of several), "
    "a pandera schema (FILE:NAME), or a Great Expectations suite (.json)."
)
ALLOW = "Rules of pandera or Great Expectations that cannot be translated are warned of and do not fail."


@command()
@click.argument("reference")
@click.option("--checks", "spec", metavar="CHECKS", help=CHECKS + " The contract's when not given.")
@click.option("--allow-untranslated", is_flag=True, help=ALLOW)
def check(reference: str, spec: str | None, allow_untranslated: bool) -> None:
    """Check a version's rows, by the contract bound to the dataset or the checks of everloop.toml when none are named. Exit
    code 1 when it does not pass."""
    here: Workspace = workspace()
    version = here.data.version(reference)
    columns = [column.name for column in version.columns]
    suite = _suite(here, spec, version.name, columns, allow_untranslated)
    report = here.data.check(reference, suite)
    emit(report, shown_report)
    if not report.passed:
        answer_no()


@command()
@click.argument("reference")
@click.option("--name", default="", help="What the checks are called; the dataset's name when not given.")
@click.option("--python", "as_python", is_flag=True, help="Write a definitions module instead of TOML.")
@click.option("--out", type=click.Path(path_type=Path), help="Write a file instead of printing.")
def infer(reference: str, name: str, as_python: bool, out: Path | None) -> None:
    """Propose checks that a version passes: types, missing shares, ranges, sets, keys, order, patterns, lengths."""
    from everloop.domain.checks.written import to_python, to_toml

    suite = workspace().data.infer(reference, name)
    text = to_python(suite) if as_python else to_toml(suite)
    if out is not None:
        if out.exists():
            raise InvalidInput(f"there is a file {out} already", hint="name another, or remove it")
        try:
            out.write_text(text, encoding="utf-8")
        except OSError as error:
            raise StorageError(
                f"{out} cannot be written: {error.strerror}", hint="may you write there?"
            ) from None
    said = {"suite": suite, "text": text, "path": str(out) if out else None}
    emit(said, lambda _: f"{len(suite.checks)} checks are in {out}" if out else click.echo(text, nl=False))


@click.group()
def contract() -> None:
    """Checks that every version of a dataset must pass on its way in."""


@command()
@click.argument("dataset", metavar="DATASET")
@click.option("--checks", "spec", metavar="CHECKS", required=True, help=CHECKS)
@click.option("--allow-untranslated", is_flag=True, help=ALLOW)
def bind(dataset: str, spec: str, allow_untranslated: bool) -> None:
    """Bind checks to a dataset, or to all whose names begin alike (raw/*). From now on every add makes them."""
    here = workspace(write=True)
    suite = _suite(here, spec, dataset, None, allow_untranslated)
    assert suite is not None
    emit(here.data.bind(suite, dataset), _bound)


@command()
@click.argument("dataset", metavar="DATASET")
@click.option("--toml", "as_toml", is_flag=True, help="Print the checks as TOML.")
def show(dataset: str, as_toml: bool) -> None:
    """The contract that holds for a dataset, which need not be there yet."""
    from everloop.domain.checks.written import to_toml

    found = workspace().data.contract(dataset)
    if found is None:
        raise NotFound(
            f"no contract is bound to '{dataset}'",
            hint=f"bind one with: everloop data contract bind {dataset} --checks FILE",
        )
    emit(found, lambda one: click.echo(to_toml(one.suite), nl=False) if as_toml else _contract(one))


@command("list")
def list_() -> None:
    """All contracts that are bound."""
    found = workspace().data.contracts()
    rows = [(one.pattern, one.version, one.suite.name, len(one.suite.checks), one.created) for one in found]
    columns = ["dataset", "version", "checks", "how many", "bound"]
    emit({"contracts": found}, lambda _: table(columns, rows, right=["version", "how many"]))


@command()
@click.argument("dataset", metavar="DATASET")
def history(dataset: str) -> None:
    """What was bound to a dataset and when, and what its versions were found to be."""
    room = workspace().data
    versions = [] if dataset.endswith("*") else room.contract_history(dataset)
    versions = versions or room.contract_versions(dataset)
    reports = [] if dataset.endswith("*") else [each for each in room.reports(dataset) if each.contract]
    emit({"contracts": versions, "reports": reports}, lambda _: _history(versions, reports))


@command()
@click.argument("dataset", metavar="DATASET")
@click.option("--reason", default="", help="Why; it is kept.")
def unbind(dataset: str, reason: str) -> None:
    """End a contract. What it was stays in the history."""
    ended = workspace(write=True).data.unbind_contract(dataset, reason)
    emit(ended, lambda one: f"{one.pattern} is under no contract of its own any more")


for each in (bind, show, list_, history, unbind):
    contract.add_command(each)


def _suite(
    here: Workspace, spec: str | None, dataset: str, columns: list[str] | None, allow_untranslated: bool
) -> Suite | None:
    """The checks named; else None where a contract is bound; else those of everloop.toml."""
    if spec is not None:
        from everloop.exchange.checks.opening import open_checks

        return open_checks(
            spec, dataset, here.project, columns=columns, allow_untranslated=allow_untranslated
        )
    if here.data.contract(dataset) is not None:
        return None
    from everloop.data.checks.suites import find_suite

    return find_suite(here.settings.definitions, dataset, here.project)


def shown_report(report: CheckReport) -> Any:
    rows = [
        (
            "passed" if result.passed else ("warning" if result.severity == "warn" else "FAILED"),
            result.name,
            result.failed_rows,
            result.of,
            result.error or result.note or ", ".join(str(row) for row in result.sample[:2]),
        )
        for result in report.checks
    ]
    title = f"contract {report.contract}, version {report.contract_version}" if report.contract else None
    return table(["", "check", "failed", "of", "such as"], rows, right=["failed", "of"], title=title)


def told(result: CheckResult) -> str:
    """One result in a line."""
    return f"{result.name}: {result.error or f'{result.failed_rows} of {result.of}'}"


def _bound(found: Contract) -> str:
    how = f"{len(found.suite.checks)} checks"
    return f"{found.pattern} is under contract, version {found.version}: {how} at every add"


def _contract(found: Contract) -> Any:
    from rich.console import Group

    from everloop.domain.checks.written import parameters

    head = facts(
        [
            ("dataset", found.pattern),
            ("version", found.version),
            ("checks", found.suite.name),
            ("bound", found.created),
        ]
    )
    rows = []
    for one in found.suite.checks:
        reason = getattr(one, "reason", "")
        said = {} if reason else parameters(one)[1]
        rest = ", ".join(f"{key}={value!r}" for key, value in said.items() if key not in ("name", "severity"))
        rows.append((one.name, one.severity, reason or rest))
    return Group(head, table(["check", "severity", "what"], rows))


def _history(versions: list[Contract], reports: list[CheckReport]) -> Any:
    from rich.console import Group

    rows = [
        (
            one.version,
            one.suite.name,
            len(one.suite.checks),
            one.created,
            one.user,
            "" if one.bound else f"ended {one.reason}".strip(),
        )
        for one in versions
    ]
    verdicts = [
        (
            one.time,
            one.reference,
            f"{one.contract}, version {one.contract_version}",
            verdict_told(one),
            one.user,
        )
        for one in reports
    ]
    return Group(
        table(["version", "checks", "how many", "since", "by", ""], rows, right=["version", "how many"]),
        table(["checked", "dataset version", "contract", "verdict", "by"], verdicts),
    )


def verdict_told(report: CheckReport) -> str:
    """The verdict in a line."""
    if report.waived:
        return f"not checked: {report.waived}"
    return "passed" if report.passed else "; ".join(told(each) for each in report.failed)
