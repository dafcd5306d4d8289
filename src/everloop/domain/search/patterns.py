"""Regular expressions of the search language: ``rlike``.

Databases differ in theirs, and the usual engine of Python takes exponential time for ``(a+)+$``: whoever may search could stop
the server with it. So the patterns are those that all engines read alike, and they are matched here by an automaton that looks
at each character once, whatever the pattern (Thompson, Regular Expression Search Algorithm, CACM 1968; its sets of states are
remembered as they are met). Postgres is given the same pattern written out in its signs (`for_postgres`).

A pattern is looked for anywhere in the text; ``^`` and ``$`` are its beginning and its end, ``.`` is any character. There are
``* + ? {m} {m,} {m,n}``, ``|``, groups, classes in brackets, ``\\d \\w \\s`` and ``\\D \\W \\S`` (of ASCII), ``\\t \\n \\r``, and
``(?i)`` at the beginning, which ignores case for the letters A to Z.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

MAX_REPEAT = 100
MAX_STATES = 2_000
"""How large an automaton may become: repeats with numbers are written out."""
_REMEMBERED = 10_000

Range = tuple[int, int]
"""Two code points; both belong to it."""

_LAST = 0x10FFFF
_CLASSES: dict[str, tuple[Range, ...]] = {
    "d": ((48, 57),),
    "w": ((48, 57), (65, 90), (95, 95), (97, 122)),
    "s": ((9, 13), (32, 32)),
}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r"}
_SIGNS = frozenset("*+?{}()[]|^$.\\")


class PatternError(ValueError):
    """What is wrong with a pattern, and `at` which character of it."""

    def __init__(self, problem: str, at: int) -> None:
        super().__init__(problem)
        self.at = at


class Characters(msgspec.Struct, frozen=True):
    """One character out of ranges, or out of all others."""

    ranges: tuple[Range, ...]
    negated: bool = False

    def has(self, character: str) -> bool:
        code = ord(character)
        return any(low <= code <= high for low, high in self.ranges) is not self.negated


class Edge(msgspec.Struct, frozen=True):
    """The beginning (``^``) or the end (``$``) of the text."""

    sign: str


class Repeat(msgspec.Struct, frozen=True):
    """`most` is None where there is no end."""

    part: Part
    least: int
    most: int | None


class Sequence(msgspec.Struct, frozen=True):
    parts: tuple[Part, ...]


class Choice(msgspec.Struct, frozen=True):
    parts: tuple[Part, ...]


Part = Characters | Edge | Repeat | Sequence | Choice

_ANY = Characters(((0, _LAST),))


def found(pattern: str, text: str) -> bool:
    """Whether a pattern occurs in a text. Raises PatternError.

    >>> found("^tr(ee|unk)$", "tree"), found("r.e", "Tree"), found("(?i)^TREE", "tree"), found("e{3}", "tree")
    (True, True, True, False)
    """
    return _automaton(pattern).find(text)


def for_postgres(pattern: str) -> str:
    """The pattern as Postgres' ``~`` reads it. Raises PatternError.

    >>> for_postgres("(?i)^a\\\\d+$")
    '^[aA][0-9]+$'
    """
    return _written(_read(pattern))


def check(pattern: str) -> None:
    """Raises PatternError for what is no pattern, or one that is too large."""
    _automaton(pattern)


# Reading


class _Reader:
    """Recursive descent: choice := sequence ("|" sequence)*, sequence := (atom repeat?)*."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.any_case = text.startswith("(?i)")
        if self.any_case:
            self.at = 4

    def whole(self) -> Part:
        if "\0" in self.text:
            raise PatternError("no text has the character 0", self.text.index("\0"))
        part = self.choice()
        if self.at < len(self.text):
            raise PatternError("a ')' without its '('", self.at)
        return part

    def next(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self, sign: str) -> bool:
        if not self.text.startswith(sign, self.at):
            return False
        self.at += len(sign)
        return True

    def choice(self) -> Part:
        parts = [self.sequence()]
        while self.take("|"):
            parts.append(self.sequence())
        return parts[0] if len(parts) == 1 else Choice(tuple(parts))

    def sequence(self) -> Part:
        parts: list[Part] = []
        while self.next() and self.next() not in "|)":
            parts.append(self.repeated(self.atom()))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def repeated(self, part: Part) -> Part:
        at = self.at
        bounds = self.bounds()
        if bounds is None:
            return part
        if isinstance(part, Edge):
            raise PatternError(f"{part.sign!r} cannot be repeated", at)
        self.take("?")  # as little as possible: the same texts are found
        at = self.at
        if self.bounds() is not None:
            raise PatternError("a repeat cannot be repeated: put it in parentheses", at)
        return Repeat(part, *bounds)

    def bounds(self) -> tuple[int, int | None] | None:
        if not self.next() or self.next() not in "*+?{":
            return None
        at, sign = self.at, self.next()
        self.at += 1
        if sign != "{":
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
        inner, close, _ = self.text[self.at :].partition("}")
        least, comma, most = inner.partition(",")
        numbers = [each for each in (least, most) if each]
        if not close or not least or not all(each.isascii() and each.isdigit() for each in numbers):
            raise PatternError("write {3}, {3,} or {3,5}, and \\{ for the character", at)
        self.at += len(inner) + 1
        # A number of thousands of digits is not read: whatever is that long is too large.
        low, high = (int(each[-9:]) if len(each) < 10 else MAX_REPEAT + 1 for each in (least, most or least))
        if max(low, high) > MAX_REPEAT or low > high:
            raise PatternError(f"repeats go from 0 to {MAX_REPEAT}, the smaller number first", at)
        return low, None if comma and not most else high

    def atom(self) -> Part:
        at, sign = self.at, self.next()
        self.at += 1
        match sign:
            case ".":
                return _ANY
            case "^" | "$":
                return Edge(sign)
            case "[":
                return self.characters(at)
            case "(":
                if self.next() == "?" and not self.take("?:"):
                    raise PatternError(
                        "of groups with '?' there is only (?:…), and (?i) at the beginning", at
                    )
                inner = self.choice()
                if not self.take(")"):
                    raise PatternError("a ')' is missing", at)
                return inner
            case "\\":
                return self.escaped(at)
            case "*" | "+" | "?" | "{":
                raise PatternError("there is nothing to repeat", at)
            case "]" | "}":
                raise PatternError(f"write \\{sign} for the character", at)
            case _:
                return Characters(self.cased((ord(sign), ord(sign))))

    def escaped(self, at: int) -> Characters:
        letter = self.next()
        if letter and letter in "DWS":
            self.at += 1
            return Characters(_CLASSES[letter.lower()], negated=True)
        return Characters(self.escape(at))

    def escape(self, at: int) -> tuple[Range, ...]:
        """What stands behind a backslash, within brackets and without."""
        letter = self.next()
        self.at += 1
        if letter in _CLASSES:
            return _CLASSES[letter]
        if letter in _CONTROLS:
            letter = _CONTROLS[letter]
        elif not letter or not letter.isascii() or letter.isalnum():
            raise PatternError(
                f"'\\{letter}' is not known: there are \\d \\w \\s \\D \\W \\S \\t \\n \\r", at
            )
        return ((ord(letter), ord(letter)),)

    def characters(self, at: int) -> Characters:
        """A class: `at` is where its bracket stands."""
        negated, ranges = self.take("^"), list[Range]()
        if self.next() == "]":
            raise PatternError("a class in brackets is empty: write \\] for the character", at)
        while not self.take("]"):
            begin = self.at
            low = self.member(at)
            if self.next() == "-" and self.text[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                high = self.member(at)
                if len(low) > 1 or len(high) > 1 or low[0][0] > high[0][1] or low[0][0] != low[0][1]:
                    raise PatternError("a range goes from a character to a later one", begin)
                low = ((low[0][0], high[0][1]),)
            for each in low:
                ranges += self.cased(each)
        return Characters(tuple(ranges), negated)

    def member(self, at: int) -> tuple[Range, ...]:
        begin, sign = self.at, self.next()
        if not sign:
            raise PatternError("a ']' is missing", at)
        self.at += 1
        if sign == "[":
            raise PatternError("write \\[ for the character", begin)
        return self.escape(begin) if sign == "\\" else ((ord(sign), ord(sign)),)

    def cased(self, given: Range) -> tuple[Range, ...]:
        """A range, and the same letters in the other case where case is ignored."""
        ranges = [given]
        for first, other in ((65, 32), (97, -32)) if self.any_case else ():
            low, high = max(given[0], first), min(given[1], first + 25)
            if low <= high:
                ranges.append((low + other, high + other))
        return tuple(ranges)


@lru_cache(256)
def _read(pattern: str) -> Part:
    try:
        return _Reader(pattern).whole()
    except RecursionError:
        raise PatternError("it is nested too deeply", 0) from None


# Writing


def _written(part: Part) -> str:
    match part:
        case Edge(sign):
            return sign
        case Characters():
            return _class(part)
        case Repeat(inner, least, most):
            bounds = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((least, most))
            if bounds is None:
                bounds = f"{{{least},{'' if most is None else most}}}"
            text = _written(inner)
            return (text if isinstance(inner, Characters) else f"(?:{text})") + bounds
        case Choice(parts):
            return "|".join(map(_written, parts))
        case Sequence(parts):
            grouped = (
                f"(?:{_written(each)})" if isinstance(each, Choice) else _written(each) for each in parts
            )
            return "".join(grouped) or "()"


def _class(part: Characters) -> str:
    if part == _ANY:
        return "."
    if len(part.ranges) == 1 and part.ranges[0][0] == part.ranges[0][1] and not part.negated:
        return _literal(part.ranges[0][0])
    inside = "".join(
        _literal(low) if low == high else f"{_literal(low)}-{_literal(high)}" for low, high in part.ranges
    )
    return f"[{'^' if part.negated else ''}{inside}]"


def _literal(code: int) -> str:
    sign = chr(code)
    return (
        "\\" + sign if sign.isascii() and sign.isprintable() and not sign.isalnum() and sign != " " else sign
    )


# Matching

_ACCEPT = 0


class _Automaton:
    """States are numbers, 0 is the one that accepts. A state takes a character and goes on to another; or it costs nothing:
    it goes on to any of some states, perhaps only at the text's beginning or end."""

    def __init__(self, part: Part) -> None:
        self._takes: dict[int, tuple[Characters, int]] = {}
        self._free: dict[int, tuple[str, tuple[int, ...]]] = {}
        self._count = 1
        self._start = self._made(part, _ACCEPT)
        self._steps: dict[tuple[frozenset[int], str], frozenset[int]] = {}
        self._first = self._reached({self._start}, "^")
        self._again = frozenset({self._start})

    def find(self, text: str) -> bool:
        now, steps = self._first, self._steps
        if _ACCEPT in now:
            return True
        for character in text:
            found = steps.get((now, character))
            if found is None:
                if len(steps) >= _REMEMBERED:
                    steps.clear()
                found = steps[now, character] = self._step(now, character)
            now = found
            if _ACCEPT in now:
                return True
        return _ACCEPT in self._reached(now, "$" if text else "^$")

    def _step(self, now: frozenset[int], character: str) -> frozenset[int]:
        takes = self._takes
        after = {takes[each][1] for each in now if each in takes and takes[each][0].has(character)}
        return self._reached(after | self._again, "")

    def _reached(self, seeds: set[int] | frozenset[int], edges: str) -> frozenset[int]:
        """These states and all they go on to for nothing, at these edges of the text."""
        seen, waiting = set(seeds), list(seeds)
        while waiting:
            needed, to = self._free.get(waiting.pop(), ("", ()))
            if needed in edges:  # "" is in every text
                fresh = [each for each in to if each not in seen]
                seen.update(fresh)
                waiting += fresh
        return frozenset(seen)

    def _made(self, part: Part, after: int) -> int:
        """The state in which a part begins that goes on to `after`."""
        match part:
            case Characters():
                state = self._new()
                self._takes[state] = (part, after)
                return state
            case Edge(sign):
                return self._goes(sign, after)
            case Sequence(parts):
                for each in reversed(parts):
                    after = self._made(each, after)
                return after
            case Choice(parts):
                return self._goes("", *(self._made(each, after) for each in parts))
            case Repeat(inner, least, most):
                if most is None:
                    loop = self._new()
                    self._free[loop] = ("", (after, self._made(inner, loop)))
                    after = loop
                else:
                    end = after
                    for _ in range(most - least):
                        after = self._goes("", end, self._made(inner, after))
                for _ in range(least):
                    after = self._made(inner, after)
                return after

    def _goes(self, needed: str, *to: int) -> int:
        state = self._new()
        self._free[state] = (needed, to)
        return state

    def _new(self) -> int:
        if self._count > MAX_STATES:
            raise PatternError("it is too large: numbers of repeats multiply", 0)
        self._count += 1
        return self._count - 1


@lru_cache(64)
def _automaton(pattern: str) -> _Automaton:
    return _Automaton(_read(pattern))
