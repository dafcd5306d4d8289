"""Filters over models: comparisons joined by AND, as MLflow's clients write them for the registry and for logged models.

    filter     := comparison (AND comparison)*
    comparison := field operator value | field [NOT] IN ('a', 'b')
    field      := [entity .] key        the key may be "quoted" or `backticked`; without an entity it is an attribute
    value      := number | 'text' | "text"

What may be asked differs by what is searched; a `Vocabulary` says it. (Runs have a larger language: `everloop.domain.search`.)
A test of something that is not there is false, also with ``!=``. LIKE heeds case, ILIKE does not.
"""

import re
from collections.abc import Callable, Mapping

import msgspec

from everloop.domain.search import like
from everloop.errors import InvalidInput, nearest

TEXT, NUMBER = "text", "number"

Value = str | float | tuple[str, ...]
Lookup = Callable[[str, str], str | float | None]
"""Gives what a thing has under (entity, key); None where it has none. The entity of attributes is ``attribute``."""


class Vocabulary(msgspec.Struct, frozen=True):
    """What can be asked of a kind of thing.

    attributes: as written -> (its key, `TEXT` or `NUMBER`). entities: as written (``metrics``) -> its name (``metric``);
    values of ``metric`` are numbers, of all others text. sortable: what may stand in an order, as written -> attribute's key.
    """

    what: str
    attributes: Mapping[str, tuple[str, str]]
    entities: Mapping[str, str]
    sortable: Mapping[str, str]


class Comparison(msgspec.Struct, frozen=True):
    """One comparison. `operator` is lower case."""

    entity: str
    key: str
    operator: str
    value: Value


class Sort(msgspec.Struct, frozen=True):
    entity: str
    key: str
    descending: bool = False


def parse_tests(text: str, vocabulary: Vocabulary) -> list[Comparison]:
    """The comparisons of a filter, which must all hold. Raises InvalidInput with a caret under the place.

    >>> MODELS = Vocabulary("registered models", {"name": ("name", TEXT)}, {"tag": "tag", "tags": "tag"}, {})
    >>> parse_tests("name LIKE 'del%' AND tags.team = 'ops'", MODELS)[1]
    Comparison(entity='tag', key='team', operator='=', value='ops')
    >>> parse_tests("name = 'a' OR name = 'b'", MODELS)
    Traceback (most recent call last):
    everloop.errors.InvalidInput: the filter cannot be read at column 12: comparisons are joined by AND only
      name = 'a' OR name = 'b'
                 ^
    """
    return _Reader(text, vocabulary, "filter").tests()


def parse_sort(text: str, vocabulary: Vocabulary) -> Sort:
    """``name DESC``: what to sort by, and a direction that is ASC when none is given."""
    return _Reader(text, vocabulary, "order").sort()


def passes(tests: list[Comparison], lookup: Lookup) -> bool:
    """Whether a thing passes all of a filter.

    >>> passes([Comparison("tag", "team", "!=", "ops")], lambda entity, key: "web")
    True
    >>> passes([Comparison("tag", "team", "!=", "ops")], lambda entity, key: None)
    False
    """
    return all(holds(test, lookup(test.entity, test.key)) for test in tests)


def holds(test: Comparison, found: str | float | None) -> bool:
    """Whether one comparison holds for a value; never for None."""
    if found is None:
        return False
    value = test.value
    match test.operator:
        case "=":
            return found == value
        case "!=":
            return found != value
        case "in":
            return isinstance(value, tuple) and found in value
        case "not in":
            return isinstance(value, tuple) and found not in value
        case "like" | "ilike":
            return like(str(value), str(found), ignore_case=test.operator == "ilike")
        case _:
            assert isinstance(found, int | float)
            assert isinstance(value, int | float)
            return _ORDERED[test.operator](found, value)


_ORDERED: dict[str, Callable[[float, float], bool]] = {
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
}
_TEXT_OPERATORS = ("=", "!=", "like", "ilike", "in", "not in")
_NUMBER_OPERATORS = ("=", "!=", *_ORDERED)

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    | (?P<text>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*"|`[^`]*`)
    | (?P<word>[^\W\d]\w*)
    | (?P<symbol>!=|<>|>=|<=|==|[=<>(),.;])
    | (?P<end>\Z)
    | (?P<bad>.))""",
    re.VERBOSE | re.DOTALL,
)
_KEY = re.compile(r"[\w.\-/]+")


class _Reader:
    """Reads one filter or order from left to right. `kind` and `token` are those of what comes next, `at` where it begins."""

    def __init__(self, text: str, vocabulary: Vocabulary, what: str) -> None:
        self.text, self.vocabulary, self.what = text, vocabulary, what
        self.end = 0
        self._advance()

    def tests(self) -> list[Comparison]:
        found: list[Comparison] = []
        while self.kind != "end":
            if self._word("and"):  # MLflow forgives one too many, and clients append to what may be empty
                continue
            found.append(self._test())
            if self.kind != "end" and not self._word("and"):
                raise self._error("comparisons are joined by AND only")
        return found

    def sort(self) -> Sort:
        entity, key = self._field(self.vocabulary.sortable)
        descending = self._word("desc")
        if not descending:
            self._word("asc")
        if self.kind != "end":
            raise self._error("expected ASC, DESC or the end")
        return Sort(entity, key, descending)

    def _test(self) -> Comparison:
        written = {name: key for name, (key, _) in self.vocabulary.attributes.items()}
        entity, key = self._field(written)
        kinds = dict(self.vocabulary.attributes.values())
        numeric = entity == "metric" or (entity == "attribute" and kinds[key] == NUMBER)
        start = self.at
        operator = self._operator()
        if operator not in (_NUMBER_OPERATORS if numeric else _TEXT_OPERATORS):
            kind = "numbers" if numeric else "texts"
            wanted = " ".join(_NUMBER_OPERATORS if numeric else _TEXT_OPERATORS).upper()
            raise self._error(f"{kind} are compared with {wanted}", start)
        if operator.endswith("in"):
            return Comparison(entity, key, operator, self._list())
        return Comparison(entity, key, operator, self._number() if numeric else self._string())

    def _field(self, attributes: Mapping[str, str]) -> tuple[str, str]:
        start = self.at
        if self.kind not in {"word", "quoted"}:
            raise self._error("a field is missing" if self.kind == "end" else "expected a field")
        head = self._unquoted()
        bare = self.kind == "word"
        if not bare or self.text[self.end : self.end + 1] != ".":
            self._advance()
            return "attribute", self._attribute(head, attributes, start)
        entity = self.vocabulary.entities.get(head)
        if entity is None:
            raise self._error(
                f"{self.vocabulary.what} have no '{head}'", start, nearest(head, self.vocabulary.entities)
            )
        self.end += 1
        found = _KEY.match(self.text, self.end)
        if found is not None:
            key, self.end = found[0], found.end()
            self._advance()
        else:
            self._advance()
            if self.kind != "quoted":
                raise self._error("a name is missing after the '.'")
            key = self._unquoted()
            self._advance()
        return entity, self._attribute(key, attributes, start) if entity == "attribute" else key

    def _attribute(self, name: str, attributes: Mapping[str, str], start: int) -> str:
        if name not in attributes:
            hint = nearest(name, attributes) or f"there are: {', '.join(attributes)}"
            raise self._error(f"{self.vocabulary.what} have no attribute '{name}' here", start, hint)
        return attributes[name]

    def _operator(self) -> str:
        if self.kind == "symbol" and self.token in {"=", "!=", "<>", *_ORDERED}:
            found = "!=" if self.token == "<>" else self.token
            self._advance()
            return found
        if self._word("not"):
            if self._word("in"):
                return "not in"
            raise self._error("NOT stands before IN only")
        for each in ("like", "ilike", "in"):
            if self._word(each):
                return each
        raise self._error(
            "an operator is missing" if self.kind == "end" else f"{self.token!r} is no operator here"
        )

    def _list(self) -> tuple[str, ...]:
        if not self._symbol("("):
            raise self._error("IN takes a list, such as ('a', 'b')")
        found = [self._string()]
        while self._symbol(","):
            if self.kind == "symbol" and self.token == ")":  # as Python writes a tuple of one
                break
            found.append(self._string())
        if not self._symbol(")"):
            raise self._error("a ')' is missing")
        return tuple(found)

    def _string(self) -> str:
        if self.kind not in {"text", "quoted"} or self.token.startswith("`"):
            raise self._error("a text in quotes is missing")
        found = self._unquoted()
        self._advance()
        return found

    def _number(self) -> float:
        if self.kind != "number":
            raise self._error("a number without quotes is missing")
        found = float(self.token)
        self._advance()
        return found

    def _unquoted(self) -> str:
        if self.kind not in {"text", "quoted"}:
            return self.token
        quote = self.token[0]
        return self.token[1:-1] if quote == "`" else self.token[1:-1].replace(quote * 2, quote)

    def _word(self, wanted: str) -> bool:
        if self.kind == "word" and self.token.lower() == wanted:
            self._advance()
            return True
        return False

    def _symbol(self, wanted: str) -> bool:
        if self.kind == "symbol" and self.token == wanted:
            self._advance()
            return True
        return False

    def _advance(self) -> None:
        found = _TOKEN.match(self.text, self.end)
        assert found is not None
        self.kind = str(found.lastgroup)
        self.token = found[self.kind]
        self.at, self.end = found.start(self.kind), found.end()
        if self.kind == "bad":
            raise self._error(
                "a quote is not closed" if self.token in "'\"`" else f"{self.token!r} means nothing here"
            )

    def _error(self, problem: str, at: int | None = None, hint: str = "") -> InvalidInput:
        place = self.at if at is None else at
        start = max(0, place - 60)
        line = re.sub(r"[\n\r\t]", " ", self.text[start : place + 60])
        return InvalidInput(
            f"the {self.what} cannot be read at column {place + 1}: {problem}\n  {line}\n  {' ' * (place - start)}^",
            hint=hint,
        )
