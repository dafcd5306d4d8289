"""What a feature may be called, and of what type it may be."""

from __future__ import annotations

import re

from everloop.domain.names import shown
from everloop.domain.signature import Type
from everloop.errors import InvalidDefinition, nearest

WORD = re.compile(r"[^\W\d]\w*\Z")


def feature_name(name: str) -> str:
    """`name`, which is one word, or InvalidDefinition."""
    if not WORD.match(name):
        raise InvalidDefinition(
            f"{shown(name)} is not the name of a feature",
            hint='a name is one word; for an expression: feature("name", "…")',
        )
    return name


def type_named(name: str, what: str) -> Type:
    """The type of that name, or InvalidDefinition.

    >>> type_named("double", "feature 'temp'")
    <Type.DOUBLE: 'double'>
    >>> type_named("float", "feature 'temp'")
    Traceback (most recent call last):
    everloop.errors.InvalidDefinition: feature 'temp': there is no type 'float'
    """
    try:
        return Type(name)
    except ValueError:
        hint = nearest(name, list(Type)) or f"types are {', '.join(Type)}"
        raise InvalidDefinition(f"{what}: there is no type {shown(name)}", hint=hint) from None
