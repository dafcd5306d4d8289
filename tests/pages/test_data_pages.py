"""The pages about datasets and versions: profiles, differences, previews, what a list tells."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.pages.aids import stumbling_blocks
from tests.pages.conftest import opened
from tests.pages.filling import NASTY
from tests.support.workspaces import FakeClock, served

import everloop as ev
from everloop.client.ambient import using
from everloop.server.pages import previews
from everloop.workspace.local import LocalWorkspace

DRAWN = """
    () => [...document.querySelectorAll("[data-plot]")].every((each) => each.querySelector(".canvas").childElementCount > 0)
"""


def weather(seed: int, shift: float = 0.0, rows: int = 600) -> pa.Table:
    rng = np.random.default_rng(seed)
    temp = rng.normal(60 + shift, 12, rows)
    temp[:60] = np.nan
    return pa.table(
        {
            "id": range(rows),
            "temp": temp,
            "dewp": np.where(np.isnan(temp), 50, temp * 0.7) + rng.normal(0, 2, rows),
            "wind": pa.array([None if n % 8 == 0 else float(n % 30) for n in range(rows)]),
            NASTY: rng.choice([NASTY, "plain"], rows).tolist(),
            "email": [f"user{n}@example.com" for n in range(rows)],
            "day": pa.array((np.datetime64("2013-01-01") + rng.integers(0, 90, rows)).tolist()),
            "source": ["api"] * rows,
        }
    )


@pytest.fixture(scope="module")
def filled_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalWorkspace]:
    folder: Path = tmp_path_factory.mktemp("data-pages")
    with LocalWorkspace(folder / "project", clock=FakeClock()) as made, using(made):
        suite = ev.checks("sane", dataset="weather", checks=[ev.check.not_null("wind", severity="warn")])
        made.data.add(weather(0), "weather", "first", checks=suite)
        made.data.add(weather(0).set_column(1, "temp", weather(1, 20)["temp"]).slice(5), "weather", NASTY)
        made.data.check("weather@v1", suite)
        for version in ("weather@v1", "weather@v2"):
            made.data.profile(version)
        for month in range(3):
            made.data.add(weather(month, rows=100), "months", append=True, file=f"{month}.parquet")
        made.data.bind(ev.checks("strict", dataset="stations", checks=[ev.check.not_null("id")]))
        stations = pa.table({"id": [1, 2]})
        made.data.add(stations, "stations")
        made.data.add(pa.table({"id": [1, None]}), "stations", without_contract=NASTY)
        two = [ev.check.not_null("id"), ev.check.row_count(low=1)]
        made.data.bind(ev.checks("stricter", dataset="stations", checks=two))
        made.data.add(pa.table({"id": [1, 2, 3]}), "stations")
        with made.tracking.start("delay"):
            made.data.dataset("weather@v1").to_arrow(columns=["id"])
        yield made


@pytest.fixture(scope="module")
def site_here(filled_here: LocalWorkspace) -> Iterator[str]:
    with served(filled_here) as url:
        yield url


@pytest.fixture
def page_here(browser: Browser, site_here: str) -> Iterator[Page]:
    made, watched = opened(browser, site_here)
    yield made
    made.context.close()
    assert watched.said == []
    assert watched.elsewhere == []


def test_a_profile_is_shown_with_its_plots(page_here: Page) -> None:
    page_here.goto("/data/weather@v1")
    page_here.wait_for_function(DRAWN)
    assert page_here.locator("#profile .plot").count() == 2
    assert page_here.locator("#columns .plot").count() >= 6
    said = page_here.inner_text("#profile")
    assert "email: e-mail address, high confidence" in said
    assert "One value only: source" in said
    assert "No row equals another" in said
    assert "temp and dewp" in said or "dewp and temp" in said
    row = page_here.locator("#columns tbody tr", has_text="temp").first.inner_text()
    assert "10.0 %" in row
    assert page_here.locator(".plot .wrong").count() == 0


def test_a_version_without_a_profile_teaches_and_makes_one(
    page_here: Page, filled_here: LocalWorkspace
) -> None:
    page_here.goto("/data/months@v3")
    assert "everloop data profile months@v3" in page_here.locator("#profile code").text_content()  # type: ignore[operator]
    page_here.get_by_role("button", name="Profile this version").click()
    page_here.get_by_role("button", name="Profile", exact=True).click()
    expect(page_here.locator(".told")).to_contain_text("months@v3 has its profile: 300 rows", timeout=60_000)
    page_here.wait_for_function(DRAWN)
    assert page_here.locator("#columns tbody tr").count() == 8
    assert filled_here.data.kept_profile("months@v3") is not None


def test_a_difference_shows_cells_and_what_shifted(page_here: Page) -> None:
    page_here.goto("/data/weather@v2")
    page_here.get_by_role("textbox", name="key").fill("id")
    page_here.get_by_role("button", name="Compare").click()
    page_here.wait_for_function(DRAWN)
    assert "key=id" in page_here.url
    said = page_here.inner_text("#diff")
    assert "rows removed\n5" in said
    assert page_here.locator("#diff tbody tr").first.inner_text().startswith("id 60\ttemp")
    assert "temp: values moved by" in said
    assert "everloop data diff weather@v1 weather@v2 --key id" in said
    page_here.goto("/data/weather@v2?other=months@v3&key=nothing")
    assert "both versions need the key column 'nothing'" in page_here.inner_text("#diff")


def test_the_list_tells_of_checks_and_readers(page_here: Page) -> None:
    page_here.goto("/data")
    row = page_here.locator("tbody tr", has_text="weather").first.inner_text()
    assert "v2" in row
    assert "1 run" in row
    page_here.goto("/data/weather@v1")
    assert "1 earlier verdict" in page_here.inner_text("#checks")
    assert page_here.locator("#readers tbody tr").count() == 1


def test_contracts_with_what_came_of_them_and_waivers(page_here: Page) -> None:
    page_here.goto("/data/stations")
    rows = page_here.locator("#contract tbody tr")
    newest, first = (" ".join(row.split()) for row in rows.all_inner_texts())
    assert newest.startswith("stations v2 in force 2")
    assert "1 0 0 passed" in newest
    assert first.startswith("stations v1 replaced 1")
    assert "1 0 1 waived" in first
    rows.first.locator("summary").click()
    assert "id.not_null fail" in rows.first.inner_text()
    waived = page_here.locator("#waivers tbody tr").first.inner_text()
    assert NASTY in waived
    assert "stations@v3" in waived.replace("\n", "")
    assert page_here.locator("#versions tbody tr").nth(1).inner_text().count("contract v1") == 1
    page_here.goto("/data/stations@v2")
    assert "The checks of contract stations v1 were not made" in page_here.inner_text("#checks")
    page_here.goto("/data/months")
    assert "everloop data contract bind months --checks FILE" in page_here.inner_text("#contract")


def test_columns_and_rows_are_turned_page_by_page(
    page_here: Page, filled_here: LocalWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previews, "AT_ONCE", 16)
    dataset = filled_here.data.dataset("months@v3")
    assert [row[0] for row in previews.rows(filled_here, dataset, 90)][:12] == [*range(90, 100), 0, 1]
    assert len(previews.rows(filled_here, dataset, 280)) == 20
    assert previews.rows(filled_here, dataset, 300) == []
    page_here.goto("/data/months@v3?row=250")
    assert page_here.locator("#preview tbody tr").count() == 50
    assert page_here.locator("#preview tbody tr td").first.inner_text() == "250"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Browser, site_here: str, theme: str) -> None:
    page, watched = opened(browser, site_here, theme, width=1024)
    for address in (
        "/data",
        "/data/weather",
        "/data/stations",
        "/data/weather@v2?against=1&key=id",
        "/data/months@v1",
    ):
        answer = page.goto(address)
        assert answer is not None
        assert answer.status == 200
        page.wait_for_function(DRAWN)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{address} is too wide"
        assert stumbling_blocks(page, theme) == [], address
    page.context.close()
    assert watched.said == []


def test_reading_works_without_scripts_and_names_stay_names(browser: Browser, site_here: str) -> None:
    context = browser.new_context(base_url=site_here, java_script_enabled=False)
    page = context.new_page()
    page.goto("/data/weather@v2?against=1&key=id")
    assert "temp: values moved by" in page.inner_text("#diff")
    assert page.locator("#columns tbody tr").count() == 8
    assert NASTY in page.inner_text("#columns")
    assert page.locator("main script:not([type='application/json'])").count() == 0
    context.close()
