"""The graph around one object: what it came from and what came of it, in columns by life cycle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from everloop.domain.references import IDENTIFIED, Kind
from everloop.domain.runs import RunRecord
from everloop.errors import EverloopError
from everloop.server.pages.rendering import link_to
from everloop.workspace.provenance import Link, Why
from everloop.workspace.workspace import Workspace

COLUMNS = ("Data", "Features", "Runs", "Models", "Endpoints", "What came of it")
COLUMN_OF = {
    Kind.DATA: 0,
    Kind.LABELS: 0,
    Kind.FEATURE: 1,
    Kind.RUN: 2,
    Kind.MODEL: 3,
    Kind.ENDPOINT: 4,
    Kind.ALERT: 5,
    Kind.ROLLOUT: 5,
    Kind.PREDICTION: 5,
}
RUNS_COLUMN = 2
MOST_LEVELS = 4
MOST_NODES = 150
"""Nodes that are sent; beyond fifty the page itself folds them (`lineage.ts`)."""

Graph = dict[str, Any]


def graph(workspace: Workspace, reference: str, more: Sequence[Link] = ()) -> Graph | None:
    """The graph around a reference, as `lineage.ts` draws it; None when nothing is connected with it. `more`: links that
    belong to it too."""
    try:
        return graph_of(workspace, workspace.provenance.why(reference), more)
    except EverloopError:  # a part of the past is gone; the page about the object itself stands
        return None


def graph_of(workspace: Workspace, why: Why, more: Sequence[Link] = ()) -> Graph | None:
    """The same, from provenance that is at hand; `more`: links the ledger does not keep (a prediction's to its model)."""
    everything = dict.fromkeys([*why.upward, *why.downward, *more])
    links = [each for each in everything if not _in_the_way(each, why.reference)]
    names = _nearest(why.reference, links)
    if len(names) == 1:
        return None
    runs = runs_of(workspace, [each for each in names if each.startswith("run:")])
    nodes = [node_of(each, runs, focus=each == why.reference) for each in names]
    shown = set(names)
    links = [each for each in links if each.source in shown and each.target in shown]
    level = _levels({node["id"]: node["column"] for node in nodes}, links)
    used = sorted({(node["column"], level[node["id"]]) for node in nodes})
    for node in nodes:
        node["column"] = used.index((node["column"], level[node["id"]]))
    return {
        "columns": [COLUMNS[column] if at == 0 else "" for column, at in used],
        "nodes": nodes,
        "edges": [[link.source, link.target] for link in links],
        "explore": f"/lineage?ref={quote(why.reference, safe=':/@')}",
    }


def _in_the_way(link: Link, focus: str) -> bool:
    """What is true and hides the rest: a version that was appended to the one before (the dataset's page shows that line),
    and the pipeline above its runs, unless the page is about it."""
    if focus in (link.source, link.target):
        return False
    source, target = link.source.rpartition("@")[0], link.target.rpartition("@")[0]
    appended = source == target and source.startswith("data:")
    return appended or link.source.startswith("pipeline:")


def _levels(columns: dict[str, int], links: list[Link]) -> dict[str, int]:
    """How deep an object lies among its own kind (a run within a run, rows derived from rows), so that no edge runs back."""
    inner = [each for each in links if columns[each.source] == columns[each.target]]
    level = dict.fromkeys(columns, 0)
    for _ in range(MOST_LEVELS):
        for each in inner:
            level[each.target] = min(MOST_LEVELS, max(level[each.target], level[each.source] + 1))
    return level


def consumers(workspace: Workspace, reference: str, limit: int = 20) -> list[RunRecord]:
    """The newest runs that read a dataset, or one version of it. Its producers are left out."""
    name = reference.partition(":")[2]
    if "'" in name:  # the search language has no escape within quotes
        return []
    records = workspace.data.log(name.partition("@")[0])
    produced = {record.producer for record in records if "@" not in name or record.reference == reference}
    found: list[RunRecord] = workspace.tracking.search(f"data = '{name}'", limit=limit).runs
    return [run for run in found if run.reference not in produced]


def _nearest(focus: str, links: list[Link]) -> list[str]:
    """The objects that hang together with the focus, nearest first, as many as a page can show."""
    beside: dict[str, list[str]] = {}
    for link in links:
        beside.setdefault(link.source, []).append(link.target)
        beside.setdefault(link.target, []).append(link.source)
    names, at = {focus: None}, 0
    while at < len(names) and len(names) < MOST_NODES:
        names |= dict.fromkeys(beside.get(list(names)[at], []))
        at += 1
    return list(names)[:MOST_NODES]


def runs_of(workspace: Workspace, references: list[str]) -> dict[str, RunRecord]:
    """The runs among these references, by reference; those that are purged are missing."""
    wanted = [each.partition(":")[2] for each in references]
    if not wanted:
        return {}
    where = "run_id in ({})".format(", ".join(f"'{each}'" for each in wanted))
    found = workspace.tracking.search(where, state="all", limit=len(wanted)).runs
    return {run.reference: run for run in found}


def node_of(reference: str, runs: Mapping[str, RunRecord], *, focus: bool) -> dict[str, Any]:
    """A node as `lineage.ts` draws it."""
    head, _, label = reference.partition(":")
    node = {
        "id": reference,
        "label": label,
        "kind": head,
        "column": COLUMN_OF.get(Kind(head), RUNS_COLUMN) if head in set(Kind) else RUNS_COLUMN,
        "href": link_to(reference),
        "focus": focus,
    }
    if run := runs.get(reference):
        node["label"] = run.name
        if run.status in ("failed", "killed"):
            node["state"] = "bad"
    elif head in IDENTIFIED:
        node["label"] = label[:12]
    return node
