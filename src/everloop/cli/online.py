"""Commands of the online store: features get, push, forget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everloop.cli.frame import answer_no, command, counted, emit, table, workspace
from everloop.cli.instants import Instant
from everloop.errors import InvalidInput

if TYPE_CHECKING:
    from datetime import datetime

    from everloop.domain.online import OnlineAnswer


@command()
@click.argument("features", metavar="VIEW|VIEW:FEATURE,…")
@click.argument("entities", metavar="KEY=VALUE[,KEY=VALUE]…", nargs=-1, required=True)
@click.option("--list", "is_list", is_flag=True, help="The name is that of a list of features.")
@click.option("--time", type=Instant(), help="Judge ages as of this instant; now when not given.")
def get(features: str, entities: tuple[str, ...], is_list: bool, time: datetime | None) -> None:
    """Values from the online store, one row for each entity, with their age: of a view, of several features at once
    (weather:temp,recent), or of a list of features. What a view on demand takes from the request stands beside the keys."""
    from everloop.domain.featureviews import FeatureName

    room = workspace().features
    keys = [_entity(each) for each in entities]
    if is_list:
        _emit_answer(room.ask_list(features, keys, time=time), keys)
        return
    several = "," in features or ":" in features.removeprefix("feature:")
    on_demand = {each.name for each in room.on_demand_views()}
    if several or FeatureName.parse(features).view in on_demand:
        _emit_answer(room.ask([each.strip() for each in features.split(",")], keys, time=time), keys)
        return
    found = room.get(features, keys, time)
    rows = [
        (
            ", ".join(map(str, row.keys.values())),
            row.status,
            _seconds(row.age),
            _seconds(row.staleness),
            *row.values.values(),
        )
        for row in found
    ]
    columns = [", ".join(found[0].keys), "status", "age", "stale for", *found[0].values]
    emit({"rows": found}, lambda _: table(columns, rows))


@command()
@click.argument("view")
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path))
def push(view: str, source: Path) -> None:
    """Take in new rows of a view's dataset (Parquet or CSV): kept for history, answered at once by the online store."""
    from everloop.data.tables.parquet import read_table

    done = workspace(write=True).features.push(view, read_table(source))
    told = f"{counted(done.rows, 'row')} in {done.data}" + (", which it had before" if done.unchanged else "")
    told += (
        f"; online: {done.applied:,} brought, {done.older:,} older or the same, {done.waiting:,} known later"
    )
    left = [f"materialize to show them: {each}" for each in done.left]
    emit(done, lambda _: "\n".join([told, *left]))


@command()
@click.argument("view", metavar="VIEW@vN")
def forget(view: str) -> None:
    """Take a view version out of the online store. Exit code 1 when it is not there. Materializing brings it back."""
    done = workspace(write=True).features.forget_online(view)
    emit({"reference": view, "forgotten": done}, lambda _: f"{view} is {'gone' if done else 'not there'}")
    if not done:
        answer_no()


def _emit_answer(answer: OnlineAnswer, keys: list[dict[str, Any]]) -> None:
    """Entity by entity, as people read it."""
    rows = [
        {
            "keys": key,
            "values": {each.name: each.values[place] for each in answer.features},
            "statuses": {each.name: each.statuses[place] for each in answer.features},
            "ages": {ref: fresh.ages[place] for ref, fresh in answer.freshness.items()},
            "staleness": {ref: fresh.staleness[place] for ref, fresh in answer.freshness.items()},
        }
        for place, key in enumerate(keys)
    ]
    shown = [
        (
            ", ".join(map(str, row["keys"].values())),
            _seconds(max((age for age in row["ages"].values() if age is not None), default=None)),
            *(
                row["statuses"][name] if row["statuses"][name] != "present" else value
                for name, value in row["values"].items()
            ),
        )
        for row in rows
    ]
    columns = [", ".join(keys[0]), "oldest", *(each.name for each in answer.features)]
    emit({"rows": rows}, lambda _: table(columns, shown))


def _seconds(number: float | None) -> str:
    return "" if number is None else f"{number:.0f} s"


def _entity(text: str) -> dict[str, Any]:
    pairs = [each.partition("=") for each in text.split(",")]
    if any(not sign for _, sign, _ in pairs):
        raise InvalidInput(f"'{text}' does not name an entity", hint="write KEY=VALUE, such as origin=JFK")
    return {key.strip(): value for key, _, value in pairs}
