"""`everloop demo diabetes`: the experiment table of the talks, made by the script in `examples/diabetes`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everloop.cli.examples import example_folder
from everloop.cli.frame import command, emit, say, table
from everloop.errors import Failed, MissingExtra
from everloop.workspace.locations import VARIABLE

if TYPE_CHECKING:
    from everloop.domain.runs import RunRecord

EXPERIMENT = "Diabetes progression predictions"
RUNS = 12
STANDARD_ERROR = 2  # what the script prints must not stand between us and our own output


@command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("diabetes"),
    show_default=True,
    help="The folder that becomes the workspace.",
)
def diabetes(folder: Path) -> None:
    """Twelve runs of a small model, as one table: parameters, metrics, source, version."""
    from everloop.client.ambient import connect
    from everloop.tracking.exporting import runs_table

    script = example_folder("diabetes") / "train.py"
    folder.mkdir(parents=True, exist_ok=True)
    with connect(folder) as workspace:
        found = _found(workspace)
        if len(found) < RUNS:
            say(f"$ {VARIABLE}={folder} python {script.name}    (its source: {script})")
            _train(script, folder)
            found = _found(workspace)
        else:
            say(f"the runs are in {folder} already")
    shown = runs_table(found)

    def human(_: Any) -> Any:
        from rich.console import Group

        return Group(
            table(shown.columns, shown.rows, right=[*shown.params, *shown.metrics], title=EXPERIMENT),
            f"{len(found)} matching runs. Go on in {folder}, for example with:",
            "  everloop runs list --where 'metrics.rmse < 75 and params.alpha > 0.03' --order-by metrics.rmse",
            "  everloop runs compare RUN RUN        everloop runs export runs.csv        everloop up",
        )

    emit({"runs": found, "table": shown}, human)


def _found(workspace: Any) -> list[RunRecord]:
    workspace.tracking.ship_pending()
    names = [each.name for each in workspace.tracking.experiments()]
    where = "status = 'finished'"
    found: list[RunRecord] = (
        workspace.tracking.search(where, [EXPERIMENT], limit=RUNS).runs if EXPERIMENT in names else []
    )
    return found


def _train(script: Path, folder: Path) -> None:
    if importlib.util.find_spec("sklearn") is None:
        raise MissingExtra("the demo needs scikit-learn", hint="pip install 'everloop[demo]'")
    environment = os.environ | {VARIABLE: str(folder.resolve())}
    done = subprocess.run([sys.executable, str(script)], env=environment, stdout=STANDARD_ERROR, check=False)
    if done.returncode:
        raise Failed(f"{script.name} ended with {done.returncode}", hint="what it said stands above")
