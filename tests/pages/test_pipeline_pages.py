"""Pipelines, their runs and steps, sweeps and the lineage explorer, as a person uses them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.pages.conftest import opened
from tests.support.hubs import CHILDREN, add_hub
from tests.support.workspaces import served

from everloop.workspace.local import LocalWorkspace


def test_a_failed_run_says_which_step_why_and_how_to_go_on(page: Page, filled: LocalWorkspace) -> None:
    failed = filled.pipelines.past_runs("flow")[0].run
    page.goto("/pipelines/flow")
    row = page.locator("#history tbody tr", has=page.locator("th", has_text="publish"))
    assert [each.strip() for each in row.locator("td").all_inner_texts()] == ["executed", "failed"]
    row.locator("td a").last.click()
    expect(page).to_have_url(re.compile(rf"/runs/{failed}/steps/\d+$"))
    assert "ValueError: worse than the limit" in page.inner_text("#error")
    assert 'raise ValueError("worse than the limit")' in page.inner_text("#error")
    assert "parameter limit 9.0 -> 0.1" in page.inner_text("#why")
    assert "<b>about</b> to publish" in page.inner_text("#log")
    assert f"everloop resume {failed}" in page.inner_text("#error")
    saved = page.request.get(f"{page.url}/log")
    assert saved.text() == "<b>about</b> to publish\n"

    page.goto(f"/runs/{failed}")
    assert "step publish failed" in page.get_by_role("alert").inner_text()
    nodes = page.locator("#step-graph .node")
    expect(nodes).to_have_count(3)
    assert {"read", "fit ×5", "publish"} == set(page.locator("#step-graph .label").all_text_contents())
    assert page.locator("#gantt tbody tr").count() == 6
    assert page.locator("#gantt rect.bad").count() == 1


def test_a_step_says_when_its_key_changed_and_by_what(page: Page) -> None:
    page.goto("/steps/flow.py::fit?name=fit%5B2%5D")
    changed = page.locator("#keys tbody tr")
    expect(changed).to_have_count(2)
    assert "parameter depth 2 -> 3" in changed.first.inner_text()
    assert "the first that is known" in changed.last.inner_text()
    page.locator("#users").get_by_role("link", name="publish").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("publish")


def test_a_sweep_calls_a_tie_a_tie(page: Page, filled: LocalWorkspace) -> None:
    page.goto("/sweeps")
    page.locator("tbody td.first a").last.click()
    said = page.inner_text("#winner")
    assert "It is a tie" in said
    assert "95 % interval" in said
    states = page.locator("#trials tbody tr td:nth-child(2)").all_inner_texts()
    assert "best" in states[0]
    assert "tie" in states[1]
    page.locator("#trials tbody tr").first.get_by_role("link").first.click()
    expect(page).to_have_url(re.compile(r"/runs/[0-9a-f]{32}$"))
    page.goto("/sweeps")
    expect(page.locator("tbody tr").first).to_contain_text("front of")
    page.goto(f"/sweeps/{filled.pipelines.sweeps()[0].run}")
    front = page.inner_text("#winner")
    assert "No other trial is as good as these in loss and seconds" in front
    assert "nobody can say how sure this front is" in front
    assert "best" not in page.inner_text("#trials")
    expect(page.locator("#plot-front canvas")).to_be_visible()
    assert page.locator("#trials .badge", has_text="front").count() >= 1


@pytest.fixture
def hub(workspace: LocalWorkspace) -> Iterator[str]:
    add_hub(workspace)
    with served(workspace) as url:
        yield url


def test_the_lineage_of_ten_thousand_objects_is_walked_by_keyboard(browser: Browser, hub: str) -> None:
    page, watched = opened(browser, hub)
    answer = page.goto("/lineage?ref=flights")
    assert answer is not None
    assert len(answer.body()) < 150_000
    nodes = page.locator(".lineage .node")
    before = nodes.count()
    assert before < 20
    more = page.get_by_role("link", name=re.compile(r"more that came of it"))
    expect(more).to_have_attribute("aria-label", re.compile(rf"{CHILDREN - 8} more"))
    more.focus()
    page.keyboard.press("Enter")
    expect(nodes).to_have_count(before + 24)
    expect(page).to_have_url(re.compile("open=d32"))
    assert page.evaluate("document.activeElement.closest('.lineage') !== null"), (
        "the focus stays in the picture"
    )
    rows = page.locator("#objects tbody tr")
    expect(rows).to_have_count(before + 24)
    page.reload()
    expect(nodes).to_have_count(before + 24)
    page.get_by_role("link", name="One level less after").click()
    expect(page).to_have_url(re.compile("down=1"))
    page.get_by_role("link", name="One level less before").click()
    expect(page).to_have_url(re.compile("up=1"))
    page.go_back()
    expect(page).not_to_have_url(re.compile("up=1"))
    rows.filter(has_text="1 before").get_by_role("link", name=re.compile("^Look from")).click()
    expect(page.locator("main")).to_have_attribute("data-ref", "data:flights@v1")
    answer = page.goto("/lineage?ref=fligths")
    assert answer is not None
    assert answer.status == 404
    assert "data:flights" in page.inner_text("main")
    assert [each for each in watched.said if "404" not in each] == []
    page.context.close()


def test_a_run_that_goes_on_shows_who_is_at_work_and_then_what_came(
    browser: Browser, workspace: LocalWorkspace
) -> None:
    workspace.project.mkdir(parents=True, exist_ok=True)
    (workspace.project / "slow.py").write_text(SLOW)
    with served(workspace) as url:
        page, watched = opened(browser, url)
        seen: list[str] = []

        def told(record: object) -> None:
            """After the first step: the second one is made to look as if it had begun."""
            if seen:
                return
            run = workspace.pipelines.past_runs("slowly")[0].run
            seen.append(run)
            with workspace.tracking.start(
                "x", name="second", parent=run, tags={"everloop.step": "second"}
            ) as child:
                child.flush()
                page.goto(f"/runs/{run}")
                expect(page.locator("#at-work")).to_contain_text("second")
                expect(page.locator("#gantt tbody tr").last).to_contain_text("running")

        workspace.pipelines.run("slow.py:slowly", {}, executor="inline", on_step=told)
        expect(page.locator("#steps")).to_contain_text("second", timeout=60_000)
        expect(page.locator("#at-work")).to_contain_text("The run is over", timeout=60_000)
        assert watched.said == []
        page.context.close()


SLOW = """
import everloop as ev

@ev.step
def first():
    return 1

@ev.step
def second(value):
    return value + 1

@ev.pipeline
def slowly():
    return second(first())
"""
