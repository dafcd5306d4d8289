"""Lineage as a graph that other tools draw: Mermaid, Graphviz, or nodes and edges in JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from everloop.workspace.provenance import Link, Why

FORMATS = ("mermaid", "dot", "json")
SHAPES = {"data": ("[(", ")]"), "run": ("([", "])"), "model": ("[[", "]]"), "endpoint": ("{{", "}}")}
DOT_SHAPES = {"data": "cylinder", "run": "ellipse", "model": "box3d", "endpoint": "hexagon"}


def graph(why: Why) -> dict[str, Any]:
    """Nodes and edges, each once; `focus` is what was asked about."""
    links = list(dict.fromkeys([*why.upward, *why.downward]))
    names = dict.fromkeys([why.reference, *(each for link in links for each in (link.source, link.target))])
    nodes = [{"id": each, "kind": each.partition(":")[0], "label": label(each)} for each in names]
    edges = [{"source": link.source, "target": link.target, "role": link.role} for link in links]
    return {"focus": why.reference, "nodes": nodes, "edges": edges, "more": why.more}


def drawn(why: Why, style: str) -> str:
    """The graph as the text of one of `FORMATS`."""
    if style == "json":
        return json.dumps(graph(why), indent=2)
    links = list(dict.fromkeys([*why.upward, *why.downward]))
    names = graph(why)["nodes"]
    return (mermaid if style == "mermaid" else dot)(why.reference, [each["id"] for each in names], links)


def mermaid(focus: str, names: Sequence[str], links: Iterable[Link]) -> str:
    """Mermaid's flowchart, as Markdown pages of code hosts draw it."""
    numbers = {name: f"n{number}" for number, name in enumerate(names)}
    lines = ["flowchart LR"]
    for name, number in numbers.items():
        opening, closing = SHAPES.get(name.partition(":")[0], ("[", "]"))
        # Mermaid reads HTML entities in labels; quotes and brackets would end them.
        lines.append(f'  {number}{opening}"{_entities(label(name))}"{closing}')
    lines += [f"  {numbers[each.source]} -->|{each.role}| {numbers[each.target]}" for each in links]
    return "\n".join([*lines, f"  style {numbers[focus]} stroke-width:3px"])


def dot(focus: str, names: Sequence[str], links: Iterable[Link]) -> str:
    """Graphviz."""
    lines = ["digraph lineage {", "  rankdir=LR;"]
    for name in names:
        shape = DOT_SHAPES.get(name.partition(":")[0], "box")
        bold = ", penwidth=3" if name == focus else ""
        lines.append(f"  {_quoted(name)} [label={_quoted(label(name))}, shape={shape}{bold}];")
    lines += [
        f"  {_quoted(each.source)} -> {_quoted(each.target)} [label={_quoted(each.role)}];" for each in links
    ]
    return "\n".join([*lines, "}"])


def label(reference: str) -> str:
    """A reference as short as it can be read.

    >>> label("run:019b76daa80070008000000000000000"), label("data:flights@v3")
    ('run:019b76daa800', 'data:flights@v3')
    """
    kind, _, name = reference.partition(":")
    return f"{kind}:{name[:12]}" if len(name) == 32 and name.isalnum() else reference


def _entities(text: str) -> str:
    return text.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
