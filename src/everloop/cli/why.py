"""The commands `why` and `status`: questions that go through all rooms."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from everloop.cli.frame import command, console, counted, emit, facts, table, workspace
from everloop.errors import InvalidInput

if TYPE_CHECKING:
    from everloop.workspace.provenance import Link, Status, Why


@command()
@click.argument("reference")
@click.option(
    "--graph",
    "style",
    type=click.Choice(("mermaid", "dot", "json")),
    help="Print the lineage as a graph: for Markdown, Graphviz or a program.",
)
@click.option("--limit", default=500, show_default=True, help="How many runs to follow, the newest first.")
def why(reference: str, style: str | None, limit: int) -> None:
    """Where REFERENCE comes from, and what was made with it.

    REFERENCE is anything that can be named: run:ID, data:NAME@v3, model:NAME@champion, prediction:ID, alert:ID …; the kind may
    be left out where only one thing is called so.
    """
    if limit < 1:
        raise InvalidInput(f"--limit is {limit}", hint="at least one run")
    found = workspace().provenance.why(reference, most=limit)
    if style is None:
        emit(found, _show)
        return
    from everloop.cli.lineage_drawing import drawn, graph

    emit(graph(found), lambda _: click.echo(drawn(found, style)))


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
    rows += _how_it_ran(found)
    if ran.packages:
        rows.append(("environment", f"Python {ran.python}, {len(ran.packages)} packages, {ran.platform}"))
    if features := found.facts.get("features"):
        shown = features.items() if isinstance(features, dict) else [(each, "") for each in features]
        rows.append(("features", ", ".join(f"{key}={value}" if value != "" else key for key, value in shown)))
    if found.predictions:
        total = sum(found.predictions.values())
        by_model = ", ".join(f"{model} {count:,}" for model, count in found.predictions.items())
        rows.append(("predictions", f"{total:,} ({by_model})"))
    if found.more:
        left = " and ".join(counted(count, kind) for kind, count in sorted(found.more.items()))
        rows.append(("left out", f"at least {left} (--limit)"))
    rows.append(("complete", "yes" if found.complete else "no: " + "; ".join(found.missing)))
    out.print(facts(rows))
    for title, links in (("made from", found.upward), ("went into", found.downward)):
        if links:
            out.print(_links(title, links))


def _how_it_ran(found: Why) -> list[tuple[str, object]]:
    """What set the run off, which step or pipeline it is, how equal it came out when it was rebuilt."""
    rows: list[tuple[str, object]] = []
    if found.started_by:
        rows.append(("started by", ", ".join(link.source for link in found.started_by)))
    if step := found.facts.get("step"):
        rows.append(("step", f"{step['name']} of {step['of']}: {step['reason']}"))
    if steps := found.facts.get("steps"):
        counts = Counter(each["status"] for each in steps)
        told = ", ".join(f"{count} {status}" for status, count in counts.items())
        rows.append(("steps", f"{told} ({found.facts['pipeline']})"))
    if reproduced := found.facts.get("reproduced"):
        rows.append(("reproduced", f"{reproduced['grade']}, {str(reproduced['time'])[:10]}"))
    return rows


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
