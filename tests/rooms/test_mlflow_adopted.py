"""Models that clients of MLflow logged answer at endpoints and in packages, and no server loads a pickle for it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from everloop.cli.main import main
from everloop.domain.runs import ArtifactRecord
from everloop.errors import Conflict, InvalidInput, Refused
from everloop.workspace.local import LocalWorkspace

ROWS = {"temp": [60.0, 40.0, 75.0, 50.0], "wind": [5.0, 20.0, 1.0, 12.0]}
MATRIX = np.column_stack(list(ROWS.values()))


def logged(workspace: LocalWorkspace, model: Any, *, pickled: bool = False, example: Any = None) -> str:
    """A version as MLflow's client makes one of a scikit-learn model; returns its reference."""
    name = "model.pkl" if pickled else "model.skops"
    form = "cloudpickle" if pickled else "skops"
    text = f"flavors:\n  sklearn:\n    pickled_model: {name}\n    serialization_format: {form}\n"
    text += (
        'signature:\n  inputs: \'[{"type": "double", "name": "temp"}, {"type": "double", "name": "wind"}]\'\n'
    )
    kept = {name: pickle.dumps(model) if pickled else skops.io.dumps(model)}
    if example is not None:
        kept["input_example.json"] = json.dumps(example).encode()
        text += "saved_input_example_info:\n  artifact_path: input_example.json\n"
    made = workspace.tracking.create_logged_model("0", "best", "sklearn")
    stored = {path: workspace.objects.put(data) for path, data in (kept | {"MLmodel": text.encode()}).items()}
    files = [ArtifactRecord(path, each.digest, each.size) for path, each in stored.items()]
    workspace.tracking.add_logged_model_files(made.model_id, files)
    if not workspace.registry.models():
        workspace.registry.create_model("delay")
    return workspace.registry.add_version("delay", logged_model=made.model_id).reference


SPLIT = {"columns": ["temp", "wind"], "data": MATRIX.tolist()}


@pytest.mark.parametrize("example", [SPLIT, MATRIX.tolist(), {"inputs": MATRIX.tolist()}])
def test_a_model_in_skops_format_is_proven_with_its_example(workspace: LocalWorkspace, example: Any) -> None:
    model = LogisticRegression().fit(MATRIX, [0, 1, 0, 1])
    reference = logged(workspace, model, example=example)
    before = workspace.registry.version(reference)
    made = workspace.registry.make_servable(reference)
    assert {name: made.files[name] for name in before.files} == before.files, (
        "MLflow's files are as they were"
    )
    assert made.model.probe_rows == 4
    assert [each.name for each in made.model.signature.outputs] == ["probability", "label"]
    names = made.model.signature.names
    answer = workspace.registry.model(reference).predict(dict(zip(names, ROWS.values(), strict=True)))
    assert np.array_equal(answer["probability"], model.predict_proba(MATRIX)[:, 1])
    assert workspace.registry.make_servable(reference) == made, "once is enough"
    with pytest.raises(Conflict):
        workspace.registry.add_servable_files(reference, [])


def test_a_pickle_is_loaded_once_by_who_trusts_it_and_never_by_a_server(
    workspace: LocalWorkspace, tmp_path: Path
) -> None:
    model = LinearRegression().fit(MATRIX, [1.0, 2.0, 3.0, 4.0])
    reference = logged(workspace, model, pickled=True, example=SPLIT)
    with pytest.raises(Refused, match="is a pickle") as caught:
        workspace.registry.make_servable(reference)
    assert caught.value.hint.endswith("everloop models adopt delay@v1 --trust")
    with pytest.raises(Refused, match="cannot answer at an endpoint"):
        workspace.serving.deploy("delay", reference)
    workspace.registry.make_servable(reference, trust=True)
    workspace.serving.deploy("delay", reference)
    (placed,) = (workspace.serving.folder("delay") / "models").iterdir()
    assert (placed / "model.skops").is_file()
    answer = workspace.registry.model(reference).predict(ROWS)["prediction"]
    assert np.allclose(answer, model.predict(MATRIX))
    package = workspace.registry.package(reference, out=tmp_path / "package")
    assert package.parity is not None
    assert (package.parity.passed, package.parity.rows) == (True, 4)


def test_a_package_of_a_model_without_an_example_cannot_be_proven(
    workspace: LocalWorkspace, tmp_path: Path
) -> None:
    reference = logged(workspace, LogisticRegression().fit(MATRIX, [0, 1, 0, 1]))
    with pytest.raises(InvalidInput, match="without an example"):
        workspace.registry.package(reference, out=tmp_path / "package")
    made = workspace.registry.package(reference, out=tmp_path / "unproven", verify=False)
    assert (
        Path(made.path) / "models" / workspace.registry.version(reference).digest / "model.json"
    ).is_file()


def test_what_only_a_pickle_can_hold_is_refused_with_the_reason(workspace: LocalWorkspace) -> None:
    model = make_pipeline(FunctionTransformer(np.sin), LogisticRegression()).fit(MATRIX, [0, 1, 0, 1])
    model.steps[0][1].func = json.dumps
    reference = logged(workspace, model, pickled=True)
    with pytest.raises((Refused, InvalidInput)):
        workspace.registry.make_servable(reference, trust=True)
    assert "model.json" not in workspace.registry.version(reference).files


def test_columns_of_text_by_name_stay_what_they_are(workspace: LocalWorkspace) -> None:
    import pandas as pd

    frame = pd.DataFrame({"carrier": ["UA", "AA", "UA", "DL"], "temp": ROWS["temp"]})
    encode = ColumnTransformer([("carrier", OneHotEncoder(), ["carrier"])], remainder="passthrough")
    model = make_pipeline(encode, LogisticRegression()).fit(frame, [0, 1, 0, 1])
    example = {"columns": list(frame), "data": frame.to_numpy().tolist()}
    reference = logged(workspace, model, example=example)
    workspace.registry.make_servable(reference)
    answer = workspace.registry.model(reference).predict(frame)["probability"]
    assert np.allclose(answer, model.predict_proba(frame)[:, 1])


def test_files_that_do_not_fit_are_refused(workspace: LocalWorkspace) -> None:
    reference = logged(workspace, LogisticRegression().fit(MATRIX, [0, 1, 0, 1]))
    some = workspace.objects.put(b"{}")
    for files in ([], [ArtifactRecord("MLmodel", some.digest, some.size)]):
        with pytest.raises(InvalidInput):
            workspace.registry.add_servable_files(reference, files)


def test_the_command_says_what_it_needs_to_be_told(
    workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EVERLOOP_WORKSPACE", str(workspace.project))
    logged(workspace, LogisticRegression().fit(MATRIX, [0, 1, 0, 1]), pickled=True, example=SPLIT)
    assert main(["models", "adopt", "delay@v1"]) == 1
    assert "--trust" in capsys.readouterr().err
    assert main(["models", "adopt", "delay@v1", "--trust", "--json"]) == 0
    shown = msgspec.json.decode(capsys.readouterr().out)
    assert "model.skops" in shown["files"]
