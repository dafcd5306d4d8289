"""Marks on time axes: whatever happens on one day, signs and words stay apart, at every width; hovering says them all."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route
from tests.pages.conftest import opened

HAPPENED = [
    (0.0, "deployment", "rollout of delay@v2"),
    (0.03, "retrain", "retraining"),
    (0.05, "alert", "performance"),
    (0.05, "retrain", "retraining"),
    (0.06, "deployment", "revision 3"),
    (0.3, "alert", "performance"),
    (0.36, "retrain", "retraining"),
    (0.37, "deployment", "rollout of delay@v3"),
    (0.42, "deployment", "delay@v3 promoted"),
    (0.8, "deployment", "a canary of five percent of all that is asked"),
    (0.97, "alert", "inputs"),
    (0.99, "retrain", "retraining"),
    (1.0, "deployment", "delay@v4 rolled back"),
]
"""Where on the axis (0 to 1), what kind, which words."""

PLOT = "#monitors figure[data-plot]:has(button[aria-label^='Save as SVG'])"


def crowded(route: Route) -> None:
    """The page with all of `HAPPENED` on each of its time axes."""
    answer = route.fetch()

    def filled(match: re.Match[str]) -> str:
        spec: dict[str, Any] = json.loads(match[1])
        if spec.get("kind") == "line" and spec["x"].get("type") == "time":
            points = spec["series"][0]["points"]
            first, last = points[0][0], points[-1][0]
            spec["marks"] = [
                {"at": first + int(share * (last - first)), "kind": kind, "label": label}
                for share, kind, label in HAPPENED
            ]
        escaped = json.dumps(spec).replace("<", "\\u003c")
        return f'<script type="application/json">{escaped}</script>'

    text = re.sub(r'<script type="application/json">(.*?)</script>', filled, answer.text(), flags=re.DOTALL)
    route.fulfill(response=answer, body=text)


def drawn(page: Page, folder: Path) -> list[dict[str, Any]]:
    """What is written on the first plot, with the box of each text, taken from its SVG."""
    figure = page.locator(PLOT).first
    figure.hover()
    with page.expect_download() as event:
        figure.get_by_role("button", name=re.compile("^Save as SVG")).click()
    event.value.save_as(folder / "plot.svg")
    viewer = page.context.new_page()
    viewer.goto((folder / "plot.svg").as_uri())
    found: list[dict[str, Any]] = viewer.evaluate(
        """() => [...document.querySelectorAll('text')].map((text) => {
            const { left, top, right, bottom } = text.getBoundingClientRect();
            return { text: text.textContent, left, top, right, bottom };
        })"""
    )
    width = viewer.evaluate("document.documentElement.getBoundingClientRect().width")
    viewer.close()
    assert all(each["left"] >= -1 and each["right"] <= width + 1 for each in found)
    return found


def overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(
        min(one["right"], other["right"]) - max(one["left"], other["left"]) > 1
        and min(one["bottom"], other["bottom"]) - max(one["top"], other["top"]) > 3
    )


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_on_a_crowded_axis_is_written_over_something_else(
    browser: Browser, site: str, tmp_path: Path, width: int
) -> None:
    page, watched = opened(browser, site, width=width)
    page.route("**/endpoints/delay", crowded)
    page.goto("/endpoints/delay")
    texts = drawn(page, tmp_path)
    clashes = [(one["text"], other["text"]) for one, other in combinations(texts, 2) if overlap(one, other)]
    assert clashes == []
    signs = "".join(each["text"] for each in texts if each["text"] in "!↻▲")
    assert set(signs) == set("!↻▲")
    assert any("rollout of delay@v2" in each["text"] for each in texts)
    assert watched.said == []
    page.context.close()


def test_few_marks_are_all_said_in_words(page: Page, tmp_path: Path) -> None:
    page.goto("/endpoints/delay")
    words = {each["text"] for each in drawn(page, tmp_path)}
    assert {"rollout of delay@v2", "performance", "retraining"} <= words


def test_hovering_says_what_happened_there(browser: Browser, site: str) -> None:
    page, _ = opened(browser, site)
    page.route("**/endpoints/delay", crowded)
    page.goto("/endpoints/delay")
    canvas = page.locator(PLOT).first.locator("canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 30, box["y"] + box["height"] / 2)
    tip = page.locator(".plot-tip").first
    tip.wait_for()
    assert "▲ delay@v4 rolled back" in tip.inner_text()
    page.context.close()
