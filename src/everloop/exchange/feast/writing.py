"""A Feast repository's declarations as definitions of ours: Python source that a person can read and go on with."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from everloop.exchange.feast.declared import FeastOnDemand

TYPES = {
    "Float": "double",
    "Int": "long",
    "Bool": "boolean",
    "String": "string",
    "UnixTimestamp": "datetime",
}
"""Feast's types by how they begin, without their widths."""


class WrittenView(msgspec.Struct, frozen=True):
    """A view as it will be declared. features: names, with an expression where it is not the column of that name."""

    name: str
    entity: str
    source: str
    event_time: str
    ttl: float
    features: dict[str, str]


def definitions(
    project: str,
    entities: Mapping[str, Sequence[str]],
    views: Iterable[WrittenView],
    lists: Mapping[str, Sequence[str]],
) -> str:
    """A definitions module with entities (name to keys), views and lists (name to features)."""
    names = Names()
    lines = [
        f'"""Feature views of the Feast project {project!r}, as `everloop import feast` found them."""',
        "",
        "import everloop as ev",
    ]
    entity_names = {}
    for entity, keys in entities.items():
        entity_names[entity] = names.of(entity, "entity")
        lines += ["", f"{entity_names[entity]} = ev.entity({text(entity)}, keys={listed(keys)})"]
    for view in views:
        lines += [
            "",
            f"{names.of(view.name, 'view')} = ev.feature_view(",
            f"    {text(view.name)},",
            f"    entity={entity_names[view.entity]},",
            f"    source={text(view.source)},",
            f"    event_time={text(view.event_time)},",
        ]
        if view.ttl:
            lines.append(f"    ttl={text(length(view.ttl))},")
        lines.append("    features=[")
        for feature, expression in view.features.items():
            shown = text(feature) if not expression else f"ev.feature({text(feature)}, {text(expression)})"
            lines.append(f"        {shown},")
        lines += ["    ],", ")"]
    for name, features in lists.items():
        lines += ["", f"{names.of(name, 'list')} = ev.feature_list({text(name)}, {listed(features)})"]
    return "\n".join(lines) + "\n"


def on_demand(view: FeastOnDemand, types: Mapping[tuple[str, str], str]) -> str:
    """A definitions module with one on-demand view, whose code is as it was: it gets what Feast gave it and answers as it did.

    types: of the inputs, by view and feature.
    """
    request = {each.name: type_of(each.type) for each in view.request}
    inputs = {f"{name}:{field.name}": types[name, field.name] for name, field in view.inputs}
    outputs = {each.name: type_of(each.type) for each in view.outputs}
    arguments = [*(field.name for _, field in view.inputs), *request]
    columns = ", ".join(f"{text(each)}: {each}" for each in arguments)
    name = Names().of(view.name, "view")
    lines = [f'"""On-demand view {view.name!r}; its code is from {view.place}."""', ""]
    if view.mode == "pandas":
        lines += ["import pandas as pd", ""]
        answer = f"feast_{view.function}(pd.DataFrame({{{columns}}})).to_dict('series')"
    else:
        rows = ", ".join(f"{text(each)}: list({each})" for each in arguments)
        answer = f"feast_{view.function}({{{rows}}})"
    body = re.sub(rf"\bdef {re.escape(view.function)}\b", f"def feast_{view.function}", view.code, count=1)
    lines += [
        "import everloop as ev",
        "",
        "",
        body,
        "",
        "",
        "@ev.on_demand_view(",
        f"    {text(view.name)},",
        f"    request={json.dumps(request)},",
        f"    inputs={json.dumps(inputs)},",
        f"    outputs={json.dumps(outputs)},",
        ")",
        f"def {name}({', '.join(arguments)}):",
        f"    found = {answer}",
        f"    return {{name: found[name] for name in {listed(list(outputs))}}}",
    ]
    return "\n".join(lines) + "\n"


def type_of(feast: str) -> str:
    """Feast's type as ours; blank for one that has no like here.

    >>> type_of("Float32"), type_of("Int64"), type_of("Array(Int64)")
    ('double', 'long', '')
    """
    if "(" in feast:
        return ""
    return next((ours for theirs, ours in TYPES.items() if feast.startswith(theirs)), "")


class Names:
    """Names of variables, each used once."""

    def __init__(self) -> None:
        self._used = {"ev", "pd"}

    def of(self, name: str, kind: str) -> str:
        """A variable for something that is called `name`.

        >>> names = Names()
        >>> names.of("driver", "entity"), names.of("driver", "view"), names.of("team/delay-3", "view")
        ('driver', 'driver_view', 'team_delay_3')
        """
        plain = re.sub(r"\W", "_", name, flags=re.ASCII).strip("_") or kind
        if plain[0].isdigit() or keyword.iskeyword(plain):
            plain = f"{kind}_{plain}"
        chosen, number = plain, 1
        while chosen in self._used:
            chosen = f"{plain}_{kind}" if number == 1 else f"{plain}_{kind}_{number}"
            number += 1
        self._used.add(chosen)
        return chosen


def text(value: str) -> str:
    """Text as Python source, in the quotes that need the fewest backslashes."""
    return repr(value) if '"' in value else json.dumps(value, ensure_ascii=False)


def listed(values: Sequence[str]) -> str:
    """A list of texts as Python source."""
    return "[" + ", ".join(text(each) for each in values) + "]"


def length(seconds: float) -> str:
    """A length of time as we write it.

    >>> length(86400), length(5400), length(90), length(0.5)
    ('1d', '90min', '90s', '500000us')
    """
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{round(seconds * 1e6)}us"
