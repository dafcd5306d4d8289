"""Commands about declared views: features apply, describe, impact, unused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everloop.cli.frame import command, counted, emit, human_bytes, table, workspace
from everloop.cli.instants import Instant
from everloop.errors import EverloopError, InvalidDefinition, InvalidInput

if TYPE_CHECKING:
    from datetime import datetime
    from types import ModuleType

    from everloop.domain.featureviews.changes import Cost, FeatureStatistics, ViewPlan
    from everloop.workspace.feature_users import Impact


@command()
@click.argument("definitions", nargs=-1)
@click.option(
    "--dry-run", is_flag=True, help="Say what would change and what a backfill would cost; change nothing."
)
@click.option("--backfill", is_flag=True, help="Fill the online store with the views that changed.")
@click.option("--until", type=Instant(), help="Backfill as of this instant; now when not given.")
@click.option("--yes", is_flag=True, help="Do not ask before a backfill.")
def apply(
    definitions: tuple[str, ...], dry_run: bool, backfill: bool, until: datetime | None, yes: bool
) -> None:
    """Record the views in definitions (files or dotted names; those of everloop.toml when none is named)."""
    from everloop.domain.featureviews import FeatureView, OnDemandView
    from everloop.domain.online import FeatureList
    from everloop.governance.definitions import declared, load

    here = workspace(write=not dry_run)
    specs = definitions or here.settings.definitions
    if not specs:
        raise InvalidInput(
            "no definitions are named", hint="name a file, or set definitions in everloop.toml"
        )
    modules = [load(spec, here.project) for spec in specs]
    views: list[Any] = [view for module in modules for view in declared(module, FeatureView)]
    views += [view for module in modules for view in declared(module, OnDemandView)]
    lists = [each for module in modules for each in declared(module, FeatureList)]
    if not views and not lists:
        raise InvalidDefinition(
            f"{', '.join(specs)} declares no feature view", hint="declare one with ev.feature_view(…)"
        )
    room = here.features
    with _placed(modules):
        plans = room.plan(views)
        recorded = [] if dry_run else room.apply(views)
    listed = [] if dry_run else room.apply_lists(lists)
    filled: list[Any] = []
    costly = [each for each in plans if each.cost is not None]
    if backfill and not dry_run and costly:
        if not yes:
            click.echo(
                "\n".join(f"backfill of {each.reference}: {_cost(each.cost)}" for each in costly), err=True
            )
            click.confirm("run it?", abort=True, err=True)
        filled = room.materialize([each.reference for each in costly], until=until or here.clock())
    digests = {each.reference: each.digest for each in recorded}
    answer = {
        "views": [
            {
                "reference": each.reference,
                "digest": digests.get(each.reference),
                "changed": each.changed,
                "changes": [one.sentence for one in each.changes],
                "cost": each.cost,
                "absent": each.absent,
            }
            for each in plans
        ],
        "lists": [{"name": each.name, "version": each.version} for each in listed],
        "filled": filled,
    }
    names = [_planned(each) for each in plans] + [f"list {each.name} v{each.version}" for each in listed]
    names += [f"{each.reference}: {each.entities:,} entities at hand" for each in filled]
    emit(answer, lambda _: "\n".join(names))


@command()
@click.argument("view")
@click.option("--at", multiple=True, help="A data version to read, such as flights@v3; the newest otherwise.")
@click.option("--kept", is_flag=True, help="Show what was described before instead of computing it.")
def describe(view: str, at: tuple[str, ...], kept: bool) -> None:
    """Statistics of a view's features, kept with the version of the view and of its data."""
    from everloop.domain.references import Kind, Reference

    room = workspace(write=not kept).features
    pinned = {Reference.parse(each, Kind.DATA).name: each for each in at}
    found = room.statistics(view) if kept else [room.describe(view, at=pinned)]
    emit({"statistics": found}, lambda _: _statistics(found))


@command()
@click.argument("feature", metavar="VIEW[:FEATURE]")
def impact(feature: str) -> None:
    """Which models, endpoints, runs and views use a feature, or any of a view."""
    from everloop.workspace.feature_users import impact as find

    found = find(workspace(), feature)
    emit(found, _impact)


@command()
def unused() -> None:
    """Features that no model takes and no other feature is computed from."""
    from everloop.workspace.feature_users import unused as find

    found = find(workspace())
    rows = [(each.feature, "yes" if each.read else "no") for each in found]
    emit({"unused": found}, lambda _: table(["feature", "its view was read"], rows))


@contextmanager
def _placed(modules: list[ModuleType]) -> Iterator[None]:
    """What is wrong with a declaration, with its file and line in front."""
    from everloop.features.places import line_of

    try:
        yield
    except EverloopError as error:
        for module in modules:
            file = Path(str(module.__file__))
            line = line_of(file.read_text(encoding="utf-8"), error.message)
            if line is not None and str(file) not in error.message:
                raise InvalidDefinition(f"{file}, line {line}: {error.message}", hint=error.hint) from error
        raise


def _planned(plan: ViewPlan) -> str:
    if not plan.changed:
        return f"{plan.reference}: as it was"
    told = [plan.reference if plan.before else f"{plan.reference}: new"]
    if plan.before:
        told = [
            f"{plan.reference}: instead of {plan.before}",
            *(f"  {each.sentence}" for each in plan.changes),
        ]
    if plan.cost is not None:
        told.append(f"  backfill: {_cost(plan.cost)}")
    told += [f"  not tried: there is no dataset '{each}' yet" for each in plan.absent]
    return "\n".join(told)


def _cost(cost: Cost | None) -> str:
    if cost is None:
        return "nothing to read"
    told = f"reads {counted(cost.rows, 'row')}, {human_bytes(cost.bytes)}"
    if cost.seconds is None:
        return f"{told}; how long it takes was never measured"
    whose = "of this view" if cost.same_view else "of other views"
    return f"{told}; about {cost.seconds:,.1f} s by {counted(cost.measured, 'earlier run')} {whose}"


def _statistics(found: list[FeatureStatistics]) -> Any:
    rows = []
    for each in found:
        for column in each.columns:
            number = column.number
            rows.append(
                (
                    column.name,
                    ", ".join(each.sources.values()),
                    each.rows,
                    column.nulls + column.nans,
                    column.distinct,
                    "" if number is None or number.mean is None else f"{number.mean:.6g}",
                    "" if number is None or number.sd is None else f"{number.sd:.6g}",
                    "" if number is None or number.low is None else f"{number.low:.6g}",
                    "" if number is None or number.high is None else f"{number.high:.6g}",
                )
            )
    columns = ["feature", "data", "rows", "missing", "different", "mean", "sd", "least", "greatest"]
    return table(
        columns, rows, right=columns[2:], title=found[0].reference if found else "nothing is kept yet"
    )


def _impact(found: Impact) -> Any:
    if not found.used:
        return f"nothing uses {found.feature}"
    rows = [
        (
            "model",
            each.model,
            ", ".join(each.aliases),
            each.feature if each.pinned else f"{each.feature} (newest)",
        )
        for each in found.models
    ]
    rows += [("endpoint", each, "", "") for each in found.endpoints]
    rows += [("view", each, "", "") for each in found.views]
    rows += [("run", each, "", "") for each in found.runs]
    return table(["kind", "who", "goes by", "takes"], rows, title=f"a change of {found.feature} reaches")
