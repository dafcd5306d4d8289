"""Which columns seem to hold personal data: by patterns of their values, by check digits, and by what they are called.

What is found is a hint, with the share of values that match and how far it can be trusted; that nothing is found proves nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import msgspec

Confidence = Literal["high", "medium", "low"]


class Personal(msgspec.Struct, frozen=True):
    """What a column seems to hold: `matching` of `of` different values looked at match.

    confidence: ``high`` when nearly all match and a check digit, an unmistakable form or the column's name agrees; ``medium``
    when most match or some pass a check digit; ``low`` when only a few match, or only the name says so.
    """

    what: str
    matching: int
    of: int
    confidence: Confidence
    because: str

    @property
    def share(self) -> float:
        return self.matching / self.of if self.of else 0.0


class _Pattern(NamedTuple):
    what: str
    matches: Callable[[str], bool]
    names: re.Pattern[str]
    sure: bool
    """Whether hardly anything else looks like it."""
    numbers: bool = False
    """Whether integers are looked at as well."""


def passes_luhn(digits: str) -> bool:
    """The check digit of payment cards (Luhn, US patent 2,950,048).

    >>> passes_luhn("4111111111111111"), passes_luhn("4111111111111112")
    (True, False)
    """
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_iban(text: str) -> bool:
    """An international bank account number, by its form and its check digits (ISO 13616, ISO 7064 MOD 97-10).

    >>> is_iban("GB82 WEST 1234 5698 7654 32"), is_iban("GB83 WEST 1234 5698 7654 32")
    (True, False)
    """
    plain = text.replace(" ", "").upper()
    if not re.fullmatch(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}", plain):
        return False
    return int("".join(str(int(each, 36)) for each in plain[4:] + plain[:4])) % 97 == 1


def is_card(text: str) -> bool:
    """A payment card's number: its first digits, 13 to 19 of them, and the check digit.

    >>> is_card("4111 1111 1111 1111"), is_card("1234567890123")
    (True, False)
    """
    plain = re.sub(r"(?<=\d)[ -](?=\d)", "", text.strip())
    return bool(re.fullmatch(r"(?:4|5[1-5]|2[2-7]|3[0-9]|6)\d{12,17}", plain)) and passes_luhn(plain)


def is_phone(text: str) -> bool:
    """A telephone number as people write it: with a ``+``, or in groups.

    >>> is_phone("+1 (212) 555-0147"), is_phone("212 555 0147"), is_phone("2013-01-01"), is_phone("3.14159265")
    (True, True, False, False)
    """
    text = text.strip()
    digits = sum(each.isdigit() for each in text)
    if not 7 <= digits <= 15 or not re.fullmatch(r"\+?[\d\s().\-/]+", text):
        return False
    grouped = re.fullmatch(r"\(?\d{2,5}\)?[ ./-]\d{2,4}[ .-]?\d{2,4}(?:[ .-]?\d{2,5})?", text)
    dated = re.match(r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}", text)
    number = re.fullmatch(r"-?\d+[.]\d+", text) or re.fullmatch(r"\d{1,3}([.]\d{1,3}){3}", text)
    return text.startswith("+") or bool(grouped and not dated and not number)


def is_address(text: str) -> bool:
    """An address of the Internet Protocol, of version 4 or 6.

    >>> is_address("192.168.0.1"), is_address("2001:db8::1"), is_address("1.2.3"), is_address("12")
    (True, True, False, False)
    """
    try:
        ipaddress.ip_address(text.strip())
    except ValueError:
        return False
    return "." in text or ":" in text


_EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}")
_SSN = re.compile(r"(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}")

_PATTERNS = (
    _Pattern("e-mail address", lambda t: _EMAIL.search(t) is not None, re.compile(r"e?mail"), True),
    _Pattern("IBAN", is_iban, re.compile(r"iban|account"), True),
    _Pattern("payment card", is_card, re.compile(r"card|pan\b|credit"), True, numbers=True),
    _Pattern("telephone number", is_phone, re.compile(r"phone|mobile|\btel|fax"), False),
    _Pattern("IP address", is_address, re.compile(r"\bip|addr|host"), True),
    _Pattern(
        "social security number",
        lambda t: _SSN.fullmatch(t.strip()) is not None,
        re.compile(r"ssn|social"),
        False,
    ),
)

_NAMED = (
    (
        "name of a person",
        re.compile(r"\b(first|last|given|family|sur|full|middle|maiden)[ _-]?names?\b|\bsurname\b"),
    ),
    ("date of birth", re.compile(r"\b(dob|birth[ _-]?(date|day)?|date[ _-]of[ _-]birth)\b")),
    ("postal address", re.compile(r"\b(street|postal|zip|post[ _-]?code|home[ _-]?address|address)\b")),
    ("e-mail address", re.compile(r"\be?mail\b")),
    ("telephone number", re.compile(r"\b(phone|mobile|telephone)\b")),
    ("national identity number", re.compile(r"\b(ssn|passport|national[ _-]?id|tax[ _-]?id)\b")),
    ("gender", re.compile(r"\b(gender|sex)\b")),
    ("religion, ethnicity or health", re.compile(r"\b(religion|ethnicity|race|diagnosis|disease)\b")),
)

_NEARLY_ALL, _MOST, _SOME, _FEW = 0.8, 0.5, 0.1, 0.01


def find_personal(name: str, values: Iterable[str], *, integers: bool = False) -> list[Personal]:
    """What a column called `name` seems to hold, of a fair sample of its different values; the surest first.

    integers: the values are whole numbers, of which only some kinds can be told.

    >>> [each.what for each in find_personal("contact", ["ann@example.com", "bob@example.org", "n/a"])]
    ['e-mail address']
    >>> find_personal("first_name", ["Ann", "Bob"])[0].confidence
    'low'
    """
    looked_at = [value for value in values if value.strip()]
    plain = (
        re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
        .lower()
        .replace("_", " ")
        .replace("-", " ")
        .replace(".", " ")
    )
    found: list[Personal] = []
    for pattern in _PATTERNS:
        if integers and not pattern.numbers:
            continue
        matching = sum(map(pattern.matches, looked_at))
        share = matching / len(looked_at) if looked_at else 0.0
        named = pattern.names.search(plain) is not None
        # A tenth of all long numbers pass the check digit by chance.
        if share < (_NEARLY_ALL if integers else _FEW):
            continue
        confidence: Confidence = "low"
        if share >= _NEARLY_ALL and (pattern.sure or named):
            confidence = "high"
        elif share >= _MOST or (share >= _SOME and (pattern.sure or named)):
            confidence = "medium"
        because = "its values" + (" and its name" if named else "")
        found.append(Personal(pattern.what, matching, len(looked_at), confidence, because))
    known = {each.what for each in found}
    found += [
        Personal(what, 0, len(looked_at), "low", "its name")
        for what, names in _NAMED
        if what not in known and names.search(plain)
    ]
    order = {"high": 0, "medium": 1, "low": 2}
    return sorted(found, key=lambda each: (order[each.confidence], -each.share))


def masked(value: str) -> str:
    """A value of which no more than its shape can be seen.

    >>> masked("ann@example.com"), masked("4111 1111")
    ('aaa@aaaaaaa.aaa', '0000 0000')
    """
    return "".join("a" if each.isalpha() else "0" if each.isdigit() else each for each in value)
