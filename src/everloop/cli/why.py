"""The commands `why` and `status`: questions that go through all rooms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from everloop.cli.frame import command, console, emit, facts, table, workspace

if TYPE_CHECKING:
    from everloop.workspace.provenance import Link, Status, Why


@command()
@click.argument("reference")
def why(reference: str) -> None:
    """Where REFERENCE comes from, and what was made with it.

    REFERENCE is anything that can be named: run:ID, data:NAME@v3, model:NAME@champion, prediction:ID, alert:ID …; the kind may
    be left out where only one thing is called so.
    """
    emit(workspace().provenance.why(reference), _show)


@command()
def status() -> None:
    """What is in this workspace."""
    emit(workspace().provenance.status(), _show_status)


def _show(found: Why) -> None:
    out = console()
    out.print(f"[bold]{found.reference}[/bold]  {found.summary}")
    code, ran = found.code, found.environment
    dirty = " with uncommitted changes (kept)" if code.dirty else ""
    rows: list[tuple[str, object]] = []
    if code.source or code.commit:
        rows.append(("code", f"{code.source} at {code.commit[:12] or 'no commit'}{dirty}"))
    if found.data:
        rows.append(("data", ", ".join(found.data)))
    if found.described:
        named = (f"{each.name} ({each.context})" if each.context else each.name for each in found.described)
        rows.append(("described data", ", ".join(named)))
    if found.parameters:
        rows.append(
            ("parameters", ", ".join(f"{key}={value}" for key, value in sorted(found.parameters.items())))
        )
    if ran.packages:
        rows.append(("environment", f"Python {ran.python}, {len(ran.packages)} packages, {ran.platform}"))
    if features := found.facts.get("features"):
        shown = features.items() if isinstance(features, dict) else [(each, "") for each in features]
        rows.append(("features", ", ".join(f"{key}={value}" if value != "" else key for key, value in shown)))
    if found.predictions:
        total = sum(found.predictions.values())
        by_model = ", ".join(f"{model} {count:,}" for model, count in found.predictions.items())
        rows.append(("predictions", f"{total:,} ({by_model})"))
    rows.append(("complete", "yes" if found.complete else "no: " + "; ".join(found.missing)))
    out.print(facts(rows))
    for title, links in (("made from", found.upward), ("went into", found.downward)):
        if links:
            out.print(_links(title, links))


def _links(title: str, links: list[Link], most: int = 40) -> object:
    rows = [(link.source, link.role, link.target) for link in links[:most]]
    if len(links) > most:
        rows.append((f"… and {len(links) - most} more (--json has all)", "", ""))
    return table(["from", "", "to"], rows, title=title)


def _show_status(found: Status) -> object:
    rows: list[tuple[str, object]] = [("workspace", found.workspace), *found.counts.items()]
    rows += [("open alerts", found.open_alerts), ("events", found.events)]
    rows += [("newest", found.newest)] if found.newest else []
    return facts(rows)
