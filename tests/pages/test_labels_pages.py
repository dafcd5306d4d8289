"""Labelling in a browser: by keys, by mouse, without a script; reviewed by somebody else; for readers with aids."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.pages.aids import stumbling_blocks
from tests.pages.conftest import Watched, opened
from tests.pages.filling import NASTY
from tests.support.workspaces import served

from everloop.client.ambient import using
from everloop.domain.labels import Asks, Question
from everloop.governance.identity import Actor, Role, acting_as, local_user
from everloop.tracking.pictures import png
from everloop.workspace.local import LocalWorkspace

REVIEWS = [
    "The room was clean and the staff could not have been kinder. We would come back tomorrow.",
    f"Noise until three in the morning, and nobody at the desk. {NASTY}",
    "Breakfast was fine. The bed was not.",
    "A lovely walk from the station, a lovelier view.",
    "We waited an hour for a key.",
    "It is what it is.",
]
GUIDELINES = """Judge what the guest *says*, not what you think of hotels.

1. **mixed** only if both are said.
2. Skip what is not English.
"""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[LocalWorkspace]:
    """Reviews that two people have begun with, pictures, and texts with names in them."""
    with LocalWorkspace(tmp_path / "hotel") as made, using(made):
        rows = pa.table(
            {"id": [f"r{at}" for at in range(6)], "text": REVIEWS, "nights": [2, 1, 3, 2, None, 1]}
        )
        made.data.add(rows, "reviews")
        tone = Question(name="tone", kind=Asks.SINGLE, choices=("good", "bad", "mixed"))
        topics = Question(name="about", kind=Asks.MULTI, choices=("room", "staff", NASTY), required=False)
        made.labels.create(
            "tone",
            "reviews",
            [tone, topics],
            text="text",
            columns=["nights"],
            key="id",
            overlap=2,
            guidelines=GUIDELINES,
        )
        for user, answers in {"ana": ("good", "bad", "mixed"), "ben": ("good", "bad", "bad")}.items():
            with acting_as(Actor(user, Role.ENGINEER)):
                for at, answer in enumerate(answers):
                    made.labels.annotate("tone", at, {"tone": answer, "about": ["room"]}, seconds=3.0 + at)
        chance = np.linspace(0.5, 0.98, 6)
        made.labels.suggest(
            "tone",
            pa.table({"good": chance, "bad": (1 - chance) * 0.75, "mixed": (1 - chance) * 0.25}),
            "model:tone@v1",
        )
        folder = tmp_path / "pets"
        folder.mkdir()
        rng = np.random.default_rng(0)
        for at in range(2):
            picture = np.full((240, 320, 3), 235, np.uint8)
            picture[60:180, 80:240] = rng.integers(0, 200, 3)
            (folder / f"pet{at}.png").write_bytes(png(picture))
        made.data.add(folder, "pets")
        where = Question(name="where", kind=Asks.BOXES, choices=("cat", "dog"))
        made.labels.create("pets", "pets", [where], guidelines="Tight boxes.")
        names = Question(name="names", kind=Asks.SPANS, choices=("person", "place"))
        stars = Question(name="stars", kind=Asks.RATING)
        why = Question(name="why", kind=Asks.TEXT, required=False)
        made.data.add(pa.table({"text": ["😀 Ana met Ben in Rome.", "Nobody."]}), "texts")
        made.labels.create("names", "texts", [names, stars, why], text="text")
        yield made


@pytest.fixture
def address(own: LocalWorkspace) -> Iterator[str]:
    with served(own) as url:
        yield url


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    made, watched = opened(browser, address)
    yield made
    made.context.close()
    assert watched.said == []
    assert watched.elsewhere == []


def to_label(page: Page, project: str) -> None:
    """Go there, and wait for the script that listens to keys."""
    page.goto(f"/labels/{project}@label")
    expect(page.locator("[data-labelling][data-ready]")).to_be_visible()


def mine(own: LocalWorkspace, project: str, item: int) -> dict[str, object]:
    said = [
        each for each in own.labels.history(project, item) if each.counts and each.user == local_user().user
    ]
    return said[-1].answers if said else {}


ADDRESSES = (
    "/labels",
    "/labels/tone",
    "/labels/pets",
    "/labels/tone@label?item=4",
    "/labels/tone@label?item=1",
    "/labels/pets@label?item=0",
    "/labels/names@label?item=0",
    "/labels/tone@review",
    "/labels/tone@review?only=differs",
    "/labels/pets@review",
)


def test_every_page_of_labels_opens_quietly_and_within_its_width(
    browser: Browser, address: str, theme: str
) -> None:
    page, watched = opened(browser, address, theme, width=1280 if theme == "light" else 1024)
    for each in ADDRESSES:
        answer = page.goto(each)
        assert answer is not None
        assert answer.status == 200, (each, page.inner_text("main"))
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{each} is too wide"
        assert stumbling_blocks(page, theme) == [], each
    page.context.close()
    assert watched.said == []
    assert watched.elsewhere == []


def is_read(page: Page, text: str) -> None:
    """This item is there, and the keys are listened to."""
    expect(page.locator(".reading")).to_have_text(text)
    expect(page.locator("[data-labelling]")).to_have_attribute("data-ready", "")


def test_items_are_labelled_by_keys_alone(page: Page, own: LocalWorkspace) -> None:
    to_label(page, "tone")
    is_read(page, REVIEWS[3])
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_contain_text("Take my last one back")
    page.keyboard.press("2")
    page.keyboard.press("Escape")
    expect(page.locator("#shortcuts")).to_be_hidden()
    expect(page.locator(".choice input:checked")).to_have_count(0)
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    is_read(page, REVIEWS[4])
    expect(page.locator(".told")).to_have_text("r3: good; none")
    assert mine(own, "tone", 3) == {"tone": "good", "about": []}
    page.keyboard.press("s")
    is_read(page, REVIEWS[5])
    page.keyboard.press("u")
    is_read(page, REVIEWS[4])
    page.keyboard.press("1")  # and the keys go on to the next question, where several may be chosen
    page.keyboard.press("1")
    page.keyboard.press("2")
    page.keyboard.press("1")
    page.keyboard.press("Q")  # back to the first
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    is_read(page, REVIEWS[5])
    assert mine(own, "tone", 4) == {"tone": "bad", "about": ["staff"]}
    entry = own.labels.history("tone", 4)[-1]
    assert entry.origin == "page"
    assert entry.seconds is not None


def test_an_answer_that_is_missing_is_said_and_nothing_is_lost(page: Page, own: LocalWorkspace) -> None:
    to_label(page, "tone")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("'tone' is not answered")
    expect(page.locator(".reading")).to_have_text(REVIEWS[3])
    assert mine(own, "tone", 3) == {}


def test_boxes_are_drawn_moved_and_taken_away(page: Page, own: LocalWorkspace) -> None:
    to_label(page, "pets")
    picture = page.locator(".picture svg")
    expect(picture).to_be_visible()
    frame = picture.bounding_box()
    assert frame is not None

    def at(x: float, y: float) -> tuple[float, float]:
        return frame["x"] + frame["width"] * x / 100, frame["y"] + frame["height"] * y / 100

    page.keyboard.press("2")
    page.mouse.move(*at(25, 25))
    page.mouse.down()
    page.mouse.move(*at(50, 50))
    page.mouse.move(*at(75, 75))
    page.mouse.up()
    box = page.locator(".picture rect")
    expect(box).to_have_count(1)
    expect(box).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("n")
    expect(box).to_have_count(2)
    page.keyboard.press("1")
    page.keyboard.press("Delete")
    expect(box).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator(".labelling-head")).to_contain_text("pet1.png")
    (drawn,) = mine(own, "pets", 0)["where"]
    assert drawn["label"] == "dog"
    assert drawn["x"] == pytest.approx(25.5, abs=0.6)
    assert drawn["width"] == pytest.approx(50, abs=0.6)
    assert drawn["height"] == pytest.approx(50.5, abs=0.6)
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text("Nothing left to label")
    assert mine(own, "pets", 1) == {"where": []}, "no box is an answer"
    page.keyboard.press("u")
    expect(page.locator(".labelling-head")).to_contain_text("pet1.png")


def test_spans_are_marked_and_counted_as_the_server_counts(page: Page, own: LocalWorkspace) -> None:
    to_label(page, "names")
    page.evaluate(
        """() => {
            const text = document.querySelector(".reading").firstChild;
            const range = document.createRange();
            range.setStart(text, text.data.indexOf("Ben"));
            range.setEnd(text, text.data.indexOf("Ben") + 4);
            getSelection().addRange(range);
            document.querySelector(".reading").dispatchEvent(new MouseEvent("mouseup", {bubbles: true}));
        }"""
    )
    expect(page.locator("[data-region]")).to_have_count(1)
    page.get_by_label("4", exact=True).check()
    page.get_by_label("why").fill("two people")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator(".reading")).to_have_text("Nobody.")
    said = mine(own, "names", 0)
    assert said == {"names": [{"label": "person", "start": 10, "end": 13}], "stars": 4, "why": "two people"}
    assert "😀 Ana met Ben in Rome."[10:13] == "Ben"


def test_without_a_script_choices_and_boxes_work_by_the_form(
    browser: Browser, address: str, own: LocalWorkspace
) -> None:
    context = browser.new_context(base_url=address, java_script_enabled=False)
    page = context.new_page()
    page.goto("/labels/tone@label")
    page.get_by_label("mixed").check()
    page.get_by_role("button", name="Submit").click()
    expect(page.locator(".reading")).to_have_text(REVIEWS[4])
    assert mine(own, "tone", 3)["tone"] == "mixed"
    page.goto("/labels/pets@label")
    page.get_by_label("where: class").select_option("cat")
    for name, value in {"left": "10", "top": "20", "width": "30.5", "height": "40"}.items():
        page.get_by_label(f"where: {name}").fill(value)
    page.get_by_role("button", name="Submit").click()
    assert mine(own, "pets", 0)["where"] == [
        {"label": "cat", "x": 10, "y": 20, "width": 30.5, "height": 40, "rotation": 0.0}
    ]
    context.close()


def test_a_reviewer_sees_who_said_what_and_decides(page: Page, own: LocalWorkspace) -> None:
    page.goto("/labels/tone@review?only=differs")
    expect(page.locator(".reading")).to_have_text(REVIEWS[2])
    expect(page.locator(".asking")).to_contain_text("they differ")
    page.get_by_role("button", name="Accept the answer of ben").click()
    expect(page.locator("main")).to_contain_text("Nothing to review")
    page.goto("/labels/tone@review")
    page.get_by_label("Why the answer of ana goes back").fill("read it again")
    page.get_by_role("button", name="Send the answer of ana back").click()
    expect(page.locator(".told")).to_have_text("r0: sent back")
    expect(page.locator(".reading")).to_contain_text("Noise until three")
    page.get_by_label("good").check()
    page.get_by_role("button", name="Let this stand").click()
    expect(page.locator(".told")).to_have_text("r1: corrected")
    states = {each.key: str(each.state) for each in own.labels.items("tone", limit=3)}
    assert states == {"r0": "open", "r1": "reviewed", "r2": "reviewed"}
    assert own.labels.history("tone", 1)[-1].answers["tone"] == "good"


def test_a_project_shows_its_agreement_and_makes_a_dataset(page: Page, own: LocalWorkspace) -> None:
    page.goto("/labels/tone")
    main = page.locator("main")
    expect(main).to_contain_text("Krippendorff's alpha (nominal)")
    expect(main).to_contain_text("Cohen's kappa of ana and ben")
    assert page.locator("script:text('alert(1)')").count() == 0
    page.get_by_role("button", name="Order…").click()
    page.locator("#deed-arrange select[name=by]").select_option("entropy")
    page.get_by_role("button", name="Put in order").click()
    expect(page.locator(".told")).to_contain_text("another order now: entropy")
    page.get_by_role("button", name="Make a dataset…").click()
    page.get_by_role("button", name="Make it").click()
    expect(page.locator(".told")).to_contain_text("data:tone/labelled@v1 is made: 3 rows")
    expect(main.locator("#made")).to_contain_text("tone/labelled")
    assert own.data.version("tone/labelled@v1").rows == 3
    answer = page.goto("/data/tone/labelled@v1")
    assert answer is not None
    assert answer.status == 200


def test_a_project_is_closed_and_opened_again(page: Page, own: LocalWorkspace) -> None:
    page.goto("/labels/tone")
    page.get_by_role("button", name="Close…").click()
    page.locator("#deed-close input[name=because]").fill("the budget is spent")
    page.locator("#deed-close button[type=submit]").click()
    expect(page.locator(".told")).to_contain_text("tone is closed")
    assert own.labels.project("tone").closed is not None
    refused = httpx.post(f"{page.url}@label/answer", data={"item": "4", "q0": "good"})
    assert refused.status_code == 409
    assert "labels:tone is closed" in refused.text
    page.goto("/labels/tone@label")
    expect(page.locator("main")).to_contain_text("This project is closed.")
    expect(page.locator(".labelling-head .chip")).to_have_attribute("data-ref", "labels:tone")
    page.goto("/search?q=labels:tone")
    expect(page).to_have_url(re.compile(r"/labels/tone$"))
    page.get_by_role("button", name="Reopen…").click()
    page.locator("#deed-reopen button[type=submit]").click()
    expect(page.locator(".told")).to_contain_text("takes answers again")
    assert own.labels.project("tone").closed is None


def test_pictures_are_sandboxed_and_forms_are_checked(address: str, own: LocalWorkspace) -> None:
    answer = httpx.get(f"{address}/labels/pets@image/0")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-security-policy"].startswith("sandbox")
    assert answer.content.startswith(b"\x89PNG")
    assert httpx.get(f"{address}/labels/tone@image/0").status_code == 404
    assert httpx.get(f"{address}/labels/pets@image/9").status_code == 404
    assert httpx.get(f"{address}/labels/nothing", headers={"accept": "text/html"}).status_code == 404
    for form in ({"item": "x"}, {"item": "99", "q0": "good"}, {"item": "3", "q0": "neither"}, {}):
        told = httpx.post(f"{address}/labels/tone@label/answer", data=form)
        assert told.status_code in (400, 404), form
    assert own.labels.progress("tone").answers == 6


def test_who_may_only_look_is_told_so(browser: Browser, own: LocalWorkspace) -> None:
    secret = own.governance.create_token("vera", role=Role.VIEWER).secret
    with served(own) as url:
        page, watched = opened(browser, url)
        page.goto("/login")
        page.get_by_label("Token").fill(secret)
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{url}/")
        page.goto("/labels/tone@label")
        expect(page.locator("main")).to_contain_text("Here you may look, not label")
        page.goto("/labels/tone")
        expect(page.get_by_role("button", name="Label", exact=True)).to_be_disabled()
        page.context.close()
        assert isinstance(watched, Watched)
        assert watched.said == []
