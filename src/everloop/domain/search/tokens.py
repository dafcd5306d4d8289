"""The words of a filter one after another, and errors that point at the place."""

from __future__ import annotations

import re

from everloop.domain.widths import width_of
from everloop.errors import InvalidInput

MAX_LITERAL = 5_000

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    | (?P<word>\w(?:[\w/\-]*\w)?)
    | (?P<text>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*"|`[^`]*`)
    | (?P<symbol>!=|<>|>=|<=|==|[=<>(),.+\-*/])
    | (?P<bad>.)""",
    re.VERBOSE | re.DOTALL,
)


class Tokens:
    """A filter being read. `kind`, `token` and `column` (from 0) are those of the token that is next."""

    def __init__(self, text: str, what: str, example: str) -> None:
        self.text, self._what, self._example = text, what, example
        self.column = self.end = 0
        self.kind = self.token = ""
        self.advance()

    def advance(self) -> None:
        self.column = self.end
        found = _TOKEN.match(self.text, self.end)
        if found is not None and found.lastgroup == "space":
            self.column = found.end()
            found = _TOKEN.match(self.text, found.end())
        if found is None:
            self.kind, self.token, self.column, self.end = "end", "", len(self.text), len(self.text)
            return
        self.kind, self.token, self.end = str(found.lastgroup), found[0], found.end()
        if self.kind == "bad":
            if self.token in "'\"`":
                raise self.error("a quote is not closed")
            raise self.error(f"{self.token!r} means nothing here")
        if self.kind in {"text", "quoted"} and len(self.token) > MAX_LITERAL:
            raise self.error(f"a text has more than {MAX_LITERAL} characters")

    def word(self) -> str:
        """The next token in lower case if it is a bare word (a keyword, perhaps)."""
        return self.token.lower() if self.kind == "word" else ""

    def at_symbol(self, *wanted: str) -> bool:
        return self.kind == "symbol" and self.token in wanted

    def symbol(self, wanted: str) -> bool:
        """Pass over a symbol, if it is next."""
        if self.at_symbol(wanted):
            self.advance()
            return True
        return False

    def keyword(self, wanted: str) -> bool:
        """Pass over a keyword, if it is next."""
        if self.word() == wanted:
            self.advance()
            return True
        return False

    def followed_by(self, *signs: str) -> bool:
        """Whether one of these signs stands directly behind the next token."""
        return self.text[self.end : self.end + 1] in signs

    def dotted(self) -> str:
        """Words and numbers joined by dots without space: a key that is not quoted."""
        start, end = self.column, self.end
        while (found := _TOKEN.match(self.text, end)) and (
            found.lastgroup in {"word", "number"} or found[0] == "."
        ):
            if found.lastgroup == "number" and found[0][0] in "+-":  # a sign: reckoning, not a name
                break
            end = found.end()
        self.end = end
        self.advance()
        return self.text[start:end]

    def finish(self, expected: str) -> None:
        if self.kind != "end":
            raise self.error(f"expected {expected}, not {self.token!r}")

    def error(self, problem: str, column: int | None = None, hint: str = "") -> InvalidInput:
        """What is wrong, with the line and a caret under the column (the next token's, if none is given)."""
        at = self.column if column is None else column
        head = (
            f"the {self._what} ends too early" if at >= len(self.text) else f"the {self._what} cannot be read"
        )
        start = max(0, at - 60)
        line = self.text[start : at + 60].replace("\n", " ").replace("\t", " ").replace("\r", " ")
        return InvalidInput(
            f"{head} at column {at + 1}: {problem}\n  {line}\n  {' ' * width_of(line[: at - start])}^",
            hint=hint or f"for example: {self._example}",
        )


def unquoted(token: str) -> str:
    """What stands between the quotes.

    >>> unquoted("'it''s'"), unquoted("`a b`")
    ("it's", 'a b')
    """
    return token[1:-1] if token[0] == "`" else token[1:-1].replace(token[0] * 2, token[0])
