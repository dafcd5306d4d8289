"""YAML as plain values: what MLflow writes is read, what could harm the reader is refused."""

from itertools import pairwise

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from everloop.domain.plain_yaml import read_yaml
from everloop.errors import InvalidInput

MLMODEL = """\
flavors:
  python_function:
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    python_version: 3.11.7
  sklearn:
    code: null
    skops_trusted_types:
    - sklearn.tree._tree.Tree
    - 'numpy.dtype'
is_signature_from_type_hint: false
model_size_bytes: 10794
signature:
  inputs: '[{"type": "double", "name": "it''s", "required": true}, {"type": "double",
    "name": "b", "required": true}]'
  params: null
folded: "a long \\
  \\ text\\twith \\xE9 and\\
  \\ more"
utc_time_created: '2026-11-22 04:10:53.710149'
empty: {}
none: []
literal: |-
  two
    lines
"""


def test_what_mlflow_writes() -> None:
    found = read_yaml(MLMODEL)
    assert found["flavors"]["sklearn"] == {
        "code": None,
        "skops_trusted_types": ["sklearn.tree._tree.Tree", "numpy.dtype"],
    }
    assert found["flavors"]["python_function"]["python_version"] == "3.11.7"
    assert found["signature"]["inputs"].endswith(
        '"it\'s", "required": true}, {"type": "double", "name": "b", "required": true}]'
    )
    assert found["folded"] == "a long  text\twith é and more"
    assert (found["is_signature_from_type_hint"], found["model_size_bytes"]) == (False, 10794)
    assert (found["empty"], found["none"], found["literal"]) == ({}, [], "two\n  lines")


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system ['id']",
        "a: *anchor",
        "- " * 100_000 + "x",
        "a: 'open",
        'a: "open',
        "a: 1\n   b: 2\n  c: 3",
        "\ta: 1",
        "&a [*a]",
        "a: 1\n---\nb: 2",
        "a: &a [1, 1]\n"
        + "".join(f"{n}: &{n} [{', '.join(['*' + m] * 9)}]\n" for m, n in pairwise("abcdefghij")),
        "a: b\n- c",
        "- " * 1_000 + "x",
    ],
)
def test_what_is_more_than_plain_values_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="line"):
        read_yaml(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read_yaml(text)
    except InvalidInput as error:
        assert "line" in error.message  # noqa: PT017


# Python's writer leaves three odd line ends unquoted, and its reader folds them.
letters = st.characters(codec="utf-8", exclude_characters="\x85\u2028\u2029")
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(letters),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(letters), inner, max_size=4),
    max_leaves=20,
)


@given(plain, st.booleans())
def test_what_python_programs_write_comes_back(value: object, flow: bool) -> None:
    written = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True)
    assert read_yaml(written) == value
