"""The search language: what can be written, what is refused and where."""

from __future__ import annotations

import contextlib
import math
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from everloop.domain.search import (
    EXPERIMENTS,
    MODEL_VERSIONS,
    REGISTERED_MODELS,
    And,
    Arithmetic,
    Compare,
    Field,
    IsNull,
    Not,
    OneOf,
    Or,
    Relation,
    like,
    parse_filter,
    parse_order,
    patterns,
    quoted,
)
from everloop.errors import InvalidInput

A, B = Field("metric", "a"), Field("metric", "b")
RMSE = Compare(Field("metric", "rmse"), "<", 1)
TREE = Compare(Field("param", "model"), "=", "tree")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("", None),
        ("  \n", None),
        ('metrics.rmse < 1 and params.model = "tree"', And((RMSE, TREE))),
        ("metric.rmse<1", RMSE),
        ("parameters.model='tree'", TREE),
        ('parameter."model" = \'tree\'', TREE),
        ("metrics.`m x` >= -1.5e3", Compare(Field("metric", "m x"), ">=", -1500.0)),
        ("metrics.val-loss/a.b_1 != .5", Compare(Field("metric", "val-loss/a.b_1"), "!=", 0.5)),
        ("params.1st = '2'", Compare(Field("param", "1st"), "=", "2")),
        ("params.x.1.5 = '2'", Compare(Field("param", "x.1.5"), "=", "2")),
        ("tags.a.b <> 'q'", Compare(Field("tag", "a.b"), "!=", "q")),
        ("tags.and = 'or'", Compare(Field("tag", "and"), "=", "or")),
        ("params.lr > 1e-3", Compare(Field("param", "lr"), ">", 0.001)),
        ("params.x like 'a%' OR tags.y NOT ILIKE '_b'",
         Or((Compare(Field("param", "x"), "like", "a%"), Compare(Field("tag", "y"), "not ilike", "_b")))),
        (r"params.x rlike '^\d+$' or status NOT RLIKE '(?i)FAI'",
         Or((Compare(Field("param", "x"), "rlike", r"^\d+$"), Compare(Field("text", "status"), "not rlike", "(?i)FAI")))),
        ("tags.x is null and not params.y is not null",
         And((IsNull(Field("tag", "x"), False), Not(IsNull(Field("param", "y"), True))))),
        ("name in ('a', \"b\") or run_id not in ('c')",
         Or((OneOf(Field("text", "name"), ("a", "b"), False), OneOf(Field("text", "run_id"), ("c",), True)))),
        ("not (metrics.rmse < 1 or params.model = 'tree')", Not(Or((RMSE, TREE)))),
        ("metrics.rmse < 1 or metrics.rmse < 1 and params.model = 'tree'", Or((RMSE, And((RMSE, TREE))))),
        ("tags.x = 'it''s' or tags.x = '' or tags.x = \"say \"\"hi\"\"\"",
         Or(tuple(Compare(Field("tag", "x"), "=", text) for text in ("it's", "", 'say "hi"')))),
        ("min(metrics.loss) < 3", Compare(Field("metric", "loss", "min"), "<", 3)),
        ("COUNT( metrics.loss ) >= 10", Compare(Field("metric", "loss", "count"), ">=", 10)),
        ('"Run name" = \'A\'', Compare(Field("text", "name"), "=", "A")),
        ("attributes.status = 'FINISHED'", Compare(Field("text", "status"), "=", "finished")),
        ("run.user_id = 'ann'", Compare(Field("text", "user"), "=", "ann")),
        ("Created < 3", Compare(Field("time", "start_time"), "<", 3000)),
        ("start_time = 3",
         And((Compare(Field("time", "start_time"), ">=", 3000), Compare(Field("time", "start_time"), "<", 4000)))),
        ("start_time > 3 and start_time <= 4",
         And((Compare(Field("time", "start_time"), ">=", 4000), Compare(Field("time", "start_time"), "<", 5000)))),
        ("name in ('a',)", OneOf(Field("text", "name"), ("a",), False)),
        ("end_time >= '1970-01-01T00:00:01Z'", Compare(Field("time", "end_time"), ">=", 1_000_000)),
        ("start_time > '1970-01-02'", Compare(Field("time", "start_time"), ">", 86_400_000_000)),
        ("start_time > '1970-01-01T02:00:00+02:00'", Compare(Field("time", "start_time"), ">", 0)),
        ("data = 'flights@v3' and model != 'model:delay'",
         And((Compare(Field("lineage", "data"), "=", "flights@v3"), Compare(Field("lineage", "model"), "!=", "delay")))),
        ("data = 'flights@v3' or model = 'delay@champion'",
         Or((Compare(Field("lineage", "data"), "=", "flights@v3"), Compare(Field("lineage", "model"), "=", "delay@champion")))),
        ("datasets.name = 'x' and dataset.context in ('train')",
         And((Compare(Field("dataset", "name"), "=", "x"), OneOf(Field("dataset", "context"), ("train",), False)))),
        ("1 > metrics.rmse", RMSE),
        ("((metrics.rmse)) < (1)", RMSE),
        ("metrics.a - metrics.b < .1", Relation(Arithmetic("-", A, B), "<", 0.1)),
        ("metrics.a -1 < metrics.b", Relation(Arithmetic("-", A, 1), "<", B)),
        ("metrics.a < -metrics.b", Relation(A, "<", Arithmetic("-", 0, B))),
        ("metrics.a + metrics.b * 2 = -1", Relation(Arithmetic("+", A, Arithmetic("*", B, 2)), "=", -1)),
        ("(metrics.a + metrics.b) / 2 = 1 and (metrics.rmse < 1)",
         And((Relation(Arithmetic("/", Arithmetic("+", A, B), 2), "=", 1), RMSE))),
        ("params.lr > 2*min(metrics.a)",
         Relation(Field("param", "lr"), ">", Arithmetic("*", 2, Field("metric", "a", "min")))),
        ("metrics.a-b/c > 1", Compare(Field("metric", "a-b/c"), ">", 1)),
    ],
)  # fmt: skip
def test_what_filters_mean(text: str, meaning: object) -> None:
    assert parse_filter(text) == meaning


@pytest.mark.parametrize(
    "text",
    [
        "metrics.rmse ^== 1",
        "metrics.rmse < ^'1'",
        "metrics.rmse < ^nan",
        "metrics.rmse ^like 'x'",
        "metrics.rmse ^in ('x')",
        "params.model = ^tree",
        "params.model ^< '1'",
        "params.model ^like 1",
        "params.model in ^'a'",
        "params.model in ('a'^",
        "params.model in (^1)",
        "tags.x = ^1",
        "^foo = 1",
        "^loss.a = 1",
        "attributes.^lifecycle_stage = 'active'",
        "metrics.rmse < 1 and^",
        "metrics.rmse < 1 and ^and metrics.rmse < 1",
        "(metrics.rmse < 1^",
        "metrics.rmse < 1^)",
        "metrics.rmse < 1 ^params.a = 'b'",
        "metrics.rmse^",
        "metrics. ^< 1",
        "^metrics",
        "params.a = ^'x",
        "min(^params.a) < 1",
        "min(^max(metrics.a)) < 1",
        "metrics.a < 1^; drop table runs",
        "metrics.a < ^1e999",
        "start_time > ^'yesterday'",
        "start_time ^like '2026%'",
        "data ^< 'x'",
        "metrics.a is ^nul",
        "^1 < 2",
        "metrics.a + ^< 1",
        "^tags.a + 1 < 2",
        "metrics.a < 1 + ^(metrics.b < 1)",
        "(metrics.a ^and metrics.b < 1)",
        "not (metrics.a)^",
        "(metrics.a < 1) ^< 2",
        "metrics.a - metrics.b ^like 'x'",
        "metrics.a - ^1e70 < 1",
        "metrics.a * metrics.b * metrics.c * metrics.d * ^metrics.e < 1",
        "datasets.^nam = 'x'",
        "metrics.a ^rlike 'x'",
        "tags.a rlike 'it''s ^(b'",
        "tags.a rlike 'a*^*'",
        r"tags.a rlike 'a^\b'",
        "tags.a rlike '^[b-'",
        "tags.a rlike ^x",
        "metrics.a < ^metrics",
    ],
)
def test_a_mistake_is_shown_where_it_is(text: str) -> None:
    at = text.index("^")
    with pytest.raises(InvalidInput, match=f"at column {at + 1}:") as caught:
        parse_filter(text[:at] + text[at + 1 :])
    _, line, caret = caught.value.message.split("\n")
    assert line[2:] == text[:at] + text[at + 1 :]
    assert caret == "  " + " " * at + "^"
    assert caught.value.hint


def test_a_mistake_far_to_the_right_is_shown_with_what_stands_around_it() -> None:
    text = " or ".join(["metrics.rmse < 1"] * 50) + " or metrics.rmse = 'x'"
    with pytest.raises(InvalidInput) as caught:
        parse_filter(text)
    _, line, caret = caught.value.message.split("\n")
    assert line[caret.index("^") :] == "'x'"
    assert len(line) < 130


def test_infinities_are_numbers_and_nan_equals_nothing() -> None:
    field = Field("metric", "loss")
    assert parse_filter("metrics.loss < inf") == Compare(field, "<", math.inf)
    assert parse_filter("-Infinity = metrics.loss") == Compare(field, "=", -math.inf)
    with pytest.raises(InvalidInput, match="nothing equals nan") as caught:
        parse_filter("metrics.loss = nan")
    assert "metrics.x != metrics.x" in (caught.value.hint or "")
    with pytest.raises(InvalidInput, match="reckoned with"):
        parse_filter("metrics.loss < metrics.best + inf")


def test_the_caret_stands_under_the_place_behind_letters_that_are_twice_as_wide() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_filter("params.town = '日本' x")
    _, line, caret = caught.value.message.split("\n")
    assert caret.index("^") == line.index("x") + 2


def test_nesting_has_an_end() -> None:
    assert parse_filter("(" * 90 + "metrics.rmse < 1" + ")" * 90) == RMSE
    assert parse_filter("not " * 91 + "metrics.rmse < 1") == Not(RMSE)
    stairs = "not (metrics.a < 1 or " * 20 + "metrics.a < 1" + ")" * 20
    for deep in ("(" * 5000 + "metrics.a < 1" + ")" * 5000, "not " * 5000 + "metrics.a < 1", stairs):
        with pytest.raises(InvalidInput, match="nested too deeply"):
            parse_filter(deep)


def test_other_things_have_other_fields() -> None:
    assert parse_filter("version_number > 3", MODEL_VERSIONS) == Compare(Field("number", "version"), ">", 3)
    assert parse_filter("creation_time > 1", EXPERIMENTS) == Compare(Field("time", "created"), ">=", 2000)
    for text, fields in (
        ("metrics.a < 1", EXPERIMENTS),
        ("run_id = 'x'", EXPERIMENTS),
        ("min(metrics.a) < 1", MODEL_VERSIONS),
    ):
        with pytest.raises(InvalidInput):
            parse_filter(text, fields)


def test_models_without_the_tag_are_no_prompts() -> None:
    tag = Field("tag", "mlflow.prompt.is_prompt")
    for text in ("!= 'true'", "= 'false'", "in ('false', 'x')"):
        tree = parse_filter(f"tags.`mlflow.prompt.is_prompt` {text}", REGISTERED_MODELS)
        assert isinstance(tree, Or)
        assert tree.parts[1] == IsNull(tag, False)
    assert parse_filter("tags.`mlflow.prompt.is_prompt` = 'true'", REGISTERED_MODELS) == Compare(
        tag, "=", "true"
    )


def test_a_filter_has_an_end() -> None:
    assert parse_filter(" or ".join(["metrics.a < 1"] * 100)) is not None
    for much in (" or ".join(["metrics.a < 1"] * 101), "metrics.a" + " + metrics.a" * 200 + " < 1"):
        with pytest.raises(InvalidInput, match="more than"):
            parse_filter(much)


def test_orders() -> None:
    assert parse_order("metrics.rmse").descending is False
    assert parse_order("params.`a b` DESC").field == Field("param", "a b")
    assert parse_order("start_time asc").field == Field("time", "start_time")
    for wrong in ("", "metrics.rmse up", "foo", "metrics.rmse desc desc", "data"):
        with pytest.raises(InvalidInput):
            parse_order(wrong)


@given(
    st.text(
        alphabet=st.sampled_from("metricsparm.tag =<>!()'\"`%_,0123-+*/e and or not in is null like\n\t"),
        max_size=40,
    )
)
def test_any_text_is_read_or_refused_with_a_sentence(text: str) -> None:
    try:
        parse_filter(text)
    except InvalidInput as error:
        assert re.match(r"the filter (cannot be read|ends too early) at column \d+: ", error.message)  # noqa: PT017


@given(st.text(max_size=50))
def test_any_text_can_be_asked_for(text: str) -> None:
    assert parse_filter(f"params.x = {quoted(text)} and name = {quoted(text)}") == And(
        (Compare(Field("param", "x"), "=", text), Compare(Field("text", "name"), "=", text))
    )


@given(st.text(alphabet="ab%_\\*?[]\n", max_size=6), st.text(alphabet="abAB%_\\*?[]\n", max_size=6))
def test_like_means_what_sql_says(pattern: str, text: str) -> None:
    def reference(pattern: str, text: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "%":
            return any(reference(pattern[1:], text[start:]) for start in range(len(text) + 1))
        return bool(text) and pattern[0] in ("_", text[0]) and reference(pattern[1:], text[1:])

    assert like(pattern, text) == reference(pattern, text)


def regular_expressions() -> st.SearchStrategy[str]:
    """All that patterns are made of, over so few letters that texts are met."""
    atoms = [
        "a", "b", ".", r"\.", "[ab]", "[^b]", "[a-c0]", r"\d", r"\W", r"[\s_]", "^", "$", r"\n", "ä", "",
    ]  # fmt: skip
    repeats = st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,}", "*?", "+?"])
    return st.recursive(
        st.sampled_from(atoms),
        lambda inner: st.one_of(
            st.tuples(inner, inner).map("".join),
            st.tuples(inner, inner).map("|".join),
            st.tuples(inner, repeats).map(lambda both: f"(?:{both[0]}){both[1]}"),
            inner.map(lambda each: f"({each})"),
        ),
        max_leaves=8,
    )


@given(regular_expressions(), st.text("abcäA0. _\n", max_size=8), st.booleans())
@example("(a|b)*$", "ab\n", False)
@example("(^|a)b", "ab", False)
@example("(?:$|^)a", "a", False)
@example("[a-z]", "A", True)
def test_patterns_find_what_pythons_find(pattern: str, text: str, any_case: bool) -> None:
    head = "(?i)" if any_case else ""
    flags = re.DOTALL | re.ASCII
    expected = re.search(head + pattern.replace("$", r"\Z"), text, flags) is not None
    with contextlib.suppress(patterns.PatternError):  # an edge that is repeated
        assert patterns.found(head + pattern, text) is expected


def test_a_pattern_that_others_take_for_ever_for_is_answered_at_once() -> None:
    assert not patterns.found("^(a+)+$", "a" * 5_000 + "b")
    with pytest.raises(patterns.PatternError, match="too large"):
        patterns.check("((a{100}){100}){100}")
    with pytest.raises(patterns.PatternError, match="nested"):
        patterns.check("(" * 4_000 + ")" * 4_000)
