"""YAML in block style, as MLflow's files are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.domain.block_yaml import read_yaml
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
        "a: &anchor b",
        "a: *anchor",
        "a: [1, 2]",
        "a: {b: c}",
        "a: 'open",
        'a: "open',
        "a: 1\n   b: 2\n  c: 3",
        "\ta: 1",
        "? complex\n: key",
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


@given(st.dictionaries(st.sampled_from(["a", "b.c", "d_e"]), st.text(st.characters(codec="utf-8"))))
def test_double_quoted_texts_come_back(values: dict[str, str]) -> None:
    import json

    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items())
    plain = {key: value for key, value in values.items() if all(ord(each) < 0x10000 for each in value)}
    found = read_yaml(text) or {}
    assert {key: found[key] for key in plain} == plain
