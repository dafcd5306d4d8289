"""The pages' building blocks, rendered as a page would render them."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment, FileSystemLoader, StrictUndefined

import everloop

TEMPLATES = Path(everloop.__file__).parent / "server" / "templates"
ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
BLOCKS: Any = ENVIRONMENT.get_template("components.html").module


def words(html: str) -> str:
    """The text a reader sees, without tags."""
    text, inside = "", False
    for sign in html:
        inside = sign == "<" or (inside and sign != ">")
        text += "" if inside or sign == ">" else sign
    return text.strip()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.421338, "0.4213"),
        (0.47, "0.4700"),
        (12.3456, "12.35"),
        (123.456, "123.5"),
        (98765.4321, "98,765"),
        (336776, "336,776"),
        (-0.0123, "−0.01230"),
        (1.5e-7, "1.500e-07"),
        (0, "0"),
        (None, "–"),
        (float("nan"), "NaN"),
        (float("-inf"), "−∞"),
    ],
)
def test_numbers_have_four_significant_digits(value: float | None, shown: str) -> None:
    assert words(str(BLOCKS.number(value))) == shown


def test_what_people_typed_keeps_its_digits() -> None:
    assert words(str(BLOCKS.number(0.03, fixed=False))) == "0.03"


@given(st.floats())
def test_every_number_can_be_shown(value: float) -> None:
    assert words(str(BLOCKS.number(value)))


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.50 kB"), (1834221, "1.83 MB"), (5_000_000_000, "5.00 GB")],
)
def test_bytes_are_in_human_units(count: int, shown: str) -> None:
    assert words(str(BLOCKS.bytes(count))) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.00034, "340 µs"),
        (0.012, "12 ms"),
        (3.419, "3.42 s"),
        (125, "2 min 5 s"),
        (11_520, "3 h 12 min"),
        (353_000, "4 d 2 h"),
    ],
)
def test_durations_are_in_human_units(seconds: float, shown: str) -> None:
    assert words(str(BLOCKS.duration(seconds))) == shown


def test_a_time_says_its_instant_without_scripts() -> None:
    html = str(BLOCKS.time(datetime(2013, 6, 1, 12, 30, tzinfo=UTC)))
    assert words(html) == "2013-06-01 12:30"
    assert 'datetime="2013-06-01T12:30:00+00:00"' in html


def test_a_chip_holds_the_whole_reference_and_shows_a_short_one() -> None:
    reference = "run:018f3c00aabbccddeeff001122334455"
    html = str(BLOCKS.chip(reference, "/runs/018f3c00"))
    assert words(html) == "run018f3c00aabb"
    assert f'data-ref="{reference}"' in html
    assert f'data-copy="{reference}"' in html


class Tags(HTMLParser):
    """Every tag of a piece of HTML with the names of its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))


@given(st.text(alphabet="<>\"'&/= abscript\n", min_size=1, max_size=25))
def test_a_name_adds_no_tag_and_no_attribute(name: str) -> None:
    def tags(name: str) -> list[list[tuple[str, tuple[str, ...]]]]:
        blocks = (
            BLOCKS.chip(f"model:{name}", "/x"),
            BLOCKS.page_head(name, ref=f"data:{name}", lede=name, facts=[(name, name)]),
            BLOCKS.as_command(name),
            BLOCKS.plot({"kind": "line", "series": [{"name": name}]}, name, "p"),
            BLOCKS.pick(name, name),
            BLOCKS.kv([(name, name)]),
        )
        return [Tags(str(block)).found for block in blocks]

    assert tags(name) == tags("plain")


def test_nothing_needs_an_inline_style() -> None:
    """The pages' content security policy refuses style attributes and scripts in the page."""
    for path in TEMPLATES.rglob("*.html"):
        source = path.read_text()
        assert not re.search(r"\sstyle\s*=", source), path.name
        assert not re.search(r"\son(click|change|input|submit|load|error|key[a-z]+)\s*=", source), path.name
        assert not re.search(r"<script(?![^>]*(src=|type=\"application/json\"))", source), path.name


def test_long_names_are_cut_in_the_middle_and_whole_on_hover() -> None:
    name = "gradient boosting with a very long name indeed, version two"
    html = str(BLOCKS.cut(name, 30))
    assert f'title="{name}"' in html
    assert "gradient boosting w…ersion two" in html


@pytest.mark.parametrize(
    ("state", "tone"),
    [("finished", "good"), ("rolled_back", "bad"), ("running", "live"), ("hold", "warn"), ("archived", "")],
)
def test_a_state_has_a_word_and_a_sign(state: str, tone: str) -> None:
    html = str(BLOCKS.badge(state))
    assert words(html) == state.replace("_", " ")
    assert f'class="badge {tone}"' in html
    assert "<svg" in html


def test_the_loop_shows_every_phase_in_order() -> None:
    phases = [
        {
            "room": "data",
            "label": f"Phase {n}",
            "value": f"value {n}",
            "note": "",
            "href": f"/{n}",
            "state": "",
            "word": "",
        }
        for n in range(8)
    ]
    html = str(BLOCKS.loop_ring(phases, {"name": "delay", "value": "champion v7", "note": ""}))
    places = [html.index(f'<a href="/{n}"') for n in range(8)]
    assert places == sorted(places)
    assert "champion v7" in html
