"""What people do on the pages: filter, sort, choose, compare, delete and bring back, acknowledge; by mouse and by keyboard."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from playwright.sync_api import Browser, Page, expect
from tests.pages.conftest import opened
from tests.support.workspaces import served

from everloop.governance.identity import Role
from everloop.workspace.local import LocalWorkspace


def names(page: Page) -> list[str]:
    return page.locator("tbody td.first a").all_inner_texts()


def test_a_filter_finds_and_its_address_shows_a_colleague_the_same(page: Page) -> None:
    page.goto("/runs")
    page.get_by_label("Filter", exact=True).fill("params.model = 'tree' and metrics.rmse > 0")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("tbody td.first a")).to_have_count(3)
    assert "where=params.model" in page.url
    found = names(page)
    page.goto(page.url)
    assert names(page) == found
    page.get_by_role("link", name="Clear").click()
    expect(page.locator("tbody td.first a")).not_to_have_count(3)
    assert len(names(page)) > 3


def test_a_filter_that_cannot_be_read_shows_where(browser: Browser, site: str) -> None:
    page, _ = opened(browser, site)  # the answer is a 400, which the console reports
    page.goto("/runs?where=metrics.rmse+%3C")
    alert = page.get_by_role("alert")
    assert "column 15" in alert.inner_text()
    lines = page.locator("pre.caret").inner_text().splitlines()
    assert lines[1].index("^") == len(lines[0])
    assert page.get_by_label("Filter", exact=True).input_value() == "metrics.rmse <"
    page.context.close()


def test_sorting_by_a_metric_and_back(page: Page) -> None:
    page.goto("/runs?where=metrics.rmse+%3E+0&column=metrics.rmse")
    page.get_by_role("link", name="rmse").click()
    expect(page.locator("th[aria-sort=ascending]")).to_contain_text("rmse")
    up = page.locator("tbody td.num").all_inner_texts()
    page.get_by_role("link", name="rmse").click()
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("rmse")
    down = page.locator("tbody td.num").all_inner_texts()
    assert up == sorted(up, key=float)
    assert down == up[::-1]
    assert page.locator("th[aria-sort=descending]").inner_text().strip() == "rmse"


def test_columns_are_chosen_and_stay_in_the_address(page: Page) -> None:
    page.goto("/runs")
    page.get_by_text("Columns", exact=True).click()
    for box in page.locator(".panel input[type=checkbox]").all():
        box.set_checked(box.get_attribute("value") in ("params.alpha", "experiment"))
    page.get_by_role("button", name="Show these").click()
    expect(page.locator("thead tr:last-child th")).to_have_count(5)
    heads = [text.strip() for text in page.locator("thead tr:last-child th").all_inner_texts()]
    assert heads == ["", "Date", "Run Name", "Experiment", "alpha"]
    assert page.url.count("column=") == 2


def test_the_csv_has_the_rows_and_columns_of_the_page(page: Page) -> None:
    page.goto("/runs?where=metrics.rmse+%3E+0&column=params.alpha&column=metrics.rmse&sort=metrics.rmse")
    with page.expect_download() as event:
        page.get_by_role("link", name="CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(event.value.path()).read_text())))
    assert [row["name"] for row in rows] == names(page)
    assert set(rows[0]) == {"run_id", "name", "status", "start_time", "params.alpha", "metrics.rmse"}


def test_picked_runs_are_compared_with_what_differs_first(page: Page) -> None:
    page.goto("/runs?where=metrics.rmse+%3E+0", wait_until="networkidle")  # no row is drawn anew after that
    compare = page.get_by_role("button", name="Compare")
    assert compare.is_disabled()
    for row in page.locator("tbody tr").all()[:3]:
        row.get_by_role("checkbox").check()
    assert "picked=" in page.url
    compare.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("3 runs side by side")
    compared = page.locator("#runs table").first.locator("th[scope=row]")
    expect(compared.first).to_be_visible()
    differing = compared.all_inner_texts()
    assert "alpha" in differing
    assert "status" not in differing
    page.get_by_role("link", name="Everything").click()
    assert "status" in compared.all_inner_texts()


def test_deleting_is_said_and_undone(page: Page, filled: LocalWorkspace) -> None:
    page.goto("/runs?sort=name")
    before = names(page)
    page.locator("tbody tr").first.get_by_role("checkbox").check()
    page.get_by_role("button", name="Delete").click()
    assert names(page) == before[1:]
    assert "1 run deleted" in page.get_by_role("status").first.inner_text()
    assert "sort=name" in page.url
    page.get_by_role("link", name="Deleted").click()
    expect(page.locator("tbody td.first a")).to_have_count(1)
    assert names(page) == before[:1]
    page.go_back()
    page.get_by_role("button", name="Undo").click()
    assert names(page) == before
    assert filled.tracking.search(state="deleted").runs == []


def test_a_run_is_deleted_and_restored_on_its_own_page(page: Page, filled: LocalWorkspace) -> None:
    run = filled.tracking.search("name = 'too-deep'").runs[0]
    page.goto(f"/runs/{run.run_id}")
    page.get_by_role("button", name="Delete").click()
    expect(page.locator(".notice", has_text="This run is deleted")).to_be_visible()
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_role("button", name="Delete")).to_be_visible()
    assert filled.tracking.run(run.run_id).state == "active"


def test_the_keyboard_goes_everywhere(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("g")
    page.keyboard.press("r")
    page.wait_for_url("**/runs")
    expect(page.locator("table[aria-rowcount]")).to_be_visible()  # the script has taken the table over
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("j")
    page.keyboard.press("Space")
    boxes = page.locator("tbody .pick input")
    assert [boxes.nth(at).is_checked() for at in range(3)] == [False, True, False]
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("model:delay@champion")
    page.keyboard.press("Enter")
    page.wait_for_url("**/models/delay@v1")


def test_the_search_takes_names_and_beginnings_of_identifiers(page: Page, filled: LocalWorkspace) -> None:
    run = filled.tracking.search("name = 'too-deep'").runs[0]
    for text in ("too-de", run.run_id, f"run:{run.run_id}"):
        page.goto("/")
        page.get_by_role("searchbox").fill(text)
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/runs/{run.run_id}")


def test_every_room_can_be_reached(page: Page) -> None:
    page.goto("/")
    for link in page.locator("nav.rooms a").all():
        answer = page.request.get(page.url.rstrip("/") + str(link.get_attribute("href")))
        assert answer.status == 200


def test_a_page_that_somebody_uploaded_cannot_take_over(
    browser: Browser, site: str, filled: LocalWorkspace
) -> None:
    run = filled.tracking.search("name like '%script%'").runs[0]
    page, _ = opened(browser, site)  # the console says that the sandbox held
    page.goto(f"/runs/{run.run_id}/artifacts/report.html")
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", name="Report")).to_be_visible()
    assert "taken over" not in page.title()
    raw = page.request.get(f"/runs/{run.run_id}/raw/report.html")
    assert raw.headers["content-security-policy"].startswith("sandbox;")
    text = page.request.get(f"/runs/{run.run_id}/raw/notes/readme.txt")
    assert text.headers["content-disposition"].startswith("attachment")
    page.goto(f"/runs/{run.run_id}/raw/report.html")
    assert page.title() != "taken over"
    assert page.evaluate("origin") == "null"
    page.context.close()


def test_files_of_a_run_are_shown_as_what_they_are(page: Page, filled: LocalWorkspace) -> None:
    run = filled.tracking.search("name like '%script%'").runs[0]
    page.goto(f"/runs/{run.run_id}/artifacts/table.csv")
    assert page.locator("tbody tr").count() == 2
    page.goto(f"/runs/{run.run_id}/artifacts/settings.json")
    assert '"threshold": 0.15' in page.locator("pre.file").inner_text()
    page.goto(f"/runs/{run.run_id}/artifacts/plot.svg")
    assert page.evaluate("document.querySelector('.framed img').naturalWidth") == 80


def test_an_alert_is_acknowledged_on_a_phone(browser: Browser, site: str, filled: LocalWorkspace) -> None:
    page, watched = opened(browser, site, width=390)
    page.goto("/alerts")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator(".alerts a").first.click()
    page.get_by_label("What you are doing about it").fill("calling the airport")
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.locator(".badge").first).to_have_text("acknowledged")
    assert "calling the airport" in page.inner_text("main")
    assert filled.monitoring.alerts()[0].acknowledged_because == "calling the airport"
    assert watched.said == []
    page.context.close()


def test_a_running_run_shows_what_it_logs(page: Page, filled: LocalWorkspace) -> None:
    with filled.tracking.start("delay", name="long one") as run:
        page.goto(f"/runs/{run.run_id}")
        assert page.locator("section.part p", has_text="None were logged.").count() == 2
        run.log_metric("accuracy", 0.875, step=1)
        run.flush()
        expect(page.locator("#metrics")).to_contain_text("0.8750", timeout=15_000)
    filled.tracking.delete_runs([run.run_id])


def test_rows_of_a_version_are_turned_page_by_page(page: Page) -> None:
    page.goto("/data/flights@v3")
    rows = page.locator("#preview tbody tr")
    assert rows.first.locator("td").first.inner_text() == "0"
    page.locator("#preview").get_by_role("link", name="Next").click()
    assert page.locator("#preview tbody tr").first.locator("td").first.inner_text() == "50"
    page.goto("/data/flights@v3?row=2800")
    assert page.locator("#preview tbody tr").count() == 8


def test_a_pipeline_says_why_each_step_ran(page: Page) -> None:
    page.goto("/pipelines/train")
    assert "parameter rows 50 -> 80" in page.inner_text("#why")
    page.locator("#history thead a").nth(1).click()
    assert page.locator("#why .badge", has_text="cached").count() == 4


def test_light_and_dark_are_remembered(page: Page) -> None:
    page.goto("/")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Light or dark").click()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert light != dark
    page.goto("/data")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def test_reading_works_without_scripts(browser: Browser, site: str) -> None:
    context = browser.new_context(base_url=site, java_script_enabled=False)
    page = context.new_page()
    page.goto("/runs?where=metrics.rmse+%3E+0")
    assert page.locator("tbody tr").count() == 6
    page.goto("/models/delay@v1")
    assert "data:flights" in page.inner_text("main")
    context.close()


def test_an_empty_workspace_teaches_with_one_command_a_page(
    browser: Browser, workspace: LocalWorkspace
) -> None:
    with served(workspace) as url:
        page, watched = opened(browser, url)
        for address in ("/data", "/features", "/runs", "/pipelines", "/models", "/endpoints", "/alerts"):
            page.goto(address)
            assert page.locator(".empty .as-command code").count() == 1, address
        page.goto("/")
        assert "everloop demo flights" in page.inner_text("#next")
        assert watched.said == []
        page.context.close()


def test_a_viewer_sees_why_a_button_is_off(browser: Browser, workspace: LocalWorkspace) -> None:
    run = workspace.tracking.create_run(name="one")
    token = workspace.governance.create_token("vera", "viewer")
    assert token.role is Role.VIEWER
    with served(workspace) as url:
        page, _ = opened(browser, url)
        page.goto("/")
        page.get_by_label("Token").fill(token.secret)
        page.get_by_role("button", name="Sign in").click()
        page.goto(f"/runs/{run.run_id}")
        button = page.get_by_role("button", name="Delete")
        assert button.is_disabled()
        assert "viewer" in str(button.get_attribute("title"))
        refused = page.request.post(f"{url}/runs/{run.run_id}/delete", headers={"Origin": url})
        assert refused.status == 403
        page.context.close()


def test_an_address_that_mlflows_client_prints_leads_to_our_page(page: Page) -> None:
    page.goto("/runs")
    run = page.locator("tbody td.first a").first.get_attribute("href")
    assert run is not None
    page.goto(f"/#/experiments/0/{run.removeprefix('/')}")
    expect(page).to_have_url(re.compile(rf"{run}$"))
    page.goto("/#/experiments/0")
    expect(page).to_have_url(re.compile(r"/runs\?experiment=0$"))
    expect(page.locator("h1")).to_contain_text("Runs")
