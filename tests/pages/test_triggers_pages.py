"""/triggers and a trigger's page: what comes next, what came of the last times, and the buttons."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.pages.aids import stumbling_blocks
from tests.pages.conftest import opened
from tests.pages.filling import NASTY
from tests.support.workspaces import FakeClock, served

import everloop as ev
from everloop.client.ambient import using
from everloop.workspace.local import LocalWorkspace

FLOW = """
import everloop as ev

@ev.step
def note(day):
    return day

@ev.pipeline
def refresh(day="never"):
    return note(day)
"""
NIGHT = datetime(2026, 1, 1, 3, tzinfo=UTC)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalWorkspace]:
    folder = tmp_path_factory.mktemp("triggers")
    (folder / "daily.py").write_text(FLOW)
    clock = FakeClock()
    with LocalWorkspace(folder, clock=clock) as made, using(made):
        made.loop.declare_triggers(
            triggers=[
                ev.trigger("nightly", pipeline="daily.py:refresh", cron="0 3 * * *", executor="inline"),
                ev.trigger("team/hourly", pipeline="daily.py:refresh", cron="@hourly", executor="inline"),
                ev.trigger("hostile", pipeline="daily.py:refresh", params={"day": NASTY}),
                ev.trigger(
                    "tuning", sweep="daily.py:refresh", space="space.toml", trials=3, cron="0 4 1 * *"
                ),
            ]
        )
        made.loop.tick_triggers(NIGHT, in_process=True)
        clock.now = NIGHT
        made.loop.backfill("nightly", since=NIGHT - timedelta(days=2), until=NIGHT)
        made.loop.pause_trigger("team/hourly", because="the feed is down")
        yield made


@pytest.fixture(scope="module")
def page(own: LocalWorkspace, browser: Browser) -> Iterator[Page]:
    with served(own) as url:
        found, watched = opened(browser, url)
        yield found
        assert watched.said == []
        assert watched.elsewhere == []
        found.context.close()


def test_the_pages_tell_what_is_next_and_what_was_missed(page: Page) -> None:
    page.goto("/triggers")
    row = page.locator("tr", has=page.get_by_role("link", name="nightly"))
    expect(row).to_contain_text("daily.py:refresh")
    expect(row).to_contain_text("0 3 * * * UTC")
    for day in ("2026-01-01", "2026-01-02"):  # the last, and the next
        expect(row.locator(f"time[datetime^='{day}T03']")).to_have_count(1)
    expect(page.get_by_role("link", name="hostile")).to_be_visible()
    page.get_by_role("link", name="team/hourly").click()
    expect(page.locator("main")).to_contain_text("Paused by")
    page.get_by_role("link", name="missed").click()
    rows = page.locator("table.list tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("only the latest is made up for")
    page.goto("/pipelines/refresh")
    listed = page.get_by_role("region", name="Triggers", exact=True)
    expect(listed.locator("tr", has=page.get_by_role("link", name="tuning"))).to_contain_text("a sweep of")
    page.goto("/triggers/nightly")
    expect(page.get_by_role("region", name="Backfills", exact=True)).to_contain_text("2 waiting")
    assert page.locator("footer.command code").inner_text() == "everloop triggers show nightly"


def test_pausing_going_on_and_setting_off(page: Page, own: LocalWorkspace) -> None:
    page.goto("/triggers/nightly")
    page.get_by_role("button", name="Pause…").click()
    sheet = page.get_by_role("dialog")
    sheet.get_by_label("Why (optional)").fill("holidays")
    sheet.get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator(".told")).to_contain_text("nightly is paused")
    assert own.loop.trigger("nightly").paused_because == "holidays"
    page.get_by_role("button", name="Run now…").click()
    page.get_by_role("dialog").get_by_role("button", name="Set it off").click()
    expect(page.locator(".told.bad")).to_contain_text("is paused")
    page.get_by_role("button", name="Go on…").click()
    page.get_by_role("dialog").get_by_role("button", name="Go on", exact=True).click()
    expect(page.locator(".told")).to_contain_text("nightly goes on")
    page.get_by_role("button", name="Run now…").click()
    page.get_by_role("dialog").get_by_role("button", name="Set it off").click()
    expect(page.locator(".told.good")).to_contain_text("was set off")
    assert [each.status for each in own.loop.firings(trigger="nightly", status="waiting")][:1] == ["waiting"]
    assert own.loop.firings(trigger="nightly")[0].cause.startswith("asked for by")


@pytest.mark.parametrize("address", ["/triggers", "/triggers/nightly", "/triggers/team/hourly?state=missed"])
def test_axe_finds_nothing_serious(page: Page, address: str) -> None:
    page.goto(address)
    assert stumbling_blocks(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_trigger_that_is_not_there_names_the_nearest(page: Page) -> None:
    answer = page.request.get("/triggers/nigthly", headers={"accept": "text/html"})
    assert answer.status == 404
    assert "nightly" in answer.text()
