"""What a change would touch, before it is made."""

import subprocess
import textwrap

import pyarrow as pa
import pytest
from click.testing import CliRunner

from everloop.cli.main import cli
from everloop.errors import InvalidInput, InvalidReference, NotFound

TRAINING = """
    import numpy as np
    import everloop as ev
    from cleaning import cleaned

    SCALE = 2.0

    @ev.step
    def prepare():
        table = cleaned(ev.data("flights").to_arrow())
        return ev.active_run() and np.column_stack([table[name].to_numpy() for name in ("temp", "wind", "late")])

    class Recipe:
        def strength(self):
            return 0.5 * SCALE

    @ev.step
    def fit(rows, balance):
        from sklearn.linear_model import LogisticRegression
        model = LogisticRegression(C=balance * Recipe().strength()).fit(rows[:, :2], rows[:, 2])
        ev.active_run().log_metric("warmth", float(rows[:, 0].mean()))
        ev.active_run().log_model(model, example={"temp": rows[:, 0], "wind": rows[:, 1]})
        return model

    @ev.step
    def report(rows):
        return float(rows.mean())

    @ev.pipeline
    def train(balance: float = 1.0):
        rows = prepare()
        report(rows)
        return fit(rows, balance)
    """
CLEANING = """
    def cleaned(table):
        return table.drop_null()

    def unused(table):
        return table
    """


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A pipeline that ran, its model registered and served; a script that read the same dataset; all unchanged by the tests."""
    import sys

    from tests.support.workspaces import FakeClock

    from everloop.client.ambient import using
    from everloop.workspace.local import LocalWorkspace

    path, folder = list(sys.path), tmp_path_factory.mktemp("impact") / "project"
    with LocalWorkspace(folder, clock=FakeClock()) as workspace, using(workspace):
        folder.mkdir(exist_ok=True)
        (folder / "training.py").write_text(textwrap.dedent(TRAINING))
        (folder / "cleaning.py").write_text(textwrap.dedent(CLEANING))
        columns = {
            "temp": [1.0, 2.0, 3.0, 4.0],
            "wind": [4.0, 3.0, 1.0, 2.0],
            "late": [0, 1, 0, 1],
            "gate": [1, 2, 3, 4],
        }
        workspace.data.add(pa.table(columns), name="flights")
        workspace.data.add(pa.table({"x": [1]}), name="other")
        done = workspace.pipelines.run("training.py:train", executor="inline")
        assert done.status == "finished", done.error
        version = workspace.registry.register(done.step("fit").run, "delay")
        workspace.registry.set_alias("delay", "champion", version.version)
        workspace.serving.deploy("delay", version.reference)
        with workspace.tracking.start(name="by hand") as run:
            workspace.data.dataset("flights").to_arrow()
        yield workspace, done, run
    for name in ("training", "cleaning"):
        sys.modules.pop(name, None)
    sys.path[:] = path


def told(workspace, *changes):
    return {(each.kind, each.reference): each for each in workspace.provenance.impact(list(changes)).affected}


def names(workspace, *changes):
    return [(each.kind, each.reference) for each in workspace.provenance.impact(list(changes)).affected]


def test_a_function_reaches_the_steps_that_call_it_and_all_that_follows(project):
    workspace, done, _ = project
    found = told(workspace, "cleaning.py::cleaned")
    assert list(found) == [
        ("step", "training.py::prepare"),
        ("step", "training.py::report"),
        ("step", "training.py::fit"),
        ("run", done.reference),
        ("model", "model:delay@v1"),
        ("endpoint", "endpoint:delay"),
    ]
    assert (
        found["step", "training.py::prepare"].why == "its code reaches function cleaned (cleaning.py, line 2)"
    )
    assert found["step", "training.py::fit"].why == "takes what prepare gives"
    assert "3 of 3 steps" in found["run", done.reference].why
    assert "champion" in found["model", "model:delay@v1"].why
    seconds = {each.name: each.seconds for each in done.steps}
    assert found["model", "model:delay@v1"].seconds == pytest.approx(
        seconds["prepare"] + seconds["fit"], abs=1e-5
    )
    report = workspace.provenance.impact(["cleaning.py::cleaned"])
    assert report.seconds == pytest.approx(sum(seconds.values()), abs=1e-5)


@pytest.mark.parametrize(
    "change",
    ["training.py::fit", "training.py::Recipe", "training.py::Recipe.strength", "training.py::SCALE"],
)
def test_only_what_comes_after_is_touched(project, change):
    workspace, done, _ = project
    assert names(workspace, change) == [
        ("step", "training.py::fit"),
        ("run", done.reference),
        ("model", "model:delay@v1"),
        ("endpoint", "endpoint:delay"),
    ]


def test_a_file_is_all_that_is_in_it(project):
    workspace, _, _ = project
    assert [each for each in names(workspace, "cleaning.py") if each[0] == "step"] == [
        ("step", "training.py::prepare"),
        ("step", "training.py::report"),
        ("step", "training.py::fit"),
    ]


def test_code_that_nothing_runs_touches_nothing_and_is_told_by_its_likeliest_name(project):
    workspace, _, _ = project
    report = workspace.provenance.impact(["cleaning.py::unused", "training.py::cleaned"])
    assert report.affected == []
    assert report.unknown["training.py::cleaned"] == "did you mean 'cleaning.py::cleaned'?"


def test_a_dataset_reaches_pipelines_and_scripts(project):
    workspace, _, run = project
    found = told(workspace, "data:flights")
    assert found["step", "training.py::prepare"].why == "reads data:flights@v1"
    assert ("run", run.reference) in found
    assert ("endpoint", "endpoint:delay") in found
    assert told(workspace, "flights") == found
    assert names(workspace, "data:other") == []


def test_a_column_is_sure_only_where_it_is_seen(project):
    workspace, done, _ = project
    found = told(workspace, "data:flights.temp")
    assert not found["step", "training.py::prepare"].sure
    assert not found["step", "training.py::fit"].sure
    assert not found["run", done.reference].sure
    assert found["model", "model:delay@v1"].sure
    assert found["model", "model:delay@v1"].why.startswith("takes the column temp")
    assert not told(workspace, "data:flights.gate")["model", "model:delay@v1"].sure
    with pytest.raises(NotFound, match="no column 'tmep'") as error:
        told(workspace, "data:flights.tmep")
    assert "temp" in error.value.hint


def test_packages_pipelines_models_and_endpoints(project):
    workspace, _, _ = project
    assert ("step", "training.py::fit") in told(workspace, "package:scikit-learn")
    assert ("step", "training.py::report") not in told(workspace, "package:scikit-learn")
    assert [each for each in names(workspace, "pipeline:train") if each[0] == "step"] == [
        ("step", "training.py::prepare"),
        ("step", "training.py::report"),
        ("step", "training.py::fit"),
    ]
    assert names(workspace, "model:delay@champion") == [("endpoint", "endpoint:delay")]
    assert names(workspace, "model:delay") == [("model", "model:delay@v1"), ("endpoint", "endpoint:delay")]
    assert names(workspace, "endpoint:delay") == []


def test_what_is_not_there_is_said(project):
    workspace, _, _ = project
    for text in ("data:fligths", "pipeline:trian", "model:dealy", "endpoint:dealy", "feature:weather"):
        with pytest.raises(NotFound):
            workspace.provenance.impact([text])
    with pytest.raises(InvalidReference, match="nothing is computed from"):
        workspace.provenance.impact(["alert:0123456789abcdef0123456789abcdef"])
    with pytest.raises(InvalidReference, match="made of its answers"):
        workspace.provenance.impact(["labels:tone"])


def test_features_carry_a_column_on(project):
    import everloop as ev

    workspace, _, _ = project
    carrier = ev.entity("gate", keys=["gate"])
    warm = ev.feature_view(
        "warmth",
        entity=carrier,
        source="flights",
        event_time="to_timestamp(0)",
        features=[
            ev.feature("warm", "temp > 2", type="boolean"),
            ev.feature("windy", "wind > 2", type="boolean"),
        ],
    )
    workspace.features.apply([warm])
    found = told(workspace, "data:flights.temp")
    assert found["feature", "feature:warmth@v1"].why == "warm is computed from data:flights.temp"
    assert found["feature", "feature:warmth@v1"].sure
    assert not told(workspace, "data:flights.late")["feature", "feature:warmth@v1"].sure
    with pytest.raises(NotFound, match="no feature 'wram'"):
        workspace.provenance.impact(["feature:warmth:wram"])


def test_what_the_work_tree_changed_is_what_counts(tmp_path):
    from everloop.workspace.impacts.edits import edits

    folder = tmp_path / "repository" / "inner"
    folder.mkdir(parents=True)

    def git(*arguments):
        who = ["-c", "user.name=ann", "-c", "user.email=ann@example.org"]
        subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)

    git("init", "-q")
    (folder / "cleaning.py").write_text(textwrap.dedent(CLEANING))
    (folder / "training.py").write_text(textwrap.dedent(TRAINING))
    (folder.parent / "outside.py").write_text("x = 1\n")
    git("add", "-A", ":/")
    git("commit", "-qm", "first")
    assert edits(folder) == []
    (folder / "cleaning.py").write_text(
        "# a word\n" + textwrap.dedent(CLEANING).replace("drop_null()", "slice(0)")
    )
    (folder / "training.py").write_text(textwrap.dedent(TRAINING).replace("2.0", "3.0"))
    (folder / "new.py").write_text("y = 2\n")
    (folder.parent / "outside.py").write_text("x = 2\n")
    assert edits(folder) == ["cleaning.py::cleaned", "training.py::SCALE", "new.py"]
    (folder / "training.py").write_text(
        textwrap.dedent(TRAINING).replace("import numpy as np", "import numpy as np\nimport os")
    )
    git("rm", "-q", "--cached", "cleaning.py")
    (folder / "cleaning.py").unlink()
    assert edits(folder) == ["cleaning.py", "training.py", "new.py"]
    for where, against, said in (
        (folder, "nonsense", "is not a commit"),
        (tmp_path, "HEAD", "not in a git work tree"),
    ):
        with pytest.raises(InvalidInput, match=said):
            edits(where, against)


def test_the_command(project, monkeypatch):
    workspace, _, _ = project
    monkeypatch.setenv("EVERLOOP_WORKSPACE", str(workspace.project))
    monkeypatch.chdir(workspace.project)
    told_plain = CliRunner().invoke(cli, ["impact", "cleaning.py::cleaned"])
    assert told_plain.exit_code == 0, told_plain.output
    assert "endpoint:delay" in told_plain.output
    as_json = CliRunner().invoke(cli, ["impact", "data:flights", "--column", "temp", "--json"])
    assert '"affected":[{' in as_json.output
    assert (
        "nothing that ran so far depends on"
        in CliRunner().invoke(cli, ["impact", "cleaning.py::unused"]).output
    )
    assert isinstance(CliRunner().invoke(cli, ["impact", "training.py::SCAL"]).exception, NotFound)
    missing = CliRunner().invoke(cli, ["impact", "training.py::fti"])
    assert isinstance(missing.exception, NotFound)
    assert "training.py::fit" in missing.exception.hint


def test_why_tells_the_steps_and_who_set_them_off(project):
    workspace, done, _ = project
    with workspace.ledger.transaction("scheduler") as tx:
        tx.edge("trigger:nightly", done.reference, "triggered")
    whole = workspace.provenance.why(done.reference)
    assert [(each["name"], each["status"]) for each in whole.facts["steps"]] == [
        ("prepare", "executed"),
        ("report", "executed"),
        ("fit", "executed"),
    ]
    assert [link.source for link in whole.started_by] == ["trigger:nightly"]
    step = workspace.provenance.why(f"run:{done.step('fit').run}")
    assert step.facts["step"]["name"] == "fit"
    assert step.facts["step"]["of"] == done.reference
    for reference in ("model:delay@champion", "endpoint:delay"):
        found = workspace.provenance.why(reference)
        assert [link.source for link in found.started_by] == ["trigger:nightly"], reference
        assert found.data == ["data:flights@v1"]
    with pytest.raises(NotFound, match="no run of a pipeline 'trian'") as error:
        workspace.provenance.why("pipeline:trian")
    assert "train" in error.value.hint


def test_a_hub_tells_the_newest_runs_and_counts_the_rest_but_finds_all_that_was_made(project):
    workspace, _, run = project
    found = workspace.provenance.why("data:flights@v1", most=1)
    runs = {each for link in found.downward for each in (link.source, link.target) if each.startswith("run:")}
    assert run.reference in runs  # the newest
    assert found.more["run"] >= 2
    targets = [link.target for link in found.downward]
    assert "model:delay@v1" in targets
    assert "endpoint:delay" in targets
    assert workspace.provenance.why("data:flights@v1").more == {}


def test_what_is_gone_is_said(project):
    workspace, _, _ = project
    with workspace.tracking.start(name="soon gone") as run:
        workspace.data.add(pa.table({"y": [1]}), name="left", producer=run.reference)
    workspace.tracking.delete_runs([run.run_id])
    workspace.tracking.purge_runs([run.run_id])
    found = workspace.provenance.why("data:left")
    assert found.missing == [f"run:{run.run_id}, which made it, is not here any more"]
    assert not found.complete
    with workspace.tracking.start(name="knows nothing") as bare:
        pass
    found = workspace.provenance.why(bare.reference)
    assert "data: nothing that was read is recorded" in found.missing


@pytest.mark.parametrize("style", ["mermaid", "dot", "json"])
def test_lineage_is_drawn(project, monkeypatch, style):
    workspace, _, _ = project
    monkeypatch.setenv("EVERLOOP_WORKSPACE", str(workspace.project))
    told = CliRunner().invoke(cli, ["why", "model:delay@v1", "--graph", style])
    assert told.exit_code == 0, told.output
    lines = {
        "mermaid": ["flowchart LR", '{{"endpoint:delay"}}', "-->|produced|"],
        "dot": [
            "digraph lineage {",
            '"endpoint:delay" [label="endpoint:delay", shape=hexagon];',
            "penwidth=3",
        ],
        "json": ['"focus": "model:delay@v1"', '"id": "endpoint:delay"', '"role": "deployed"'],
    }
    for line in lines[style]:
        assert line in told.output


def test_names_cannot_break_out_of_a_drawing():
    from everloop.cli.lineage_drawing import dot, mermaid

    name = 'data:a"]; <b>\\'
    assert "#quot;]; #lt;b#gt;" in mermaid(name, [name], [])
    assert r'"data:a\"]; <b>\\"' in dot(name, [name], [])


def test_two_results_and_what_made_them_differ(project, monkeypatch):
    workspace, done, _ = project
    monkeypatch.setenv("EVERLOOP_WORKSPACE", str(workspace.project))
    monkeypatch.chdir(workspace.project)
    columns = {
        "temp": [1.0, 2.0, 3.0, 9.0],
        "wind": [4.0, 3.0, 1.0, 2.0],
        "late": [0, 1, 0, 1],
        "gate": [1, 2, 3, 4],
    }
    workspace.data.add(pa.table(columns), name="flights")
    again = workspace.pipelines.run("training.py:train", executor="inline")
    fits = [each.step("fit").run for each in (done, again)]
    told = CliRunner().invoke(cli, ["diff", *fits])
    expected = (
        "warmth moved +1.25 (2.5 -> 3.75): data flights v1 -> v2; code, parameters, packages and machine same"
    )
    assert told.output.splitlines()[0] == expected
    models = [workspace.registry.register(each.step("fit").run, "other") for each in (done, again)]
    told = CliRunner().invoke(cli, ["diff", *(each.reference for each in models)])
    assert told.output.splitlines()[0] == expected


def test_functions_that_changed_are_named(project, monkeypatch):
    import sys

    workspace, _, _ = project
    step = "import everloop as ev\n\n@ev.step\ndef twice(x):\n    return x * {}\n"
    recipe = f"{step}\n@ev.pipeline\ndef double():\n    return twice(2)\n"
    found = []
    for factor in (2, 3):
        (workspace.project / "doubling.py").write_text(recipe.format(factor))
        sys.modules.pop("doubling", None)
        found.append(workspace.pipelines.run("doubling.py:double", executor="inline").reference)
    monkeypatch.setenv("EVERLOOP_WORKSPACE", str(workspace.project))
    told = CliRunner().invoke(cli, ["diff", *found]).output
    assert "code function twice changed (doubling.py, line" in told.splitlines()[0]


@pytest.mark.timeout(120)
def test_every_kind_of_reference_is_explained(workspace, tmp_path):
    """Over a workspace with something in every room: nothing raises, and what follows from one thing is found from it."""
    from tests.pages import filling

    from everloop.cli.lineage_drawing import FORMATS, drawn

    (tmp_path / "files").mkdir()
    filling.add_models(workspace, tmp_path / "files")
    filling.add_predictions(workspace)
    filling.add_monitoring(workspace)
    alerts = [f"alert:{each.alert_id}" for each in workspace.monitoring.alerts()]
    endpoint = workspace.serving.endpoints()[0]
    rows = workspace.serving.predictions(endpoint.name)
    references = [
        *alerts[:1],
        endpoint.reference,
        f"prediction:{rows['prediction_id'][0].as_py()}",
        *(f"data:{each.name}" for each in workspace.data.datasets()),
        *(f"model:{each.name}@v{each.latest}" for each in workspace.registry.models()),
        *(each.reference for each in workspace.tracking.search(limit=100).runs),
    ]
    kinds = {each.partition(":")[0] for each in references}
    assert kinds == {"alert", "endpoint", "prediction", "data", "model", "run"}
    for reference in references:
        found = workspace.provenance.why(reference)
        assert found.summary
        for style in FORMATS:
            assert drawn(found, style)
    prediction = workspace.provenance.why(references[len(alerts[:1]) + 1])
    assert any(link.source.startswith("run:") for link in prediction.upward)
    watched = workspace.provenance.why(alerts[0])
    assert {"watched", "concerns"} <= {link.role for link in watched.parents}
    assert any(link.source.startswith("run:") for link in watched.upward)


def test_it_is_the_same_through_a_server(any_workspace):
    any_workspace.data.add(pa.table({"x": [1.0]}), name="shared")
    with any_workspace.tracking.start(name="reader") as run:
        any_workspace.data.dataset("shared").to_arrow()
    found = any_workspace.provenance.impact(["data:shared.x"]).affected
    assert [(each.kind, each.reference, each.sure) for each in found] == [("run", run.reference, False)]
    assert [link.target for link in any_workspace.provenance.why("data:shared", most=5).children] == [
        run.reference
    ]
    with pytest.raises(NotFound, match="no column 'y'"):
        any_workspace.provenance.impact(["data:shared.y"])
