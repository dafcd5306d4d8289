"""How a file looks from outside, and when that says that its content is the same."""

from __future__ import annotations

import os
import time
from hashlib import sha256
from typing import NamedTuple

TICK = 50_000_000
"""Nanoseconds. A file that was written again within a tick of the system's clock may look the same; ticks are 1 to 10 ms."""
COARSE_TICK = 2_000_000_000
"""The same where times are whole seconds."""


Look = tuple[int, int, int, int]
"""What the system says of a file: times of modification and of change in nanoseconds, size, inode."""


class Seen(NamedTuple):
    """How a file looked when its content was read, whether every later change must show in its look, and the content's digest."""

    look: Look
    settled: bool
    digest: bytes


def look_at(path: str) -> Look:
    """Raises OSError."""
    return look_of(os.stat(path))


def look_of(status: os.stat_result) -> Look:
    """What of the system's answer tells."""
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def is_settled(look: Look, now: int) -> bool:
    """Whether every change of a file after this moment, in nanoseconds, must show in its look."""
    modified, changed, _, _ = look
    return now - max(modified, changed) > (TICK if modified % 1_000_000_000 else COARSE_TICK)


def read(path: str) -> tuple[bytes, Seen]:
    """The content of a file. Raises OSError."""
    now = time.time_ns()
    look = look_at(path)
    with open(path, "rb") as file:
        content = file.read()
    return content, Seen(look, is_settled(look, now), sha256(content).digest())


def still(path: str, seen: Seen, look: Look) -> Seen | None:
    """A file that looks like this, as it is to be known from now on; None when its content is another. Raises OSError."""
    if look == seen.look and seen.settled:
        return seen
    if look[2] != seen.look[2]:
        return None
    now = read(path)[1]
    return now if now.digest == seen.digest else None
