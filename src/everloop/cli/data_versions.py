"""Versions: data add, list, log, show, diff, checkout, status, rm."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everloop.cli.checks import CHECKS, told, verdict_told
from everloop.cli.frame import command, counted, emit, facts, human_bytes, table, workspace
from everloop.errors import InvalidInput

if TYPE_CHECKING:
    from everloop.domain.checks import CheckReport
    from everloop.domain.datasets import Added, FolderStatus, VersionRecord


@command()
@click.argument("path", required=False)
@click.option("--name", required=True, help="The dataset.")
@click.option("--message", default="", help="What this version is.")
@click.option("--append", is_flag=True, help="Keep the files of the newest version and add these.")
@click.option("--checks", metavar="CHECKS", help=CHECKS)
@click.option(
    "--without-contract", default="", metavar="REASON", help="Do not make the checks of the contract."
)
@click.option("--file", default="", help="What one file is called within the version.")
@click.option("--as-file", is_flag=True, help="Keep the bytes as they are, whatever the name's ending says.")
@click.option("--reference", is_flag=True, help="Leave the bytes where they are; keep their digests.")
@click.option("--query", metavar="SQL", help="Add the answer to a query instead of a path.")
@click.option(
    "--from",
    "database",
    default="",
    metavar="URL",
    help="Who answers the query: sqlite:///, duckdb:///, postgresql://.",
)
def add(
    path: str | None,
    name: str,
    message: str,
    append: bool,
    checks: str | None,
    without_contract: str,
    file: str,
    as_file: bool,
    reference: bool,
    query: str | None,
    database: str,
) -> None:
    """Make a version of a file, a folder, an address (s3://…) or the answer to a query.

    Bad rows go aside when the checks say so.
    """
    from everloop.data.incoming.queries import Query

    if (path is None) is (query is None):
        raise InvalidInput("give a path or --query, one of them", hint="see: everloop data add --help")
    if database and query is None:
        raise InvalidInput("--from names the database of a --query", hint="give a --query too")
    here = workspace(write=True)
    suite = None
    if checks:
        from everloop.exchange.checks.opening import open_checks

        suite = open_checks(checks, name, here.project)
    added = here.data.add(
        path if query is None else Query(query, database),
        name,
        message,
        append=append,
        checks=suite,
        file=file,
        as_file=as_file,
        without_contract=without_contract,
        reference=reference,
    )
    emit(added, _added)


@command("list")
def list_() -> None:
    """All datasets, each with its newest version."""
    found = workspace().data.datasets()
    rows = [(d.name, d.latest, d.versions, human_bytes(d.bytes), _count(d.rows), d.created) for d in found]
    columns = ["dataset", "newest", "versions", "size", "rows", "made"]
    empty = "no datasets yet; add one: everloop data add PATH --name NAME"
    emit(
        {"datasets": found},
        lambda _: table(columns, rows, right=["versions", "size", "rows"], empty=empty),
    )


@command()
@click.argument("name")
def log(name: str) -> None:
    """The versions of a dataset, newest first."""
    found = workspace().data.log(name)
    rows = [
        (
            v.reference,
            v.digest[:12],
            v.files,
            human_bytes(v.bytes),
            human_bytes(v.new_bytes),
            _count(v.rows),
            v.created,
            v.message,
        )
        for v in found
    ]
    columns = ["version", "digest", "files", "size", "new", "rows", "made", "message"]
    emit({"versions": found}, lambda _: table(columns, rows, right=["files", "size", "new", "rows"]))


@command()
@click.argument("reference")
def show(reference: str) -> None:
    """One version: what it is, its files, its columns, the verdicts on it."""
    import msgspec

    room = workspace().data
    record = room.version(reference)
    files = list(room.manifest(record).files)
    reports = room.reports(record.reference)
    shown = {**msgspec.structs.asdict(record), "file_list": files, "checks": reports}
    emit(shown, lambda _: _version(record, reports))


@command()
@click.argument("reference")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace what is there, changed or not.")
@click.option(
    "--link",
    type=click.Choice(["reflink", "hardlink", "copy"]),
    help="How files come to be. "
    "Reflink where the file system has them, else copy, when not given; a hardlink is read-only.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="PATTERN",
    help="Only files like train/* or **/*.png. May be given again.",
)
def checkout(reference: str, folder: Path, force: bool, link: str | None, only: tuple[str, ...]) -> None:
    """Write a version's files, or some of them, into a folder, all at once."""
    done = workspace().data.checkout(reference, folder, force=force, link=link, only=only)
    emit(
        done, lambda d: f"{d.reference} is in {d.folder}: {counted(d.files, 'file')}, {human_bytes(d.bytes)}"
    )


@command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path), default=Path())
def status(folder: Path) -> None:
    """What changed in a folder since it was checked out or added."""
    from everloop.data.checkouts.checking_out import Checkouts

    # Asked often and of large folders: the workspace's folder knows the answer, so neither room nor ledger is opened.
    found = Checkouts(workspace().folder).status(folder.absolute())
    emit(found, lambda each: click.echo(_status(each)))


@command("rm")
@click.argument("reference")
@click.option("--force", is_flag=True, help="Also when something was made from it.")
@click.option(
    "--at", "where", metavar="SHELF", help="From a shelf, a store without a ledger, instead of here."
)
def remove(reference: str, force: bool, where: str | None) -> None:
    """Take a version away, or a dataset with all its versions. What is known of it stays, but on a shelf.

    Its bytes go with the next `data gc`.
    """
    if where is not None:
        from everloop.cli.data_stores import shelf_at

        removed = shelf_at(where).take_down([reference])
    else:
        removed = [each.reference for each in workspace(write=True).data.remove(reference, force=force)]
    emit(
        {"removed": removed},
        lambda r: "\n".join(f"removed {each}" for each in r["removed"]),
    )


def _added(added: Added) -> str:
    if added.unchanged:
        lines = [f"{added.reference}: nothing changed, so no new version was made"]
    else:
        rows = "" if added.rows is None else f", {counted(added.rows, 'row')}"
        size = f"{human_bytes(added.bytes)}, {human_bytes(added.new_bytes)} of it new"
        lines = [f"{added.reference}: {counted(added.files, 'file')}{rows}, {size}"]
    if added.quarantine is not None:
        lines.append(f"{added.quarantined_rows} bad rows went to {added.quarantine}:")
    if added.report is not None:
        lines += [f"  {told(result)}" for result in added.report.failed]
    return "\n".join(lines)


def _version(record: VersionRecord, reports: list[CheckReport]) -> Any:
    from rich.console import Group

    head = facts(
        [
            ("version", record.reference + ("  (removed)" if record.removed else "")),
            ("digest", record.digest),
            ("files", record.files),
            ("size", f"{human_bytes(record.bytes)}, {human_bytes(record.new_bytes)} new"),
            ("rows", _count(record.rows)),
            ("parent", record.parent),
            ("content", record.content),
            ("from", record.origin.source if record.origin else None),
            ("query", record.origin.query if record.origin else None),
            ("made by", record.producer or record.user),
            ("made", record.created),
            ("message", record.message),
        ]
    )
    parts: list[Any] = [head]
    if record.columns:
        parts.append(table(["column", "type"], [(column.name, column.type) for column in record.columns]))
    if reports:
        verdicts = [(report.time, report.suite, verdict_told(report)) for report in reports]
        parts.append(table(["checked", "checks", "verdict"], verdicts))
    return Group(*parts)


def _status(found: FolderStatus) -> str:
    lines = [
        f"{sign} {path if path.isprintable() else repr(path)}"
        for sign, paths in (("+", found.added), ("-", found.removed), ("~", found.changed))
        for path in paths
    ]
    return "\n".join(
        [f"{found.folder} is {found.reference}" + (", unchanged" if found.clean else ", changed:"), *lines]
    )


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
