"""The file in which anchors are kept: a JSON object a line, the oldest first. Keep it where no writer of the ledger can write."""

from __future__ import annotations

from pathlib import Path

import msgspec

from everloop.domain.canonical import canonical
from everloop.domain.events import Anchor
from everloop.errors import InvalidInput, NotFound, StorageError


def read_anchors(path: Path) -> list[Anchor]:
    """The anchors of a file. Raises NotFound, InvalidInput with the line that is none."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        raise NotFound(
            f"there is no file {path}", hint=f"keep an anchor with: everloop audit anchor {path}"
        ) from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(msgspec.json.decode(line, type=Anchor))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidInput(
                f"line {number} of {path} is not an anchor: {error}",
                hint="name a file that was written by: everloop audit anchor",
            ) from error
    if not found:
        raise InvalidInput(
            f"{path} holds no anchor", hint="name a file that was written by: everloop audit anchor"
        )
    return found


def append_anchor(path: Path, anchor: Anchor) -> None:
    """Write one more line. Raises StorageError."""
    try:
        with path.open("ab") as file:
            file.write(canonical(anchor) + b"\n")
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror}",
            hint="name a file in a folder that exists and may be written",
        ) from error
