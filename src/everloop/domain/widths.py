"""How wide text stands on a terminal."""

import unicodedata


def width_of(text: str) -> int:
    """In columns: letters of East Asia and most pictures take two, accents that join the letter before them none.

    >>> width_of("lr"), width_of("日本"), width_of("e\\u0301")
    (2, 4, 1)
    """
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1
        for each in text
    )
