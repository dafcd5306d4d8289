"""Commands of experiments: runs experiments list, rename, delete, restore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from everloop.cli.frame import command, emit, say, workspace

if TYPE_CHECKING:
    from everloop.domain.direct import ExperimentPage
    from everloop.domain.runs import Experiment

MOST_LISTED = 1_000


@click.group()
def experiments() -> None:
    """What runs belong to: list, rename, delete, restore."""


@command("list")
@click.option("--where", default="", help="A filter, such as: name like 'flights%' and tags.team = 'ops'")
@click.option("--state", type=click.Choice(["active", "deleted", "all"]), default="active", show_default=True)
@click.option("--order-by", multiple=True, help="Such as: name. Newest first when not given.")
@click.option("--limit", type=click.IntRange(1, MOST_LISTED), default=100, show_default=True)
def list_(where: str, state: str, order_by: tuple[str, ...], limit: int) -> None:
    """Experiments with how many runs each has."""
    emit(workspace().tracking.search_experiments(where, state, list(order_by), limit), _listed)


@command()
@click.argument("experiment")
@click.argument("name")
def rename(experiment: str, name: str) -> None:
    """Give an experiment (name, number or UUID) another name."""
    changed = workspace(write=True).tracking.rename_experiment(experiment, name)
    emit(changed, lambda _: f"experiment {changed.id} is called {changed.name}")


@command()
@click.argument("experiment")
def delete(experiment: str) -> None:
    """Put an experiment aside with its runs; its name is free then."""
    _set_state(experiment, "deleted")


@command()
@click.argument("experiment")
def restore(experiment: str) -> None:
    """Bring a deleted experiment back: by its number, where another has its name by now."""
    _set_state(experiment, "active")


for each in (list_, rename, delete, restore):
    experiments.add_command(each)


def _set_state(experiment: str, state: Literal["active", "deleted"]) -> None:
    changed: Experiment = workspace(write=True).tracking.set_experiment_state(experiment, state)
    done = "deleted" if state == "deleted" else "restored"
    again = (
        f"; to bring it back: everloop runs experiments restore {changed.id}" if state == "deleted" else ""
    )
    emit(changed, lambda _: f"{done} experiment {changed.id}, {changed.name}{again}")


def _listed(found: ExperimentPage) -> Any:
    from everloop.cli.lines import lines

    if not found.experiments:
        return "no experiments match"
    if found.next_page:
        say(f"the first {len(found.experiments)} are shown")
    rows = [
        (str(each.id), each.name, str(each.runs), each.state, f"{each.created:%Y-%m-%d %H:%M}")
        for each in found.experiments
    ]
    return lines(["number", "experiment", "runs", "state", "created"], rows, right=["number", "runs"])
