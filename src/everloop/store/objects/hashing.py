"""SHA-256 digests: 64 lower-case hexadecimal digits outside, 32 bytes inside."""

from __future__ import annotations

import hashlib

from everloop.errors import InvalidInput

DIGEST_SIZE = 32


def sha256(data: bytes | memoryview) -> bytes:
    return hashlib.sha256(data).digest()


def parse_digest(digest: str) -> bytes:
    """The 32 bytes of a digest.

    >>> parse_digest("ab" * 32) == bytes([0xAB]) * 32
    True
    >>> parse_digest("AB")
    Traceback (most recent call last):
    everloop.errors.InvalidInput: 'AB' is not the digest of an object
    """
    try:
        raw = bytes.fromhex(digest)
    except ValueError:
        raw = b""
    if len(raw) != DIGEST_SIZE or raw.hex() != digest:
        raise InvalidInput(
            f"{digest!r} is not the digest of an object",
            hint="a digest is 64 hexadecimal digits in lower case",
        )
    return raw
