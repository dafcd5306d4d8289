"""The command impact: what a change would touch, before it is made."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everloop.cli.frame import command, console, emit, human_number, table, workspace
from everloop.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from everloop.workspace.impacts.room import Impact


@command()
@click.argument("changes", nargs=-1, metavar="[REF_OR_CHANGE]...")
@click.option(
    "--changes", "worktree", is_flag=True, help="What the work tree has otherwise than the last commit."
)
@click.option(
    "--against", default="", metavar="COMMIT", help="The same, held against another commit: origin/main."
)
@click.option("--column", default="", help="A column of the dataset that is named.")
def impact(changes: tuple[str, ...], worktree: bool, against: str, column: str) -> None:
    """What a change would touch, before making it, and what computing it anew would cost.

    REF_OR_CHANGE is a file (src/train.py), a function or class (train.py::fit), a dataset (data:flights), a column
    (data:flights.dep_delay), a feature (feature:weather:temp), a package (package:numpy), a pipeline, run, model or endpoint.
    Without it, what the work tree has otherwise than the last commit.
    """
    here = workspace()
    if column:
        if len(changes) != 1 or not changes[0].startswith("data:"):
            raise InvalidInput(
                "--column belongs to one dataset", hint=f"write: everloop impact data:NAME --column {column}"
            )
        changes = (f"{changes[0].partition('@')[0]}.{column}",)
    named = [_in_project(each, here.project) for each in changes]
    if worktree or against or not named:
        from everloop.workspace.impacts.edits import edits

        named += edits(here.project, against or "HEAD")
    found = here.provenance.impact(list(dict.fromkeys(named)))
    for name, hint in found.unknown.items():
        if name in named[: len(changes)] and not _is_there(name, here.project):
            raise NotFound(f"nothing that ran so far has '{name}' in its code", hint=hint)
    emit(found, _shown)


def _in_project(text: str, project: Path) -> str:
    """A file as components name it: relative to the project, wherever the command was started.

    >>> _in_project("data:flights", Path("/p")), _in_project("/p/src/train.py::fit", Path("/p"))
    ('data:flights', 'src/train.py::fit')
    """
    file, inner, name = text.partition("::")
    if not inner and ":" in text:
        return text
    path = Path(file)
    full = path if path.is_absolute() else Path.cwd() / path
    if not path.is_absolute() and not full.exists():
        return text
    resolved, root = full.resolve(), project.resolve()
    return f"{resolved.relative_to(root).as_posix()}{inner}{name}" if resolved.is_relative_to(root) else text


def _is_there(name: str, project: Path) -> bool:
    """Whether a file of the project has such a function: then it is only that nothing used it yet."""
    file, inner, local = name.partition("::")
    path = project / file
    if not path.is_file():
        return False
    named = rf"\b{re.escape(local.partition('.')[0])}\b"
    return not inner or re.search(named, path.read_text(encoding="utf-8", errors="replace")) is not None


def _shown(found: Impact) -> Any:
    if not found.changes:
        return "nothing has changed"
    if not found.affected:
        return f"nothing that ran so far depends on {', '.join(found.changes)}"
    rows = [
        (
            each.kind,
            each.reference,
            each.why if each.sure else f"perhaps: {each.why}",
            human_number(each.seconds),
        )
        for each in found.affected
    ]
    console().print(
        table(
            ["kind", "what", "why", "seconds"],
            rows,
            right=("seconds",),
            title=f"{', '.join(found.changes)} reaches",
        )
    )
    return f"computing it anew took {found.seconds:,.1f} s the last time"
