"""Searches of what there are thousands of, not millions: one statement holds the filter and the order, a page begins at a number.

Experiments, registered models and their versions, logged models and traces are searched so. (Runs have a way of their own that
walks along indexes: `everloop.tracking.searching`.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from everloop.domain.search import Fields, Node, Order, parse_filter, parse_order
from everloop.errors import InvalidInput
from everloop.store.ledger import Reader
from everloop.tracking.conditions import Column, Conditions


@dataclass(frozen=True)
class Asked:
    """A filter and an order that have been read. `tree` is None where all are meant."""

    tree: Node | None
    orders: Sequence[Order]


def asked_of(fields: Fields, where: str, order_by: Sequence[str], *, unsorted: Sequence[str] = ()) -> Asked:
    """Read a filter and an order. Raises InvalidInput; `unsorted`: entities that nothing is sorted by."""
    orders = [parse_order(each, fields) for each in order_by]
    sorted_by = [each.field for each in orders]
    if len(set(sorted_by)) < len(sorted_by):
        raise InvalidInput("the order names the same field twice", hint="name each once")
    for each in sorted_by:
        if each.entity in unsorted:
            raise InvalidInput(
                f"{fields.thing} cannot be sorted by a {each.entity}",
                hint=f"by: {', '.join(fields.attributes)}",
            )
    return Asked(parse_filter(where, fields), orders)


def narrowed(
    query: sa.Select[Any], conditions: Conditions, asked: Asked, otherwise: Sequence[Column]
) -> sa.Select[Any]:
    """The query with the filter and the order. `otherwise`: what rows come by where the order leaves them equal, to the last."""
    if asked.tree is not None:
        query = query.where(conditions.condition(asked.tree))
    for each in asked.orders:
        query = query.order_by(*conditions.sorted_by(each))
    return query.order_by(*otherwise)


def page_rows(look: Reader, query: sa.Select[Any], start: int, limit: int) -> tuple[list[sa.Row[Any]], bool]:
    """The rows of one page, and whether there are more."""
    found = look.all(query.limit(limit + 1).offset(start))
    return list(found[:limit]), len(found) > limit
