"""The lineage explorer: any object of the workspace in the middle, what it came from to the left, what came of it to the right,
further where the reader asks. The address holds what is open."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import BaseRoute

from everloop.domain.references import Kind
from everloop.domain.runs import RunRecord
from everloop.server.pages import lineage
from everloop.server.pages.addresses import Address
from everloop.server.pages.rendering import Pages
from everloop.server.pages.step_graph import levels_of
from everloop.workspace.neighbourhoods import EACH, MOST_LEVELS, MOST_NODES, Near, Neighbourhood, Opening, Tie
from everloop.workspace.workspace import Workspace

MOST_OPEN = 60
MORE_TIMES = 4
"""How many times as many neighbours each further opening shows."""
OFFERED = 6
"""Objects of one kind that are offered to begin with."""

_OPENING = re.compile(r"([ud])(\d{1,3})~(.+)")


class Entry(msgspec.Struct, frozen=True):
    """A row of the table beside the picture."""

    reference: str
    label: str
    level: int
    above: int
    below: int
    above_address: str
    below_address: str
    here_address: str


def routes(pages: Pages) -> list[BaseRoute]:
    return [pages.page("/lineage", "lineage/explorer.html", explore, active="lineage")]


def explore(request: Request, workspace: Workspace) -> dict[str, Any]:
    here = Address.of(request)
    asked = here.get("ref").strip()
    if not asked:
        return {
            "crumbs": [("Lineage", None)],
            "reference": "",
            "offers": offers(workspace),
            "command": "everloop status",
        }
    hidden = [each for each in Kind if each in here.all("hide")]
    opened = openings(here.all("open"))
    up, down = _levels(here, "up"), _levels(here, "down")
    found: Neighbourhood = workspace.provenance.neighbourhood(
        asked, up=up, down=down, opened=opened, hidden=[str(each) for each in hidden]
    )
    runs = lineage.runs_of(
        workspace, [each.reference for each in found.nodes if each.reference.startswith("run:")]
    )
    kinds = {each.reference.partition(":")[0] for each in found.nodes}
    return {
        "crumbs": [("Lineage", "/lineage"), (found.reference, None)],
        "here": here,
        "subject": found.reference,
        "reference": found.reference,
        "up": up,
        "down": down,
        "further": lambda word, by: here.but(
            {word: max(0, min(MOST_LEVELS, {"up": up, "down": down}[word] + by))}
        ),
        "kinds": [
            (str(kind), _toggled(here, hidden, kind), kind not in hidden)
            for kind in Kind
            if (kind in kinds or kind in hidden) and not found.reference.startswith(f"{kind}:")
        ],
        "graph": graph_of(found, runs, here),
        "entries": entries(found, runs, here),
        "ties": found.ties,
        "capped": found.capped,
        "most": MOST_NODES,
        "command": f"everloop why {found.reference}",
    }


def _levels(here: Address, word: str) -> int:
    return here.number(word, 2, most=MOST_LEVELS)


def _toggled(here: Address, hidden: Sequence[Kind], kind: Kind) -> str:
    now = [str(each) for each in hidden if each is not kind] + ([] if kind in hidden else [str(kind)])
    return here.but({"hide": now})


def openings(given: Sequence[str]) -> list[Opening]:
    """What the address says is open: ``u32~run:…`` is 32 neighbours of each kind upward, ``d…`` downward.

    >>> openings(["u32~data:flights@v1", "nonsense"])
    [Opening(reference='data:flights@v1', upward=True, each=32)]
    """
    return [
        Opening(match[3], match[1] == "u", min(int(match[2]), MOST_NODES))
        for match in map(_OPENING.fullmatch, given[:MOST_OPEN])
        if match is not None
    ]


def opening_address(here: Address, node: Near, *, upward: bool) -> str:
    """The same picture with more of one object's neighbours."""
    word = "u" if upward else "d"
    each, kept = EACH, []
    for before in here.all("open"):
        match = _OPENING.fullmatch(before)
        if match is not None and match[1] == word and match[3] == node.reference:
            each = max(each, int(match[2]) * MORE_TIMES)
        else:
            kept.append(before)
    if _was_opened(here, node, upward=upward):
        each = max(each, EACH * MORE_TIMES)
    return here.but({"open": [*kept, f"{word}{min(each, MOST_NODES)}~{node.reference}"]})


def _was_opened(here: Address, node: Near, *, upward: bool) -> bool:
    """Whether the levels around the middle have shown some of these neighbours already."""
    level = -node.level if upward else node.level
    return 0 <= level < _levels(here, "up" if upward else "down")


def graph_of(found: Neighbourhood, runs: Mapping[str, RunRecord], here: Address) -> lineage.Graph:
    """The picture, as `lineage.ts` draws it: columns so that no arrow runs back."""
    names = [each.reference for each in sorted(found.nodes, key=lambda node: node.level)]
    columns = _columns(names, found.ties)
    middle = columns[found.reference]
    nodes = []
    for each in found.nodes:
        node = lineage.node_of(each.reference, runs, focus=each.reference == found.reference)
        node["column"] = columns[each.reference]
        if each.above:
            node["above"] = {"count": each.above, "href": opening_address(here, each, upward=True)}
        if each.below:
            node["below"] = {"count": each.below, "href": opening_address(here, each, upward=False)}
        nodes.append(node)
    titles = ["" for _ in range(max(columns.values()) + 1)]
    titles[middle] = "here"
    if middle:
        titles[middle - 1] = "went in"
    if middle + 1 < len(titles):
        titles[middle + 1] = "came of it"
    return {
        "columns": titles,
        "nodes": nodes,
        "edges": [[tie.source, tie.target, *(["through"] if tie.through else [])] for tie in found.ties],
        "whole": True,
    }


def _columns(names: list[str], ties: Sequence[Tie]) -> dict[str, int]:
    edges = {(tie.source, tie.target) for tie in ties}
    level = levels_of(names, edges)
    # What nothing went into stands right before the first that it went into, not at the far left.
    begun = {other for _, other in edges}
    for each in names:
        after = [level[other] for one, other in edges if one == each]
        if each not in begun and after:
            level[each] = min(after) - 1
    used = {column: at for at, column in enumerate(sorted(set(level.values())))}
    return {each: used[column] for each, column in level.items()}


def entries(found: Neighbourhood, runs: Mapping[str, RunRecord], here: Address) -> list[Entry]:
    """The same as a table, from the farthest above to the farthest below."""
    rows = []
    for each in sorted(found.nodes, key=lambda node: (node.level, node.reference)):
        run = runs.get(each.reference)
        rows.append(
            Entry(
                each.reference,
                run.name if run else "",
                each.level,
                each.above,
                each.below,
                opening_address(here, each, upward=True),
                opening_address(here, each, upward=False),
                here.but({"ref": each.reference, "open": None}),
            )
        )
    return rows


def offers(workspace: Workspace) -> list[tuple[str, list[tuple[str, str]]]]:
    """Objects to begin with: (reference, name) of the newest of each kind."""
    versions = [
        (each.reference, "")
        for model in workspace.registry.models()[:OFFERED]
        for each in workspace.registry.versions(model.name)[:2]
    ]
    found: list[tuple[str, list[tuple[str, str]]]] = [
        (
            "Data",
            [
                (f"data:{each.name}@v{each.versions}", "")
                for each in workspace.data.datasets()
                if each.versions
            ],
        ),
        ("Runs", [(each.reference, each.name) for each in workspace.tracking.search(limit=OFFERED).runs]),
        ("Models", versions),
        ("Endpoints", [(each.reference, "") for each in workspace.serving.endpoints()]),
    ]
    return [(title, some[:OFFERED]) for title, some in found if some]
