"""The command diff: what differs between any two of one kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from everloop.cli.frame import command, emit, table, workspace
from everloop.errors import InvalidInput

if TYPE_CHECKING:
    from everloop.domain.differences import RunDifference, ValueChange


@command()
@click.argument("first", metavar="REF")
@click.argument("second", metavar="REF")
def diff(first: str, second: str) -> None:
    """What differs from one run, dataset version or model version to another of its kind.

    First what moved and what moved it, in one sentence. Runs: code (files and lines), data, environment, parameters, metrics; of
    model versions, those of the runs that made them.
    """
    from everloop.domain.references import Kind, Reference

    kinds = [_kind(each) for each in (first, second)]
    if kinds[0] is not kinds[1]:
        raise InvalidInput(
            f"{kinds[0].one} cannot be compared with {kinds[1].one}", hint="name two of one kind"
        )
    from everloop.workspace.causes import explained

    here = workspace()
    if kinds[0] is Kind.DATA:
        from everloop.cli.data_diff import shown_diff

        emit(here.data.diff(first, second), shown_diff)
        return
    if kinds[0] is Kind.MODEL:
        versions = [here.registry.version(str(Reference.parse(each, Kind.MODEL))) for each in (first, second)]
        for version in versions:
            if not version.run:
                raise InvalidInput(
                    f"{version.reference} was made by no run", hint="see: everloop why " + version.reference
                )
        found = here.tracking.diff(*(version.run for version in versions))
        one, other = (version.reference for version in versions)
        emit(explained(here, one, other, found), _shown)
        return
    if kinds[0] is not Kind.RUN:
        raise InvalidInput(
            f"two of the kind {kinds[0]} cannot be compared yet", hint="name runs, data or models"
        )
    found = here.tracking.diff(first, second)
    emit(explained(here, found.a, found.b, found), _shown)


def _kind(text: str) -> Any:
    """Of a reference; what names no kind is a run, by identifier or name."""
    from everloop.domain.references import Kind, Reference

    head = text.partition(":")[0]
    if head == Kind.RUN or ":" not in text:
        return Kind.RUN
    return Reference.parse(text).kind


def _shown(found: RunDifference) -> None:
    click.echo(found.cause)
    if found.same:
        click.echo(f"{found.b} has the same code, data, environment, parameters and metrics as {found.a}")
    code = found.code
    if code.before != code.after or code.files or code.note:
        click.echo(f"code: {code.before[:12] or 'no commit'} -> {code.after[:12] or 'no commit'}")
    if code.note:
        click.echo(f"  {code.note}")
    for each in code.files:
        click.echo(f"  {each.change} {each.path}" + (f" ({each.note})" if each.note else ""))
    for each in code.files:
        if each.diff:
            click.echo(each.diff, nl=False)
    parts = {
        "data": found.data,
        "environment": found.environment,
        "packages": found.packages,
        "parameters": found.params,
        "metrics": found.metrics,
        "tags": found.tags,
        "attributes": found.attributes,
    }
    for name, changed in parts.items():
        if changed:
            _table(name, changed)


def _table(name: str, changed: list[ValueChange]) -> None:
    from everloop.cli.frame import console
    from everloop.domain.runs import metric_text

    heads, rows = (
        [name, "before", "after"],
        [[each.key, each.before or "", each.after or ""] for each in changed],
    )
    if any(each.delta is not None for each in changed):
        heads.append("difference")
        for row, each in zip(rows, changed, strict=True):
            row.append(
                "" if each.delta is None else f"{'+' if each.delta > 0 else ''}{metric_text(each.delta)}"
            )
    console().print(table(heads, rows, right=heads[1:] if name == "metrics" else ()))
