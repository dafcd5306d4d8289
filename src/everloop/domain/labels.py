"""Labelling as values: what is asked about an item, what an answer may be, who said what, and what became of it.

A project asks *questions* about the *items* of one dataset version. What people say is a history of entries that only grows:
an answer, a skip, an undo, a review are each a new entry that says which one it replaces or is about.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, TypeVar

import msgspec

from everloop.domain.canonical import canonical
from everloop.domain.names import shown
from everloop.domain.references import Kind, Reference
from everloop.errors import InvalidInput, nearest

Answers = dict[str, Any]
"""Question -> answer, as JSON: a choice (text), several choices (sorted list), boxes and spans (lists of objects), a number, a
text. A question that was left out has no key."""

TOLERANCE = 0.01
"""Percent of a picture by which a box may stick out, from rounding in other tools; it is cut off."""

MAX_TEXT = 20_000


class Asks(StrEnum):
    """The kinds of question."""

    SINGLE = "single"
    MULTI = "multi"
    BOXES = "boxes"
    SPANS = "spans"
    RATING = "rating"
    NUMBER = "number"
    TEXT = "text"


CHOOSING = frozenset({Asks.SINGLE, Asks.MULTI, Asks.BOXES, Asks.SPANS})
"""The kinds whose answers are made of the question's choices."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is asked about an item.

    choices: the classes, in the order of their keys 1 to 9. on: the column it is about, where it matters (the text of spans, the
    picture of boxes); empty means the first one shown. highest: of a rating, which is 1 to `highest`.
    """

    name: str
    kind: Asks
    choices: tuple[str, ...] = ()
    on: str = ""
    required: bool = True
    highest: int = 5


class Shown(msgspec.Struct, frozen=True):
    """A column of the item that annotators see: as a text to read, as a value beside its name, or as a picture."""

    column: str
    look: Literal["text", "value", "image"] = "value"


class Box(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rectangle on a picture: its upper left corner, width and height, in percent of the picture's (0 to 100); `rotation` in
    degrees, clockwise about that corner, as Label Studio has it."""

    label: str
    x: float
    y: float
    width: float
    height: float
    rotation: float = 0.0


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Characters `start` to `end` of a text, the end exclusive, counted as Python does."""

    label: str
    start: int
    end: int


class Policy(StrEnum):
    """Which answers become the dataset: what most annotators said (a review outranks them), what a reviewer accepted or
    corrected, or every answer in a row of its own."""

    MAJORITY = "majority"
    REVIEWED = "reviewed"
    ALL = "all"


class Order(StrEnum):
    """In which order items are asked about: as they are in the version, shuffled, or what a model knows least first."""

    GIVEN = "given"
    RANDOM = "random"
    ENTROPY = "entropy"
    MARGIN = "margin"
    CONFIDENCE = "confidence"
    DISAGREEMENT = "disagreement"


class EntryKind(StrEnum):
    """What an entry of the history says."""

    LABEL = "label"
    SKIP = "skip"
    UNDO = "undo"
    ACCEPT = "accept"
    REJECT = "reject"
    CORRECTION = "correction"


class ItemState(StrEnum):
    """Of an item: more answers are wanted, there are enough, or a reviewer has decided."""

    OPEN = "open"
    DONE = "done"
    REVIEWED = "reviewed"


E = TypeVar("E", bound=StrEnum)


def one_of(kind: type[E], text: str, what: str) -> E:
    """The member of an enumeration that a person means, or InvalidInput with the nearest.

    >>> one_of(Policy, "majorty", "policy")
    Traceback (most recent call last):
    everloop.errors.InvalidInput: there is no policy 'majorty'
    """
    try:
        return kind(text)
    except ValueError:
        known = [str(each) for each in kind]
        raise InvalidInput(
            f"there is no {what} {shown(text)}", hint=nearest(text, known) or f"choose {', '.join(known)}"
        ) from None


class NewItem(msgspec.Struct, frozen=True):
    """An item to be asked about: a key that finds it again in its version, and what annotators see of it."""

    key: str
    content: dict[str, Any]


class LabelProject(msgspec.Struct, frozen=True, kw_only=True):
    """A labelling project.

    source: the dataset version its items are of. key: the column that names an item; empty for row numbers, ``path`` for files.
    overlap: how many annotators an item needs. lease_seconds: how long an item is kept for whom it was given to.
    guidelines: in Markdown; each change of them has a number, which entries carry.
    closed: since when nothing is said of its items any more.
    """

    name: str
    source: str
    key: str
    shown: tuple[Shown, ...]
    questions: tuple[Question, ...]
    overlap: int
    lease_seconds: int
    order: Order
    guidelines: str
    guidelines_version: int
    items: int
    created: datetime
    user: str
    closed: datetime | None = None

    @property
    def reference(self) -> str:
        return str(Reference(Kind.LABELS, self.name))

    @property
    def typed(self) -> str:
        """Its name as a shell takes it: names may hold spaces."""
        return shlex.quote(self.name)

    def question(self, name: str = "") -> Question:
        """A question by name; without one, the first. Raises InvalidInput with the nearest names."""
        for each in self.questions:
            if each.name == name or not name:
                return each
        known = [each.name for each in self.questions]
        raise InvalidInput(
            f"{self.name} has no question {shown(name)}",
            hint=nearest(name, known) or f"it has {', '.join(known)}",
        )


class LabelItem(msgspec.Struct, frozen=True, kw_only=True):
    """Where an item stands. labelled, skipped: by how many annotators. differs: their answers are not the same. final: the entry
    that a reviewer accepted or wrote."""

    number: int
    key: str
    state: ItemState
    labelled: int
    skipped: int
    differs: bool
    final: str | None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the history.

    replaces: the entry whose place this one takes, or that it is about. seconds: how long it took, where that is known.
    source: the dataset version whose item was seen. origin: ``page``, ``api``, or what was imported.
    counts: it is what its user says of the item today.
    """

    id: str
    item: int
    key: str
    user: str
    kind: EntryKind
    answers: Answers
    replaces: str | None
    comment: str
    seconds: float | None
    guidelines: int
    source: str
    origin: str
    created: datetime
    counts: bool = False


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """What a model says of an item. probabilities: in the order of the question's choices; empty when it gave none."""

    item: int
    model: str
    answers: Answers
    score: float | None = None
    probabilities: list[float] = []


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """An item for one annotator until `until`, or none: then `elsewhere` items are with other annotators just now."""

    item: LabelItem | None
    content: dict[str, Any] = {}
    suggestions: list[Suggestion] = []
    rejected: str = ""
    until: datetime | None = None
    elsewhere: int = 0


class AnnotatorCount(msgspec.Struct, frozen=True, kw_only=True):
    """What one annotator did: answers that count, items skipped, answers a reviewer sent back, median seconds an answer."""

    user: str
    labelled: int
    skipped: int
    rejected: int
    seconds: float | None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a project is: items by state, answers that count, items whose annotators differ, and who did what."""

    items: int
    open: int
    done: int
    reviewed: int
    answers: int
    differs: int
    annotators: list[AnnotatorCount]


def question(
    name: str,
    choices: Iterable[str] = (),
    *,
    kind: str = "single",
    on: str = "",
    required: bool = True,
    highest: int = 5,
) -> Question:
    """A question of a labelling project.

    kind: ``single`` (one of the choices), ``multi`` (any of them), ``boxes`` on a picture, ``spans`` of a text, ``rating`` (1 to
    `highest`), ``number``, ``text``. on: the column it is about, where several are shown.

    >>> question("tone", ["good", "bad"]).choices
    ('good', 'bad')
    """
    asks = one_of(Asks, kind, "kind of question")
    return Question(name=name, kind=asks, choices=tuple(choices), on=on, required=required, highest=highest)


def checked_questions(questions: Sequence[Question]) -> tuple[Question, ...]:
    """Questions that can be asked, or InvalidInput.

    >>> checked_questions([Question(name="tone", kind=Asks.SINGLE, choices=("good",))])
    Traceback (most recent call last):
    everloop.errors.InvalidInput: the question 'tone' needs two choices at least
    """
    if not questions:
        raise InvalidInput("a labelling project asks something", hint="give --choices, or --config FILE.xml")
    names = [each.name for each in questions]
    for question in questions:
        what = f"the question {shown(question.name)}"
        if not question.name.strip() or not question.name.isprintable() or len(question.name) > 100:
            raise InvalidInput(f"{what} needs a printable name of 1 to 100 characters")
        if names.count(question.name) > 1:
            raise InvalidInput(f"there are two questions called {shown(question.name)}", hint="rename one")
        least = {Asks.SINGLE: 2, Asks.MULTI: 1, Asks.BOXES: 1, Asks.SPANS: 1}.get(question.kind, 0)
        if len(question.choices) < least:
            raise InvalidInput(f"{what} needs {'two choices' if least == 2 else 'a choice'} at least")
        if question.choices and question.kind not in CHOOSING:
            raise InvalidInput(
                f"{what} asks for a {question.kind}, which has no choices", hint="leave them out"
            )
        if len(set(question.choices)) < len(question.choices) or not all(map(str.strip, question.choices)):
            raise InvalidInput(f"{what} has an empty choice, or one twice", hint="rename it")
        if question.kind is Asks.RATING and not 2 <= question.highest <= 100:
            raise InvalidInput(f"{what} is a rating of 1 to {question.highest}", hint="choose 2 to 100")
    return tuple(questions)


def checked_answers(questions: Iterable[Question], answers: Mapping[str, Any]) -> Answers:
    """Answers in the one form they are kept in, or InvalidInput that names the question.

    >>> tone = Question(name="tone", kind=Asks.SINGLE, choices=("good", "bad"))
    >>> checked_answers([tone], {"tone": "good"})
    {'tone': 'good'}
    >>> checked_answers([tone], {"tone": "god"})
    Traceback (most recent call last):
    everloop.errors.InvalidInput: 'god' is no answer to 'tone'
    """
    asked = {each.name: each for each in questions}
    for name in answers:
        if name not in asked:
            raise InvalidInput(
                f"nothing called {shown(name)} is asked",
                hint=nearest(name, asked) or f"asked: {', '.join(asked)}",
            )
    given = {name: _checked(asked[name], value) for name, value in answers.items() if value is not None}
    for name, question in asked.items():
        if question.kind in (Asks.BOXES, Asks.SPANS):
            given.setdefault(name, [])  # nothing marked is an answer, too
    for question in asked.values():
        missing = question.name not in given or given[question.name] in ("", [])
        if question.required and missing and question.kind not in (Asks.BOXES, Asks.SPANS):
            raise InvalidInput(f"'{question.name}' is not answered", hint="answer it, or skip the item")
    return {name: given[name] for name in asked if name in given and given[name] != ""}


def _checked(question: Question, value: Any) -> Any:
    match question.kind:
        case Asks.SINGLE:
            return _choice(question, value)
        case Asks.MULTI:
            listed = [value] if isinstance(value, str) else value
            if not isinstance(listed, list | tuple):
                raise _no_answer(question, value, "give a list of choices")
            chosen = {_choice(question, each) for each in listed}
            return [each for each in question.choices if each in chosen]
        case Asks.BOXES:
            return [msgspec.to_builtins(_box(question, each)) for each in _listed(question, value)]
        case Asks.SPANS:
            spans = [_converted(question, each, Span) for each in _listed(question, value)]
            for each in spans:
                _choice(question, each.label)
                if not 0 <= each.start < each.end:
                    raise _no_answer(question, value, "a span has 0 <= start < end")
            return [
                msgspec.to_builtins(each)
                for each in sorted(spans, key=lambda at: (at.start, at.end, at.label))
            ]
        case Asks.RATING:
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= question.highest:
                raise _no_answer(question, value, f"give a whole number, 1 to {question.highest}")
            return value
        case Asks.NUMBER:
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
                raise _no_answer(question, value, "give a number")
            return value
        case Asks.TEXT:
            if not isinstance(value, str) or len(value) > MAX_TEXT:
                raise _no_answer(question, value, f"give a text of at most {MAX_TEXT:,} characters")
            return value.strip()


def _choice(question: Question, value: Any) -> str:
    if isinstance(value, str) and value in question.choices:
        return value
    hint = nearest(str(value), question.choices) or f"choose {' or '.join(question.choices[:12])}"
    raise _no_answer(question, value, hint)


def _box(question: Question, value: Any) -> Box:
    box: Box = _converted(question, value, Box)
    _choice(question, box.label)
    low = min(box.x, box.y, 100 - box.x - box.width, 100 - box.y - box.height)
    if not (box.width > 0 and box.height > 0):
        raise _no_answer(question, value, "a box has a width and a height")
    if not box.rotation and not low >= -TOLERANCE:
        raise _no_answer(question, value, "x, y, width and height are percent of the picture, 0 to 100")
    if box.rotation or low >= 0:
        return box
    x, y = max(0.0, box.x), max(0.0, box.y)
    return msgspec.structs.replace(
        box, x=x, y=y, width=min(box.width, 100 - x), height=min(box.height, 100 - y)
    )


def _listed(question: Question, value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise _no_answer(question, value, "give a list")
    return list(value)


def _converted(question: Question, value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        raise _no_answer(question, value, str(error)) from None


def _no_answer(question: Question, value: Any, hint: str) -> InvalidInput:
    return InvalidInput(f"{shown(str(value))} is no answer to '{question.name}'", hint=hint)


def check_spans(questions: Iterable[Question], answers: Answers, content: Mapping[str, Any]) -> None:
    """Raise InvalidInput for a span beyond the end of its text."""
    texts = [str(value) for value in content.values() if isinstance(value, str)]
    for question in questions:
        if question.kind is not Asks.SPANS:
            continue
        text = str(content.get(question.on, texts[0] if texts else ""))
        for span in answers.get(question.name, []):
            if span["end"] > len(text):
                raise InvalidInput(
                    f"a span of '{question.name}' ends at {span['end']}, the text at {len(text)}",
                    hint="count characters from 0, the end exclusive",
                )


def majority(answers: Sequence[Answers], questions: Iterable[Question]) -> tuple[Answers, float | None]:
    """What most annotators said, by question, and the smallest share that said so over the questions with votes.

    A tie has no majority: its question is left out. Of several choices, each counts by itself (more than half chose it). Numbers
    and ratings give their lower median. Boxes, spans and texts are not averaged: they need to be equal, or a review.

    >>> tone = Question(name="tone", kind=Asks.SINGLE, choices=("good", "bad"))
    >>> majority([{"tone": "good"}, {"tone": "bad"}, {"tone": "good"}], [tone])
    ({'tone': 'good'}, 0.6666666666666666)
    >>> majority([{"tone": "good"}, {"tone": "bad"}], [tone])
    ({}, 0.5)
    """
    found: Answers = {}
    shares: list[float] = []
    for question in questions:
        given = [each[question.name] for each in answers if question.name in each]
        if not given:
            continue
        if question.kind is Asks.MULTI:
            votes = Counter(choice for each in given for choice in each)
            found[question.name] = [each for each in question.choices if 2 * votes[each] > len(given)]
            shares.append(
                min(max(votes[each], len(given) - votes[each]) / len(given) for each in question.choices)
            )
            continue
        by_form = {canonical(each): each for each in given}
        ranked = Counter(canonical(each) for each in given).most_common()
        shares.append(ranked[0][1] / len(given))
        if question.kind in (Asks.NUMBER, Asks.RATING):
            found[question.name] = sorted(given)[(len(given) - 1) // 2]
        elif 2 * ranked[0][1] > len(given):
            found[question.name] = by_form[ranked[0][0]]
    return found, min(shares) if shares else None
