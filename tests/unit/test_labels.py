"""Labels as values: what an answer may be, what most people said, and what is seen of an item."""

from __future__ import annotations

import io
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.data.labels.contents import PAGE_BYTES, PAGE_ITEMS, pages, picture_size
from everloop.data.labels.ledger import differ
from everloop.data.labels.ordering import spread, uncertainty
from everloop.domain.labels import Answers, Asks, NewItem, Order, Question, checked_answers, majority
from everloop.errors import InvalidInput

TONE = Question(name="tone", kind=Asks.SINGLE, choices=("a", "b", "c"))
TOPICS = Question(name="topics", kind=Asks.MULTI, choices=("x", "y", "z"), required=False)
WHERE = Question(name="where", kind=Asks.BOXES, choices=("cat", "dog"))
MARKS = Question(name="marks", kind=Asks.SPANS, choices=("p", "q"))
STARS = Question(name="stars", kind=Asks.RATING)


def box(
    label: str = "cat", x: float = 10, y: float = 10, width: float = 20, height: float = 20
) -> dict[str, Any]:
    return {"label": label, "x": x, "y": y, "width": width, "height": height, "rotation": 0.0}


def test_answers_have_one_form() -> None:
    given_ = {
        "topics": ["z", "x", "z"],
        "tone": "a",
        "marks": [{"label": "p", "start": 5, "end": 9}, {"label": "q", "start": 1, "end": 2}],
    }
    found = checked_answers([TONE, TOPICS, MARKS, WHERE], given_)
    assert found == {
        "tone": "a",
        "topics": ["x", "z"],
        "marks": [{"label": "q", "start": 1, "end": 2}, {"label": "p", "start": 5, "end": 9}],
        "where": [],
    }
    assert list(found) == ["tone", "topics", "marks", "where"]
    assert checked_answers([TONE, TOPICS, MARKS, WHERE], found) == found


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (WHERE, [box(label="cow")]),
        (WHERE, [box(x=90)]),
        (WHERE, [box(width=0)]),
        (WHERE, [box(x=float("nan"))]),
        (WHERE, [{"label": "cat", "x": 1}]),
        (WHERE, [box() | {"colour": "red"}]),
        (WHERE, "cat"),
        (MARKS, [{"label": "p", "start": 3, "end": 3}]),
        (MARKS, [{"label": "p", "start": -1, "end": 3}]),
        (STARS, 0),
        (STARS, 6),
        (STARS, True),
        (STARS, 2.5),
        (TOPICS, ["w"]),
        (TOPICS, 3),
    ],
)
def test_what_is_no_answer_is_refused(question: Question, answer: Any) -> None:
    with pytest.raises(InvalidInput, match=f"no answer to '{question.name}'"):
        checked_answers([question], {question.name: answer})


def test_a_box_that_sticks_out_by_rounding_is_cut() -> None:
    (found,) = checked_answers([WHERE], {"where": [box(x=-0.001, y=80, height=20.005)]})["where"]
    assert (found["x"], found["y"], found["height"]) == (0.0, 80, 20)


votes = st.lists(st.sampled_from("abc"), min_size=1, max_size=7)


@given(votes)
def test_the_majority_is_more_than_half(said: list[str]) -> None:
    answers, share = majority([{"tone": each} for each in said], [TONE])
    most = max(said.count(each) for each in said)
    assert share == most / len(said)
    assert ("tone" in answers) == (2 * most > len(said))
    assert majority([{"tone": each} for each in reversed(said)], [TONE]) == (answers, share)


def test_several_choices_count_one_by_one_and_ratings_give_their_median() -> None:
    said: list[Answers] = [
        {"topics": ["x"], "stars": 1},
        {"topics": ["x", "y"], "stars": 5},
        {"topics": ["z"], "stars": 4},
    ]
    answers, share = majority(said, [TOPICS, STARS])
    assert answers == {"topics": ["x"], "stars": 4}
    assert share == pytest.approx(1 / 3)
    assert majority([], [TONE]) == ({}, None)


def test_boxes_differ_when_one_has_no_fellow() -> None:
    near, far = {"where": [box()]}, {"where": [box(x=60)]}
    assert not differ([near, {"where": [box(x=11)]}], [WHERE])
    assert differ([near, far], [WHERE])
    assert differ([near, {"where": [box(label="dog")]}], [WHERE])
    assert differ([near, {"where": []}], [WHERE])
    assert not differ([near], [WHERE])


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=6))
def test_nothing_is_less_known_than_equal_chances(raw: list[float]) -> None:
    chance = [each / sum(raw) for each in raw]
    equal = [1 / len(raw)] * len(raw)
    for by in (Order.ENTROPY, Order.MARGIN, Order.CONFIDENCE):
        assert uncertainty(by, chance) <= uncertainty(by, equal) + 1e-9
        assert uncertainty(by, chance) >= uncertainty(by, [1.0] + [0.0] * (len(raw) - 1)) - 1e-9
    assert spread([chance, chance]) == pytest.approx(0, abs=1e-9)


@given(st.lists(st.integers(0, 3000), max_size=600))
def test_pages_hold_every_item_in_order_and_stay_small(lengths: list[int]) -> None:
    items = [NewItem(str(at), {"text": "x" * length}) for at, length in enumerate(lengths)]
    made = list(pages(items))
    decoded = [msgspec.json.decode(page, type=list[NewItem]) for page in made]
    assert [item for page in decoded for item in page] == items
    assert all(1 <= len(page) <= PAGE_ITEMS for page in decoded)
    assert all(len(page) <= PAGE_BYTES + 4000 for page in made)


def jpeg(wide: int, high: int) -> bytes:
    segment = b"\xff\xe0" + struct.pack(">H", 16) + bytes(14)
    frame = b"\xff\xc2" + struct.pack(">HBHHB", 17, 8, high, wide, 3) + bytes(9)
    return b"\xff\xd8" + segment + frame


@pytest.mark.parametrize(
    ("head", "size"),
    [
        (b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", 640, 480), (640, 480)),
        (jpeg(1024, 768), (1024, 768)),
        (b"GIF89a" + struct.pack("<HH", 20, 10) + bytes(10), (20, 10)),
        (b"RIFF\0\0\0\0WEBPVP8X" + bytes(8) + b"\x7f\x02\x00\xdf\x01\x00" + bytes(8), (640, 480)),
        (b"RIFF\0\0\0\0WEBPVP8 " + bytes(10) + struct.pack("<HH", 64, 48) + bytes(8), (64, 48)),
        (b"\xff\xd8\xff", None),
        (b"no picture", None),
        (b"", None),
    ],
)
def test_the_size_of_a_picture_is_in_its_first_bytes(head: bytes, size: tuple[int, int] | None) -> None:
    assert picture_size(io.BytesIO(head)) == size
