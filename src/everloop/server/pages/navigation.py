"""The rooms that have pages, in the order of the life cycle. A room joins the navigation in the commit that brings its page."""

from __future__ import annotations

import msgspec


class NavigationEntry(msgspec.Struct, frozen=True):
    """`key`: the room (and its icon). `letter`: what follows ``g`` on the keyboard."""

    key: str
    label: str
    href: str
    letter: str


NAVIGATION = (
    NavigationEntry("overview", "Overview", "/", "o"),
    NavigationEntry("data", "Data", "/data", "d"),
    NavigationEntry("labels", "Labels", "/labels", "l"),
    NavigationEntry("features", "Features", "/features", "f"),
    NavigationEntry("runs", "Runs", "/runs", "r"),
    NavigationEntry("pipelines", "Pipelines", "/pipelines", "p"),
    NavigationEntry("triggers", "Triggers", "/triggers", "t"),
    NavigationEntry("models", "Models", "/models", "m"),
    NavigationEntry("endpoints", "Endpoints", "/endpoints", "e"),
    NavigationEntry("alerts", "Alerts", "/alerts", "a"),
    NavigationEntry("lineage", "Lineage", "/lineage", "n"),
    NavigationEntry("audit", "Audit", "/audit", "u"),
)
