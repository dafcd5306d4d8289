"""Commands of tracking: runs list, show, compare, views, rename, delete, restore, purge, export; resume."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everloop.cli.experiments import experiments
from everloop.cli.frame import answer_no, command, console, emit, facts, human_bytes, say, table, workspace
from everloop.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from everloop.domain.listing import RunKeys
    from everloop.domain.repeats import Grouping, Mean
    from everloop.domain.runs import Comparison, RunDetail, RunRecord
    from everloop.domain.search import Field
    from everloop.domain.views import RunView
    from everloop.tracking.tracking import Tracking

MOST_COLUMNS = 40
"""Parameters, and metrics, that are shown when no columns are named."""
MOST_CUT_OFF = 3
"""Runs that were cut off of which the list says how they go on."""
MOST_KEYS = 20_000
"""How many keys of each kind a wrong name is compared with."""
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
@click.option("--where", help="A filter, such as: metrics.rmse < 1 and params.model = 'tree'")
@click.option("--experiment", multiple=True, help="Only runs of this experiment (name or number).")
@click.option("--state", type=STATES, help="active when not given.")
@click.option(
    "--columns", help="Parameters, metrics, tags and attributes to show, by comma; all when not given."
)
@click.option("--order-by", multiple=True, help="Such as: metrics.rmse desc. Newest first when not given.")
@click.option(
    "--group-by", help="Parameters, tags or attributes, by comma: groups with the mean of each metric."
)
@click.option("--limit", type=click.IntRange(1, 50_000), default=100, show_default=True)
@click.option("--view", "view_name", help="A saved view; options given here come before its own.")
@click.option("--save-view", help="Keep these options under a name.")
def list_(
    where: str | None,
    experiment: tuple[str, ...],
    state: Any,
    columns: str | None,
    order_by: tuple[str, ...],
    group_by: str | None,
    limit: int,
    view_name: str | None,
    save_view: str | None,
) -> None:
    """The runs table, or groups of runs."""
    from everloop.domain.views import RunView

    tracking = _tracking()
    saved = tracking.view(view_name) if view_name else RunView("")
    wanted = RunView(
        name=save_view or "",
        where=saved.where if where is None else where,
        experiment=list(experiment) or saved.experiment,
        state=state or saved.state,
        columns=saved.columns if columns is None else _names(columns),
        order_by=list(order_by) or saved.order_by,
        group_by=saved.group_by if group_by is None else _names(group_by),
        nested=saved.nested,
        widths=saved.widths,
    )
    if wanted.group_by:
        _list_groups(tracking, wanted)
    else:
        _list_runs(tracking, wanted, limit, shown=columns is not None or bool(wanted.columns))
    if save_view:
        kept = ("where", "experiment", "state", "columns", "order_by", "group_by", "nested", "widths")
        tracking.save_view(save_view, **{name: getattr(wanted, name) for name in kept})


@command()
@click.option("--delete", metavar="NAME", help="Forget this view.")
def views(delete: str | None) -> None:
    """Saved views: ways to look at runs, for `runs list --view NAME`."""
    tracking = _tracking(write=delete is not None)
    if delete is not None:
        emit({"deleted": tracking.delete_view(delete)}, lambda _: f"deleted the view {delete}")
        return
    emit({"views": tracking.views()}, lambda value: _views(value["views"]))


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
@click.argument("run")
@click.argument("name")
def rename(run: str, name: str) -> None:
    """Give a run another name."""
    tracking = _tracking(write=True)
    changed = tracking.log(tracking.resolve(run), name=name)
    emit(changed, lambda _: f"run {changed.run_id} is called {name}")


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
    """Forget deleted runs for good. The audit log keeps that they existed; `data gc` then frees their bytes."""
    purged = _tracking().purge_runs(list(chosen))
    lines = [*(f"purged {each}" for each in purged), "their bytes go with the next: everloop data gc"]
    emit({"purged": purged}, lambda _: "\n".join(lines))


@command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "given",
    type=click.Choice(["csv", "json", "parquet", "mlruns"]),
    help="Else by the file's ending; mlruns is a folder that MLflow reads.",
)
@click.option("--where", default="", help="A filter, as of `runs list`.")
@click.option("--experiment", multiple=True, help="Only runs of this experiment.")
@click.option("--state", type=STATES, default="active", show_default=True)
@click.option("--order-by", multiple=True, help="Such as: metrics.rmse desc.")
def export(
    path: Path, given: Any, where: str, experiment: tuple[str, ...], state: Any, order_by: tuple[str, ...]
) -> None:
    """Write runs into a file: CSV, JSON or Parquet (`-` is standard output); or with all they logged, as an mlruns folder."""
    from everloop.tracking import exporting

    format: Any = given or path.suffix.lstrip(".")
    if format not in {"csv", "json", "parquet", "mlruns"}:
        raise InvalidInput(
            f"the format of {path} is not known",
            hint="end the name in .csv, .json or .parquet, or give --format",
        )
    found = _tracking().runs(where, experiment=experiment, state=state, order_by=order_by, limit=None)
    if format == "mlruns":
        from everloop.cli.importing import export_mlruns

        export_mlruns([run.record for run in found], path)
        return
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


for each in (list_, show, compare, views, rename, delete, restore, purge, export, experiments):
    runs.add_command(each)


def _names(given: str) -> list[str]:
    return [each.strip() for each in given.split(",") if each.strip()]


def _keys(tracking: Tracking) -> Callable[[], RunKeys]:
    return lambda: tracking.run_keys(limit=MOST_KEYS)


def _list_runs(tracking: Tracking, wanted: RunView, limit: int, *, shown: bool) -> None:
    from everloop.domain.search import parse_filter, parse_order
    from everloop.tracking.columns import check_known, columns_of, fields_in

    page = tracking.search(wanted.where, wanted.experiment, wanted.state, wanted.order_by, limit, count=True)
    keys = _keys(tracking)
    check_known((parse_order(each).field for each in wanted.order_by), page.runs, keys)
    if not page.runs:
        check_known(fields_in(parse_filter(wanted.where)), page.runs, keys)
    columns = columns_of(wanted.columns, page.runs, keys) if shown else None
    emit(
        {"runs": page.runs, "total": page.total, "next_page": page.next_page},
        lambda _: _listed(page.runs, columns, page.total or 0),
    )


def _list_groups(tracking: Tracking, wanted: RunView) -> None:
    from everloop.domain.search import parse_filter, parse_order
    from everloop.tracking.columns import check_known, columns_of, field_named, fields_in, written

    keys = _keys(tracking)
    by = [written(field_named(each, keys)) for each in wanted.group_by]
    metrics = [each for each in columns_of(wanted.columns, [], keys) if each.entity == "metric"]
    if len(wanted.order_by) > 1:
        raise InvalidInput("groups are ranked by one metric", hint="give --order-by once")
    order = wanted.order_by[0] if wanted.order_by else ""
    if order:
        check_known([parse_order(order).field], [], keys)
    found = tracking.group_runs(
        by, wanted.where, wanted.experiment, wanted.state, list(map(written, metrics)), order
    )
    if not found.runs:
        check_known(fields_in(parse_filter(wanted.where)), [], keys)
    emit(found, lambda _: _grouped(found, wanted.group_by))


def _listed(found: list[RunRecord], columns: list[Field] | None, total: int) -> Any:
    from everloop.cli.lines import lines
    from everloop.tracking.columns import cell
    from everloop.tracking.exporting import runs_table

    if not found:
        return "no runs match"
    params, metrics, left_out = _common_keys(found) if columns is None else ([], [], 0)
    made = runs_table(found, params, metrics)
    heads, rows, right = [*made.columns], made.rows, {*made.params, *made.metrics}
    odd = [run.status if run.status != "finished" else "" for run in found]
    extra = (
        [] if columns is None else [each for each in columns if each.key != "status" or each.entity != "text"]
    )
    for field in extra:
        heads.append(field.key)
        right |= {field.key} if field.entity in {"param", "metric"} else set()
        rows = [[*row, cell(run, field)] for row, run in zip(rows, found, strict=True)]
    if any(odd):
        heads.append("status")
        rows = [[*row, status] for row, status in zip(rows, odd, strict=True)]
    counted = f"{total} matching runs" if total != 1 else "1 matching run"
    more = "" if total == len(found) else f", the first {len(found)} of them shown"
    more += f"; {left_out} more columns can be named with --columns" if left_out else ""
    _print(lines(heads, rows, right=right), "\n".join([counted + more, *_to_go_on_with(found)]))
    return None


def _to_go_on_with(found: list[RunRecord]) -> list[str]:
    """How those runs go on that were cut off, and that none went on from."""
    from everloop.domain.runs import INTERRUPTED, KILLED

    went_on = {run.resumed_from for run in found}
    cut_off = [
        run
        for run in found
        if run.status in {KILLED, INTERRUPTED} and not run.parent and run.run_id not in went_on
    ]
    said = [
        f"{run.name} was {run.status}; to go on: everloop resume {run.run_id}"
        for run in cut_off[:MOST_CUT_OFF]
    ]
    more = len(cut_off) - len(said)
    return said + ([f"{more} more cut off; everloop runs show RUN says how one goes on"] if more else [])


def _common_keys(found: list[RunRecord]) -> tuple[list[str], list[str], int]:
    """The parameters and metrics that most of these runs have, and how many there are besides."""
    from everloop.domain.runs import OF_THE_MACHINE

    kept, left_out = [], 0
    for group in ("params", "metrics"):
        count = Counter(
            key for run in found for key in getattr(run, group) if not key.startswith(OF_THE_MACHINE)
        )
        most = sorted(count, key=lambda key: (-count[key], key))
        kept.append(sorted(most[:MOST_COLUMNS]))
        left_out += len(most[MOST_COLUMNS:])
    return kept[0], kept[1], left_out


def _grouped(found: Grouping, by: list[str]) -> Any:
    from everloop.cli.lines import lines

    if not found.groups:
        return "no runs match"
    heads = [*by, "runs", *found.metrics] + (["verdict"] if found.ranked_by else [])
    verdicts = {True: "tie", False: "worse", None: "cannot be told"}
    rows = []
    for number, group in enumerate(found.groups):
        row = [*("" if each is None else each for each in group.values), str(group.runs)]
        row += [_mean(group.metrics.get(name)) for name in found.metrics]
        if found.ranked_by:
            row.append("best" if number == 0 else verdicts[group.tied])
        rows.append(row)
    said = (
        f"{found.runs} runs in {len(found.groups)} groups; mean ± the half of its {found.level:.0%} interval"
    )
    _print(lines(heads, rows, right=["runs", *found.metrics]), said)
    return None


def _mean(mean: Mean | None) -> str:
    """``0.512 ± 0.013``; one run alone has no interval."""
    from everloop.domain.runs import metric_text

    if mean is None:
        return ""
    text = metric_text(mean.mean)
    return text if mean.high is None else f"{text} ± {metric_text(mean.high - mean.mean)}"


def _print(made: Any, after: str) -> None:
    """A table, which is text where it fits, and a line below."""
    if isinstance(made, str):
        click.echo(made)
    else:
        console().print(made)
    click.echo(after)


def _views(found: list[RunView]) -> Any:
    if not found:
        return "no views are saved; runs list … --save-view NAME saves one"
    rows = [
        (
            each.name,
            each.where,
            ", ".join(each.columns),
            ", ".join(each.order_by),
            ", ".join(each.group_by),
            each.user,
        )
        for each in found
    ]
    return table(["view", "where", "columns", "order", "grouped by", "user"], rows)


def _described(detail: RunDetail) -> Any:
    from rich.console import Group

    from everloop.domain.runs import INTERRUPTED, KILLED, metric_text

    run, captured = detail.run, detail.captured
    stopped = run.status in {KILLED, INTERRUPTED} and not run.parent
    head: list[tuple[str, object]] = [
        ("run", run.run_id),
        ("name", run.name),
        ("experiment", run.experiment),
        ("status", run.status + ("" if run.state == "active" else f", {run.state}")),
        ("user", run.user),
        ("started", run.start_time),
        ("ended", run.end_time or ""),
        ("go on with", f"everloop resume {run.run_id}" if stopped else ""),
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
    if detail.datasets:
        used = [(each.name, each.context, each.rows, each.digest[:12]) for each in detail.datasets]
        parts.append(table(["dataset used", "for", "rows", "digest"], used, right=["rows"]))
    if run.tags:
        parts.append(table(["tag", "value"], sorted(run.tags.items())))
    if detail.artifacts:
        files = [(each.path, human_bytes(each.size), each.digest[:12]) for each in detail.artifacts]
        parts.append(table(["file", "size", "digest"], files, right=["size"]))
    return Group(*parts)


def _compared(found: Comparison) -> Any:
    from rich.console import Group

    heads = ["", *(run.name for run in found.runs)]
    rows = [
        [("* " if row.differs else "  ") + row.key, *(value or "" for value in row.values)]
        for group in (found.params, found.metrics, found.attributes, found.tags)
        for row in group
    ]
    side_by_side = table(heads, rows, title="what differs is marked with *")
    if not found.deltas:
        return side_by_side
    return Group(side_by_side, _deltas(found))


def _deltas(found: Comparison) -> Any:
    """How the groups' metrics differ from those of the first group: a tie is a tie."""
    from everloop.domain.runs import metric_text

    def name(number: int) -> str:
        group = found.groups[number]
        if len(group.runs) == 1:
            return found.runs[group.runs[0]].name
        shared = ", ".join(f"{key}={value}" for key, value in group.params.items())
        return f"{len(group.runs)} runs" + (f" with {shared}" if shared else "")

    verdicts = {True: "a tie", False: "differs", None: ""}
    rows = []
    for each in found.deltas:
        interval = "" if each.low is None else f"{metric_text(each.low)} to {metric_text(each.high or 0.0)}"
        rows.append((each.metric, name(each.group), _signed(each.delta), interval, verdicts[each.tie]))
    heads = ["metric", "runs", "difference", "95 % interval", ""]
    return table(heads, rows, right=["difference", "95 % interval"], title=f"against {name(0)}")


def _signed(delta: float) -> str:
    from everloop.domain.runs import metric_text

    return ("+" if delta > 0 else "") + metric_text(delta)
