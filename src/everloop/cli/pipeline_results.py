"""`pipelines`: stored results of steps, to another workspace and from there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from everloop.cli.elsewhere import WHERE, elsewhere
from everloop.cli.frame import command, counted, emit, human_bytes, table, workspace
from everloop.cli.main import LazyGroup
from everloop.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from everloop.domain.handover import HandedOver, TakenDown
    from everloop.pipelines.handover.moving import ResultsPlace

COMMANDS = {
    "push": ("everloop.cli.pipeline_results:push", "bring stored results of steps to another workspace"),
    "pull": (
        "everloop.cli.pipeline_results:pull",
        "bring stored results of steps here: they are not computed again",
    ),
    "rm": ("everloop.cli.pipeline_results:remove", "take old results of steps off a shelf"),
}
SHOWN = 20


@click.group(cls=LazyGroup, table=COMMANDS)
def pipelines() -> None:
    """Results of steps, shared between workspaces."""


@command()
@click.argument("names", metavar="[PIPELINE]...", nargs=-1)
@click.option("--to", "where", required=True, metavar="WHERE", help=f"Where to: {WHERE}.")
@click.option(
    "--runs", type=click.IntRange(1), metavar="N", help="Only the results of the newest N runs of each."
)
@click.option("--dry-run", is_flag=True, help="Say what would go; move nothing.")
def push(names: tuple[str, ...], where: str, runs: int | None, dry_run: bool) -> None:
    """Bring stored results to another workspace: those of PIPELINE, or of all.

    Only what is missing there is moved; after an interruption, do it again.
    """
    here = workspace().pipelines
    target = _place(where)
    chosen = names or tuple(here.pipelines_with_results())
    _hand_over(chosen, lambda name: here.push_results(name, target, runs=runs or 0, dry_run=dry_run))


@command()
@click.argument("names", metavar="[PIPELINE]...", nargs=-1)
@click.option("--from", "where", required=True, metavar="WHERE", help=f"Where from: {WHERE}.")
@click.option(
    "--runs", type=click.IntRange(1), metavar="N", help="Only the results of the newest N runs of each."
)
@click.option("--dry-run", is_flag=True, help="Say what would come; move nothing.")
def pull(names: tuple[str, ...], where: str, runs: int | None, dry_run: bool) -> None:
    """Bring stored results here from another workspace: those of PIPELINE, or of all.

    A result is taken when its key, made again, is its own, and the data that it was computed from are here.
    """
    source = _place(where)
    here = workspace(write=True).pipelines
    chosen = names or tuple(source.pipelines_with_results())
    _hand_over(chosen, lambda name: here.pull_results(name, source, runs=runs or 0, dry_run=dry_run))


@command("rm")
@click.argument("names", metavar="[PIPELINE]...", nargs=-1)
@click.option(
    "--at", "where", required=True, metavar="SHELF", help="The shelf: a folder or bucket without a ledger."
)
@click.option(
    "--older-than", metavar="TIME", help="Only results that were computed longer ago than this, such as 30d."
)
@click.option("--dry-run", is_flag=True, help="Say what would go; remove nothing.")
def remove(names: tuple[str, ...], where: str, older_than: str | None, dry_run: bool) -> None:
    """Take results off a shelf: of PIPELINE, or the old ones of all.

    Their bytes go with `everloop data gc --at SHELF`. What is still in use somewhere comes back with the next push from there.
    """
    from everloop.domain.durations import duration
    from everloop.domain.times import system_clock
    from everloop.pipelines.handover.shelves import ResultShelf

    if older_than is None and not names:
        raise InvalidInput(
            "all results of all pipelines would go", hint="name a pipeline, or say --older-than 30d"
        )
    shelf = _place(where)
    if not isinstance(shelf, ResultShelf):
        raise InvalidInput(
            f"{where} is a workspace, not a shelf",
            hint="results go with their runs there: everloop runs delete, everloop runs purge",
        )
    before = None if older_than is None else system_clock() - duration(older_than)
    chosen = names or tuple(shelf.pipelines_with_results())
    done = [shelf.take_down(name, before=before, dry_run=dry_run) for name in chosen]
    emit(
        {"pipelines": done, "removed": sum(each.removed for each in done)}, lambda _: _taken_down(done, where)
    )


def _place(where: str) -> ResultsPlace:
    from everloop.pipelines.handover.shelves import ResultShelf
    from everloop.workspace.workspace import Workspace

    found = elsewhere(where)
    return found.pipelines if isinstance(found, Workspace) else ResultShelf(found)


def _hand_over(names: tuple[str, ...], move: Callable[[str], HandedOver]) -> None:
    done = [move(name) for name in names]
    result = {
        "pipelines": done,
        "added": sum(each.added for each in done),
        "present": sum(each.present for each in done),
        "refused": [refused for each in done for refused in each.refused],
        "objects": sum(each.objects for each in done),
        "bytes": sum(each.bytes for each in done),
    }
    emit(result, _told)


def _told(result: dict[str, Any]) -> Any:
    from rich.console import Group

    lines: list[Any] = [_line(each) for each in result["pipelines"]] or ["no pipeline has run there"]
    refused = result["refused"]
    if refused:
        rows = [(each.step, each.reason) for each in refused[:SHOWN]]
        lines.append(table(("not taken", "why"), rows))
        if len(refused) > SHOWN:
            lines.append(f"and {len(refused) - SHOWN:,} more: --json has them")
    return Group(*lines)


def _line(done: HandedOver) -> str:
    new = f"{counted(done.added, 'result')} {'would be ' if done.dry_run else ''}new, {done.present:,} there before"
    return f"{done.pipeline}: {new}; {counted(done.objects, 'object')} of {human_bytes(done.bytes)}"


def _taken_down(done: list[TakenDown], where: str) -> str:
    lines = [
        f"{each.pipeline}: {counted(each.removed, 'result')} {'would go' if each.dry_run else 'taken down'}, {each.left:,} left"
        for each in done
    ] or ["no pipeline has results there"]
    if any(each.removed and not each.dry_run for each in done):
        lines.append(f"their bytes are freed by: everloop data gc --at {where}")
    return "\n".join(lines)
