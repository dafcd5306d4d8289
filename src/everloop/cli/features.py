"""Commands of the features room: features list, history, materialize, parity; `online` has get, push, forget,
`feature_definitions` apply, describe, impact, unused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everloop.cli.feature_definitions import apply, describe, impact, unused
from everloop.cli.frame import answer_no, command, counted, emit, table, workspace
from everloop.cli.instants import Instant
from everloop.cli.online import forget, get, push
from everloop.errors import InvalidInput

if TYPE_CHECKING:
    from datetime import datetime

    from everloop.domain.featureviews import ParityReport

FEATURES = click.option(
    "--feature",
    "features",
    multiple=True,
    required=True,
    help="view:feature, or view for all of it; give it again for more.",
)
TIME = click.option("--time", "time", required=True, help="The column of instants.")
NONE_YET = "no feature views yet; declare one, ev.feature_view(…), then: everloop features apply"
AT = click.option(
    "--at", multiple=True, help="A data version to read, such as flights@v3; the newest otherwise."
)


@click.group()
def features() -> None:
    """Feature views: what was known of an entity at a moment."""


@command("list")
def list_() -> None:
    """All views, with their features and what the online store has of them."""
    room = workspace().features
    online = {each.reference: each for each in room.materialized()}
    records = room.views()
    views = [
        {
            "name": record.name,
            "reference": record.reference,
            "entity": record.view.entity.name,
            "keys": record.view.entity.keys,
            "sources": record.view.sources,
            "features": [each.name for each in record.view.features],
            "ttl": record.view.ttl,
            "materialized": online[record.reference].until if record.reference in online else None,
        }
        for record in records
    ]
    rows = [
        (
            record.reference,
            ", ".join(record.view.entity.keys),
            ", ".join(record.view.sources),
            ", ".join(each.name for each in record.view.features),
            record.view.ttl or "",
            online[record.reference].until if record.reference in online else "",
        )
        for record in records
    ]
    for made in room.on_demand_views():
        request = [each.column for each in made.view.request]
        inputs = [each.name for each in made.view.inputs]
        views.append(
            {
                "name": made.name,
                "reference": made.reference,
                "request": request,
                "inputs": inputs,
                "features": made.view.names,
            }
        )
        rows.append(
            (
                made.reference,
                ", ".join(request),
                ", ".join(inputs),
                ", ".join(made.view.names),
                "",
                "on demand",
            )
        )
    columns = ["view", "keys", "from", "features", "lives", "online as of"]
    emit({"views": views}, lambda _: table(columns, rows, empty=NONE_YET))


@command()
@click.option(
    "--in",
    "source",
    required=True,
    type=click.Path(path_type=Path),
    help="Keys and instants: Parquet or CSV.",
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Where the answer goes: Parquet or CSV."
)
@FEATURES
@TIME
@AT
def history(source: Path, out: Path, features: tuple[str, ...], time: str, at: tuple[str, ...]) -> None:
    """Features as they were known at each row's instant. Every row comes back once, in order."""
    from everloop.data.tables.parquet import read_table, write_table

    frame = read_table(source)
    answer = workspace().features.history(frame, list(features), time=time, at=_pinned(at))
    write_table(answer, out)
    columns = answer.column_names[frame.num_columns :]
    sources = json.loads(answer.schema.metadata.get(b"everloop.sources", b"{}"))
    done = {
        "rows": answer.num_rows,
        "out": str(out),
        "columns": columns,
        "nulls": {name: answer[name].null_count for name in columns},
        "sources": sources,
    }
    emit(
        done,
        lambda d: (
            f"{counted(d['rows'], 'row')} with {counted(len(columns), 'feature')} in {out}, from {_listed(sources)}"
        ),
    )


@command()
@click.argument("views", nargs=-1)
@click.option("--until", type=Instant(), help="As of this instant; now when not given.")
@AT
def materialize(views: tuple[str, ...], until: datetime | None, at: tuple[str, ...]) -> None:
    """Put the values of all entities into the online store; all views when none is named."""
    here = workspace(write=True)
    done = here.features.materialize(list(views), until=until or here.clock(), at=_pinned(at))
    rows = [(m.reference, m.until, m.entities, m.written, _listed(m.sources), m.seconds) for m in done]
    columns = ["view", "as of", "entities", "written", "from", "seconds"]
    emit(
        {"materialized": done},
        lambda _: table(columns, rows, right=["entities", "written", "seconds"], empty=NONE_YET),
    )


@command()
@click.argument("logged", metavar="FILE|endpoint:NAME")
@click.option(
    "--feature",
    "features",
    multiple=True,
    help="view:feature, or view for all of it; give it again for more. Of an endpoint, its model's when not given.",
)
@click.option("--time", "time", default="", help="The column of instants; an endpoint's log has its own.")
@click.option(
    "--model", default="", help="Of an endpoint: which model's rows; of the one that answered last else."
)
@click.option("--since", type=Instant(), help="Of an endpoint: rows from this instant on.")
@click.option("--until", type=Instant(), help="Of an endpoint: rows before this instant.")
@AT
@click.option("--tolerance", type=float, help="Greatest relative difference of two equal numbers.")
@click.option("--record", is_flag=True, help="Keep the report with the views.")
def parity(
    logged: str,
    features: tuple[str, ...],
    time: str,
    model: str,
    since: datetime | None,
    until: datetime | None,
    at: tuple[str, ...],
    tolerance: float | None,
    record: bool,
) -> None:
    """Recompute logged features from history and compare: of a Parquet or CSV file, or of what an endpoint's model was fed.
    Exit code 1 when any differs."""
    from everloop.data.tables.parquet import read_table
    from everloop.workspace.logged_features import TIME as LOGGED_TIME
    from everloop.workspace.logged_features import logged_features

    here = workspace(write=record)
    wanted = list(features)
    if logged.startswith("endpoint:"):
        found = logged_features(here, logged, model=model, since=since, until=until)
        rows, time, wanted = found.rows, time or LOGGED_TIME, wanted or found.features
    else:
        if not (features and time):
            raise InvalidInput("say which features a file has, and when", hint="--feature VIEW --time COLUMN")
        if model or since or until:
            raise InvalidInput(
                "--model, --since and --until are about an endpoint's log", hint="endpoint:NAME"
            )
        rows = read_table(Path(logged))
    report = here.features.parity(rows, wanted, time=time, at=_pinned(at), tolerance=tolerance)
    if record:
        here.features.record_parity(report)
    emit(report, _parity)
    if report.different:
        answer_no()


@command("parity-reports")
@click.argument("view", required=False, default="")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many, newest first."
)
def parity_reports(view: str, limit: int) -> None:
    """Reports of parity that were kept, of all views or of one."""
    found = workspace().features.parity_reports(view, limit)
    rows = [
        (
            each.id,
            each.time,
            ", ".join(each.views),
            each.report.compared,
            each.report.different,
            "; ".join(
                f"{c.column}: {c.cause or 'unexplained'}" for c in each.report.columns if c.rows_different
            ),
        )
        for each in found
    ]
    columns = ["report", "when", "views", "rows", "differ", "what it looks like"]
    emit({"reports": found}, lambda _: table(columns, rows, right=["rows", "differ"]))


for each in (
    list_,
    apply,
    history,
    materialize,
    get,
    push,
    forget,
    parity,
    parity_reports,
    describe,
    impact,
    unused,
):
    features.add_command(each)


def _parity(report: ParityReport) -> Any:
    if not report.different:
        number = len(report.columns)
        compared = (
            "its feature is as history has it"
            if number == 1
            else f"all {number} features are as history has them"
        )
        return f"{counted(report.compared, 'row')}: {compared}"
    rows = [
        (c.column, c.rows_different, c.missing, c.max_abs, c.first_time, c.cause)
        for c in report.columns
        if c.rows_different
    ]
    title = f"{report.different:,} of {counted(report.compared, 'row')} {'differs' if report.different == 1 else 'differ'}"
    columns = ["feature", "rows", "one side missing", "largest difference", "since", "what it looks like"]
    return table(columns, rows, right=columns[1:4], title=title)


def _pinned(at: tuple[str, ...]) -> dict[str, str]:
    from everloop.domain.references import Kind, Reference

    return {Reference.parse(each, Kind.DATA).name: each for each in at}


def _listed(sources: dict[str, str]) -> str:
    return ", ".join(sources.values())
