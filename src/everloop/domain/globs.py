"""Choosing files of a version by patterns, as a shell does."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from everloop.errors import InvalidInput


def chooses(patterns: Iterable[str], path: str) -> bool:
    """Whether any pattern names this path: ``*`` and ``?`` stay within one folder, ``**`` crosses them, ``[ab]`` is one of these
    characters; a folder's name means everything below it.

    >>> [chooses([pattern], "train/cats/1.png") for pattern in ("train/*/*.png", "**/1.png", "train", "train/**", "train/*.png")]
    [True, True, True, True, False]
    """
    return any(_compiled(pattern).fullmatch(path) for pattern in patterns)


@functools.lru_cache(64)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = pattern.strip("/").split("/")
    if not pattern.strip("/") or any(part in {".", ".."} for part in parts):
        raise InvalidInput(
            f"'{pattern}' is no pattern of paths within a version", hint="such as: 'train/*' or '**/*.png'"
        )
    text = ""
    for number, part in enumerate(parts):
        if part == "**":
            text += ".*" if number == len(parts) - 1 else "(?:.*/)?"
        else:
            text += _segment(part) + ("" if number == len(parts) - 1 else "/")
    try:
        return re.compile(text + "(?:/.*)?", re.DOTALL)
    except re.error:
        raise InvalidInput(f"'{pattern}' is no pattern of paths: its [...] cannot be read") from None


def _segment(part: str) -> str:
    """One part of a pattern, which is between slashes, as a regular expression.

    >>> _segment("*.p[ny]g")
    '[^/]*\\\\.p[ny]g'
    """
    text = ""
    while part:
        if found := re.match(r"\[(!?)(\]?[^]]*)\]", part):
            characters = found[2].replace("\\", "\\\\")
            text += f"[{'^/' if found[1] else ''}{characters}]"
            part = part[found.end() :]
            continue
        text += {"*": "[^/]*", "?": "[^/]"}.get(part[0]) or re.escape(part[0])
        part = part[1:]
    return text
