"""What a name may be. Names appear in references, folders, web addresses and permissions, so the rule is narrow and one."""

from __future__ import annotations

import unicodedata

from everloop.errors import InvalidInput

MAX_LENGTH = 250


def checked_name(name: str, what: str = "name", *, folders: bool = True) -> str:
    """Return `name` if it may name something, else raise InvalidInput that says why.

    Printable text of 1 to 250 characters without ``@``, ``:`` and control characters. ``/`` makes folders (no empty, ``.`` or
    ``..`` part), unless `folders` is false.

    >>> checked_name("team/flights")
    'team/flights'
    >>> checked_name("a@b", "dataset name")
    Traceback (most recent call last):
    everloop.errors.InvalidInput: the dataset name 'a@b' contains '@'
    """
    problem = _problem(name, folders)
    if problem:
        raise InvalidInput(
            f"the {what} {shown(name)} {problem}",
            hint="a name is 1 to 250 printable characters without '@' and ':'"
            + ("" if folders else " and '/'"),
        )
    return name


def shown(text: str, limit: int = 60) -> str:
    """`text` quoted and cut in the middle, fit for an error message.

    >>> shown("x" * 100, limit=11)
    "'xxxxx…xxxxx'"
    """
    if len(text) > limit:
        half = (limit - 1) // 2
        text = text[:half] + "…" + text[-half:]
    return repr(text)


def _problem(name: str, folders: bool) -> str:
    if not name.strip():
        return "is blank"
    if len(name) > MAX_LENGTH:
        return f"has {len(name)} characters, more than {MAX_LENGTH}"
    if name != name.strip():
        return "begins or ends with white space"
    for character in name:
        if character in "@:":
            return f"contains {character!r}"
        if unicodedata.category(character) in {"Cc", "Cs", "Co", "Zl", "Zp"}:
            return "contains a control character"
    if "/" in name and not folders:
        return "contains '/'"
    if any(part in {"", ".", ".."} for part in name.split("/")):
        return "has an empty, '.' or '..' folder" if "/" in name else "means a folder, not a name"
    return ""
