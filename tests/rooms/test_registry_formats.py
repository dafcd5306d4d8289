"""Models as folders: what is saved answers the same when loaded, and what is unsafe is refused."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import ElasticNet, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from everloop.domain.signature import Field, Layout, Signature, Task, Type
from everloop.errors import Corrupted, InvalidInput, Refused
from everloop.tracking.formats import canonical_digest, load_model, save_model
from everloop.tracking.formats.columns import conform, jsonable, plain

RNG = np.random.default_rng(7)
X = RNG.normal(size=(400, 3))
Y = (X[:, 0] + 0.3 * RNG.normal(size=400) > 0).astype(int)


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(StandardScaler(), LogisticRegression()),
        HistGradientBoostingClassifier(max_iter=10, random_state=0),
        HistGradientBoostingClassifier(max_iter=5, categorical_features=[2], random_state=0),
        RandomForestClassifier(n_estimators=5, random_state=0),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_saved_classifier_answers_the_same(estimator, tmp_path):
    rows = X if "categorical" not in str(estimator) else np.c_[X[:, :2], np.arange(400) % 5]
    estimator.fit(rows, Y)
    file = save_model(estimator, tmp_path / "m", example=rows)
    model = load_model(tmp_path / "m")
    answer = model.predict(rows)
    assert np.array_equal(answer["probability"], estimator.predict_proba(rows)[:, 1])
    assert np.array_equal(answer["label"], estimator.predict(rows))
    assert file.signature.task is Task.CLASSIFICATION
    assert model.parity().passed
    assert model.parity().rows == 64


def test_a_regressor_without_example_takes_numbers(tmp_path):
    estimator = ElasticNet(alpha=0.1).fit(X, X[:, 0] * 2)
    file = save_model(estimator, tmp_path / "m")
    assert file.probe_rows == 0
    assert file.signature.names == ("x0", "x1", "x2")
    assert np.allclose(load_model(tmp_path / "m").predict(X)["prediction"], estimator.predict(X))


def test_three_classes_give_a_label_and_a_probability_each(tmp_path):
    y = np.array(["a", "b", "c"])[np.arange(400) % 3]
    estimator = LogisticRegression().fit(X, y)
    save_model(estimator, tmp_path / "m", example=X)
    answer = load_model(tmp_path / "m").predict(X[:5])
    assert list(answer) == ["label", "probability_0", "probability_1", "probability_2"]
    assert answer["label"].tolist() == estimator.predict(X[:5]).tolist()


def test_a_model_of_named_text_columns_takes_a_frame(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"carrier": np.array(["AA", "UA"])[np.arange(400) % 2], "temp": X[:, 0]})
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["carrier"]), remainder="passthrough"
    )
    estimator = make_pipeline(encode, LogisticRegression()).fit(frame, Y)
    file = save_model(estimator, tmp_path / "m", example=frame)
    assert file.layout is Layout.FRAME
    assert file.signature.inputs[0] == Field("carrier", Type.STRING, nullable=True)
    assert file.signature.inputs[1] == Field("temp", Type.DOUBLE)  # logistic regression takes no NaN
    answer = load_model(tmp_path / "m").predict([{"temp": 1.0, "carrier": "AA", "more": 3}])
    assert answer["probability"].shape == (1,)


def test_named_numbers_need_no_frame(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    estimator = HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(frame, Y)
    file = save_model(estimator, tmp_path / "m", example=frame)
    assert file.layout is Layout.MATRIX
    assert all(field.nullable for field in file.signature.inputs)  # its trees know what to do with NaN


def test_categorical_columns_keep_their_order_of_values(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {"kind": pd.Categorical(np.array(["b", "a", "c"])[np.arange(400) % 3]), "n": X[:, 0]}
    )
    estimator = HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(frame, Y)
    file = save_model(estimator, tmp_path / "m", example=frame)
    assert file.signature.inputs[0].categories == ("a", "b", "c")
    few = load_model(tmp_path / "m").predict(frame.iloc[:1])
    assert few["probability"][0] == estimator.predict_proba(frame)[0, 1]


def test_equal_models_have_equal_digests_across_processes(tmp_path):
    script = (
        "import sys, numpy as np\n"
        "from sklearn.ensemble import HistGradientBoostingClassifier as H\n"
        "from everloop.tracking.formats import save_model\n"
        "x = np.random.default_rng(0).normal(size=(300, 3))\n"
        "m = H(max_iter=5, random_state=0).fit(x, x[:, 0] > 0)\n"
        "print(save_model(m, sys.argv[1], example=x).content)"
    )
    done = [
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / n)], capture_output=True, text=True, check=True
        )
        for n in ("one", "two")
    ]
    assert done[0].stdout == done[1].stdout
    assert canonical_digest(tmp_path / "one") == done[0].stdout.strip()
    again = save_model(load_model(tmp_path / "one").native, tmp_path / "three")
    assert again.content == canonical_digest(tmp_path / "one")
    other = HistGradientBoostingClassifier(max_iter=6, random_state=0).fit(X, Y)
    assert save_model(other, tmp_path / "four").content != again.content


def test_own_functions_are_refused_when_saved(tmp_path):
    estimator = make_pipeline(FunctionTransformer(_halve), LogisticRegression()).fit(X, Y)
    with pytest.raises(InvalidInput, match="_halve"):
        save_model(estimator, tmp_path / "m")


def test_a_file_cannot_vouch_for_itself(tmp_path):
    """A folder made by someone else, whose model.json agrees with its file, still gets no foreign type
    built.
    """
    import skops.io

    estimator = LogisticRegression().fit(X, Y)
    save_model(estimator, tmp_path / "m", example=X)
    evil = make_pipeline(FunctionTransformer(_halve), LogisticRegression()).fit(X, Y)
    skops.io.dump(evil, tmp_path / "m" / "model.skops")
    manifest = json.loads((tmp_path / "m" / "model.json").read_text())
    data = (tmp_path / "m" / "model.skops").read_bytes()
    import hashlib

    manifest["files"]["model.skops"] = {"digest": hashlib.sha256(data).hexdigest(), "size": len(data)}
    (tmp_path / "m" / "model.json").write_text(json.dumps(manifest))
    with pytest.raises(Refused, match="not trusted"):
        load_model(tmp_path / "m")


def test_a_changed_byte_is_found_before_loading(tmp_path):
    save_model(LogisticRegression().fit(X, Y), tmp_path / "m", example=X)
    path = tmp_path / "m" / "model.skops"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(Corrupted, match=r"model\.skops does not match"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize(
    ("model", "example", "says"),
    [
        (_ := object(), None, "cannot be saved as a model"),
        (LogisticRegression(), None, "has not been fitted"),
        (LogisticRegression().fit(X, Y), X[:, :2], "the example has 2 columns, the model was trained on 3"),
        (LogisticRegression().fit(X, Y), X[:0], "no rows"),
        (LogisticRegression().fit(X, Y), "text", "is not a table"),
    ],
)
def test_what_cannot_be_saved_says_why(model, example, says, tmp_path: Path):
    with pytest.raises(InvalidInput, match=says):
        save_model(model, tmp_path / "m", example=example)
    assert not (tmp_path / "m").exists()


TAKES = Signature(
    (
        Field("d", Type.DOUBLE, nullable=True),
        Field("n", Type.LONG),
        Field("t", Type.STRING),
        Field("b", Type.BOOLEAN),
        Field("w", Type.DATETIME, nullable=True),
    ),
    (Field("prediction", Type.DOUBLE),),
    Task.REGRESSION,
)
GOOD = {"d": [1.5], "n": [2], "t": ["x"], "b": [True], "w": ["2026-01-01T00:00:00Z"]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"n": [2.5]}, "column 'n' takes whole numbers; row 0 has 2.5"),
        ({"n": [None]}, "column 'n' may not be empty; row 0"),
        ({"n": [True]}, "column 'n' takes whole numbers; row 0 has True"),
        ({"n": [2**70]}, "column 'n' takes whole numbers"),
        ({"d": ["1"]}, "column 'd' takes numbers; row 0 has '1'"),
        ({"d": [True]}, "column 'd' takes numbers; row 0 has True"),
        ({"d": 3}, "column 'd' is not a list"),
        ({"d": [1.0, 2.0]}, "differ in length"),
        ({"t": [None]}, "column 't' may not be empty"),
        ({"t": [1]}, "column 't' takes text; row 0 has 1"),
        ({"b": [1]}, "column 'b' takes true or false; row 0 has 1"),
        ({"w": ["yesterday"]}, "column 'w' takes times; row 0 has 'yesterday'"),
        ({"z": [1]}, "unknown column 'z'"),
        ({"d": [10**400]}, "column 'd' takes numbers"),
        ({"d": [[1.0]]}, "column 'd' takes numbers"),
        ({"d": [{"a": 1}]}, "column 'd' takes numbers"),
    ],
)
def test_a_wrong_value_is_named_by_column_and_row(change, says):
    with pytest.raises(InvalidInput, match=says.replace("(", r"\(")):
        conform(GOOD | change, TAKES)


def test_missing_columns_are_named():
    with pytest.raises(InvalidInput, match="missing columns 'd', 'n'"):
        conform({"t": ["x"], "b": [True], "w": [None]}, TAKES)


def test_a_count_that_was_never_missing_in_training_may_be_missing_later(tmp_path):
    """What decides is whether the model can answer without it, not whether the example happened to be complete."""
    counts = np.arange(400) % 7
    save_model(
        HistGradientBoostingClassifier(max_iter=5).fit(np.c_[X[:, 0], counts], Y),
        tmp_path / "m",
        example={"x0": X[:, 0], "x1": counts},
    )
    model = load_model(tmp_path / "m")
    assert model.signature.inputs[1] == Field("x1", Type.LONG, nullable=True)
    assert model.predict({"x0": [1.0, 2.0], "x1": [3, None]})["probability"].shape == (2,)
    with pytest.raises(InvalidInput, match=r"column 'x1' takes whole numbers; row 1 has 2.5"):
        model.predict({"x0": [1.0, 2.0], "x1": [None, 2.5]})


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), min_size=1))
def test_numbers_survive_json_exactly(values):
    column = conform({**{k: v * len(values) for k, v in GOOD.items()}, "d": values}, TAKES)["d"]
    assert jsonable(column) == [None if value is None else float(value) for value in values]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_whole_numbers_never_pass_through_floats(values):
    column = conform({**{k: v * len(values) for k, v in GOOD.items()}, "n": values}, TAKES)["n"]
    assert column.tolist() == values
    assert plain(values).tolist() == values


def _halve(x):
    return x / 2
