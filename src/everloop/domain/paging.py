"""Names of pages: where a page of a search starts, bound to the search it belongs to."""

import base64
import binascii

from everloop.domain.canonical import digest_of
from everloop.errors import InvalidInput


def page_after(offset: int, *search: object) -> str:
    """The name of the page of `search` that starts at `offset`; what is in it is nobody's business.

    >>> page_start(page_after(100, "name = 'a'"), "name = 'a'")
    100
    >>> page_start(page_after(100, "name = 'a'"), "name = 'b'")
    Traceback (most recent call last):
    everloop.errors.InvalidInput: that page belongs to another search
    """
    return base64.urlsafe_b64encode(f"{offset}:{digest_of(search)[:16]}".encode()).decode()


def page_start(token: str, *search: object) -> int:
    """Where a page of `search` starts; the first one has no name."""
    if not token:
        return 0
    try:
        offset, _, digest = (
            base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode().partition(":")
        )
    except (binascii.Error, ValueError):
        offset, digest = "", ""
    if not (offset.isascii() and offset.isdigit() and len(offset) < 16):
        raise InvalidInput(
            "that is not the token of a page", hint="pass on what the page before said, or nothing"
        )
    if digest != digest_of(search)[:16]:
        raise InvalidInput(
            "that page belongs to another search", hint="ask with the filter and order of its first page"
        )
    return int(offset)
