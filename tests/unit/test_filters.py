"""The language of filters over models: what is written is what is read, and what is compared means what it says."""

from hypothesis import given
from hypothesis import strategies as st

from everloop.domain.filters import (
    NUMBER,
    TEXT,
    Comparison,
    Vocabulary,
    holds,
    parse_sort,
    parse_tests,
    passes,
)
from everloop.errors import InvalidInput

VOCABULARY = Vocabulary(
    "things",
    {"name": ("name", TEXT), "size": ("size", NUMBER)},
    {"tags": "tag", "metrics": "metric"},
    {"name": "name", "size": "size"},
)
KEYS = st.text(alphabet=st.characters(exclude_characters="`", exclude_categories=["Cs"]), min_size=1)
TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
COMPARISONS = st.one_of(
    st.builds(Comparison, st.just("attribute"), st.just("name"), st.sampled_from(["=", "!=", "like"]), TEXTS),
    st.builds(Comparison, st.just("tag"), KEYS, st.sampled_from(["=", "!=", "ilike"]), TEXTS),
    st.builds(
        Comparison,
        st.just("metric"),
        KEYS,
        st.sampled_from(["<", ">="]),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    st.builds(
        Comparison,
        st.just("attribute"),
        st.just("name"),
        st.sampled_from(["in", "not in"]),
        st.lists(TEXTS, min_size=1).map(tuple),
    ),
)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def written(test: Comparison) -> str:
    field = "name" if test.entity == "attribute" else f"{test.entity}s.`{test.key}`"
    if isinstance(test.value, tuple):
        return f"{field} {test.operator.upper()} ({', '.join(map(quoted, test.value))})"
    value = quoted(test.value) if isinstance(test.value, str) else repr(test.value)
    return f"{field} {test.operator.upper()} {value}"


@given(st.lists(COMPARISONS))
def test_what_is_written_is_read(tests: list[Comparison]) -> None:
    assert parse_tests(" AND ".join(map(written, tests)), VOCABULARY) == tests


@given(st.text())
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    for parse in (parse_tests, parse_sort):
        try:
            parse(text, VOCABULARY)
        except InvalidInput as error:
            assert "column" in error.message  # noqa: PT017


@given(COMPARISONS)
def test_what_is_not_there_passes_no_test(test: Comparison) -> None:
    assert not holds(test, None)


@given(TEXTS, st.lists(TEXTS, min_size=1).map(tuple))
def test_a_test_and_its_opposite_share_all_values(found: str, values: tuple[str, ...]) -> None:
    for one, other, value in (("=", "!=", values[0]), ("in", "not in", values)):
        assert holds(Comparison("tag", "k", one, value), found) is not holds(
            Comparison("tag", "k", other, value), found
        )
    assert passes([Comparison("tag", "k", "in", values)], lambda entity, key: found) is (found in values)
