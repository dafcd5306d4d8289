"""`everloop label import` and `export`: Label Studio files in and out, and the dataset that comes of the answers."""

from __future__ import annotations

from pathlib import Path

import click

from everloop.cli.frame import command, counted, emit, workspace
from everloop.cli.labels import text_of
from everloop.errors import InvalidInput

SHOWN = 20
"""Things left behind that are listed for people."""


@command("import")
@click.argument("project")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--config", type=click.Path(path_type=Path), help="The configuration (XML): makes a project of the file."
)
@click.option(
    "--data", default="", help="Of a new project: the dataset the tasks become; PROJECT/tasks when not given."
)
@click.option(
    "--overlap", default=1, show_default=True, help="Of a new project: how many annotators an item needs."
)
@click.option("--user", "users", multiple=True, metavar="NUMBER=NAME", help="Who a number in the file is.")
def import_(
    project: str, file: Path, config: Path | None, data: str, overlap: int, users: tuple[str, ...]
) -> None:
    """Bring in a Label Studio file (JSON): tasks, annotations, predictions. Doing it again adds only what is new."""
    from everloop.exchange.labelstudio.moving import import_tasks

    done = import_tasks(
        workspace(write=True),
        project,
        file,
        config=text_of(config) if config is not None else "",
        data=data,
        overlap=overlap,
        users=dict(_pair(each, "--user 7=ana") for each in users),
    )

    def told(_: object) -> str:
        annotations = f"{counted(done.added, 'annotation')} new, {done.known:,} here before"
        counts = f"{counted(done.tasks, 'task')}, {annotations}, {counted(done.predictions, 'prediction')}"
        left = [f"left: {each.where}: {each.reason}" for each in done.skipped[:SHOWN]]
        more = [f"left: {len(done.skipped):,} in all; --json lists them"] if len(done.skipped) > SHOWN else []
        return "\n".join([f"{done.project}: {counts}", *left, *more])

    emit(done, told)


@command()
@click.argument("project")
@click.option("--name", default="", help="The dataset that gets a version.")
@click.option(
    "--policy",
    type=click.Choice(["majority", "reviewed", "all"]),
    default="majority",
    show_default=True,
    help="Which answers: what most said, what a reviewer let stand, or each in a row of its own.",
)
@click.option("--message", default="", help="What this version is.")
@click.option("--to", "file", type=click.Path(path_type=Path), help="Write a Label Studio file instead.")
@click.option(
    "--config", type=click.Path(path_type=Path), help="With --to: the configuration whose names it uses."
)
def export(
    project: str, name: str, policy: str, message: str, file: Path | None, config: Path | None
) -> None:
    """Answers as a dataset version (--name), or as a Label Studio file (--to)."""
    from everloop.domain.labels import Policy
    from everloop.exchange.labelstudio.moving import export_tasks

    if bool(name) == (file is not None):
        raise InvalidInput("give --name for a dataset, or --to for a Label Studio file")
    here = workspace(write=True)
    if file is not None:
        done = export_tasks(here, project, file, text_of(config) if config is not None else "")
        emit(
            done,
            lambda _: (
                f"{counted(done.tasks, 'task')}, {counted(done.annotations, 'annotation')} in {done.path}"
            ),
        )
        return
    added = here.labels.export(project, name, Policy(policy), message)
    undecided = (
        f"; {counted(added.undecided, 'item')} without an answer by this policy" if added.undecided else ""
    )
    emit(added, lambda _: f"{added.reference}: {counted(added.rows or 0, 'row')}{undecided}")


def _pair(given: str, example: str) -> tuple[str, str]:
    first, equals, second = given.partition("=")
    if not equals or not first or not second:
        raise InvalidInput(f"'{given}' does not say who is who", hint=f"such as {example}")
    return first, second
