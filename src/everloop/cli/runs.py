"""Commands of tracking: runs list, show, compare, delete, restore, purge, export; resume."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everloop.cli.frame import answer_no, command, emit, facts, human_bytes, say, table, workspace
from everloop.errors import InvalidInput

if TYPE_CHECKING:
    from everloop.domain.runs import Comparison, RunDetail, RunRecord
    from everloop.tracking.tracking import Tracking

STATES = click.Choice(["active", "deleted", "all"])


def _tracking(*, write: bool = False) -> Tracking:
    """The room, with what killed processes of this machine left behind brought in."""
    room: Tracking = workspace(write=write).tracking
    room.ship_pending()
    return room


@click.group()
def runs() -> None:
    """Experiments' runs: find, compare, delete, export."""


@command("list")
@click.option("--where", default="", help="A filter, such as: metrics.rmse < 1 and params.model = 'tree'")
@click.option("--experiment", multiple=True, help="Only runs of this experiment (name or number).")
@click.option("--state", type=STATES, default="active", show_default=True)
@click.option("--columns", help="Parameters and metrics to show, by comma; all when not given.")
@click.option("--order-by", multiple=True, help="Such as: metrics.rmse desc. Newest first when not given.")
@click.option("--limit", type=click.IntRange(1, 50_000), default=100, show_default=True)
def list_(
    where: str,
    experiment: tuple[str, ...],
    state: Any,
    columns: str | None,
    order_by: tuple[str, ...],
    limit: int,
) -> None:
    """The runs table."""
    page = _tracking().search(where, list(experiment), state, list(order_by), limit, count=True)
    emit(
        {"runs": page.runs, "total": page.total, "next_page": page.next_page},
        lambda _: _listed(page.runs, columns, page.total or 0),
    )


@command()
@click.argument("run")
def show(run: str) -> None:
    """Everything about one run: an identifier, a beginning of one, or a name."""
    emit(_tracking().describe(run), _described)


@command()
@click.argument("chosen", metavar="RUN RUN…", nargs=-1, required=True)
def compare(chosen: tuple[str, ...]) -> None:
    """Runs side by side; what differs comes first."""
    emit(_tracking().compare(list(chosen)), _compared)


@command()
@click.argument("chosen", metavar="RUN…", nargs=-1, required=True)
def delete(chosen: tuple[str, ...]) -> None:
    """Put runs aside; `runs restore` brings them back."""
    deleted = _tracking().delete_runs(list(chosen))
    emit({"deleted": deleted}, lambda _: "\n".join(f"deleted {each}" for each in deleted))


@command()
@click.argument("chosen", metavar="RUN…", nargs=-1, required=True)
def restore(chosen: tuple[str, ...]) -> None:
    """Bring deleted runs back."""
    restored = _tracking().restore_runs(list(chosen))
    emit({"restored": restored}, lambda _: "\n".join(f"restored {each}" for each in restored))


@command()
@click.argument("chosen", metavar="RUN…", nargs=-1, required=True)
def purge(chosen: tuple[str, ...]) -> None:
    """Forget deleted runs for good. The audit log keeps that they existed."""
    purged = _tracking().purge_runs(list(chosen))
    emit({"purged": purged}, lambda _: "\n".join(f"purged {each}" for each in purged))


@command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--format", "given", type=click.Choice(["csv", "json", "parquet"]), help="Else by the file's ending."
)
@click.option("--where", default="", help="A filter, as of `runs list`.")
@click.option("--experiment", multiple=True, help="Only runs of this experiment.")
@click.option("--state", type=STATES, default="active", show_default=True)
@click.option("--order-by", multiple=True, help="Such as: metrics.rmse desc.")
def export(
    path: Path, given: Any, where: str, experiment: tuple[str, ...], state: Any, order_by: tuple[str, ...]
) -> None:
    """Write runs into a file: CSV, JSON or Parquet; `-` is standard output."""
    from everloop.tracking import exporting

    format: Any = given or path.suffix.lstrip(".")
    if format not in {"csv", "json", "parquet"}:
        raise InvalidInput(
            f"the format of {path} is not known",
            hint="end the name in .csv, .json or .parquet, or give --format",
        )
    found = _tracking().runs(where, experiment=experiment, state=state, order_by=order_by, limit=None)
    content = exporting.export([run.record for run in found], format)
    if str(path) == "-":
        sys.stdout.buffer.write(content)
        return
    try:
        path.write_bytes(content)
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be written: {error.strerror}", hint="name a file in a folder that is there"
        ) from None
    emit({"path": str(path), "runs": len(found), "format": format}, lambda _: f"{len(found)} runs in {path}")


@command()
@click.argument("run")
def resume(run: str) -> None:
    """Go on with a run that was cut off: its command is started again, and goes on at its last checkpoint."""
    from everloop.tracking.resuming import resume_command

    answer = resume_command(_tracking(write=True), run, say=say)
    emit(
        answer,
        lambda value: (
            f"run {value.run} goes on from {value.resumed_from} and is {value.status}"
            if value.run
            else f"the command ended with {value.exit_code} and started no run that goes on from {value.resumed_from}"
        ),
    )
    if answer.status != "finished" or answer.exit_code:
        answer_no()


for each in (list_, show, compare, delete, restore, purge, export):
    runs.add_command(each)


def _listed(found: list[RunRecord], columns: str | None, total: int) -> Any:
    from rich.console import Group

    from everloop.tracking.exporting import runs_table

    if not found:
        return "no runs match"
    chosen = None if columns is None else [each.strip() for each in columns.split(",") if each.strip()]
    params = None if chosen is None else [key for key in chosen if any(key in run.params for run in found)]
    metrics = None if chosen is None else [key for key in chosen if any(key in run.metrics for run in found)]
    shown = runs_table(found, params, metrics)
    odd = [run.status if run.status != "finished" else "" for run in found]
    heads, rows = shown.columns, shown.rows
    if any(odd):
        heads = [*heads, "status"]
        rows = [[*row, status] for row, status in zip(rows, odd, strict=True)]
    counted = f"{total} matching runs" if total != 1 else "1 matching run"
    more = "" if total == len(found) else f", the first {len(found)} of them shown"
    return Group(table(heads, rows, right=[*shown.params, *shown.metrics]), counted + more)


def _described(detail: RunDetail) -> Any:
    from rich.console import Group

    from everloop.domain.runs import metric_text

    run, captured = detail.run, detail.captured
    head: list[tuple[str, object]] = [
        ("run", run.run_id),
        ("name", run.name),
        ("experiment", run.experiment),
        ("status", run.status + ("" if run.state == "active" else f", {run.state}")),
        ("user", run.user),
        ("started", run.start_time),
        ("ended", run.end_time or ""),
        ("source", run.source),
        ("commit", captured.commit + (" with uncommitted changes" if captured.dirty else "")),
        ("command", " ".join(captured.command)),
        ("parent", run.parent or ""),
        ("resumed from", run.resumed_from or ""),
        ("consumed", ", ".join(detail.consumed)),
        ("produced", ", ".join(detail.produced)),
        ("checkpoints", len(detail.checkpoints) or ""),
    ]
    parts: list[Any] = [facts([(name, value) for name, value in head if value != ""])]
    if run.params:
        parts.append(table(["parameter", "value"], sorted(run.params.items())))
    if detail.metrics:
        names = ("last", "min", "max", "mean")
        rows = [
            (each.key, *(metric_text(each.number(name)) for name in names), each.count)
            for each in detail.metrics
        ]
        parts.append(table(["metric", *names, "points"], rows, right=[*names, "points"]))
    if run.tags:
        parts.append(table(["tag", "value"], sorted(run.tags.items())))
    if detail.artifacts:
        files = [(each.path, human_bytes(each.size), each.digest[:12]) for each in detail.artifacts]
        parts.append(table(["file", "size", "digest"], files, right=["size"]))
    return Group(*parts)


def _compared(found: Comparison) -> Any:
    heads = ["", *(run.name for run in found.runs)]
    rows = [
        [("* " if row.differs else "  ") + row.key, *(value or "" for value in row.values)]
        for group in (found.params, found.metrics, found.attributes, found.tags)
        for row in group
    ]
    return table(heads, rows, title="what differs is marked with *")
