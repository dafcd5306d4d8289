"""Reads YAML in block style, as programs write it: the ``MLmodel`` and ``meta.yaml`` files of MLflow.

Mappings and lists by indentation, plain and quoted scalars that may go on over several lines, empty ``{}`` and ``[]``, literal
text (``|``). Tags, anchors and flow collections with something in them are refused: what a stranger's file can make of us is
plain values, nothing else.
"""

import re
from typing import Any

from everloop.errors import InvalidInput

_KEY = re.compile(
    r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|(?:[^\s'"\[\]{}&*!|>%@`#,-]|-[^\s#])(?:[^#]|(?<=\S)\#)*?)\s*:(?=\s|$)"""
)
_NUMBER = re.compile(r"[-+]?(?:\d+|\d*\.\d+(?:[eE][-+]?\d+)?|\d+\.\d*(?:[eE][-+]?\d+)?)\Z")
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_ESCAPES = {
    "0": "\0", "a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b",
    "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029",
}  # fmt: skip
_QUOTED = {"'": re.compile(r"'(?:[^']|'')*'(?!')"), '"': re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)}
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "true": True, "false": False, "{}": {}, "[]": []}
_DEEPEST = 50


def read_yaml(text: str) -> Any:
    """The value that a document in block style says. Raises InvalidInput, which names the line.

    >>> read_yaml("flavors:\\n  sklearn: {}\\n  names:\\n  - a\\n  - b: 1.5\\nsaid: 'it''s\\n  so'\\n")
    {'flavors': {'sklearn': {}, 'names': ['a', {'b': 1.5}]}, 'said': "it's so"}
    >>> read_yaml("a: !!python/object:os.system x")
    Traceback (most recent call last):
    everloop.errors.InvalidInput: line 1 is not plain YAML: '!!python/object:os.system x'
    """
    reader = _Reader(text)
    value = reader.block(0) if reader.more() else None
    if reader.more():
        raise reader.wrong()
    return value


class _Reader:
    """Goes through the lines once. `at` is the next line that holds something."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self.at = 0
        self.depth = 0
        self._skip()
        if self.more() and self.lines[self.at].rstrip() == "---":
            self.at += 1
            self._skip()

    def more(self) -> bool:
        return self.at < len(self.lines)

    def wrong(self, line: int | None = None) -> InvalidInput:
        number = min(self.at if line is None else line, len(self.lines) - 1)
        said = self.lines[number].strip()
        head, colon, rest = said.partition(": ")
        return InvalidInput(f"line {number + 1} is not plain YAML: {(rest if colon else head)[:60]!r}")

    def block(self, least: int) -> Any:
        """The mapping, list or scalar that begins at the next line, which is indented by `least` or more."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.wrong()
        indent = self._indent()
        line = self.lines[self.at][indent:]
        if line == "-" or line.startswith("- "):
            value: Any = self._list(indent)
        elif _KEY.match(line):
            value = self._mapping(indent)
        else:
            value = self._scalar(line, max(least - 1, -1))
        self.depth -= 1
        return value

    def _mapping(self, indent: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self.more() and self._indent() == indent:
            line = self.lines[self.at][indent:]
            key = _KEY.match(line)
            if key is None or line.startswith("- "):
                break
            name = key[1]
            found[self._unquoted(name) if name[0] in "'\"" else name.strip()] = self._value(
                line[key.end() :].strip(" \t\r"), indent
            )
        if self.more() and self._indent() > indent:
            raise self.wrong()
        return found

    def _value(self, rest: str, indent: int) -> Any:
        """What stands after a key: on its line, or below it."""
        if rest and not rest.startswith("#"):
            return self._scalar(rest, indent)
        self._next()
        if not self.more() or self._indent() < indent:
            return None
        line = self.lines[self.at][self._indent() :]
        if self._indent() > indent or line == "-" or line.startswith("- "):
            return self.block(indent)
        return None

    def _list(self, indent: int) -> list[Any]:
        found: list[Any] = []
        while self.more() and self._indent() == indent:
            line = self.lines[self.at][indent:]
            if line != "-" and not line.startswith("- "):
                break
            rest = line[1:].strip()
            if not rest:
                self._next()
                inside = self.more() and self._indent() > indent
                found.append(self.block(indent + 1) if inside else None)
            elif _KEY.match(rest) or rest.startswith("- "):  # a block that begins on the line of its dash
                self.lines[self.at] = " " * (len(self.lines[self.at]) - len(line[1:].lstrip())) + rest
                found.append(self.block(indent + 1))
            else:
                found.append(self._scalar(rest, indent))
        return found

    def _scalar(self, first: str, indent: int) -> Any:
        """A scalar that begins with `first`, and goes on in the lines below that are indented by more than `indent`."""
        begun = self.at
        if first[0] in "'\"":
            return self._quoted(first)
        if first in {"|", "|-"}:
            return self._literal(indent, keep=first == "|")
        if first not in _WORDS and (first[0] in "[]{}&*!|>%@`," or first.startswith("? ") or first == "?"):
            raise self.wrong(begun)
        parts = [_without_comment(first)]
        self._next()
        while self.more() and self._indent() > indent and parts[0]:
            line = self.lines[self.at].strip(" \t")
            if _KEY.match(line):
                raise self.wrong()
            parts.append(_without_comment(line))
            self._next()
        return _typed(" ".join(parts))

    def _quoted(self, first: str) -> str:
        quote, begun = first[0], self.at
        parts, is_open = [first], _leaves_open(first[1:], quote)
        while is_open:
            self.at += 1
            if self.at >= len(self.lines):
                raise self.wrong(begun)
            parts.append(self.lines[self.at].strip(" \t"))
            is_open = _leaves_open(parts[-1], quote)
        text = "\n".join(parts)
        match = _QUOTED[quote].match(text)
        rest = text[match.end() :].strip() if match is not None else ""
        if match is None or (rest and not rest.startswith("#")):
            raise self.wrong(begun)
        self._next()
        return self._unquoted(match[0])

    def _unquoted(self, token: str) -> str:
        inner = token[1:-1]
        if token[0] == '"':
            inner = re.sub(r"(?<!\\)((?:\\\\)*)\\\n", r"\1", inner)  # a line that is cut with a backslash
        # One break is a space, more are breaks.
        inner = re.sub(r"[ \t]*\n(\n*)", lambda found: found[1] or " ", inner)
        if token[0] == "'":
            return inner.replace("''", "'")
        return _ESCAPE.sub(_escaped, inner)

    def _literal(self, indent: int, *, keep: bool) -> str:
        self.at += 1
        found: list[str] = []
        depth = None
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if line.strip():
                own = len(line) - len(line.lstrip(" "))
                if own <= indent:
                    break
                depth = own if depth is None else depth
                found.append(line[depth:])
            else:
                found.append("")
            self.at += 1
        text = "\n".join(found).rstrip("\n")
        self._skip()
        return text + "\n" if keep else text

    def _indent(self) -> int:
        line = self.lines[self.at]
        if line.lstrip(" ").startswith("\t"):
            raise self.wrong()
        return len(line) - len(line.lstrip(" "))

    def _next(self) -> None:
        self.at += 1
        self._skip()

    def _skip(self) -> None:
        while self.at < len(self.lines) and not self.lines[self.at].partition("#")[0].strip():
            if self.lines[self.at].strip() and not self.lines[self.at].lstrip().startswith("#"):
                break
            self.at += 1


def _leaves_open(line: str, quote: str) -> bool:
    """Whether a quoted text that is open before this line is open after it."""
    if quote == "'":  # a doubled quote closes and opens
        return line.count("'") % 2 == 0
    return '"' not in re.sub(r"\\.", "", line)


def _escaped(found: re.Match[str]) -> str:
    code = found[1] or found[2] or found[3]
    return chr(int(code, 16)) if code else _ESCAPES.get(found[4], found[4])


def _without_comment(text: str) -> str:
    return re.split(r"\s#", text, maxsplit=1)[0].rstrip(" \t\r")


def _typed(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if not _NUMBER.match(text):
        return text
    try:
        return int(text)
    except ValueError:
        return float(text)
