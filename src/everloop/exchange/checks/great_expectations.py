"""Suites of Great Expectations, as the JSON that versions 0.18 and 1.x write, as checks.

Where engines of Great Expectations differ, its pandas engine is followed: a regular expression may match anywhere, and a quantile
is the value at or below it. Two things are ours: NaN is missing, whatever the engine; of rows that are equal the first passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import combinations
from typing import Any

from everloop.domain.checks import AnyCheck, Severity, Suite
from everloop.domain.checks import declaring as check
from everloop.errors import InvalidDefinition
from everloop.exchange.checks.conditions import condition, of_rows
from everloop.exchange.checks.translating import (
    CannotSay,
    Translation,
    column,
    exclusive,
    missing_values,
    of_type,
    pattern,
    text,
    value,
    values,
)

Said = dict[str, Any]
_Make = Callable[[Said, dict[str, Any]], list[AnyCheck]]

_ABOUT = (
    "result_format",
    "catch_exceptions",
    "include_config",
    "batch_id",
    "meta",
    "column_index",
)
"""What is said about the way of asking, not about the data."""


def suite_of(given: Any, dataset: str) -> Suite:
    """The checks of a suite's JSON. Raises InvalidDefinition when it is none. What cannot be translated is among them, as one
    that does not pass."""
    if not isinstance(given, dict) or not isinstance(given.get("expectations"), list):
        raise InvalidDefinition(
            "this JSON is no suite of Great Expectations", hint="it has a list called expectations"
        )
    made = Translation()
    for each in given["expectations"]:
        _translate(each, made)
    name = str(given.get("name") or given.get("expectation_suite_name") or dataset)
    return made.suite(re.sub(r"[@:]", "_", name).strip() or dataset, dataset)


def _translate(each: Any, made: Translation) -> None:
    if not isinstance(each, dict):
        made.cannot("expectation", str(each), "it is not understood")
        return
    kind = str(each.get("type") or each.get("expectation_type") or "")
    said = {name: one for name, one in (each.get("kwargs") or {}).items() if one is not None}
    about = said.get("column") or "+".join(map(str, said.get("column_list") or said.get("column_set") or ()))
    name = (
        f"{about}.{kind.removeprefix('expect_')}" if about else kind.removeprefix("expect_") or "expectation"
    )
    severity: Severity = "warn" if each.get("severity") in ("warning", "info") else "fail"
    made.attempt(name, str(each), lambda: _checks(kind, dict(said), name, severity), severity)


def _checks(kind: str, said: Said, name: str, severity: Severity) -> list[AnyCheck]:
    if kind not in _EXPECTATIONS:
        raise CannotSay("there is no counterpart" if kind.startswith("expect") else "it is of no known kind")
    if "$PARAMETER" in str(said):
        raise CannotSay("it has parameters that are given when it runs")
    where = said.pop("row_condition", None)
    parser = str(said.pop("condition_parser", "pandas"))
    for ignored in _ABOUT:
        said.pop(ignored, None)
    if said.pop("parse_strings_as_datetimes", False):
        raise CannotSay("it reads text as times")
    shared: dict[str, Any] = {"severity": severity, "name": name}
    mostly = said.pop("mostly", 1.0)
    make, takes_mostly = _EXPECTATIONS[kind]
    if takes_mostly:
        shared["mostly"] = float(mostly)
    elif mostly != 1.0:
        raise CannotSay("with mostly it counts otherwise than we do")
    found = make(said, shared)
    if said:
        raise CannotSay(f"it says {', '.join(sorted(said))}, which has no counterpart")
    if where is None:
        return found
    holds = condition(where, parser)
    return [of_rows(each, holds) for each in found]


def _ends(said: Said) -> dict[str, Any]:
    return {
        "low": value(said.pop("min_value", None)),
        "high": value(said.pop("max_value", None)),
        "exclusive": exclusive(bool(said.pop("strict_min", False)), bool(said.pop("strict_max", False))),
    }


def _integers(said: Said, strict: bool = False) -> dict[str, Any]:
    low, high = said.pop("min_value", None), said.pop("max_value", None)
    if strict:
        low = low if low is None else low + bool(said.pop("strict_min", False))
        high = high if high is None else high - bool(said.pop("strict_max", False))
    return {"low": int(low or 0), "high": None if high is None else int(high)}


def _range(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
    return [check.in_range(said.pop("column"), **_ends(said), **shared)]


def _set(forbidden: bool, key: str = "value_set") -> _Make:
    def make(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
        return [check.in_set(said.pop("column"), values(said.pop(key)), forbidden=forbidden, **shared)]

    return make


def _all_values(also_only: bool) -> _Make:
    def make(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
        name, wanted = said.pop("column"), values(said.pop("value_set"))
        found: list[AnyCheck] = []
        if wanted:
            found.append(check.query(missing_values(name, wanted), **shared))
        if also_only:
            found.append(
                check.in_set(name, wanted, severity=shared["severity"], name=f"{shared['name']}, no other")
            )
        return found

    return make


def _types(key: str) -> _Make:
    def make(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
        name, given = said.pop("column"), said.pop(key)
        kinds: list[str] = []
        for each in [given] if isinstance(given, str) else given:
            known = of_type(name, re.sub(r"[\[(].*|_$", "", str(each))).type
            kinds += [known] if isinstance(known, str) else known
        return [check.has_type(name, kinds, **shared)]

    return make


def _regex(forbidden: bool) -> _Make:
    def make(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
        written, dialect = pattern(str(said.pop("regex")))
        name = said.pop("column")
        return [
            check.matches(name, written, where="anywhere", dialect=dialect, forbidden=forbidden, **shared)
        ]

    return make


def _regexes(forbidden: bool) -> _Make:
    def make(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
        name, listed = said.pop("column"), [str(each) for each in said.pop("regex_list")]
        if said.pop("match_on", "any") == "all":
            if shared["mostly"] != 1.0:
                raise CannotSay("that all patterns match mostly is more than one check can say")
            return [each for one in listed for each in _regex(False)({"column": name, "regex": one}, shared)]
        if any("(?" in each and not each.startswith("(?:") for each in listed):
            raise CannotSay("its patterns have flags, and cannot be joined")
        return _regex(forbidden)(
            {"column": name, "regex": "|".join(f"(?:{each})" for each in listed)}, shared
        )

    return make


def _like(forbidden: bool, several: bool) -> _Make:
    def make(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
        here = column(said.pop("column"))
        listed = said.pop("like_pattern_list") if several else [said.pop("like_pattern")]
        joint = " and " if several and said.pop("match_on", "any") == "all" else " or "
        condition = joint.join(f"{here} like {text(each)}" for each in listed)
        return [check.expression(f"not ({condition})" if forbidden else condition, **shared)]

    return make


def _lengths(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
    return [check.length(said.pop("column"), **_integers(said, strict=True), **shared)]


def _length(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
    exactly = int(said.pop("value"))
    return [check.length(said.pop("column"), exactly, exactly, **shared)]


def _monotonic(decreasing: bool) -> _Make:
    def make(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
        strictly = bool(said.pop("strictly", False))
        return [check.monotonic(said.pop("column"), decreasing=decreasing, strictly=strictly, **shared)]

    return make


def _z_scores(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
    here = column(said.pop("column"))
    score = f"({here} - (select avg({here}) from rows)) / (select stddev_samp({here}) from rows)"
    score = f"abs({score})" if said.pop("double_sided") else score
    return [check.expression(f"{score} < {float(said.pop('threshold'))!r}", **shared)]


def _measure(measure: Any) -> _Make:
    def make(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
        return [check.aggregate(said.pop("column"), measure, **_ends(said), **shared)]

    return make


def _there(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
    ends = _ends(said)
    low, high = (None if end is None else 1 - float(end) for end in (ends["high"], ends["low"]))
    turned = {"low": "high", "high": "low"}.get(ends["exclusive"], ends["exclusive"])
    return [check.aggregate(said.pop("column"), "null_share", low, high, exclusive=turned, **shared)]


def _quantiles(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
    here, asked = column(said.pop("column")), said.pop("quantile_ranges")
    if said.pop("allow_relative_error", False) not in (False, "lower"):
        raise CannotSay("it takes quantiles between two values")
    found: list[AnyCheck] = []
    for q, (low, high) in zip(asked["quantiles"], asked["value_ranges"], strict=True):
        ends = [f"x {sign} {text(value(end))}" for sign, end in (("<", low), (">", high)) if end is not None]
        if not ends:
            continue
        places = f"row_number() over (order by {here}) - 1 as n, count(*) over () as c"
        ordered = f"select {here} as x, {places} from rows where {here} is not null"
        sql = (
            f"select x as quantile from ({ordered}) where n = floor({float(q)!r} * (c - 1)) and ({' or '.join(ends)})"
            f" union all select null where (select count({here}) from rows) = 0"
        )
        found.append(check.query(sql, severity=shared["severity"], name=f"{shared['name']} {q}"))
    return found


def _most_common(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
    here, wanted = column(said.pop("column")), values(said.pop("value_set"))
    among = f"x in ({', '.join(map(text, wanted)) or 'null'})"
    counted = f"select {here} as x from rows where {here} is not null group by {here}"
    common = f"{counted} qualify rank() over (order by count(*) desc) = 1"
    wrong = (
        f"not exists (select 1 from common where {among})"
        if said.pop("ties_okay", False)
        else f"(select count(*) from common) > 1 or not {among}"
    )
    return [check.query(f"with common as ({common}) select x from common where {wrong}", **shared)]


def _together(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
    names = list(said.pop("column_list"))
    ignored = said.pop("ignore_row_if", "all_values_are_missing")
    if ignored == "any_value_is_missing":
        return [check.unique(*names, **shared)]
    here = [column(name) for name in names]
    some = " or ".join(f"{each} is not null" for each in here)
    where = f" where {some}" if ignored == "all_values_are_missing" else ""
    listed = ", ".join(here)
    return [
        check.query(
            f"select {listed}, count(*) as copies from rows{where} group by all having copies > 1", **shared
        )
    ]


def _apart(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
    here = [column(name) for name in said.pop("column_list")]
    condition = " and ".join(f"{a} is distinct from {b}" for a, b in combinations(here, 2))
    return [
        check.expression(
            _unless_missing(condition, here, said.pop("ignore_row_if", "all_values_are_missing")), **shared
        )
    ]


def _sum(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
    here = [column(name) for name in said.pop("column_list")]
    total = " + ".join(f"coalesce({each}, 0)" for each in here)
    condition = f"{total} = {float(said.pop('sum_total'))!r}"
    return [
        check.expression(
            _unless_missing(condition, here, said.pop("ignore_row_if", "all_values_are_missing")), **shared
        )
    ]


def _pair(compare: str) -> _Make:
    def make(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
        here = [column(said.pop("column_A")), column(said.pop("column_B"))]
        sign = ">=" if compare == ">" and said.pop("or_equal", False) else compare
        condition = f"coalesce({here[0]} {sign} {here[1]}, false)"
        return [
            check.expression(
                _unless_missing(condition, here, said.pop("ignore_row_if", "both_values_are_missing")),
                **shared,
            )
        ]

    return make


def _pairs(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
    here = [column(said.pop("column_A")), column(said.pop("column_B"))]
    allowed = [
        f"({here[0]} is not distinct from {text(a)} and {here[1]} is not distinct from {text(b)})"
        for a, b in said.pop("value_pairs_set")
    ]
    condition = " or ".join(allowed) or "false"
    return [
        check.expression(
            _unless_missing(condition, here, said.pop("ignore_row_if", "both_values_are_missing")), **shared
        )
    ]


def _unless_missing(condition: str, here: list[str], ignored: str) -> str:
    """The condition, not looked at for rows that Great Expectations leaves out."""
    joints = {
        "all_values_are_missing": " and ",
        "both_values_are_missing": " and ",
        "any_value_is_missing": " or ",
        "either_value_is_missing": " or ",
        "never": "",
        "neither": "",
    }
    if ignored not in joints:
        raise CannotSay(f"ignore_row_if is {ignored}")
    if not joints[ignored]:
        return condition
    missing = joints[ignored].join(f"{each} is null" for each in here)
    return f"case when {missing} then null else {condition} end"


def _ordered(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
    return [check.has_columns(*said.pop("column_list"), exact=True, ordered=True, **shared)]


def _columns(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
    return [check.has_columns(*said.pop("column_set"), exact=bool(said.pop("exact_match", True)), **shared)]


def _rows(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
    query = str(said.pop("unexpected_rows_query"))
    said.pop("description", None)
    return [check.query(query.replace("{batch}", "rows"), **shared)]


def _exact(count: Callable[..., AnyCheck]) -> _Make:
    def make(said: Said, shared: dict[str, Any]) -> list[AnyCheck]:
        exactly = int(said.pop("value"))
        return [count(exactly, exactly, **shared)]

    return make


_ROWS, _TABLE = True, False

_EXPECTATIONS: dict[str, tuple[_Make, bool]] = {
    "expect_column_values_to_be_between": (_range, _ROWS),
    "expect_column_values_to_be_in_set": (_set(False), _ROWS),
    "expect_column_values_to_not_be_in_set": (_set(True), _ROWS),
    "expect_column_values_to_be_null": (
        lambda s, k: [check.expression(f"{column(s.pop('column'))} is null", **k)],
        _ROWS,
    ),
    "expect_column_values_to_not_be_null": (lambda s, k: [check.not_null(s.pop("column"), **k)], _ROWS),
    "expect_column_values_to_be_unique": (lambda s, k: [check.unique(s.pop("column"), **k)], _TABLE),
    "expect_column_values_to_match_regex": (_regex(False), _ROWS),
    "expect_column_values_to_not_match_regex": (_regex(True), _ROWS),
    "expect_column_values_to_match_regex_list": (_regexes(False), _ROWS),
    "expect_column_values_to_not_match_regex_list": (_regexes(True), _ROWS),
    "expect_column_values_to_match_like_pattern": (_like(False, several=False), _ROWS),
    "expect_column_values_to_not_match_like_pattern": (_like(True, several=False), _ROWS),
    "expect_column_values_to_match_like_pattern_list": (_like(False, several=True), _ROWS),
    "expect_column_values_to_not_match_like_pattern_list": (_like(True, several=True), _ROWS),
    "expect_column_values_to_match_strftime_format": (
        lambda s, k: [check.date_format(s.pop("column"), str(s.pop("strftime_format")), strict=False, **k)],
        _ROWS,
    ),
    "expect_column_values_to_be_json_parseable": (
        lambda s, k: [check.expression(f"json_valid({column(s.pop('column'))})", **k)],
        _ROWS,
    ),
    "expect_column_values_to_be_increasing": (_monotonic(False), _ROWS),
    "expect_column_values_to_be_decreasing": (_monotonic(True), _ROWS),
    "expect_column_value_lengths_to_be_between": (_lengths, _ROWS),
    "expect_column_value_lengths_to_equal": (_length, _ROWS),
    "expect_column_value_z_scores_to_be_less_than": (_z_scores, _ROWS),
    "expect_column_values_to_be_of_type": (_types("type_"), _TABLE),
    "expect_column_values_to_be_in_type_list": (_types("type_list"), _TABLE),
    "expect_column_max_to_be_between": (_measure("max"), _TABLE),
    "expect_column_min_to_be_between": (_measure("min"), _TABLE),
    "expect_column_mean_to_be_between": (_measure("mean"), _TABLE),
    "expect_column_median_to_be_between": (_measure("median"), _TABLE),
    "expect_column_stdev_to_be_between": (_measure("stddev"), _TABLE),
    "expect_column_sum_to_be_between": (_measure("sum"), _TABLE),
    "expect_column_unique_value_count_to_be_between": (_measure("distinct"), _TABLE),
    "expect_column_proportion_of_unique_values_to_be_between": (_measure("distinct_share"), _TABLE),
    "expect_column_proportion_of_non_null_values_to_be_between": (_there, _TABLE),
    "expect_column_quantile_values_to_be_between": (_quantiles, _TABLE),
    "expect_column_distinct_values_to_be_in_set": (_set(False), _TABLE),
    "expect_column_distinct_values_to_contain_set": (_all_values(also_only=False), _TABLE),
    "expect_column_distinct_values_to_equal_set": (_all_values(also_only=True), _TABLE),
    "expect_column_most_common_value_to_be_in_set": (_most_common, _TABLE),
    "expect_column_to_exist": (lambda s, k: [check.has_columns(s.pop("column"), **k)], _TABLE),
    "expect_compound_columns_to_be_unique": (_together, _TABLE),
    "expect_select_column_values_to_be_unique_within_record": (_apart, _ROWS),
    "expect_multicolumn_values_to_be_unique": (_apart, _ROWS),
    "expect_multicolumn_sum_to_equal": (_sum, _ROWS),
    "expect_column_pair_values_a_to_be_greater_than_b": (_pair(">"), _ROWS),
    "expect_column_pair_values_A_to_be_greater_than_B": (_pair(">"), _ROWS),
    "expect_column_pair_values_to_be_equal": (_pair("="), _ROWS),
    "expect_column_pair_values_to_be_in_set": (_pairs, _ROWS),
    "expect_table_row_count_to_be_between": (
        lambda s, k: [check.row_count(**_integers(s, strict=True), **k)],
        _TABLE,
    ),
    "expect_table_row_count_to_equal": (_exact(check.row_count), _TABLE),
    "expect_table_column_count_to_be_between": (
        lambda s, k: [check.column_count(**_integers(s, strict=True), **k)],
        _TABLE,
    ),
    "expect_table_column_count_to_equal": (_exact(check.column_count), _TABLE),
    "expect_table_columns_to_match_ordered_list": (_ordered, _TABLE),
    "expect_table_columns_to_match_set": (_columns, _TABLE),
    "unexpected_rows_expectation": (_rows, _TABLE),
}
"""Expectations by name: what makes checks of what they say, and whether `mostly` means the same there as here."""
