"""The pages of runs as people use them: a table of many, its columns, groups, nests and views; charts; comparing; notes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page, Route, expect
from tests.pages.aids import stumbling_blocks
from tests.pages.conftest import opened
from tests.support.workspaces import served

from everloop.client.ambient import using
from everloop.server.pages import markdown
from everloop.server.pages.run_plots import box_of, confusion, parallel
from everloop.workspace.local import LocalWorkspace

COUNT = 400


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalWorkspace]:
    """400 runs; every fortieth has the two after it below it; five have curves."""
    with LocalWorkspace(tmp_path_factory.mktemp("runs") / "many") as made, using(made):
        parent = None
        for at in range(COUNT):
            run = made.tracking.create_run(
                name=f"run {at:03d}",
                params={"model": ("tree", "linear")[at % 2], "at": str(at), "seed": str(at % 3)},
                tags={"stage": "dev"},
                parent=parent if at % 40 in (1, 2) else None,
            )
            parent = run.run_id if at % 40 == 0 else parent
            made.tracking.finish_run(run.run_id)
        for at in range(5):
            with made.tracking.start("curves", name=f"curve {at}", params={"lr": at / 10}) as handle:
                for step in range(30):
                    handle.log_metric("loss", math.exp(-step / (5 + at)), step=step)
                handle.log_metric("rmse", 2.0 + at)
        yield made


@pytest.fixture(scope="module")
def place(many: LocalWorkspace) -> Iterator[str]:
    with served(many) as url:
        yield url


@pytest.fixture
def table(browser: Browser, place: str) -> Iterator[Page]:
    page, watched = opened(browser, place)
    yield page
    page.context.close()
    assert watched.said == []
    assert watched.elsewhere == []


def ready(page: Page, lines: int) -> None:
    """The whole order has arrived."""
    expect(page.locator("#runs table")).to_have_attribute("aria-rowcount", str(lines + 2))


def scroll(page: Page, to: int) -> None:
    page.locator("#runs .table-wrap").evaluate("(wrap, to) => { wrap.scrollTop = to }", to)


def names(page: Page) -> list[str]:
    return page.locator("tbody td.first a").all_inner_texts()


def heads(page: Page) -> list[str]:
    return [text.strip() for text in page.locator("thead tr:last-child th").all_inner_texts()]


def menu(page: Page, column: str, item: str) -> None:
    page.get_by_role("button", name=f"Column {column}", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_role("menuitem", name=item).click()


def test_only_rows_in_sight_are_in_the_page_and_all_can_be_reached(table: Page) -> None:
    table.goto("/runs")
    ready(table, COUNT + 5)
    expect(table.locator("[data-count]")).to_have_text(f"{COUNT + 5} runs")
    assert len(names(table)) < 100
    scroll(table, 10**7)
    expect(table.get_by_role("link", name="run 000", exact=True)).to_be_visible()
    assert len(names(table)) < 100
    scroll(table, 34 * 200)
    expect(table.get_by_role("link", name="run 200", exact=True)).to_be_visible()
    assert table.locator("tbody tr.waiting").count() == 0


def test_without_scripts_rows_are_turned_page_by_page(browser: Browser, place: str) -> None:
    context = browser.new_context(base_url=place, java_script_enabled=False)
    page = context.new_page()
    page.goto("/runs?where=params.at+>=+0&sort=params.at")
    seen = names(page)
    while page.get_by_role("link", name="Next").count():
        page.get_by_role("link", name="Next").click()
        seen += names(page)
    assert seen == [f"run {at:03d}" for at in range(COUNT)]
    context.close()


def test_the_keyboard_walks_beyond_what_is_in_sight(table: Page) -> None:
    table.goto("/runs?where=params.at+>=+0&sort=params.at")
    ready(table, COUNT)
    for _ in range(40):
        table.keyboard.press("j")
    focused = table.evaluate("document.activeElement.querySelector('td.first a').textContent")
    assert focused == "run 039"
    table.keyboard.press("Space")
    table.keyboard.press("k")
    table.keyboard.press("Space")
    expect(table.locator("[data-picked]")).to_have_text("2 picked")


def test_picks_stay_while_one_scrolls_and_are_compared(table: Page) -> None:
    table.goto("/runs?where=params.at+>=+0&sort=params.at")
    ready(table, COUNT)
    table.get_by_role("checkbox", name="Pick run 001", exact=True).check()
    scroll(table, 34 * 300)
    table.get_by_role("checkbox", name="Pick run 300", exact=True).check()
    expect(table.locator("[data-picked]")).to_have_text("2 picked")
    table.get_by_role("button", name="Compare").click()
    expect(table.get_by_role("heading", level=1)).to_have_text("2 runs side by side")
    assert "run 300" in table.inner_text("thead")


def test_all_that_match_are_picked_at_once(table: Page) -> None:
    table.goto("/runs?where=params.model+=+'tree'")
    ready(table, COUNT // 2)
    table.get_by_role("checkbox", name="Pick all rows").check()
    expect(table.locator("[data-picked]")).to_have_text("200 picked")
    assert table.get_by_role("button", name="Compare").is_enabled()


def test_a_filter_changes_the_table_without_leaving_the_page(table: Page) -> None:
    table.goto("/runs")
    ready(table, COUNT + 5)
    table.evaluate("window.stays = true")
    table.get_by_label("Filter", exact=True).fill("params.at < 7")
    table.keyboard.press("Enter")
    ready(table, 7)
    assert "where=params.at" in table.url
    table.get_by_label("Group by").select_option("params.model")
    ready(table, 9)
    table.go_back()
    ready(table, 7)
    table.go_back()
    ready(table, COUNT + 5)
    assert table.evaluate("window.stays") is True


def test_columns_move_hide_and_widen_and_a_link_shows_the_same(browser: Browser, place: str) -> None:
    page, watched = opened(browser, place)
    page.goto("/runs?where=params.at+>=+0&column=params.model&column=params.at&column=tags.stage")
    menu(page, "at", "Move left")
    page.wait_for_url(re.compile("column=params.at&column=params.model"))
    menu(page, "stage", "Hide")
    page.wait_for_url(lambda url: "stage" not in url)
    menu(page, "model", "Wider")
    page.wait_for_url(re.compile("w=params.model"))
    ready(page, COUNT)
    shown = heads(page)
    assert shown == ["", "Date", "Run Name", "at", "model"]
    column = "th[data-column='params.model']"
    wide = page.locator(column).bounding_box()
    assert wide is not None
    other, _ = opened(browser, place)
    other.goto(page.url)
    ready(other, COUNT)
    assert heads(other) == shown
    # The page's script gives columns their widths, which may take a moment.
    as_wide = "([column, width]) => Math.abs(document.querySelector(column).offsetWidth - width) < 2"
    other.wait_for_function(as_wide, arg=[column, wide["width"]])
    assert watched.said == []
    page.context.close()
    other.context.close()


def test_a_column_is_dragged_to_another_place_and_to_another_width(table: Page) -> None:
    table.goto("/runs?where=params.at+>=+0&column=params.model&column=params.at&column=tags.stage")
    ready(table, COUNT)
    table.locator("th[data-column='tags.stage']").drag_to(table.locator("th[data-column='params.model']"))
    table.wait_for_url(re.compile("column=tags.stage&column=params.model&column=params.at"))
    ready(table, COUNT)
    grip = table.locator("th[data-column='params.model'] .grip")
    box = grip.bounding_box()
    assert box is not None
    table.mouse.move(box["x"] + 3, box["y"] + 5)
    table.mouse.down()
    table.mouse.move(box["x"] + 83, box["y"] + 5)
    table.mouse.up()
    table.wait_for_url(re.compile("w=params.model"))


def test_a_metric_shows_its_least_value_and_sorts_by_it(table: Page) -> None:
    table.goto("/runs?experiment=curves&column=metrics.loss")
    menu(table, "loss", "Show its least value")
    table.wait_for_url(re.compile(r"min%28metrics.loss%29"))
    ready(table, 5)
    table.get_by_role("link", name="min loss").click()
    table.wait_for_url(re.compile("sort=min"))
    ready(table, 5)
    assert names(table) == [f"curve {at}" for at in range(5)]


def test_the_chooser_finds_any_key_that_runs_have(table: Page) -> None:
    table.goto("/runs?where=params.at+>=+0&sort=params.at")
    table.get_by_text("Columns", exact=True).click()
    table.get_by_label("Find a column").fill("rms")
    box = table.locator("[data-chooser] input[value='metrics.rmse']")
    box.check()
    table.get_by_role("button", name="Show these").click()
    table.wait_for_url(re.compile("metrics.rmse"))
    assert "rmse" in heads(table)


def test_groups_say_how_many_and_their_mean_and_fold(table: Page) -> None:
    table.goto("/runs?experiment=curves&group=params.lr&column=metrics.rmse")
    ready(table, 10)
    first = table.locator("tr.group-row").first
    assert "1 run" in first.inner_text()
    assert first.locator("td.num").inner_text() == "6"
    first.get_by_role("button").click()
    ready(table, 9)
    expect(table.locator("tr.group-row").first.get_by_role("button")).to_have_attribute(
        "aria-expanded", "false"
    )


def test_nested_runs_stand_below_their_parents(table: Page) -> None:
    table.goto("/runs?where=params.at+=+2+or+params.at+=+5&nest=1&sort=params.at")
    ready(table, 3)
    assert names(table) == ["run 000", "run 002", "run 005"]
    table.get_by_role("button", name="Fold runs within run 000").click()
    ready(table, 2)
    assert names(table) == ["run 000", "run 005"]


def test_what_running_runs_log_appears(table: Page, many: LocalWorkspace) -> None:
    with many.tracking.start("alive", name="alive") as run:
        run.log_metric("accuracy", 0.125, step=0)
        run.flush()
        table.goto("/runs?experiment=alive&column=metrics.accuracy")
        expect(table.locator("tbody td.num")).to_have_text("0.1250")
        run.log_metric("accuracy", 0.875, step=1)
        run.flush()
        expect(table.locator("tbody td.num")).to_have_text("0.8750", timeout=15_000)
        many.tracking.create_run(experiment="alive", name="second")
        expect(table.get_by_role("link", name="second")).to_be_visible(timeout=15_000)
    many.tracking.set_experiment_state("alive", "deleted")


def test_an_empty_table_fills_by_itself(table: Page, many: LocalWorkspace) -> None:
    table.goto("/runs?where=name+=+'not+yet'")
    expect(table.get_by_text("Nothing found.")).to_be_visible()
    run = many.tracking.create_run(name="not yet")
    expect(table.get_by_role("link", name="not yet")).to_be_visible(timeout=15_000)
    many.tracking.delete_runs([run.run_id])
    many.tracking.purge_runs([run.run_id])


def test_what_happens_before_the_stream_is_open_is_told(table: Page, many: LocalWorkspace) -> None:
    held: list[Route] = []
    opened: list[bool] = []
    table.route("**/live?*", lambda route: route.continue_() if opened else held.append(route))
    table.goto("/runs?where=name+=+'too+early'")
    expect(table.get_by_text("Nothing found.")).to_be_visible()
    run = many.tracking.create_run(name="too early")
    try:
        opened.append(True)
        for each in held:
            each.continue_()
        expect(table.get_by_role("link", name="too early")).to_be_visible(timeout=15_000)
    finally:
        many.tracking.delete_runs([run.run_id])
        many.tracking.purge_runs([run.run_id])


def test_a_state_is_filtered_by(table: Page) -> None:
    table.goto("/runs")
    table.get_by_label("State of the run").select_option("failed")
    expect(table.get_by_text("Nothing found.")).to_be_visible()
    table.get_by_role("link", name="Clear").click()
    ready(table, COUNT + 5)


def test_a_view_is_saved_opened_and_forgotten(table: Page, many: LocalWorkspace) -> None:
    table.goto("/runs?where=params.at+<+9&sort=params.at&column=params.at&w=params.at:130")
    table.get_by_text("Views", exact=True).click()
    table.get_by_label("Name of this view").fill("the first ones")
    table.get_by_role("button", name="Save", exact=True).click()
    expect(table.get_by_text("View: the first ones")).to_be_visible()
    table.goto("/runs")
    ready(table, COUNT + 5)
    table.get_by_text("Views", exact=True).click()
    table.get_by_role("link", name="the first ones").click()
    ready(table, 9)
    assert names(table)[0] == "run 000"
    assert many.tracking.view("the first ones").widths == {"params.at": 130}
    assert "w=params.at%3A130" in table.url
    table.get_by_text("View: the first ones").click()
    table.get_by_role("button", name="Delete the view the first ones").click()
    expect(table.get_by_text("Views", exact=True)).to_be_visible()
    assert many.tracking.views() == []


def test_charts_are_drawn_smoothed_and_kept_in_the_address(table: Page) -> None:
    table.goto("/runs/charts?experiment=curves")
    expect(table.locator("#curve-1 canvas").first).to_be_visible()
    expect(table.locator("#plot-scatter canvas").first).to_be_visible()
    expect(table.locator("#plot-boxes canvas").first).to_be_visible()
    expect(table.locator("#plot-parallel canvas").first).to_be_visible()
    before = table.locator("#curve-1 .canvas").screenshot()
    table.get_by_label("Smoothing").fill("0.9")
    table.wait_for_url(re.compile("smooth=0.9"))
    assert table.locator("#curve-1 .canvas").screenshot() != before
    table.get_by_role("link", name="Since its start").click()
    table.wait_for_url(re.compile("x=relative"))
    expect(table.locator("#curve-1 canvas").first).to_be_visible()
    table.get_by_label("Up").select_option("metrics.loss")
    table.wait_for_url(re.compile("y=metrics.loss"))
    expect(table.get_by_text("loss by lr").first).to_be_visible()


def test_fifty_runs_are_compared_with_their_distance_from_one(table: Page, many: LocalWorkspace) -> None:
    curves = many.tracking.search("metrics.rmse > 0", order_by=["metrics.rmse"]).runs
    others = many.tracking.search("params.at < 45").runs
    picked = "&".join(f"ref={run.run_id}" for run in [*curves, *others])
    table.goto(f"/runs/compare?{picked}")
    expect(table.get_by_role("heading", level=1)).to_have_text("50 runs side by side")
    row = table.get_by_role("row").filter(has_text="rmse")
    assert row.locator(".delta").all_inner_texts()[:2] == ["+50 %", "+100 %"]
    table.locator("thead th").nth(5).get_by_role("link", name="measure against it").click()
    expect(row.locator(".delta").first).to_have_text("−66.7 %")


def test_a_note_is_markdown_and_a_tag_that_mlflow_knows(table: Page, many: LocalWorkspace) -> None:
    run = many.tracking.search("name = 'run 007'").runs[0]
    table.goto(f"/runs/{run.run_id}")
    table.get_by_text("Add a note").click()
    table.get_by_label("Note", exact=True).last.fill(
        "# Good\n**bold** <img src=x onerror=alert(1)>\n\n- [x] done"
    )
    table.get_by_role("button", name="Save", exact=True).click()
    note = table.locator("#note .prose")
    expect(note.get_by_role("heading", name="Good")).to_be_visible()
    assert note.locator("strong").inner_text() == "bold"
    assert note.locator("img").count() == 0
    assert many.tracking.run(run.run_id).tags["mlflow.note.content"].startswith("# Good")


def test_comments_are_written_changed_and_taken_back(table: Page, many: LocalWorkspace) -> None:
    run = many.tracking.search("name = 'run 008'").runs[0]
    table.goto(f"/runs/{run.run_id}")
    table.get_by_label("Say something about this run").fill("why `0.5`?")
    table.get_by_role("button", name="Comment", exact=True).click()
    assert table.locator(".comment code").inner_text() == "0.5"
    table.get_by_text("Edit or delete").click()
    table.get_by_label("Comment", exact=True).fill("never mind")
    table.get_by_role("button", name="Save", exact=True).click()
    assert "never mind" in table.locator(".comment").inner_text()
    table.get_by_text("Edit or delete").click()
    table.get_by_role("button", name="Delete", exact=True).last.click()
    expect(table.locator(".comment")).to_have_count(0)


def test_a_run_is_renamed_and_tagged_on_its_page(table: Page, many: LocalWorkspace) -> None:
    run = many.tracking.search("name = 'run 009'").runs[0]
    table.goto(f"/runs/{run.run_id}")
    table.get_by_text("Rename", exact=True).first.click()
    table.get_by_label("Name", exact=True).fill("better name")
    table.get_by_role("button", name="Rename", exact=True).click()
    expect(table.get_by_role("heading", level=1)).to_have_text("better name")
    table.get_by_text("Set or remove a tag").click()
    table.get_by_label("Key of the tag").fill("stage")
    table.get_by_label("Value of the tag").fill("prod")
    table.get_by_role("button", name="Set", exact=True).click()
    assert "prod" in table.inner_text("#tags")
    many.tracking.log(run.run_id, name="run 009")


def test_a_metric_among_more_than_are_shown_is_found_and_drawn(table: Page, many: LocalWorkspace) -> None:
    with many.tracking.start(name="many keys") as run:
        for step in range(2):
            run.log_metrics(
                {f"layer{at // 10:02}/norm{at}": float(at + step) for at in range(600)}, step=step
            )
    table.goto(f"/runs/{run.run_id}")
    expect(table.locator("#metrics")).to_contain_text("The first 500 of 600 are shown")
    field = table.get_by_label("Find a metric")
    field.fill("Layer59/NORM59")
    field.press("Enter")
    table.wait_for_url("**metric=**")
    expect(table.locator("#metrics-list tbody tr")).to_have_count(10)
    expect(table.locator("#curves .plots > *")).to_have_count(10)
    many.tracking.delete_runs([run.run_id])


def test_files_pictures_tables_and_output_of_a_run_are_shown(table: Page, many: LocalWorkspace) -> None:
    import numpy as np

    with many.tracking.start("files", name="files") as run:
        for step in (2, 10):
            run.log_image(np.full((8, 8), step * 20, np.uint8), key="samples", step=step)
        run.log_table({"": ["cat", "dog"], "cat": [8, 1], "dog": [2, 9]}, "confusion_matrix.json")
        run.log_text("# Report\n\n| a | b |\n|--|--:|\n| x | 1 |\n\n<script>alert(1)</script>", "report.md")
        print("epoch 1 of 3")
    table.goto(f"/runs/{run.run_id}")
    expect(table.locator(".film img")).to_have_count(2)
    assert table.locator(".film figcaption").all_inner_texts() == ["step 2", "step 10"]
    expect(table.locator("#matrix-1 canvas").first).to_be_visible()
    expect(table.locator("pre.log")).to_contain_text("epoch 1 of 3")
    table.goto(f"/runs/{run.run_id}/artifacts/report.md")
    expect(table.locator(".prose").get_by_role("heading", name="Report")).to_be_visible()
    assert table.locator(".prose td").all_inner_texts() == ["x", "1"]
    table.goto(f"/runs/{run.run_id}/artifacts/confusion_matrix.json")
    expect(table.locator("#matrix canvas").first).to_be_visible()
    assert table.locator("tbody tr").count() == 2
    many.tracking.set_experiment_state("files", "deleted")


def test_experiments_are_made_renamed_and_deleted(table: Page, many: LocalWorkspace) -> None:
    table.goto("/experiments")
    table.get_by_text("New experiment").click()
    table.get_by_label("Name", exact=True).fill("team/new")
    table.get_by_role("button", name="Make it").click()
    row = table.get_by_role("row").filter(has_text="team/")
    row.get_by_text("Change").click()
    row.get_by_label("Name of team/new").fill("team/newer")
    row.get_by_role("button", name="Rename").click()
    row = table.get_by_role("row").filter(has_text="newer")
    row.get_by_text("Change").click()
    row.get_by_role("button", name="Delete").click()
    table.wait_for_url(re.compile("state=deleted"))
    expect(table.get_by_role("link", name="newer")).to_be_visible()
    assert "team/newer" in [each.name for each in many.tracking.experiments("deleted")]


def test_deleting_for_good_asks_once(table: Page, many: LocalWorkspace) -> None:
    runs = [many.tracking.create_run(experiment="gone", name=name) for name in ("one", "two", "three")]
    many.tracking.delete_runs([run.run_id for run in runs])
    table.goto("/runs?experiment=gone&state=deleted&sort=name")
    ready(table, 3)
    table.get_by_role("checkbox", name="Pick one").check()
    table.get_by_role("checkbox", name="Pick two").check()
    table.get_by_role("button", name="Delete for good…").click()
    table.get_by_role("button", name="Cancel").click()
    table.get_by_role("button", name="Delete for good…").click()
    table.get_by_role("button", name="Delete for good", exact=True).click()
    expect(table.get_by_text("2 runs are deleted for good.")).to_be_visible()
    assert names(table) == ["three"]
    table.goto(f"/runs/{runs[2].run_id}")
    table.get_by_role("button", name="Delete for good…").click()
    table.get_by_role("button", name="Delete for good", exact=True).click()
    table.wait_for_url(re.compile("purged=1"))
    assert many.tracking.search(experiment=["gone"], state="all").runs == []
    many.tracking.set_experiment_state("gone", "deleted")


def test_axe_finds_nothing_serious_in_any_state_of_the_pages(
    browser: Browser, place: str, many: LocalWorkspace, theme: str
) -> None:
    page, _ = opened(browser, place, theme)
    run = many.tracking.search("name = 'run 008'").runs[0]
    many.tracking.comment(run.run_id, "# Heading\n\n- list\n\n```\ncode\n```")
    curves = many.tracking.search("metrics.rmse > 0").runs
    found = {}
    for address in (
        "/runs?group=params.model&column=params.at&column=tags.stage",
        "/runs?nest=1",
        "/runs/charts?experiment=curves",
        "/experiments",
        f"/runs/{run.run_id}",
        "/runs/compare?" + "&".join(f"ref={run.run_id}" for run in curves),
    ):
        page.goto(address)
        for chooser in page.locator("details.chooser > summary").all():
            chooser.click()
        page.wait_for_timeout(300)
        if serious := stumbling_blocks(page, theme):
            found[address] = serious
    page.context.close()
    assert found == {}


def test_on_a_phone_the_table_stays_within_the_screen(browser: Browser, place: str) -> None:
    page, watched = opened(browser, place, width=390)
    for address in ("/runs", "/runs/charts?experiment=curves", "/experiments"):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
    assert watched.said == []
    page.context.close()


class Seen(HTMLParser):
    """The tags and attributes of a piece of HTML."""

    ALLOWED = frozenset(
        "p br hr h3 h4 h5 h6 ul ol li blockquote pre code strong em s a table thead tbody tr th td".split()  # noqa: SIM905
    )

    def __init__(self, html: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.ALLOWED:
            self.wrong.append(tag)
        for name, value in attrs:
            safe = {
                "href": re.match(r"https?://|mailto:|/(?![/\\])|#", value or "", re.IGNORECASE),
                "rel": value == "noopener noreferrer nofollow",
                "class": value in ("num", "list", "box"),
                "start": (value or "").isdigit(),
                "tabindex": value == "0",
            }
            if not safe.get(name):
                self.wrong.append(f"{tag} {name}={value}")
        if tag not in ("br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        self.text += data


MARKS = [
    "# ",
    "- ",
    "1. ",
    "> ",
    "```",
    "**",
    "*",
    "_",
    "`",
    "~~",
    "[x] ",
    "---\n",
    "|",
    "| a | b |\n|--|--:|\n",
]
LINKS = [
    "[a](javascript:x)",
    "[b](//evil)",
    "[c](data:text/html,x)",
    "[",
    "](JavaScript:x)",
    "](/\\evil)",
    "](http://x)",
    ")",
]
ADDRESSES = ["http://a.b/c", "https://a.b/_(c)", "javascript:x", "//evil", "mailto:a@b", '"onclick=x']
OTHERS = ["<script>", "<img src=x onerror=y>", "&lt;", "\n", "\n\n", "  ", "    ", "word", "\\", '"', "'"]
PIECES = st.sampled_from([*MARKS, *LINKS, *ADDRESSES, *OTHERS])


@given(st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=40).map("".join))
def test_whatever_is_written_becomes_safe_and_whole_html(text: str) -> None:
    seen = Seen(markdown.render(text))
    assert seen.wrong == []
    assert seen.open == []


@given(st.text(alphabet=st.characters(categories=["L", "N"]), min_size=1))
def test_plain_words_stay_what_they_are(text: str) -> None:
    assert Seen(markdown.render(text)).text == text


@given(st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=50))
def test_a_box_is_in_order_and_within_what_was_measured(values: list[float]) -> None:
    box = box_of(values)
    assert box is not None
    low, first, median, third, high = box
    assert first <= median <= third
    assert min(values) <= low
    assert high <= max(values)


def test_only_squares_of_numbers_are_confusion_matrices() -> None:
    square = confusion("x", ["", "cat", "dog"], [["cat", 8, 1], ["dog", 2, "9"]])
    assert square is not None
    assert square["values"] == [[8.0, 1.0], [2.0, 9.0]]
    assert square["y"]["categories"] == ["cat", "dog"]
    long = confusion(
        "x", ["actual", "predicted", "count"], [["a", "a", 5], ["a", "b", 1], ["b", "a", 0], ["b", "b", 4]]
    )
    assert long is not None
    assert long["values"] == [[5.0, 1.0], [0.0, 4.0]]
    assert confusion("x", ["a", "b"], [[1, None], [2, 3]]) is None
    assert confusion("x", ["name", "value", "word", "other"], [["a", 1, "b", 2], ["c", 2, "d", 3]]) is None


def test_a_metric_that_is_nan_somewhere_keeps_its_axis_of_numbers() -> None:
    lines = [("a", "1"), ("b", "2"), ("c", "3")]
    drawn = parallel([("rmse", ["0.5", "NaN", "-inf"]), ("model", ["tree", "nan", None])], lines)
    assert drawn is not None
    assert drawn["axes"] == [
        {"name": "rmse"},
        {"name": "model", "type": "category", "categories": ["nan", "tree"]},
    ]
    assert [line["values"] for line in drawn["lines"]] == [[0.5, "tree"], [None, "nan"], [None, None]]
