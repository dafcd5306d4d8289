"""What is asked, as Label Studio's labelling configuration (XML)."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import msgspec

from everloop.domain.labels import Asks, Question, Shown, checked_questions
from everloop.errors import InvalidInput

LONGEST = 1_000_000
OBJECTS = {"Text": "text", "Image": "image"}
"""Tags of what is shown, and how it looks here."""

CONTROLS = {
    "Choices": Asks.SINGLE,
    "RectangleLabels": Asks.BOXES,
    "Labels": Asks.SPANS,
    "Rating": Asks.RATING,
    "Number": Asks.NUMBER,
    "TextArea": Asks.TEXT,
}
LISTED = {"Choices": "Choice", "RectangleLabels": "Label", "Labels": "Label"}
"""Tags of the choices within a control."""

LAYOUT = frozenset({"View", "Header", "Style"})
"""Tags that only arrange."""


class Skipped(msgspec.Struct, frozen=True):
    """Something that has no place here: where it stood, and why it was left."""

    where: str
    reason: str


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration as questions. names: object's name -> column, for the regions that name it."""

    questions: tuple[Question, ...]
    shown: tuple[Shown, ...]
    names: dict[str, str]
    skipped: list[Skipped]


def read_config(xml: str) -> Config:
    """The questions and columns of a configuration. Raises InvalidInput where it is no XML, or asks nothing that is known here.

    >>> found = read_config('<View><Text name="t" value="$text"/><Choices name="tone" toName="t"><Choice value="good"/>'
    ...                     '<Choice value="bad"/></Choices><Audio name="a" value="$sound"/></View>')
    >>> found.questions[0].name, found.questions[0].choices, found.questions[0].on, found.skipped[0].where
    ('tone', ('good', 'bad'), 'text', '<Audio name="a">')
    """
    if len(xml) > LONGEST or "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise InvalidInput(
            "the configuration is too long, or declares entities", hint="export it from Label Studio"
        )
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise InvalidInput(
            f"the configuration is no XML: {error}", hint="export it from Label Studio"
        ) from None
    skipped: list[Skipped] = []
    objects: dict[str, Shown] = {}
    controls: list[ElementTree.Element] = []
    inside = {part for tag, part in LISTED.items()}
    for element in root.iter():
        if element.tag in CONTROLS:
            controls.append(element)
        elif element.tag in OBJECTS:
            column = element.get("value", "")
            if not column.startswith("$"):
                skipped.append(Skipped(_where(element), "it shows no column of the data"))
                continue
            look = "image" if element.tag == "Image" else "text"
            objects[element.get("name", "")] = Shown(column[1:], "image" if look == "image" else "text")
        elif element.tag not in LAYOUT | inside:
            skipped.append(Skipped(_where(element), f"<{element.tag}> is not known here"))
    questions = [found for each in controls if (found := _question(each, objects, skipped)) is not None]
    if not questions:
        known = ", ".join(CONTROLS)
        raise InvalidInput("the configuration asks nothing that is known here", hint=f"known are {known}")
    return Config(
        questions=checked_questions(questions),
        shown=tuple(dict.fromkeys(objects.values())),
        names={name: each.column for name, each in objects.items()},
        skipped=skipped,
    )


def _question(
    control: ElementTree.Element, objects: dict[str, Shown], skipped: list[Skipped]
) -> Question | None:
    kind = CONTROLS[control.tag]
    target = objects.get(control.get("toName", ""))
    if target is None:
        skipped.append(
            Skipped(_where(control), f"it is about '{control.get('toName')}', which is not known here")
        )
        return None
    wanted = "image" if kind is Asks.BOXES else "text" if kind is Asks.SPANS else target.look
    if target.look != wanted:
        skipped.append(Skipped(_where(control), f"it marks a {target.look}"))
        return None
    choices: tuple[str, ...] = ()
    if control.tag in LISTED:
        tag = LISTED[control.tag]
        nested = control.findall(f".//{tag}/{tag}")
        if nested:
            skipped.append(Skipped(_where(control), "choices within choices are taken as one list"))
        choices = tuple(
            dict.fromkeys(str(each.get("alias") or each.get("value", "")) for each in control.iter(tag))
        )
        if not choices:
            skipped.append(Skipped(_where(control), "its choices come from the data of each task"))
            return None
    if control.tag == "Choices" and control.get("choice") == "multiple":
        kind = Asks.MULTI
    if kind is Asks.SINGLE and len(choices) == 1:
        kind = Asks.MULTI  # one box to tick, or not
    highest = control.get("maxRating", "5")
    return Question(
        name=control.get("name", ""),
        kind=kind,
        choices=choices,
        on=target.column,
        required=control.get("required", "false").lower() == "true",
        highest=int(highest) if highest.isdecimal() else 5,
    )


def write_config(questions: Iterable[Question], shown: Iterable[Shown]) -> str:
    """The configuration that asks the same; objects are named as their columns.

    >>> print(write_config([Question(name="n", kind=Asks.NUMBER, on="t")], [Shown("t", "text")]))
    <View>
      <Text name="t" value="$t"/>
      <Number name="n" toName="t" required="true"/>
    </View>
    """
    listed = list(shown)
    lines = ["<View>"]
    for each in listed:
        tag = "Image" if each.look == "image" else "Text"
        lines.append(f"  <{tag} name={quoteattr(each.column)} value={quoteattr('$' + each.column)}/>")
    tags = {kind: tag for tag, kind in CONTROLS.items()} | {Asks.MULTI: "Choices"}
    for question in questions:
        tag = tags[question.kind]
        about = question.on or (listed[0].column if listed else "")
        attributes = f"name={quoteattr(question.name)} toName={quoteattr(about)}"
        if tag == "Choices":
            attributes += f' choice="{"multiple" if question.kind is Asks.MULTI else "single"}"'
        if question.kind is Asks.RATING:
            attributes += f' maxRating="{question.highest}"'
        if question.required:
            attributes += ' required="true"'
        if question.choices:
            lines.append(f"  <{tag} {attributes}>")
            lines += [f"    <{LISTED[tag]} value={quoteattr(each)}/>" for each in question.choices]
            lines.append(f"  </{tag}>")
        else:
            lines.append(f"  <{tag} {attributes}/>")
    return "\n".join([*lines, "</View>"])


def _where(element: ElementTree.Element) -> str:
    name = element.get("name") or element.get("value") or ""
    return f'<{element.tag} name="{name}">' if name else f"<{element.tag}>"
