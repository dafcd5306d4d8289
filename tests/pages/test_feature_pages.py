"""The pages about features: what is declared, what is at hand for serving and how old it is, what came of parity."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from playwright.sync_api import Browser
from tests.pages.aids import stumbling_blocks
from tests.pages.conftest import opened
from tests.pages.test_every_page import DRAWN
from tests.support.workspaces import FakeClock, served

import everloop as ev
from everloop.domain.featureviews import FeatureView
from everloop.workspace.local import LocalWorkspace

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
INSTANT = pa.timestamp("us", "UTC")
NASTY = "<script>alert(1)</script>"

airport = ev.entity("airport", keys=["origin"])


def view(factor: int = 1) -> FeatureView:
    return ev.feature_view(
        "weather",
        entity=airport,
        source="weather",
        event_time="time",
        ttl="2h",
        features=[
            ev.feature("temp", f"temp * {factor}"),
            ev.aggregate("mean", "temp", over="3h", name="temp_3h"),
        ],
    )


def reports(*minutes: int) -> pa.Table:
    return pa.table(
        {
            "origin": ["JFK", "EWR"] * len(minutes),
            "time": pa.array([NOON + timedelta(minutes=m) for m in minutes for _ in "ab"], INSTANT),
            "temp": [float(m) for m in minutes for _ in "ab"],
        }
    )


@pytest.fixture
def filled(workspace: LocalWorkspace, clock: FakeClock) -> LocalWorkspace:
    clock.now = NOON + timedelta(hours=1)
    workspace.data.add(reports(0, 10), "weather")
    workspace.features.apply([view()])
    workspace.features.materialize(until=NOON + timedelta(minutes=5))
    workspace.features.materialize(until=NOON + timedelta(minutes=30))
    workspace.features.apply([view(2)])
    workspace.features.apply_lists([ev.feature_list(f"delay {NASTY}".replace("/", "-"), ["weather@v1:temp"])])
    return workspace


@pytest.fixture
def pages(filled: LocalWorkspace) -> Iterator[httpx.Client]:
    with (
        served(filled) as url,
        httpx.Client(base_url=url, headers={"accept": "text/html"}, timeout=60) as client,
    ):
        yield client


def text(pages: httpx.Client, path: str) -> str:
    answer = pages.get(path, follow_redirects=True)
    assert answer.status_code == 200, answer.text[-500:]
    assert "<script>alert" not in answer.text
    return answer.text


def test_the_list_says_what_is_at_hand(pages: httpx.Client) -> None:
    shown = text(pages, "/features")
    assert "/features/weather@v2" in shown
    assert "not online" in shown  # version 2 is new
    assert "weather@v1:temp" in shown  # of the list
    assert "everloop features list" in shown
    assert "weather:temp_3h" in shown  # which nothing uses


def test_a_version_shows_its_materialisations_and_its_neighbours(pages: httpx.Client) -> None:
    shown = text(pages, "/features/weather@v1")
    assert shown.count("data:weather@v1") >= 2
    assert "2026-01-01 12:30" in shown
    assert "2026-01-01 12:05" in shown
    assert "everloop features materialize weather@v1" in shown
    assert "There is a newer version" in shown
    assert "in lists" in shown
    newest = text(pages, "/features/weather")
    assert "It was never materialised" in newest
    assert '<a href="/features/weather@v1">v1</a>' in newest


def test_a_view_declared_before_its_data_leads_to_no_missing_page(
    pages: httpx.Client, filled: LocalWorkspace
) -> None:
    early = ev.feature_view(
        "queues ahead", entity=airport, source="queues", event_time="time", features=["length"]
    )
    filled.features.apply([early])
    for path in ("/features", "/features/queues ahead"):
        shown = text(pages, path)
        assert "not here yet" in shown
        assert 'href="/data/queues"' not in shown
        assert ('href="/data/weather"' in shown) == (path == "/features")
    assert "everloop features materialize &#39;queues ahead@v1&#39;" in shown


def test_what_is_too_old_is_said(pages: httpx.Client, clock: FakeClock) -> None:
    assert ">stale<" not in text(pages, "/features/weather@v1").replace("\n", "")
    clock.now = NOON + timedelta(days=2)
    assert "older than its time to live" in text(pages, "/features/weather@v1")


def test_a_view_on_demand(pages: httpx.Client, filled: LocalWorkspace) -> None:
    warmer = ev.on_demand_view(
        "warmer",
        request={"more": "double"},
        inputs={"weather@v1:temp": "double"},
        features=[ev.feature("warmer", "temp + more")],
    )
    filled.features.apply([warmer])
    assert "/features/warmer@v1" in text(pages, "/features")
    assert "feature:warmer@v1" in text(pages, "/features/weather@v1")  # among its users
    shown = text(pages, "/features/warmer")
    assert "the request" in shown
    assert "feature:weather@v1" in shown


def test_a_store_that_is_away_is_said_and_the_page_stands(
    filled: LocalWorkspace, pages: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from everloop.features.online.redis_store import RedisOnlineStore

    monkeypatch.setitem(
        filled.features.__dict__, "_online", RedisOnlineStore("redis://127.0.0.1:1/0", "flights")
    )
    for path in ("/features", "/features/weather@v1"):
        assert "127.0.0.1:1/0 cannot be reached" in text(pages, path)


def test_what_is_not_there(pages: httpx.Client) -> None:
    for path in ("/features/wether", "/features/weather@v9"):
        assert pages.get(path, follow_redirects=True).status_code == 404


class TestParity:
    @pytest.fixture
    def compared(self, filled: LocalWorkspace) -> list[str]:
        """One report that is well, and a later one of values in another unit."""
        at = pa.array([NOON + timedelta(minutes=m) for m in (5, 20, 50)], INSTANT)
        frame = pa.table({"origin": ["JFK", "EWR", "JFK"], "at": at})
        features = ["weather@v1:temp", "weather@v1:temp_3h"]
        logged = filled.features.history(frame, features, time="at")
        for table in (logged, logged.set_column(2, "temp", pc.add(logged["temp"], 1000.0))):
            filled.features.record_parity(filled.features.parity(table, features, time="at"))
        return [each.id for each in filled.features.parity_reports("weather")]

    def test_reports_are_listed_and_read(self, compared: list[str], pages: httpx.Client) -> None:
        shown = text(pages, "/features/weather@v1")
        assert all(f"/parity/{each}" in shown for each in compared)
        newest = text(pages, f"/parity/{compared[0]}")
        assert "1,010" in newest  # logged
        assert "Largest difference" in newest
        assert newest.index(">temp<") < newest.index(">temp_3h<")
        assert "Rows of temp that differ" not in text(pages, f"/parity/{compared[-1]}")
        assert pages.get("/parity/none").status_code == 404


def test_what_values_are_like(pages: httpx.Client, filled: LocalWorkspace) -> None:
    assert "Nobody has described its values" in text(pages, "/features/weather@v1")
    filled.features.describe("weather@v1")
    shown = text(pages, "/features/weather@v1")
    assert "moments at which something became known" in shown
    assert ">Greatest<" in shown


def test_they_open_quietly_and_readers_with_aids_find_their_way(
    filled: LocalWorkspace, browser: Browser, theme: str
) -> None:
    frame = pa.table({"origin": ["JFK"], "at": pa.array([NOON + timedelta(minutes=20)], INSTANT)})
    logged = filled.features.history(frame, ["weather@v1:temp"], time="at")
    wrong = logged.set_column(2, "temp", pc.add(logged["temp"], 1000.0))
    filled.features.record_parity(filled.features.parity(wrong, ["weather@v1:temp"], time="at"))
    filled.features.describe("weather@v1")
    [report] = filled.features.parity_reports()
    with served(filled) as site:
        page, watched = opened(browser, site, theme, width=1024)
        for address in ("/features", "/features/weather@v1", f"/parity/{report.id}"):
            answer = page.goto(address)
            assert answer is not None
            assert answer.status == 200
            page.wait_for_function(DRAWN)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
                f"{address} is too wide"
            )
            assert stumbling_blocks(page, theme) == [], address
        page.context.close()
        assert (watched.said, watched.elsewhere) == ([], [])
