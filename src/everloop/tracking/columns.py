"""Which columns of a table of runs are meant by what people type, and what stands in them."""

import re
from collections.abc import Callable, Iterable, Sequence

from everloop.domain.listing import RunKeys
from everloop.domain.runs import RunRecord, metric_text
from everloop.domain.search import RUNS, Field, Node, fields_of, parse_order
from everloop.errors import InvalidInput, nearest

_MINUS = re.compile(r"-(metrics?|params?|tags?)\.")
"""A difference written without spaces, which reads as one name."""
_GROUPS = {"param": "params", "metric": "metrics", "tag": "tags"}

Keys = Callable[[], RunKeys]
"""Asks for all keys that runs have: only where a name is not among the runs at hand."""


def columns_of(names: Iterable[str], found: Sequence[RunRecord], keys: Keys) -> list[Field]:
    """The columns that are meant: ``params.lr``, or ``lr`` for the metrics and parameters (else the tag) of that name, or
    an attribute. Raises InvalidInput with the nearest names for one that no run has."""
    return [field for name in names for field in _columns(name, found, keys)]


def field_named(name: str, keys: Keys) -> Field:
    """The one field that is meant by a name, to group or sort by: a parameter before a tag before a metric."""
    found = _columns(name, [], keys)
    order = {"text": 0, "time": 0, "param": 1, "tag": 2, "metric": 3}
    return min(found, key=lambda field: order[field.entity])


def written(field: Field) -> str:
    """A field as the search language has it.

    >>> written(Field("metric", "val loss", "min")), written(Field("text", "name"))
    ('min(metrics.`val loss`)', 'name')
    """
    if field.entity not in _GROUPS:
        return field.key
    text = f"{_GROUPS[field.entity]}.`{field.key}`"
    return text if field.aggregate == "last" else f"{field.aggregate}({text})"


def check_known(fields: Iterable[Field], found: Sequence[RunRecord], keys: Keys) -> None:
    """Refuse a parameter, metric or tag that no run has at all, naming the nearest."""
    for field in fields:
        if field.entity not in _GROUPS or any(
            field.key in getattr(run, _GROUPS[field.entity]) for run in found
        ):
            continue
        known = _known(keys(), field.entity)
        if field.key not in known:
            what = {"param": "parameter", "metric": "metric", "tag": "tag"}[field.entity]
            raise InvalidInput(f"no run has the {what} '{field.key}'", hint=_hint(field.key, known))


def fields_in(tree: Node | None) -> list[Field]:
    """The fields of a filter, in an order that is always the same."""
    if tree is None:
        return []
    return sorted(fields_of(tree), key=lambda field: (field.entity, field.key))


def cell(run: RunRecord, field: Field) -> str:
    """What stands in a column for a run; empty where it has nothing."""
    match field.entity:
        case "metric":
            return metric_text(run.metrics[field.key]) if field.key in run.metrics else ""
        case "param":
            return run.params.get(field.key, "")
        case "tag":
            return run.tags.get(field.key, "")
        case "time":
            moment = getattr(run, field.key)
            return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"
        case _:
            return str(getattr(run, field.key) or "")


def _columns(name: str, found: Sequence[RunRecord], keys: Keys) -> list[Field]:
    if any(name.startswith(f"{entity}.") for entity in RUNS.entities) or "(" in name:
        field = parse_order(name).field
        if field.aggregate != "last":
            raise InvalidInput(
                f"{name} is no column: a table shows last values", hint=f"name metrics.{field.key}"
            )
        check_known([field], found, keys)
        return [field]
    here = [
        Field(entity, name)
        for entity, group in _GROUPS.items()
        if any(name in getattr(run, group) for run in found)
    ]
    if here:
        return [field for field in here if field.entity != "tag"] or here
    if name.lower() in {**RUNS.texts, **RUNS.times}:
        return [parse_order(name).field]
    known = keys()
    everywhere = [Field(entity, name) for entity in _GROUPS if name in _known(known, entity)]
    if not everywhere:
        names = [key for entity in ("metric", "param", "tag") for key in _known(known, entity)]
        names += [*RUNS.texts, *RUNS.times]
        raise InvalidInput(f"no run has a column '{name}'", hint=_hint(name, names))
    return everywhere


def _known(keys: RunKeys, entity: str) -> list[str]:
    """Those most runs have first."""
    return [each.key for each in getattr(keys, _GROUPS[entity])]


def _hint(name: str, known: Iterable[str]) -> str:
    if _MINUS.search(name):
        return "a '-' belongs to the name: put spaces round a minus sign"
    listed = list(dict.fromkeys(known))
    return nearest(name, listed) or (f"there are: {', '.join(listed[:12])}" if listed else "no run has any")
