"""What readers with aids would stumble over, as axe finds it."""

from __future__ import annotations

from functools import cache

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

CONTRAST = ["color-contrast", "link-in-text-block"]
"""The rules that a theme can break; all others look at what both themes have in common."""


@cache
def _axe() -> Axe:
    return Axe()


def stumbling_blocks(page: Page, theme: str = "light") -> list[tuple[str, list[str]]]:
    """The serious findings: each with its rule and the first places. A page that was looked at in the light theme has only its
    colours looked at again in the dark one, for axe costs more time than to make and show the page."""
    options: dict[str, object] = {"resultTypes": ["violations"]}
    if theme == "dark":
        options["runOnly"] = {"type": "rule", "values": CONTRAST}
    return [
        (each["id"], [node["html"][:160] for node in each["nodes"][:3]])
        for each in _axe().run(page, options=options).response["violations"]
        if each["impact"] in ("serious", "critical")
    ]
