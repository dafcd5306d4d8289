"""An answer as Label Studio's list of regions (``result``), and back.

Rectangles are in percent of the picture on both sides. Ends of spans are exclusive on both sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from everloop.domain.canonical import digest_of
from everloop.domain.labels import Answers, Asks, Question, checked_answers
from everloop.errors import InvalidInput
from everloop.exchange.labelstudio.config import Skipped

TYPES = {
    Asks.SINGLE: "choices",
    Asks.MULTI: "choices",
    Asks.BOXES: "rectanglelabels",
    Asks.SPANS: "labels",
    Asks.RATING: "rating",
    Asks.NUMBER: "number",
    Asks.TEXT: "textarea",
}
"""What the regions of a question are called."""

BOOKKEEPING = frozenset(
    {
        "id",
        "from_name",
        "to_name",
        "type",
        "value",
        "original_width",
        "original_height",
        "image_rotation",
        "origin",
    }
)
"""Of a region: what says nothing of its own, or stands here in another place."""


def regions_of(
    questions: Iterable[Question],
    answers: Answers,
    content: Mapping[str, Any],
    about: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """The regions that say the same as the answers. content: what annotators saw, for the texts of spans and the sizes of
    pictures. about: column -> object's name; else objects are called as their columns."""
    first = next(iter(content), "")
    found: list[dict[str, Any]] = []
    for question in questions:
        if question.name not in answers:
            continue
        column = question.on or first
        common: dict[str, Any] = {
            "from_name": question.name,
            "to_name": (about or {}).get(column, column),
            "type": TYPES[question.kind],
        }
        values = _values(question, answers[question.name], content.get(column))
        for at, value in enumerate(values):
            region: dict[str, Any] = common | {"value": value}
            region["id"] = digest_of([question.name, at, value])[:10]
            if question.kind is Asks.BOXES and isinstance(content.get(column), dict):
                picture = content[column]
                region |= {
                    "original_width": picture.get("width"),
                    "original_height": picture.get("height"),
                    "image_rotation": 0,
                }
            found.append(region)
    return found


def _values(question: Question, answer: Any, content: Any) -> list[dict[str, Any]]:
    match question.kind:
        case Asks.SINGLE:
            return [{"choices": [answer]}]
        case Asks.MULTI:
            return [{"choices": answer}]
        case Asks.BOXES:
            return [
                {name: value for name, value in box.items() if name != "label"}
                | {"rectanglelabels": [box["label"]]}
                for box in answer
            ]
        case Asks.SPANS:
            text = content if isinstance(content, str) else ""
            return [
                {
                    "start": span["start"],
                    "end": span["end"],
                    "text": text[span["start"] : span["end"]],
                    "labels": [span["label"]],
                }
                for span in answer
            ]
        case Asks.RATING:
            return [{"rating": answer}]
        case Asks.NUMBER:
            return [{"number": answer}]
        case Asks.TEXT:
            return [{"text": [answer]}]


def answers_of(questions: Iterable[Question], regions: Any, where: str, skipped: list[Skipped]) -> Answers:
    """The answers that regions say; what has no place here is added to `skipped`. Raises InvalidInput where what is left does not
    fit the questions."""
    asked = {each.name: each for each in questions}
    raw: dict[str, Any] = {name: [] for name, each in asked.items() if each.kind in (Asks.BOXES, Asks.SPANS)}
    if not isinstance(regions, list):
        raise InvalidInput(f"{where}: 'result' is no list", hint="is this a file of Label Studio?")
    for at, region in enumerate(regions):
        here = f"{where}, region {at + 1}"
        if not isinstance(region, dict) or not isinstance(region.get("value"), dict):
            skipped.append(Skipped(here, "it has no value"))
            continue
        question = asked.get(str(region.get("from_name")))
        if question is None or region.get("type") != TYPES[question.kind]:
            skipped.append(
                Skipped(here, f"'{region.get('from_name')}' ({region.get('type')}) is not asked here")
            )
            continue
        unknown = [name for name in sorted(region.keys() - BOOKKEEPING) if region[name] not in (None, {}, [])]
        skipped.extend(Skipped(here, f"'{name}' has no place here") for name in unknown)
        if region.get("image_rotation"):
            skipped.append(Skipped(here, "the picture was rotated"))
            continue
        _take(question, region["value"], raw, here, skipped)
    return checked_answers([msgspec.structs.replace(each, required=False) for each in asked.values()], raw)


def _take(
    question: Question, value: dict[str, Any], raw: dict[str, Any], where: str, skipped: list[Skipped]
) -> None:
    key = {Asks.TEXT: "text"}.get(question.kind, TYPES[question.kind])
    if key not in value:
        skipped.append(Skipped(where, f"its value has no '{key}'"))
        return
    said = value[key]
    several = said if isinstance(said, list) else [said]
    match question.kind:
        case Asks.SINGLE:
            if len(several) != 1 or question.name in raw:
                skipped.append(Skipped(where, f"{len(several)} choices where one is asked for"))
            if several and question.name not in raw:
                raw[question.name] = several[0]
        case Asks.MULTI:
            raw[question.name] = [*raw.get(question.name, []), *several]
        case Asks.BOXES | Asks.SPANS:
            if len(several) > 1:
                skipped.append(Skipped(where, f"labels after the first: {', '.join(map(str, several[1:]))}"))
            if not several:
                skipped.append(Skipped(where, "it has no label"))
                return
            names = (
                ("x", "y", "width", "height", "rotation") if question.kind is Asks.BOXES else ("start", "end")
            )
            kept = {name: value[name] for name in names if value.get(name) is not None}
            raw[question.name].append(kept | {"label": several[0]})
            unknown = sorted(value.keys() - {*names, key, "text"})
            skipped.extend(Skipped(where, f"'{name}' of its value has no place here") for name in unknown)
        case Asks.TEXT:
            if len(several) > 1:
                skipped.append(Skipped(where, "several texts are taken as lines of one"))
            raw[question.name] = "\n".join(map(str, several))
        case _:
            raw[question.name] = said
