"""The one grammar for all that can be named.

    run:ID            data:NAME[@v3]        feature:NAME[@v2]      pipeline:NAME      endpoint:NAME
    prediction:ID     model:NAME[@v7|@champion]    rollout:ID      alert:ID           labels:NAME

An identifier is 32 hexadecimal digits; where people type one, a unique prefix of four digits or more will do
(`Reference.is_prefix`).
"""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

from everloop.domain.ids import is_id, may_be_prefix
from everloop.domain.names import checked_name, shown
from everloop.errors import InvalidInput, InvalidReference, nearest


class Kind(StrEnum):
    """What a reference can name, in the order of the life cycle."""

    DATA = "data"
    LABELS = "labels"
    FEATURE = "feature"
    RUN = "run"
    PIPELINE = "pipeline"
    MODEL = "model"
    ENDPOINT = "endpoint"
    PREDICTION = "prediction"
    ROLLOUT = "rollout"
    ALERT = "alert"

    @property
    def noun(self) -> str:
        """What one of them is called in a sentence."""
        said = {Kind.DATA: "dataset", Kind.FEATURE: "feature view", Kind.LABELS: "labelling project"}
        return said.get(self, str(self))

    @property
    def one(self) -> str:
        """The noun with its article.

        >>> Kind.DATA.one, Kind.ENDPOINT.one
        ('a dataset', 'an endpoint')
        """
        return f"{'an' if self.noun[0] in 'aeio' else 'a'} {self.noun}"


IDENTIFIED = frozenset({Kind.RUN, Kind.PREDICTION, Kind.ROLLOUT, Kind.ALERT})
VERSIONED = frozenset({Kind.DATA, Kind.FEATURE, Kind.MODEL})
ALIASED = frozenset({Kind.MODEL})

_ALIAS = re.compile(r"[\w\-]{1,255}\Z")
_VERSION = re.compile(r"v([1-9][0-9]{0,8})\Z")


class Reference(msgspec.Struct, frozen=True, order=True):
    """A parsed reference. `name` is the identifier for runs, predictions, rollouts and alerts.

    >>> Reference.parse("model:delay@champion")
    Reference(kind=<Kind.MODEL: 'model'>, name='delay', version=None, alias='champion')
    >>> str(Reference.parse("flights@v3", Kind.DATA))
    'data:flights@v3'
    """

    kind: Kind
    name: str
    version: int | None = None
    alias: str | None = None

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.kind}:{self.name}@v{self.version}"
        if self.alias is not None:
            return f"{self.kind}:{self.name}@{self.alias}"
        return f"{self.kind}:{self.name}"

    @property
    def is_prefix(self) -> bool:
        """Whether this is the beginning of an identifier rather than a whole one."""
        return self.kind in IDENTIFIED and not is_id(self.name)

    @classmethod
    def parse(cls, text: str, kind: Kind | None = None) -> Reference:
        """Read a reference; without a ``kind:`` in front, `kind` is taken. Raises InvalidReference."""
        head, colon, rest = text.partition(":")
        if colon:
            found = _kind(head, text)
            if kind is not None and found is not kind:
                raise InvalidReference(
                    f"{shown(text)} names {found.one}, not {kind.one}", hint=f"give {kind}:…"
                )
        elif kind is not None:
            found, rest = kind, text
        else:
            raise InvalidReference(
                f"{shown(text)} is not a reference", hint=f"write kind:name; kinds are {', '.join(Kind)}"
            )
        name, at, suffix = rest.partition("@")
        if found in IDENTIFIED:
            return cls(found, _identifier(name, at, found, text))
        try:
            checked_name(name, f"{found.noun} name", folders=found is not Kind.ENDPOINT)
        except InvalidInput as error:
            raise InvalidReference(error.message, hint=error.hint) from None
        if not at:
            return cls(found, name)
        if found not in VERSIONED:
            raise InvalidReference(
                f"{shown(text)}: {found.one} has no versions", hint=f"write {found}:{name}"
            )
        if match := _VERSION.match(suffix):
            return cls(found, name, version=int(match[1]))
        if found in ALIASED and is_alias(suffix):
            return cls(found, name, alias=suffix)
        raise InvalidReference(
            f"{shown(text)}: {shown(suffix)} is not a version" + (" or an alias" if found in ALIASED else ""),
            hint=f"versions are written {found}:{name}@v1, @v2, …",
        )


def is_alias(text: str) -> bool:
    """Whether `text` may be an alias: word characters and ``-``; not ``latest`` and not like a version.

    >>> is_alias("champion"), is_alias("v3"), is_alias("Latest"), is_alias("a.b")
    (True, False, False, False)
    """
    return bool(_ALIAS.match(text)) and text.lower() != "latest" and not re.match(r"[vV]\d+\Z", text)


def _kind(head: str, text: str) -> Kind:
    try:
        return Kind(head)
    except ValueError:
        kinds = [str(kind) for kind in Kind]
        hint = nearest(head, kinds) or f"kinds are {', '.join(kinds)}"
        raise InvalidReference(f"{shown(text)}: there is no kind {shown(head)}", hint=hint) from None


def _identifier(name: str, at: str, kind: Kind, text: str) -> str:
    if at:
        raise InvalidReference(f"{shown(text)}: {kind.one} has no versions", hint=f"write {kind}:{name}")
    if not may_be_prefix(name.lower()):
        raise InvalidReference(
            f"{shown(text)} is not an identifier",
            hint=f"write {kind}: and four or more hexadecimal digits of it",
        )
    return name.lower()
