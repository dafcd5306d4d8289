"""Commands about the stores of data: data push, pull, gc, pin, unpin, fsck, export-dvc."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everloop.cli.elsewhere import WHERE, elsewhere
from everloop.cli.frame import answer_no, command, counted, emit, human_bytes, say, table, workspace
from everloop.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from everloop.data.stores.shelves import Shelf
    from everloop.data.stores.transferring import Place
    from everloop.domain.retention import Collected
    from everloop.domain.transfers import Damage, Examined, Transferred

SHOWN = 20
"""How many faults are listed for people; `--json` has all."""


@command()
@click.argument("references", metavar="[REF]...", nargs=-1)
@click.option("--to", "where", required=True, metavar="WHERE", help=f"Where to: {WHERE}.")
@click.option("--as", "called", default="", metavar="NAME", help="What the dataset is called there.")
def push(references: tuple[str, ...], where: str, called: str) -> None:
    """Bring versions to another store: those of REF, or all.

    Only what is missing there is moved; after an interruption, do it again.
    """
    here = workspace().data
    target = _place(where)
    _transfer(
        references or tuple(here.dataset_names()), called, lambda ref: here.push(ref, target, called=called)
    )


@command()
@click.argument("references", metavar="[REF]...", nargs=-1)
@click.option("--from", "where", required=True, metavar="WHERE", help=f"Where from: {WHERE}.")
@click.option("--as", "called", default="", metavar="NAME", help="What the dataset is called here.")
def pull(references: tuple[str, ...], where: str, called: str) -> None:
    """Bring versions here from another store: those of REF, or all.

    Only what is missing is moved; after an interruption, do it again.
    """
    source = _place(where)
    here = workspace(write=True).data
    _transfer(
        references or tuple(source.dataset_names()), called, lambda ref: here.pull(ref, source, called=called)
    )


@command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Say what would go, and how many bytes.")
@click.option(
    "--keep-last", type=click.IntRange(0), metavar="N", help="Take older versions away but the newest N."
)
@click.option(
    "--younger-than", metavar="TIME", help="Take versions away but those younger than this, such as 30d."
)
@click.option("--grace", default="1h", show_default=True, help="Leave objects alone that were stored since.")
@click.option("--thorough", is_flag=True, help="Write every pack anew that holds anything dead.")
@click.option("--at", "where", metavar="SHELF", help="On a shelf, a store without a ledger, instead of here.")
def gc(
    names: tuple[str, ...],
    dry_run: bool,
    keep_last: int | None,
    younger_than: str | None,
    grace: str,
    thorough: bool,
    where: str | None,
) -> None:
    """Free the bytes that nothing needs: of removed versions, purged runs and interrupted work.

    With --keep-last or --younger-than, versions beyond these go first: of the datasets named, or of all. The newest version,
    pinned ones and those that went into something stay. A shelf knows neither of pins nor of uses.
    """
    from everloop.domain.durations import duration
    from everloop.domain.retention import Retention

    retention = Retention(
        keep_last, duration(younger_than) if younger_than is not None else None, list(names)
    )
    if names and retention.keeps_all:
        raise InvalidInput(
            "objects are freed for all datasets together", hint="leave the names out, or say --keep-last N"
        )
    seconds = duration(grace).total_seconds()
    if where is not None:
        from everloop.data.stores.shelf_collecting import collect_shelf
        from everloop.domain.times import system_clock

        shelf = shelf_at(where)
        done = collect_shelf(
            shelf, retention, now=system_clock(), dry_run=dry_run, grace=seconds, thorough=thorough
        )
        emit(done, _collected)
        return
    here = workspace(write=not dry_run)
    emit(here.data.gc(retention, dry_run=dry_run, grace=seconds, thorough=thorough), _collected)


@command()
@click.argument("reference", required=False)
@click.option("--reason", default="", help="Why it is kept.")
def pin(reference: str | None, reason: str) -> None:
    """Keep a version whatever a retention says; without REFERENCE, list the pinned ones."""
    if reference is None:
        pins = workspace().data.pins()
        rows = [(each.reference, each.reason, each.time, each.user) for each in pins]
        emit({"pins": pins}, lambda _: table(["version", "reason", "since", "by"], rows))
        return
    emit(workspace(write=True).data.pin(reference, reason), lambda done: f"pinned {done.reference}")


@command()
@click.argument("reference")
def unpin(reference: str) -> None:
    """Leave a version to the retention again."""
    was = workspace(write=True).data.unpin(reference)
    emit({"unpinned": was}, lambda _: "unpinned" if was else "it was not pinned")


@command()
@click.argument("reference", default="")
@click.option("--full", is_flag=True, help="Read every byte, not only whether all is there in its size.")
@click.option("--heal", metavar="WHERE", help=f"Take good bytes from there: {WHERE}. Reads every byte.")
def fsck(reference: str, full: bool, heal: str | None) -> None:
    """Look for damaged or missing bytes: of a version, a dataset, or all. Exit code 1 when something is wrong.

    Files that were added by reference are looked at where they are.
    """
    source = _place(heal) if heal else None
    found = workspace().data.fsck(reference, full=full, heal=source)
    emit(found, _examined)
    if not found.ok:
        answer_no()


@command("export-dvc")
@click.argument("reference")
@click.argument("repository", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--path", default="", help="What it is called there; the dataset's name when not given.")
@click.option("--force", is_flag=True, help="Replace a .dvc file that names other content.")
def export_dvc(reference: str, repository: Path, path: str, force: bool) -> None:
    """Write a version into a DVC repository: a .dvc file, and its content in the cache. `dvc checkout` does the rest."""
    from everloop.exchange.dvc import exporting

    done = exporting.export_dvc(workspace().data, reference, repository, path, force=force)
    emit(
        done,
        lambda d: f"{d.reference} is {d.path} in {repository}; get its files with: dvc checkout {d.path}",
    )


def shelf_at(where: str) -> Shelf:
    """A shelf, where a workspace would not do."""
    from everloop.data.stores.shelves import Shelf

    place = _place(where)
    if not isinstance(place, Shelf):
        raise InvalidInput(f"{where} is a workspace, not a shelf", hint="run the command there")
    return place


def _place(where: str) -> Place:
    """The other side: the data room of a workspace, or a shelf."""
    from everloop.data.stores.shelves import Shelf
    from everloop.workspace.workspace import Workspace

    found = elsewhere(where)
    return found.data if isinstance(found, Workspace) else Shelf(found)


def _transfer(references: tuple[str, ...], called: str, move: Callable[[str], Transferred]) -> None:
    if called and len(references) != 1:
        raise InvalidInput(
            "one dataset can get another name at a time", hint="name it, and leave the others out"
        )
    done = []
    for reference in references:
        one = move(reference)
        done.append(one)
        say(f"{reference}: {human_bytes(one.bytes)} of {human_bytes(one.of_bytes)} moved")
    result = {
        "added": [each for one in done for each in one.added],
        "present": [each for one in done for each in one.present],
        "objects": sum(one.objects for one in done),
        "bytes": sum(one.bytes for one in done),
        "of_bytes": sum(one.of_bytes for one in done),
        "by_reference": sum(one.by_reference for one in done),
    }
    emit(result, _moved)


def _moved(result: dict[str, Any]) -> str:
    lines = [f"new there: {', '.join(result['added'])}" if result["added"] else "nothing is new there"]
    if result["present"]:
        lines.append(f"there before: {len(result['present'])} versions")
    if result["by_reference"]:
        lines.append(
            f"{result['by_reference']} files were added by reference: their bytes stay where they are"
        )
    return "\n".join(lines)


def _collected(done: Collected) -> str:
    would = "would be " if done.dry_run else ""
    lines = [f"{each} {would}taken away" for each in done.versions]
    lines += [f"{each} stays: it went into something" for each in done.in_use]
    lines += [f"{each} stays: it is pinned" for each in done.pinned]
    lines.append(
        f"{counted(done.freed.objects, 'object')} of {human_bytes(done.freed.bytes)} {would}freed: "
        f"{human_bytes(done.bytes)} on disk, in {counted(done.files, 'file')}"
    )
    if done.young.objects:
        lines.append(
            f"{counted(done.young.objects, 'object')} of {human_bytes(done.young.bytes)} too young to go, needed by nothing"
        )
    if done.mentioned.objects:
        lines.append(
            f"{counted(done.mentioned.objects, 'object')} of {human_bytes(done.mentioned.bytes)} kept, as the ledger mentions it"
        )
    if done.left:
        lines.append(f"{human_bytes(done.left)} are dead in packs that hold more: --thorough frees them too")
    return "\n".join(lines)


def _examined(found: Examined) -> Any:
    from rich.console import Group

    looked = f"{counted(found.versions, 'version')}, {counted(found.objects, 'object')}"
    if found.referenced:
        looked += f", {counted(found.referenced, 'file')} by reference"
    head = f"{looked}: " + ("nothing is wrong" if found.ok else f"{len(found.faults):,} faults")
    if found.healed:
        head = f"{len(found.healed):,} objects were healed\n{head}"
    if found.ok:
        return head
    rows = [(each.place, each.message, _used(each)) for each in found.faults[:SHOWN]]
    return Group(head, table(["where", "what", "used by"], rows))


def _used(damage: Damage) -> str:
    shown = [f"{use.reference} {use.path}".strip() for use in damage.used_by]
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")
