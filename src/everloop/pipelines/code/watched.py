"""What of this process's memory a closure was made from, so that a second look tells cheaply whether it still holds."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from hashlib import sha256
from typing import Any, NoReturn

from everloop.pipelines.code.memory import Opaque


class Watched:
    """Names and what they stood for. `holds` says whether they still do."""

    def __init__(self) -> None:
        self._named: list[tuple[dict[str, Any], str, object]] = []
        self._same: list[tuple[Callable[[], object], object]] = []
        self._plain: list[tuple[Callable[[], object], Callable[[], str | None], str | None]] = []
        self._content: list[tuple[Callable[[], str | None], str | None]] = []
        self._pickled = b""
        self.never = False
        """Whether something was met that has to be asked anew each time."""

    def named(self, scope: dict[str, Any], name: str, value: object) -> None:
        """A name of a module stands for this very object."""
        self._named.append((scope, name, value))

    def same(self, get: Callable[[], object], value: object) -> None:
        """What `get` gives is this very object."""
        self._same.append((get, value))

    def content(
        self, get: Callable[[], object], current: Callable[[], str | None], known: str | None
    ) -> None:
        """What `get` gives has this content, of which `current` gives the digest; None where it cannot be told."""
        if known is not None and _pickled(get()) is not None:
            self._plain.append((get, current, known))
        else:
            self._content.append((current, known))

    def settle(self) -> None:
        """All is noted. What changed while it was noted is asked for anew."""
        self.never = self.never or not self._plain_holds()

    def holds(self) -> bool:
        return (
            not self.never
            and all(scope.get(name) is value for scope, name, value in self._named)
            and all(get() is value for get, value in self._same)
            and self._plain_holds()
            and all(current() == known for current, known in self._content)
        )

    def _plain_holds(self) -> bool:
        """Plain data is pickled together, which takes a fifth of the time that digests take; pickles may also differ where the
        content is the same (one text twice or two equal ones), so then digests decide."""
        pickled = _pickled([get() for get, _, _ in self._plain]) or b""
        if pickled and pickled == self._pickled:
            return True
        if not all(current() == known for _, current, known in self._plain):
            return False
        self._pickled = pickled
        return True


class _PlainPickler(pickle.Pickler):
    """Numbers, texts and containers of them: whatever is no exact instance of Python's own types stops it."""

    def reducer_override(self, value: object) -> NoReturn:
        raise Opaque(type(value).__qualname__)


def _pickled(value: object) -> bytes | None:
    """The digest of plain data; None for anything else.

    >>> _pickled([1]) == _pickled([1]), _pickled([1]) == _pickled([True]), _pickled([len])
    (True, False, None)
    """
    out = io.BytesIO()
    try:
        _PlainPickler(out, 5).dump(value)
    except (Opaque, RecursionError):
        return None
    return sha256(out.getbuffer()).digest()
