"""Schemas of pandera and suites of Great Expectations as checks: the same verdicts, and nothing lost in silence."""

import json
import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.examples import fewer

import everloop as ev
from everloop.cli.main import main
from everloop.data.checks.checking import Examination
from everloop.data.tables.scanning import connection
from everloop.domain.checks import CheckReport, Suite, Untranslated
from everloop.errors import InvalidDefinition
from everloop.exchange.checks import great_expectations
from everloop.exchange.checks.translating import pattern
from everloop.workspace.local import LocalWorkspace

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUITES = Path(__file__).parent / "suites"


def judged(table: pa.Table, suite: Suite) -> CheckReport:
    with connection() as con:
        return Examination(con, table, suite.checks, fetch=lambda _: None, now=NOW).report("data:t@v1", "t")


def untranslated(suite: Suite) -> dict[str, str]:
    return {check.name: check.reason for check in suite.checks if isinstance(check, Untranslated)}


# Pandera

CHECKS: list[tuple[str, Any]] = [
    ("i", pandera.Check.gt(0)),
    ("i", pandera.Check.ge(0)),
    ("x", pandera.Check.lt(1)),
    ("x", pandera.Check.le(1)),
    ("x", pandera.Check.in_range(-1, 1, include_min=False)),
    ("x", pandera.Check.in_range(-1, 1, include_max=False)),
    ("i", pandera.Check.eq(1)),
    ("s", pandera.Check.ne("a")),
    ("s", pandera.Check.isin(["a", "B", ""])),
    ("s", pandera.Check.notin(["a", "1"])),
    ("s", pandera.Check.str_matches(r"a|\d")),
    ("s", pandera.Check.str_matches(r"[aB]+$")),
    ("s", pandera.Check.str_contains(r"a$")),
    ("s", pandera.Check.str_contains(r"[^a]")),
    ("s", pandera.Check.str_startswith("a")),
    ("s", pandera.Check.str_endswith("B")),
    ("s", pandera.Check.str_length(1, 2)),
    ("s", pandera.Check.str_length(exact_value=1)),
    ("i", pandera.Check.unique_values_eq([0, 1])),
]
frames = st.lists(
    st.tuples(
        st.integers(-1, 2),
        st.none() | st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, math.inf]),
        st.none() | st.text("aB1٣\n", max_size=3),
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("asked", CHECKS, ids=lambda asked: f"{asked[0]} {asked[1].error}")
@given(
    rows=frames,
    nullable=st.sampled_from([True, True, False]),
    unique=st.sampled_from([False, False, True]),
    strict=st.sampled_from(["same", "same", "same", "fewer", "more"]),
    ordered=st.booleans(),
)
@fewer(0.2)
def test_the_verdict_is_panderas(
    asked: tuple[str, Any],
    rows: list[tuple[Any, ...]],
    nullable: bool,
    unique: bool,
    strict: str,
    ordered: bool,
) -> None:
    frame = pd.DataFrame(rows, columns=["i", "x", "s"]).astype({"i": "int64", "x": "float64", "s": "str"})
    column, check = asked
    kinds = {"i": "int64", "x": "float64", "s": str}
    asked_for = {"fewer": ["i", "x"], "same": ["i", "x", "s"], "more": ["x", "i", "s", "y"]}[strict]
    columns = {
        name: pandera.Column(
            kinds.get(name, "int64"),
            checks=[check] if name == column else [],
            nullable=nullable,
            unique=unique and name == column,
        )
        for name in dict.fromkeys([*asked_for, column])
    }
    schema = pandera.DataFrameSchema(columns, strict=strict == "fewer", ordered=ordered)
    try:
        schema.validate(frame, lazy=True)
        expected = True
    except pandera.errors.SchemaErrors:
        expected = False
    suite = ev.checks_from(schema, "t")
    assert untranslated(suite) == {}
    table = pa.Table.from_pandas(frame, preserve_index=False)
    assert judged(table, suite).passed is expected


class Trips(pandera.DataFrameModel):
    id: int = pandera.Field(ge=0, unique=True)
    city: str = pandera.Field(isin=["Berlin", "Wien"], nullable=True)
    miles: float = pandera.Field(in_range={"min_value": 0, "max_value": 500})
    when: pd.DatetimeTZDtype = pandera.Field(dtype_kwargs={"unit": "us", "tz": "UTC"})

    class Config:
        strict = True
        unique = ["city", "miles"]  # noqa: RUF012  (pandera's own form)


TRIPS = pa.table(
    {
        "id": [1, 2, 3],
        "city": ["Berlin", None, "Wien"],
        "miles": [1.0, 2.0, 3.0],
        "when": pa.array([NOW, NOW, NOW], pa.timestamp("us", "UTC")),
    }
)


def test_a_model() -> None:
    suite = ev.checks_from(Trips, "trips")
    assert suite.name == "Trips"
    assert judged(TRIPS, suite).passed
    assert not judged(TRIPS.append_column("more", TRIPS["id"]), suite).passed
    assert not judged(TRIPS.set_column(2, "miles", pa.array([1.0, 2.0, 900.0])), suite).passed
    assert not judged(TRIPS.set_column(3, "when", pa.array([1, 2, 3])), suite).passed


def test_what_pandera_says_and_we_cannot() -> None:
    schema = pandera.DataFrameSchema(
        {
            "a": pandera.Column(int, pandera.Check(lambda s: s > 0)),
            "b": pandera.Column(float, pandera.Check.gt(0, ignore_na=False), nullable=True),
            "c": pandera.Column("timedelta64[ns]"),
            "d": pandera.Column(int, required=False),
            "^e_": pandera.Column(int, regex=True),
            "f": pandera.Column(str, pandera.Check.str_matches("x", raise_warning=True)),
            "g": pandera.Column("int64", coerce=True),
        },
        checks=pandera.Check(lambda frame: frame["a"] > frame["b"]),
        index=pandera.Index(int),
    )
    suite = ev.checks_from(schema, "t")
    assert sorted(untranslated(suite)) == [
        "^e_",
        "a.check",
        "b.greater_than",
        "c.has_type",
        "check of the table",
        "d",
        "index",
    ]
    assert {check.name: check.severity for check in suite.checks}["f.str_matches"] == "warn"
    known = ev.checks_from(schema, "t", columns=["a", "b", "c", "e_1", "e_2", "f", "g"])
    assert {"^e_", "d"}.isdisjoint(untranslated(known))
    assert {"e_1.has_type", "e_2.not_null"} <= {check.name for check in known.checks}
    table = pa.table({"g": ["1", "2", "x"]})
    assert {each.name: each.failed_rows for each in judged(table, known).checks}["g can be int64"] == 1


def test_rows_that_pandera_drops_go_into_quarantine(workspace: LocalWorkspace) -> None:
    schema = pandera.DataFrameSchema(
        {"id": pandera.Column("int64", pandera.Check.lt(3))}, drop_invalid_rows=True
    )
    added = workspace.data.add(pa.table({"id": [1, 2, 3]}), "t", checks=ev.checks_from(schema, "t"))
    assert (added.rows, added.quarantined_rows) == (2, 1)


@given(
    st.sampled_from(["a", "^a", "a$", r"a\.", "[ab]+", "(?:a|b){2}", "a|b$", "^[^a]*$", "."]),
    st.text("ab.\n", max_size=4),
)
def test_a_pattern_for_re2_matches_what_pythons_does(given_pattern: str, text: str) -> None:
    written, dialect = pattern(given_pattern)
    assert dialect == "re2"
    expected = re.search(given_pattern, text) is not None
    with connection() as con:
        assert con.execute("select regexp_matches(?, ?)", [text, written]).fetchall() == [(expected,)]


@pytest.mark.parametrize(
    "text", [r"\d", r"\w+", r"a(?=b)", r"(.)\1", "(?i)a", "a$b", "(a$)", "[[a]", "a++", "a{,3}", r"\bx"]
)
def test_a_pattern_that_means_another_thing_in_re2_stays_pythons(text: str) -> None:
    assert pattern(text) == (text, "python")


# Great Expectations

TABLE = pa.table(
    {
        "i": [1, 2, 3, 4],
        "j": [1, 3, 3, 5],
        "x": [0.5, 1.5, None, 2.5],
        "s": ["ab", "cd", "ef", None],
        "d": ["2013-01-05", "2013-1-6", None, "2013-02-07"],
        "js": ["{}", "[1]", "3", None],
        "n": pa.array([None] * 4, pa.int64()),
    }
)

QUARTILES = {"quantiles": [0.0, 0.5, 1.0], "value_ranges": [[1, 1], [2, 2], [None, 4]]}
MEDIAN = {"quantiles": [0.5], "value_ranges": [[3, 4]]}
PAIRS = [[1, "ab"], [2, "cd"], [3, "ef"], [4, None]]
EITHER = {"ignore_row_if": "either_value_is_missing"}

# What it says, and whether the table passes.
EXPECTATIONS: list[tuple[str, dict[str, Any], bool]] = [
    ("expect_column_values_to_be_between", {"column": "i", "min_value": 1, "max_value": 4}, True),
    ("expect_column_values_to_be_between", {"column": "i", "min_value": 1, "strict_min": True}, False),
    ("expect_column_values_to_be_between", {"column": "i", "min_value": 2, "mostly": 0.75}, True),
    ("expect_column_values_to_be_in_set", {"column": "s", "value_set": ["ab", "cd", "ef"]}, True),
    ("expect_column_values_to_not_be_in_set", {"column": "s", "value_set": ["ab"]}, False),
    ("expect_column_values_to_be_null", {"column": "n"}, True),
    ("expect_column_values_to_be_null", {"column": "x", "mostly": 0.25}, True),
    ("expect_column_values_to_not_be_null", {"column": "x"}, False),
    ("expect_column_values_to_be_unique", {"column": "j"}, False),
    ("expect_column_values_to_be_unique", {"column": "s"}, True),
    ("expect_column_values_to_match_regex", {"column": "s", "regex": "b|d|f"}, True),
    ("expect_column_values_to_match_regex", {"column": "s", "regex": r"^\w$"}, False),
    ("expect_column_values_to_not_match_regex", {"column": "s", "regex": "z"}, True),
    ("expect_column_values_to_match_regex_list", {"column": "s", "regex_list": ["b", "d"], "mostly": 0.6}, True),
    ("expect_column_values_to_match_regex_list", {"column": "s", "regex_list": ["b", "."], "match_on": "all"}, False),
    ("expect_column_values_to_not_match_regex_list", {"column": "s", "regex_list": ["z", "b"]}, False),
    ("expect_column_values_to_match_like_pattern", {"column": "s", "like_pattern": "__"}, True),
    ("expect_column_values_to_not_match_like_pattern", {"column": "s", "like_pattern": "a%"}, False),
    ("expect_column_values_to_match_like_pattern_list", {"column": "s", "like_pattern_list": ["a%", "c%", "%f"]}, True),
    ("expect_column_values_to_not_match_like_pattern_list", {"column": "s", "like_pattern_list": ["z%", "%f"]}, False),
    ("expect_column_values_to_match_strftime_format", {"column": "d", "strftime_format": "%Y-%m-%d"}, True),
    ("expect_column_values_to_match_strftime_format", {"column": "s", "strftime_format": "%Y"}, False),
    ("expect_column_values_to_be_json_parseable", {"column": "js"}, True),
    ("expect_column_values_to_be_json_parseable", {"column": "s"}, False),
    ("expect_column_values_to_be_increasing", {"column": "j"}, True),
    ("expect_column_values_to_be_increasing", {"column": "j", "strictly": True}, False),
    ("expect_column_values_to_be_decreasing", {"column": "x"}, False),
    ("expect_column_value_lengths_to_be_between", {"column": "s", "min_value": 1, "max_value": 3, "strict_max": True}, True),
    ("expect_column_value_lengths_to_equal", {"column": "s", "value": 3}, False),
    ("expect_column_value_z_scores_to_be_less_than", {"column": "i", "threshold": 1.2, "double_sided": True}, True),
    ("expect_column_value_z_scores_to_be_less_than", {"column": "i", "threshold": 1.0, "double_sided": True}, False),
    ("expect_column_values_to_be_of_type", {"column": "i", "type_": "int64"}, True),
    ("expect_column_values_to_be_of_type", {"column": "i", "type_": "VARCHAR"}, False),
    ("expect_column_values_to_be_in_type_list", {"column": "x", "type_list": ["float64", "INTEGER"]}, True),
    ("expect_column_max_to_be_between", {"column": "i", "min_value": 4, "max_value": 4}, True),
    ("expect_column_min_to_be_between", {"column": "i", "min_value": 2}, False),
    ("expect_column_mean_to_be_between", {"column": "x", "min_value": 1.5, "max_value": 1.5}, True),
    ("expect_column_mean_to_be_between", {"column": "n", "min_value": 0}, False),
    ("expect_column_median_to_be_between", {"column": "i", "min_value": 2.5, "strict_min": True}, False),
    ("expect_column_stdev_to_be_between", {"column": "i", "min_value": 1.29, "max_value": 1.3}, True),
    ("expect_column_sum_to_be_between", {"column": "i", "min_value": 10, "max_value": 10}, True),
    ("expect_column_unique_value_count_to_be_between", {"column": "j", "min_value": 3, "max_value": 3}, True),
    ("expect_column_proportion_of_unique_values_to_be_between", {"column": "j", "max_value": 0.7}, False),
    ("expect_column_proportion_of_non_null_values_to_be_between", {"column": "x", "min_value": 0.75}, True),
    ("expect_column_proportion_of_non_null_values_to_be_between", {"column": "x", "min_value": 0.8}, False),
    ("expect_column_quantile_values_to_be_between", {"column": "i", "quantile_ranges": QUARTILES}, True),
    ("expect_column_quantile_values_to_be_between", {"column": "i", "quantile_ranges": MEDIAN}, False),
    ("expect_column_quantile_values_to_be_between", {"column": "n", "quantile_ranges": MEDIAN}, False),
    ("expect_column_distinct_values_to_be_in_set", {"column": "j", "value_set": [1, 3, 5, 7]}, True),
    ("expect_column_distinct_values_to_contain_set", {"column": "j", "value_set": [1, 3]}, True),
    ("expect_column_distinct_values_to_contain_set", {"column": "j", "value_set": [1, 7]}, False),
    ("expect_column_distinct_values_to_equal_set", {"column": "j", "value_set": [1, 3, 5]}, True),
    ("expect_column_distinct_values_to_equal_set", {"column": "j", "value_set": [1, 3]}, False),
    ("expect_column_most_common_value_to_be_in_set", {"column": "j", "value_set": [3]}, True),
    ("expect_column_most_common_value_to_be_in_set", {"column": "i", "value_set": [3]}, False),
    ("expect_column_most_common_value_to_be_in_set", {"column": "i", "value_set": [3], "ties_okay": True}, True),
    ("expect_column_to_exist", {"column": "i"}, True),
    ("expect_column_to_exist", {"column": "z"}, False),
    ("expect_compound_columns_to_be_unique", {"column_list": ["i", "j"]}, True),
    ("expect_compound_columns_to_be_unique", {"column_list": ["j", "n"]}, False),
    ("expect_compound_columns_to_be_unique", {"column_list": ["j", "n"], "ignore_row_if": "any_value_is_missing"}, True),
    ("expect_select_column_values_to_be_unique_within_record", {"column_list": ["i", "j"], "mostly": 0.5}, True),
    ("expect_select_column_values_to_be_unique_within_record", {"column_list": ["i", "j"]}, False),
    ("expect_multicolumn_sum_to_equal", {"column_list": ["i", "j"], "sum_total": 6, "mostly": 0.25}, True),
    ("expect_multicolumn_sum_to_equal", {"column_list": ["i", "n"], "sum_total": 1}, False),
    ("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "j", "column_B": "i", "or_equal": True}, True),
    ("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "j", "column_B": "i"}, False),
    ("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "i", "column_B": "x"}, False),
    ("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "i", "column_B": "x", **EITHER}, True),
    ("expect_column_pair_values_to_be_equal", {"column_A": "i", "column_B": "i"}, True),
    ("expect_column_pair_values_to_be_in_set", {"column_A": "i", "column_B": "s", "value_pairs_set": PAIRS}, True),
    ("expect_column_pair_values_to_be_in_set", {"column_A": "i", "column_B": "s", "value_pairs_set": [[1, "ab"]]}, False),
    ("expect_table_row_count_to_be_between", {"min_value": 4, "max_value": 5}, True),
    ("expect_table_row_count_to_be_between", {"min_value": 4, "strict_min": True}, False),
    ("expect_table_row_count_to_equal", {"value": 4}, True),
    ("expect_table_column_count_to_be_between", {"max_value": 6}, False),
    ("expect_table_column_count_to_equal", {"value": 7}, True),
    ("expect_table_columns_to_match_ordered_list", {"column_list": ["i", "j", "x", "s", "d", "js", "n"]}, True),
    ("expect_table_columns_to_match_ordered_list", {"column_list": ["j", "i", "x", "s", "d", "js", "n"]}, False),
    ("expect_table_columns_to_match_set", {"column_set": ["n", "i", "j", "x", "s", "d", "js"]}, True),
    ("expect_table_columns_to_match_set", {"column_set": ["i"]}, False),
    ("expect_table_columns_to_match_set", {"column_set": ["i"], "exact_match": False}, True),
    ("unexpected_rows_expectation", {"unexpected_rows_query": "select * from {batch} where i > 4"}, True),
    ("unexpected_rows_expectation", {"unexpected_rows_query": "select * from {batch} where i = 4"}, False),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "said", "passes"), EXPECTATIONS)
def test_expectations(kind: str, said: dict[str, Any], passes: bool) -> None:
    suite = great_expectations.suite_of({"expectations": [{"type": kind, "kwargs": said, "meta": {}}]}, "t")
    assert untranslated(suite) == {}
    report = judged(TABLE, suite)
    assert [each.error for each in report.checks if each.error] == []
    assert report.passed is passes


def test_all_that_can_be_translated_is_tried() -> None:
    tried = {kind for kind, _, _ in EXPECTATIONS}
    older = {"expect_multicolumn_values_to_be_unique", "expect_column_pair_values_A_to_be_greater_than_B"}
    assert set(great_expectations._EXPECTATIONS) == tried | older


@pytest.mark.parametrize(
    ("each", "reason"),
    [
        ({"type": "expect_column_kl_divergence_to_be_less_than", "kwargs": {"column": "x"}}, "no counterpart"),
        ({"type": "expect_column_values_to_be_dateutil_parseable", "kwargs": {"column": "d"}}, "no counterpart"),
        ({"type": "expect_my_own", "kwargs": {}}, "no counterpart"),
        ({"kwargs": {}}, "no known kind"),
        ("text", "not understood"),
        ({"type": "expect_column_values_to_be_between", "kwargs": {"column": "x"}}, "has no limit"),
        ({"type": "expect_column_values_to_be_between", "kwargs": {"min_value": 1}}, "not understood"),
        ({"type": "expect_column_values_to_be_unique", "kwargs": {"column": "j", "mostly": 0.5}}, "counts otherwise"),
        ({"type": "expect_column_values_to_be_of_type", "kwargs": {"column": "j", "type_": "Blob"}}, "type Blob"),
        ({"type": "expect_column_to_exist", "kwargs": {"column": "j", "what": 1}}, "it says what"),
    ],
)  # fmt: skip
def test_what_cannot_be_translated_is_listed_and_fails(each: Any, reason: str) -> None:
    suite = great_expectations.suite_of({"expectations": [each]}, "t")
    [said] = untranslated(suite).values()
    assert reason in said
    report = judged(TABLE, suite)
    assert not report.passed
    assert reason in report.checks[0].error
    assert judged(TABLE, ev.checks_from({"expectations": [each]}, "t", allow_untranslated=True)).passed


CONDITIONS = [
    "i > 0",
    "i != 1",
    "not i == 1",
    'x < 1 & s == "a"',
    '(x >= 0.5 | i in [1, 2]) and s != "a"',
    "i not in [1] and -1 <= x <= 1",
    "~(x.isnull() | i == -1)",
    "`two words` == 2 and s.notna()",
]
RULES: list[tuple[str, dict[str, Any]]] = [
    ("expect_column_values_to_not_be_null", {"column": "s"}),
    ("expect_column_values_to_be_null", {"column": "x"}),
    (
        "expect_column_values_to_be_between",
        {"column": "x", "min_value": 0, "strict_min": True, "max_value": 1},
    ),
    ("expect_column_values_to_be_in_set", {"column": "s", "value_set": ["a", "b"]}),
    ("expect_column_values_to_not_be_in_set", {"column": "i", "value_set": [1, 2]}),
    ("expect_column_values_to_match_regex", {"column": "s", "regex": "[ab]"}),
    ("expect_column_value_lengths_to_be_between", {"column": "s", "min_value": 2, "mostly": 0.5}),
    ("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "i", "column_B": "two words"}),
]


@pytest.mark.parametrize("written", CONDITIONS)
def test_a_condition_takes_the_rows_that_pandas_takes(written: str) -> None:
    """Judged under a condition, a table has the failures that its rows have which pandas' `query` gives."""
    values = {
        "i": [-1, 1, 2, 1, None, 3, 0, 1],
        "x": [0.5, None, 1.0, -1.0, 0.7, math.nan, 2.0, 0.1],
        "s": ["a", "b", None, "ab", "a", "c", "", "xa"],
        "two words": [2, 2, 1, 2, 2, None, 2, 0],
    }
    frame = pd.DataFrame(values)
    some = frame.query(written, engine="python").index.tolist()
    table = pa.table({name: pa.array(column, from_pandas=True) for name, column in values.items()})
    assert 0 < len(some) < table.num_rows

    def found(rows: pa.Table, extra: dict[str, Any]) -> dict[str, tuple[int, bool]]:
        listed = [{"type": kind, "kwargs": kwargs | extra} for kind, kwargs in RULES]
        suite = great_expectations.suite_of({"expectations": listed}, "t")
        assert not untranslated(suite)
        return {each.name: (each.failed_rows, each.passed) for each in judged(rows, suite).checks}

    where = {"row_condition": written, "condition_parser": "pandas"}
    assert found(table, where) == found(table.take(some), {})


@pytest.mark.parametrize(
    ("written", "parser", "reason"),
    [
        ("i > @limit", "pandas", "not understood"),
        ("i.abs() > 1", "pandas", "not understood"),
        ("i >", "pandas", "not understood"),
        ("__import__('os').system('true')", "pandas", "not understood"),
        ("i > 3", "spark", "written for spark"),
        ({"type": "comparison"}, "pandas", "written for"),
    ],
)
def test_a_condition_that_is_not_understood_is_listed(written: Any, parser: str, reason: str) -> None:
    kwargs = {"column": "i", "row_condition": written, "condition_parser": parser}
    each = {"type": "expect_column_values_to_not_be_null", "kwargs": kwargs}
    [said] = untranslated(great_expectations.suite_of({"expectations": [each]}, "t")).values()
    assert reason in said


def test_a_condition_on_a_rule_of_the_whole_column_is_listed() -> None:
    kwargs = {
        "column": "i",
        "min_value": 1,
        "row_condition": 'col("i") > 1',
        "condition_parser": "great_expectations",
    }
    suite = great_expectations.suite_of(
        {"expectations": [{"type": "expect_column_max_to_be_between", "kwargs": kwargs}]}, "t"
    )
    assert "more than one of them at a time" in next(iter(untranslated(suite).values()))


def test_suites_from_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".everloop").mkdir()
    monkeypatch.chdir(tmp_path)
    Path("trips.csv").write_text("id,city,miles\n1,Berlin,12\n2,Wien,900\n3,Berlin,30\n")
    assert main(["data", "add", "trips.csv", "--name", "trips"]) == 0
    capsys.readouterr()

    def run(file: str, *options: str) -> tuple[int, dict[str, bool], Any]:
        code = main(["data", "check", "trips", "--checks", str(SUITES / file), *options, "--json"])
        report = json.loads(capsys.readouterr().out)
        return code, {each["name"]: each["passed"] for each in report["checks"]}, report

    new = {
        "id.column_values_to_not_be_null": True,
        "miles.column_values_to_be_between": False,
        "city.column_values_to_match_regex": True,
        "unexpected_rows_expectation": True,
        "miles.column_kl_divergence_to_be_less_than": False,
        "city.column_values_to_be_in_set": True,  # where id > 3, and there is no such row
    }
    code, results, report = run("gx_1.json")
    assert (code, results, report["suite"]) == (1, new, "trips suite")
    assert run("gx_1.json", "--allow-untranslated")[:2] == (0, new)
    old = {
        "table_row_count_to_be_between": True,
        "id+city+miles.table_columns_to_match_ordered_list": True,
        "city.column_values_to_be_in_set": True,
        "miles.column_max_to_be_between": False,
    }
    assert run("gx_018.json")[:2] == (1, old)


def test_a_schema_by_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".everloop").mkdir()
    monkeypatch.chdir(tmp_path)
    Path("trips.csv").write_text("id\n1\n2\n")
    Path("trip_schemas.py").write_text(
        "import pandera.pandas as pa\n"
        "class Trips(pa.DataFrameModel):\n    id: int = pa.Field(lt=2)\n"
        "loose = pa.DataFrameSchema({'id': pa.Column(int), 'more': pa.Column(int, required=False)})\n"
    )
    main(["data", "add", "trips.csv", "--name", "trips"])
    assert main(["data", "check", "trips", "--checks", "trip_schemas.py:Trips"]) == 1
    assert main(["data", "check", "trips", "--checks", "trip_schemas.py:loose"]) == 0
    assert main(["data", "check", "trips", "--checks", "trip_schemas.py:absent"]) == 2
    capsys.readouterr()


@pytest.mark.parametrize("given_json", ["[]", "{}", "{", '{"expectations": 3}'])
def test_json_that_is_no_suite(tmp_path: Path, given_json: str) -> None:
    (tmp_path / "suite.json").write_text(given_json)
    with pytest.raises(InvalidDefinition, match=r"no suite|not JSON"):
        ev.checks_from(tmp_path / "suite.json", "t")
