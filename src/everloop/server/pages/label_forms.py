"""What is asked about an item as fields of a form, and the fields of a sent form as answers.

A field is called ``q0`` (choices, number, text), ``q0.label`` and so on (boxes and spans: one value a region), after the
question's place: names of questions are free text.
"""

from __future__ import annotations

from typing import Any

from everloop.domain.labels import Answers, Asks, Question
from everloop.errors import InvalidInput

SHORT = 160
HUES = 8
"""Colours of the palette: choice number 9 has that of number 1."""

FRAME = (720, 560)
"""Width and height, in pixels of the page, within which a picture is shown."""

LARGER = 4
"""How many times its size a small picture is shown."""

REGION = {Asks.BOXES: ("x", "y", "width", "height", "rotation"), Asks.SPANS: ("start", "end")}
"""The numbers of a region."""


def fields(
    questions: tuple[Question, ...], shown: list[dict[str, Any]], answers: Answers, prefix: str = ""
) -> list[dict[str, Any]]:
    """The questions as the template draws them, with what is answered so far. shown: as `seen` gives it. prefix: of identifiers,
    where two such forms are on one page."""
    found: list[dict[str, Any]] = []
    for at, question in enumerate(questions):
        look = {Asks.BOXES: "image", Asks.SPANS: "text"}.get(question.kind)
        about = [each for each in shown if each["look"] == look] if look else []
        named = [each for each in about if each["column"] == question.on]
        found.append(
            {
                "id": f"{prefix}q{at}",
                "field": f"q{at}",
                "question": question,
                "kind": str(question.kind),
                "answer": answers.get(question.name),
                "on": next(iter(named or about), None),
                "choices": [(choice, number % HUES + 1) for number, choice in enumerate(question.choices)],
                "hue": {choice: number % HUES + 1 for number, choice in enumerate(question.choices)},
            }
        )
    return found


def seen(content: dict[str, Any], looks: dict[str, str], image: str) -> list[dict[str, Any]]:
    """What annotators see of an item, column by column. image: the address of its picture."""
    return [
        {
            "column": column,
            "look": looks.get(column, "value"),
            "value": value,
            "image": image if looks.get(column) == "image" else None,
            "fitted": fitted(value) if looks.get(column) == "image" else None,
        }
        for column, value in content.items()
    ]


def fitted(picture: dict[str, Any]) -> tuple[int, int] | None:
    """The size in which a picture is shown: within a frame, small ones larger than they are. None where its size is unknown.

    >>> fitted({"width": 64, "height": 64}), fitted({"width": 4000, "height": 1000}), fitted({})
    ((256, 256), (720, 180), None)
    """
    wide, high = picture.get("width"), picture.get("height")
    if not wide or not high:
        return None
    scale = min(FRAME[0] / wide, FRAME[1] / high, LARGER)
    return max(1, round(wide * scale)), max(1, round(high * scale))


def answered(questions: tuple[Question, ...], form: dict[str, list[str]]) -> Answers:
    """The answers in a sent form. Raises InvalidInput for a number that is none."""
    answers: Answers = {}
    for at, question in enumerate(questions):
        name = f"q{at}"
        given = [each for each in form.get(name, []) if each.strip()]
        match question.kind:
            case Asks.BOXES | Asks.SPANS:
                answers[question.name] = _regions(question, name, form)
            case Asks.MULTI:
                answers[question.name] = given
            case Asks.RATING | Asks.NUMBER:
                if given:
                    answers[question.name] = _number(given[0], question, whole=question.kind is Asks.RATING)
            case _:
                if given:
                    answers[question.name] = given[0]
    return answers


def _regions(question: Question, name: str, form: dict[str, list[str]]) -> list[dict[str, Any]]:
    labels = form.get(f"{name}.label", [])
    found = []
    for at, label in enumerate(labels):
        if not label:
            continue
        region: dict[str, Any] = {"label": label}
        for part in REGION[question.kind]:
            values = form.get(f"{name}.{part}", [])
            text = values[at].strip() if at < len(values) else ""
            if text or part != "rotation":
                region[part] = _number(text, question, whole=question.kind is Asks.SPANS)
        found.append(region)
    return found


def _number(text: str, question: Question, *, whole: bool) -> int | float:
    try:
        return int(text) if whole else _as_written(text)
    except ValueError:
        raise InvalidInput(f"'{text[:40]}' is no number: {question.name}", hint="write 12 or 12.5") from None


def _as_written(text: str) -> int | float:
    """A whole number stays one.

    >>> _as_written("3"), _as_written("3.0")
    (3, 3.0)
    """
    return int(text) if text.lstrip("+-").isdecimal() else float(text)


def in_words(questions: tuple[Question, ...], answers: Answers) -> list[tuple[str, str]]:
    """Answers in a few words, in the order of the questions.

    >>> where = Question(name="where", kind=Asks.BOXES, choices=("cat",))
    >>> in_words((where,), {"where": [{"label": "cat"}, {"label": "cat"}]})
    [('where', '2 × cat')]
    """
    return [(each.name, _words(answers[each.name])) for each in questions if each.name in answers]


def _words(value: Any) -> str:
    if not isinstance(value, list):
        return str(value)[:SHORT]
    if not value:
        return "none"
    if isinstance(value[0], str):
        return ", ".join(value)
    counts: dict[str, int] = {}
    for region in value:
        counts[region["label"]] = counts.get(region["label"], 0) + 1
    return ", ".join(f"{n} × {label}" for label, n in counts.items())


def glance(content: dict[str, Any], key: str) -> str:
    """An item in a line."""
    parts = [
        str(value["path"] if isinstance(value, dict) and "path" in value else value)
        for value in content.values()
    ]
    return (" · ".join(parts) or key)[:SHORT]
