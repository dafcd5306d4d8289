"""Commands that bring other tools' stores in: import mlflow, tensorboard, wandb, csv, feast, dvc."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everloop.cli.frame import as_json, command, emit, human_bytes, say, table, workspace
from everloop.errors import InvalidInput

if TYPE_CHECKING:
    from everloop.domain.runs import RunRecord
    from everloop.exchange.mlflow.exporting import Exported
    from everloop.exchange.source import Report, Source

SHOWN = 20
"""How many of the things that were left are listed for people; `--json` has all."""


@click.group("import")
def import_() -> None:
    """Bring in what other tools have recorded. Doing it twice changes nothing; after an interruption, do it again."""


@command()
@click.argument("where", metavar="PATH_OR_URI")
@click.option(
    "--artifacts",
    "moved",
    multiple=True,
    metavar="OLD=NEW",
    help="Where artifacts are now: the beginning of their address there, and a folder here. May be given more than once.",
)
@click.option("--experiment", multiple=True, help="Only this experiment, by name, without the registry.")
@click.option(
    "--no-artifacts", is_flag=True, help="Leave artifacts and models' files; a later import brings them."
)
def mlflow(where: str, moved: tuple[str, ...], experiment: tuple[str, ...], no_artifacts: bool) -> None:
    """Bring in an MLflow store: an mlruns folder, an mlflow.db, the URL of a Postgres one, or a server's address.

    A server that asks for a login gets MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN.
    """
    from everloop.exchange.mlflow.opening import open_source

    _import(open_source(where, [_pair(each) for each in moved]), experiment, files=not no_artifacts)


@command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--experiment", default="", help="What the experiment is called; the folder's name when not given."
)
def tensorboard(folder: Path, experiment: str) -> None:
    """Bring in a TensorBoard log folder: each folder with event files is a run.

    Scalars become metrics, hyperparameters parameters, images and texts artifacts; histograms, audio and graphs are left.
    """
    from everloop.exchange.tensorboard.reading import LogFolder

    _import(LogFolder(folder, experiment))


@command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--experiment", default="", help="What the experiment is called; each run's project when not given."
)
def wandb(folder: Path, experiment: str) -> None:
    """Bring in run folders of Weights & Biases: the folder called wandb, or one run's.

    Its package need not be installed. Configuration becomes parameters, numbers of the history and of the machine metrics, what
    the client kept in files artifacts; histograms and other media of the history are left where they are no files.
    """
    from everloop.exchange.wandb.reading import RunFolders

    _import(RunFolders(folder, experiment))


@command("csv")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--experiment", default="", help="Of rows that name none; the file's name when not given.")
@click.option("--params", default="", help="Columns that are parameters though they hold numbers, by comma.")
@click.option("--metrics", default="", help="Columns that are metrics, by comma.")
def csv_(path: Path, experiment: str, params: str, metrics: str) -> None:
    """Bring in a table of runs: one row a run, also as `runs export` and MLflow write it.

    Columns of numbers become metrics, others parameters, unless they are called params.X, metrics.X or tags.X.
    """
    from everloop.exchange.csvruns import CsvFile

    _import(CsvFile(path, experiment, params=_listed(params), metrics=_listed(metrics)))


@command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The definitions file to write; feast_features.py in the project's folder when not given.",
)
def feast(path: Path, out: Path | None) -> None:
    """Bring in a Feast repository: the folder with feature_store.yaml.

    Its Python files are run in a process of their own, as `feast apply` runs them; Feast need not be installed. Parquet files
    become datasets, views, services and on-demand views become definitions, written to a file and recorded.
    """
    from everloop.exchange.feast.bringing import bring_in_feast
    from everloop.exchange.feast.reading import read_config, read_repository

    config = read_config(path)
    repository = read_repository(config)
    report = bring_in_feast(workspace(write=True), config, repository, out=out, say=say)
    emit(report, _reported)
    if not as_json():
        click.echo(f"definitions: {', '.join(report.definitions)}")


@command()
@click.argument("folder", metavar="PATH", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--rev", "revision", default="HEAD", help="The branch, tag or commit whose history is read.")
@click.option(
    "--prefix",
    default="",
    help="What goes before an output's path to make the dataset's name, such as photos/",
)
def dvc(folder: Path, revision: str, prefix: str) -> None:
    """Bring in a DVC repository: each commit that changed a tracked file or folder becomes a version of a dataset.

    Content comes from its cache and from remotes that are folders; for another remote run `dvc fetch --all-commits` first.
    """
    from everloop.exchange.dvc.importing import DvcImport

    source = DvcImport(workspace(write=True).data, folder, revision=revision, prefix=prefix, say=say)
    report = source.run()
    emit(report, _reported)
    if not as_json():
        for each in report.run:
            click.echo(f"its stages run with: {each}")


def _listed(given: str) -> list[str]:
    return [each.strip() for each in given.split(",") if each.strip()]


def _pair(given: str) -> tuple[str, str]:
    old, equals, new = given.rpartition("=")
    if not equals or not old or not new:
        raise InvalidInput(
            f"'{given}' does not say what moved where", hint="such as --artifacts /old/mlruns=/new/mlruns"
        )
    if not Path(new).is_dir():
        raise InvalidInput(
            f"there is no folder {new}", hint="name the folder that is in the place of the old one"
        )
    return old, new


def _import(source: Source, only: tuple[str, ...] = (), *, files: bool = True) -> None:
    """Bring a source in and print the report. What it says is checked before a workspace is made."""
    from everloop.exchange.bringing import bring_in

    context = click.get_current_context()
    context.call_on_close(source.close)
    report = bring_in(workspace(write=True), source, only=only, files=files, say=say)
    emit(report, _reported)


def export_mlruns(runs: list[RunRecord], folder: Path) -> None:
    """The part of `runs export` that writes an mlruns folder."""
    from everloop.exchange.mlflow import exporting

    done = exporting.export_mlruns(workspace(), runs, folder)
    emit(done, lambda _: "\n".join(_told(done)))


def _told(done: Exported) -> list[str]:
    counts = {
        "runs": done.runs,
        "artifacts": done.artifacts,
        "logged models": done.logged_models,
        "versions": done.versions,
    }
    told = ", ".join(f"{number} {kind}" for kind, number in counts.items() if number) or "no runs"
    left = [f"left: {each.kind} {each.name}: {each.reason}" for each in done.skipped[:SHOWN]]
    return [f"{told} in {done.path}; MLflow reads it with: mlflow ui --backend-store-uri {done.path}", *left]


def _reported(report: Report) -> Any:
    from rich.console import Group

    kinds = [kind for kind in report.imported if report.imported[kind] or report.present.get(kind)]
    rows = [
        (
            kind.replace("_", " "),
            human_bytes(report.imported[kind]) if kind.endswith("bytes") else f"{report.imported[kind]:,}",
            f"{report.present[kind]:,}" if report.present.get(kind) else "",
        )
        for kind in kinds
    ]
    parts: list[Any] = [table([report.source, "new", "here before"], rows, right=["new", "here before"])]
    if report.changed:
        changed = [(each.kind, each.name, each.change) for each in report.changed[:SHOWN]]
        parts.append(table(["changed", "what", "how"], changed))
    if report.skipped:
        counts = Counter(each.kind for each in report.skipped)
        total = ", ".join(f"{number} {kind}" for kind, number in counts.items())
        left = [(each.kind, each.name, each.reason) for each in report.skipped[:SHOWN]]
        parts += [table(["left", "what", "why"], left), f"left: {total}"]
    return Group(*parts)


for each in (mlflow, tensorboard, wandb, csv_, feast, dvc):
    import_.add_command(each)
