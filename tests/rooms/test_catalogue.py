"""The registry as a catalogue: models and versions made, described, searched, renamed, copied and deleted; gates that hold."""

import msgspec
import numpy as np
import pytest
from tests.support.trained import add_flights, train

from everloop.domain import gates as gate
from everloop.domain.models import ModelState, Stage
from everloop.domain.runs import ArtifactRecord, Captured
from everloop.errors import Conflict, InvalidInput, NotFound, Refused

PROMPT = "tags.`mlflow.prompt.is_prompt` != 'true'"


def mlflow_folder(workspace, model, *, pickled=False, run=""):
    """A logged model whose files are what MLflow writes for a scikit-learn model; returns its identifier."""
    import pickle

    import skops.io

    name = "model.pkl" if pickled else "model.skops"
    data = pickle.dumps(model) if pickled else skops.io.dumps(model)
    text = (
        "flavors:\n  python_function:\n    python_version: 3.11.7\n  sklearn:\n"
        f"    pickled_model: {name}\n    serialization_format: {'cloudpickle' if pickled else 'skops'}\n"
        "    sklearn_version: 1.9.1\nmlflow_version: 3.17.2\nsignature:\n"
        '  inputs: \'[{"type": "double", "name": "temp", "required": true}, {"type":\n'
        '    "double", "name": "wind"}]\'\n  outputs: \'[{"type": "long"}]\'\n'
    )
    logged = workspace.tracking.create_logged_model("0", "best", "sklearn", run)
    kept = [("MLmodel", text.encode()), (name, data)]
    stored = [(path, workspace.objects.put(content)) for path, content in kept]
    files = [ArtifactRecord(path, each.digest, each.size) for path, each in stored]
    workspace.tracking.add_logged_model_files(logged.model_id, files)
    return logged.model_id


def fitted():
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 2.0]], [0, 1, 0, 1])


def test_a_model_is_made_described_and_searched(any_workspace):
    registry = any_workspace.registry
    registry.create_model("delay", "flights", {"team": "ops"})
    registry.create_model("churn", tags={"mlflow.prompt.is_prompt": "true"})
    with pytest.raises(Conflict, match="there is a model 'delay' already"):
        registry.create_model("delay")
    changed = registry.change_model("delay", "late flights", {"a": "b"}, ["team", "nope"])
    assert (changed.description, changed.tags, changed.versions) == ("late flights", {"a": "b"}, 0)
    assert registry.versions("delay") == []
    with pytest.raises(NotFound, match="has no versions"):
        registry.version("delay")
    with pytest.raises(NotFound, match="no model is called 'dely'") as caught:
        registry.described("dely")
    assert "delay" in caught.value.hint
    found = lambda where, **more: [each.name for each in registry.search_models(where, **more).models]  # noqa: E731
    assert found("") == ["churn", "delay"]
    assert found("", order_by=["name DESC"]) == ["delay", "churn"]
    assert found(PROMPT) == ["delay"]
    assert found("tags.`mlflow.prompt.is_prompt` = 'false'") == ["delay"]
    assert found("name ILIKE 'DE%' AND tags.a = 'b'") == ["delay"]
    first = registry.search_models("", limit=1)
    assert [each.name for each in registry.search_models("", limit=1, page=first.next_page).models] == [
        "delay"
    ]
    assert found("tags.a IS NULL") == ["churn"]
    assert found("not (name = 'delay' or name = 'a')") == ["churn"]
    assert found("creation_timestamp > 1", order_by=["creation_timestamp"]) == ["delay", "churn"]
    told = int(registry.described("churn").created.timestamp() * 1000)
    assert found(f"creation_timestamp = {told}") == ["churn"], "whoever was told a millisecond finds it"
    for where in ("metrics.a > 1", "name = 'a' and", "nope = 'x'"):
        with pytest.raises(InvalidInput, match="column"):
            registry.search_models(where)
    with pytest.raises(InvalidInput, match="twice"):
        registry.search_models("", order_by=["name", "name desc"])


def test_a_model_of_mlflow_is_registered_as_its_flavour_and_answers(any_workspace):
    registry, model = any_workspace.registry, fitted()
    registry.create_model("delay")
    made = registry.add_version(
        "delay", logged_model=mlflow_folder(any_workspace, model), source="models:/m-1", tags={"a": "b"}
    )
    assert (made.reference, made.model.flavour, made.model.kind) == (
        "model:delay@v1",
        "sklearn",
        "mlflow.sklearn",
    )
    assert made.model.signature.names == ("temp", "wind")
    assert made.model.packages == {"mlflow": "3.17.2", "scikit-learn": "1.9.1"}
    assert (made.source, made.tags) == ("models:/m-1", {"a": "b"})
    rows = {"temp": [1.0, 0.0], "wind": [0.0, 1.0]}
    answer = registry.model("delay@v1").predict(rows)
    expected = model.predict_proba(np.array([[1.0, 0.0], [0.0, 1.0]]))[:, 1]
    assert np.array_equal(answer["probability"], expected)
    assert registry.missing_provenance("delay@v1") == ["code", "data", "parameters", "environment"]
    with pytest.raises(Refused, match="cannot answer at an endpoint"):
        any_workspace.serving.deploy("delays", "delay@v1")
    with pytest.raises(NotFound):
        any_workspace.serving.endpoint("delays")


def test_what_a_run_of_mlflow_said_counts_as_provenance(workspace, tmp_path):
    """Its commit and its parameters, and the packages that the model's folder names."""
    data = add_flights(workspace, tmp_path)
    run = workspace.tracking.create_run(captured=Captured(source="train.py", commit="a" * 40))
    model_id = mlflow_folder(workspace, fitted(), run=run.run_id)
    workspace.tracking.link_models(run.run_id, outputs={model_id: 0})
    with pytest.raises(Refused, match="with which data and parameters and environment"):
        workspace.registry.register(run.run_id, "delay", artifact="best")
    stored = workspace.objects.put(b"scikit-learn==1.9.1")
    files = [ArtifactRecord("requirements.txt", stored.digest, stored.size)]
    workspace.tracking.add_logged_model_files(model_id, files)
    workspace.tracking.log(run.run_id, params={"C": "1"})
    workspace.tracking.consumed(run.run_id, [data])
    made = workspace.registry.register(run.run_id, "delay", artifact="best")
    assert (made.logged_model, made.commit, made.data) == (model_id, "a" * 40, (data,))
    assert workspace.registry.missing_provenance(made.reference) == []
    assert workspace.registry.model(made.reference).predict({"temp": [1.0], "wind": [0.0]})
    workspace.tracking.delete_runs([run.run_id])
    workspace.tracking.purge_runs([run.run_id])
    assert "data" in workspace.registry.missing_provenance(made.reference)
    again = workspace.registry.add_version("delay", logged_model=model_id)
    assert again.files == made.files


def test_a_pickle_is_loaded_only_by_who_trusts_it(workspace):
    registry, model = workspace.registry, fitted()
    registry.create_model("delay")
    registry.add_version("delay", logged_model=mlflow_folder(workspace, model, pickled=True))
    with pytest.raises(Refused, match="a pickle, and loading a pickle runs whatever code"):
        registry.model("delay@v1").predict({"temp": [1.0], "wind": [0.0]})
    handle = registry.model("delay@v1")
    handle.load(trust=True)
    assert handle.predict({"temp": [1.0], "wind": [0.0]})["label"].tolist() == [0]


def test_what_a_skops_file_names_is_built_only_if_it_is_known_or_trusted(workspace):
    """The file's own list of trusted types is not asked."""
    import copy

    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    rows = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 2.0]])
    model = make_pipeline(FunctionTransformer(copy.copy), LogisticRegression()).fit(rows, [0, 1, 0, 1])
    workspace.registry.create_model("delay")
    workspace.registry.add_version("delay", logged_model=mlflow_folder(workspace, model))
    handle = workspace.registry.model("delay@v1")
    with pytest.raises(Refused, match=r"not trusted.*copy\.copy") as caught:
        handle.load()
    assert "load(trust=True)" in caught.value.hint
    handle.load(trust=True)
    assert handle.predict({"temp": [1.0], "wind": [0.0]})["label"].tolist() == [0]


def test_folders_with_the_same_mlmodel_and_other_files_are_other_models(workspace):
    """Such a file names no digests, so a copy kept by its digest alone would answer for the other."""
    from sklearn.linear_model import LogisticRegression

    other = LogisticRegression().fit([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 2.0]], [1, 0, 1, 0])
    workspace.registry.create_model("delay")
    for model in (fitted(), other):
        workspace.registry.add_version("delay", logged_model=mlflow_folder(workspace, model))
    answers = [
        workspace.registry.model(f"delay@v{version}").predict({"temp": [1.0], "wind": [0.0]})["label"][0]
        for version in (1, 2)
    ]
    assert answers == [0, 1]


def test_an_everloop_model_is_copied_with_its_files_and_lineage(workspace, tmp_path):
    registry = workspace.registry
    registry.register(train(workspace, add_flights(workspace, tmp_path)), "delay")
    registry.create_model("delay-production")
    copy = registry.add_version("delay-production", copy_of="delay@v1", source="models:/delay/1")
    assert copy.files == registry.version("delay@v1").files
    assert copy.params["C"] == "1.0"
    upward = workspace.ledger.edges_of(copy.reference, upward=True)
    assert ("model:delay@v1", copy.reference, "produced") in upward
    rows = {"temp": [60.0], "wind": [10.0]}
    assert registry.model(copy.reference).predict(rows) == registry.model("delay@v1").predict(rows)


def test_a_version_whose_files_are_elsewhere_says_so(workspace):
    workspace.registry.create_model("delay")
    made = workspace.registry.add_version("delay", source="s3://bucket/model")
    assert (made.files, made.digest, made.run) == ({}, "", "")
    with pytest.raises(NotFound, match="its source is s3://bucket/model"):
        workspace.registry.model("delay").predict({})
    strange = workspace.registry.add_version("delay", source="s3://x/y", run="0" * 32)
    assert strange.run == "0" * 32, "a run of another server"
    assert workspace.ledger.edges_of(strange.reference, upward=True) == []
    assert "code" in workspace.registry.missing_provenance(strange.reference)
    with pytest.raises(NotFound):
        workspace.registry.add_version("delay", run="0" * 32, artifact="model")
    with pytest.raises(NotFound, match="no model is called"):
        workspace.registry.add_version("nobody", source="s3://x")


def test_versions_are_described_staged_and_searched(any_workspace):
    registry = any_workspace.registry
    for name in ("a", "b"):
        registry.create_model(name)
        for number in range(2):
            registry.add_version(name, source=f"s3://{name}{number}", tags={"n": str(number)})
    registry.change_version("a@v1", "the first", {"x": "y"}, ["n"])
    assert registry.version("a@v1").tags == {"x": "y"}
    registry.set_stage("a@v1", Stage.PRODUCTION)
    registry.set_stage("a@v2", Stage.PRODUCTION, archive_others=True)
    assert [each.stage for each in registry.versions("a")] == [Stage.PRODUCTION, Stage.ARCHIVED]
    with pytest.raises(InvalidInput, match="cannot be archived"):
        registry.set_stage("a@v1", Stage.ARCHIVED, archive_others=True)

    def found(where, **more):
        return [each.reference for each in registry.search_versions(where, **more).versions]

    assert found("name = 'b'", order_by=["version_number ASC"]) == ["model:b@v1", "model:b@v2"]
    assert found("") == ["model:a@v2", "model:a@v1", "model:b@v2", "model:b@v1"], "changed last first"
    assert found("tags.n = '0'") == ["model:b@v1"]
    assert found("source_path LIKE 's3://a%' AND version_number > 1") == ["model:a@v2"]
    assert found("run_id = 'x'") == found("run_id is not null") == []
    assert found("stage = 'Production' or tags.x = 'y'") == ["model:a@v2", "model:a@v1"]
    assert found("stage is null", order_by=["tags.n desc"]) == ["model:b@v2", "model:b@v1"]
    newest = registry.search_models("name = 'a'").newest["a"]
    assert {each.stage: each.version for each in newest} == {Stage.PRODUCTION: 2, Stage.ARCHIVED: 1}


def test_deleted_versions_take_aliases_along_and_numbers_are_not_used_again(workspace):
    registry = workspace.registry
    registry.create_model("delay")
    for _ in range(2):
        registry.add_version("delay", source="s3://x")
    registry.claim_alias("delay@v2", "champion")
    registry.delete_version("delay@v2")
    assert registry.version("delay").version == 1
    assert registry.version("delay@v2").state is ModelState.DELETED, "events still name it"
    for wrong in (
        lambda: registry.version("delay@champion"),
        lambda: registry.delete_version("delay@v2"),
        lambda: registry.claim_alias("delay@v2", "champion"),
    ):
        with pytest.raises(NotFound):
            wrong()
    assert registry.add_version("delay", source="s3://x").version == 3
    registry.delete_model("delay")
    with pytest.raises(NotFound):
        registry.described("delay")
    assert registry.models() == registry.search_models().models == registry.search_versions().versions == []
    assert registry.create_model("delay", "again").tags == {}
    assert registry.add_version("delay", source="s3://y").version == 4


def test_a_renamed_model_keeps_everything_and_answers_to_both_names(workspace, tmp_path):
    registry = workspace.registry
    run = train(workspace, add_flights(workspace, tmp_path))
    registry.register(run, "delay")
    registry.promote("delay@v1", gates=[gate.provenance_complete()])
    registry.change_version("delay@v1", tags={"a": "b"})
    registry.create_model("taken")
    with pytest.raises(Conflict, match="'taken' already"):
        registry.rename_model("delay", "taken")
    registry.rename_model("delay", "lateness")
    for name in ("lateness", "delay"):
        found = registry.version(f"{name}@champion")
        assert (found.reference, found.tags) == ("model:lateness@v1", {"a": "b"})
    assert [each.name for each in registry.models()] == ["lateness", "taken"]
    assert registry.promotions("lateness")[0].allowed
    assert (f"run:{run}", "model:lateness@v1", "produced") in workspace.ledger.edges_of(
        "model:lateness@v1", upward=True
    )
    assert registry.model("lateness@champion").predict({"temp": [60.0], "wind": [10.0]})
    registry.create_model("delay")
    assert registry.add_version("delay", source="s3://x").version == 2, "v1 means the renamed one for ever"


def test_gates_hold_for_clients_that_do_not_know_them(workspace, tmp_path):
    """A client of MLflow sets aliases and stages; where gates guard one, the version must have passed them."""
    registry = workspace.registry
    data = add_flights(workspace, tmp_path)
    registry.register(train(workspace, data), "delay")
    registry.claim_alias("delay@v1", "challenger")
    registry.claim_alias("delay@v1", "champion")  # no gates are declared yet
    registry.register(train(workspace, data, flipped=True), "delay")
    declared = gate.gates("delay", gate.has_card(), gate.provenance_complete())
    workspace.governance.record_definition("gates", "delay", msgspec.to_builtins(declared), "test")
    registry.claim_alias("delay@v1", "champion")  # it has it already
    registry.claim_alias("delay@v2", "challenger")
    for attempt in (
        lambda: registry.claim_alias("delay@v2", "champion"),
        lambda: registry.set_stage("delay@v2", Stage.PRODUCTION),
    ):
        with pytest.raises(Refused, match="has not passed the gates that guard") as caught:
            attempt()
        assert "everloop models promote delay@v2 --to champion" in caught.value.hint
    registry.rename_model("delay", "lateness")
    with pytest.raises(Refused):
        registry.claim_alias("lateness@v2", "champion")
    registry.write_card("lateness@v2")
    assert registry.promote("lateness@v2").allowed
    registry.claim_alias("lateness@v2", "champion")
    registry.set_stage("lateness@v2", Stage.PRODUCTION)
