"""Declared checks as values: what is stored of them is what was declared, and verdicts follow from results."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.domain import checks
from everloop.domain.checks import AnyCheck, CheckResult, Suite, enough, verdict
from everloop.domain.checks.written import read_toml, to_python, to_toml
from everloop.domain.contracts import Contract, broken, governing, terms
from everloop.errors import InvalidDefinition, InvalidInput

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUITE = checks.checks(
    "all",
    dataset="team/flights",
    checks=[
        checks.not_null("a"),
        checks.in_range("b", -1, 2.5, severity="quarantine", mostly=0.9),
        checks.in_range("c", high=datetime(2013, 1, 1, tzinfo=UTC)),
        checks.in_set("d", ["x", 1, True]),
        checks.matches("e", "[a-z]+"),
        checks.unique("f", "g"),
        checks.foreign_key("h", "airports", "faa"),
        checks.expression("i > j", name="ordered", severity="warn"),
        checks.has_type("k", "int64"),
        checks.row_count(1, 10),
        checks.freshness("l", "2d"),
        checks.in_range("b", 0, 1, exclusive="both", name="between"),
        checks.in_set("d", ["y"], forbidden=True),
        checks.matches("e", "a", where="anywhere", dialect="python", forbidden=True),
        checks.length("e", 1, 3),
        checks.date_format("e", "%Y-%m-%d", strict=False),
        checks.key("a", "b"),
        checks.monotonic("c", decreasing=True, strictly=True, by=["d"]),
        checks.foreign_key(["h", "i"], "airports@v2", ["faa", "name"]),
        checks.python("definitions.data:near", ["b"]),
        checks.python("data.py:whole", ["b"], whole=True, name="all of it"),
        checks.has_type("b", ["integer", "text"], name="of two types"),
        checks.has_columns("a", "b", exact=True, ordered=True),
        checks.column_count(3),
        checks.row_change(-0.1, 0.5, severity="warn"),
        checks.aggregate("b", "quantile", 1, 2, q=0.9),
        checks.null_share("b", 0.1),
        checks.distribution("b", "flights@v3", 0.2),
        checks.query("select 1", name="none", datasets={"airports": "airports@v2"}),
    ],
)


def test_a_stored_suite_is_the_declared_one() -> None:
    assert msgspec.convert(msgspec.to_builtins(SUITE), Suite) == SUITE
    assert msgspec.json.decode(msgspec.json.encode(SUITE), type=Suite) == SUITE


@pytest.mark.parametrize(
    ("declare", "match"),
    [
        (lambda: checks.not_null("a", severity="bad"), "'bad' is not a severity"),  # type: ignore[arg-type]
        (lambda: checks.not_null("a", mostly=1.5), "a share between 0 and 1"),
        (lambda: checks.in_range("a"), "has no limit"),
        (lambda: checks.unique(), "needs a column"),
        (lambda: checks.key(), "needs a column"),
        (lambda: checks.in_range("a", float("nan")), "a limit is NaN"),
        (lambda: checks.in_range("a", 1, exclusive="up"), "exclusive is one of"),  # type: ignore[arg-type]
        (lambda: checks.in_set("a", "abc"), "are one text"),
        (lambda: checks.monotonic("a", by="b"), "by is one text"),
        (lambda: checks.foreign_key(["a", "b"], "t", "c"), "as many columns|compares"),
        (lambda: checks.aggregate("a", "mean", 1, q=0.5), "a quantile has q|measure mean"),
        (lambda: checks.aggregate("a", "quantile", 1), "measure quantile"),
        (lambda: checks.aggregate("a", "average", 1), "measure is one of"),  # type: ignore[arg-type]
        (lambda: checks.row_change(), "has no limit"),
        (lambda: checks.distribution("a", limit=-1), "not negative"),
        (lambda: checks.python("plausible", ["a"]), "not the place of a function"),
        (lambda: checks.python(lambda rows: rows, ["a"]), "cannot be found again by its name"),
        (lambda: checks.expression("a", name=""), "has no name"),
        (lambda: checks.freshness("a", "soon"), "not a length of time"),
        (lambda: checks.in_range("a", datetime(2013, 1, 1)), "has no time zone"),  # noqa: DTZ001
    ],
)
def test_what_cannot_be_meant_is_refused(declare: object, match: str) -> None:
    with pytest.raises((InvalidDefinition, InvalidInput), match=match):
        declare()  # type: ignore[operator]


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0, 1))
def test_more_failures_never_make_it_pass(failed: int, more: int, mostly: float) -> None:
    of = 100
    assert enough(failed, of, mostly) >= enough(failed + more, of, mostly)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["fail", "warn", "quarantine"])), max_size=6))
def test_only_warnings_may_fail(results: list[tuple[bool, checks.Severity]]) -> None:
    listed = [
        CheckResult(name=str(n), column="", severity=severity, passed=passed, failed_rows=0, of=1)
        for n, (passed, severity) in enumerate(results)
    ]
    assert verdict(listed) is not any(not passed and severity != "warn" for passed, severity in results)


@pytest.mark.parametrize(
    "declare",
    [
        lambda severity: checks.row_count(1, severity=severity),
        lambda severity: checks.has_type("a", "int64", severity=severity),
        lambda severity: checks.aggregate("a", "mean", 1, severity=severity),
        lambda severity: checks.query("select 1", name="q", severity=severity),
        lambda severity: checks.distribution("a", severity=severity),
        lambda severity: checks.python("m:f", ["a"], whole=True, severity=severity),
    ],
)
def test_a_check_of_the_table_cannot_put_rows_aside(declare: Callable[[str], AnyCheck]) -> None:
    assert declare("warn").severity == "warn"
    with pytest.raises(InvalidDefinition, match="names no rows"):
        declare("quarantine")


def test_both_faces_say_the_same() -> None:
    """TOML and Python: what one declares the other can write, and it is the same suite."""
    assert read_toml(to_toml(SUITE), "all.toml") == SUITE
    declared: dict[str, object] = {}
    exec(to_python(SUITE), declared)
    assert declared["all"] == SUITE


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(
    column=texts,
    values=st.lists(st.booleans() | st.integers() | texts | st.floats(allow_nan=False), max_size=4),
    low=st.integers() | st.floats(allow_nan=False) | texts,
    pattern=texts,
)
def test_any_text_and_number_survives_being_written(
    column: str, values: list[Any], low: Any, pattern: str
) -> None:
    suite = checks.checks(
        "s",
        dataset="d",
        checks=[
            checks.in_set(column, values),
            checks.in_range(column, low),
            checks.matches(column, pattern),
            checks.query(pattern, name="q", datasets={column: "a@v1"}),
        ],
    )
    assert read_toml(to_toml(suite), "s.toml") == suite


names = st.sampled_from(["a", "a/b", "a/b/c", "ab", "a/quarantine"])
patterns = st.sampled_from(["a", "a/b", "a*", "a/*", "a/b*", "*", "ab", "a/quarantine"])


def contract(pattern: str, bound: bool = True) -> Contract:
    suite = Suite("s", "d", (checks.row_count(1),))
    return Contract(pattern=pattern, suite=suite, version=1, created=NOW, bound=bound)


@given(names, st.lists(st.tuples(patterns, st.booleans()), max_size=8, unique_by=lambda each: each[0]))
def test_the_most_specific_contract_governs(name: str, given_contracts: list[tuple[str, bool]]) -> None:
    found = governing((contract(pattern, bound) for pattern, bound in given_contracts), name)

    def covers(pattern: str) -> bool:
        if not pattern.endswith("*"):
            return pattern == name
        return name.startswith(pattern[:-1]) and not name.endswith("/quarantine")

    covering = [pattern for pattern, bound in given_contracts if bound and covers(pattern)]
    best = max(covering, key=lambda pattern: (not pattern.endswith("*"), len(pattern)), default=None)
    assert (found.pattern if found else None) == best


def test_a_waived_contract_has_not_passed() -> None:
    waived = terms(contract("d"), None, "because").unexamined(NOW)
    assert waived is not None
    assert (waived.passed, waived.waived, broken(contract("d"), waived)) == (False, "because", "")
    assert terms(None, None, "because").unexamined(NOW) is None
