"""Declared checks as values: what is stored of them is what was declared, and verdicts follow from results."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.domain import checks
from everloop.domain.checks import CheckResult, Suite, enough, verdict
from everloop.errors import InvalidDefinition, InvalidInput

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
