"""Model versions: provenance before registration, aliases with a history, gates that decide on the same rows."""

import msgspec
import numpy as np
import pytest
from tests.support.trained import add_flights, flights, train
from tests.support.workspaces import FakeClock, copied

from everloop.client.ambient import using
from everloop.data.data import Data
from everloop.domain import gates as gate
from everloop.domain.gates import MetricEvidence, SliceEvidence, decide_better, decide_slices
from everloop.domain.models import ModelState
from everloop.errors import Conflict, Corrupted, InvalidDefinition, InvalidInput, NotFound, Refused
from everloop.registry.cards import markdown
from everloop.workspace.local import LocalWorkspace

EVALUATION = gate.evaluation(label="late", data="evaluation", block="day")


@pytest.fixture
def data(workspace, tmp_path):
    add_flights(workspace, tmp_path, "evaluation", seed=9)
    return add_flights(workspace, tmp_path)


@pytest.fixture(scope="module")
def two_versions(tmp_path_factory):
    """Where a good model is registered as version 1, and one that saw its labels the wrong way round as version 2; and when."""
    folder, clock = tmp_path_factory.mktemp("two"), FakeClock()
    with LocalWorkspace(folder / "project", clock=clock) as made, using(made):
        add_flights(made, folder, "evaluation", seed=9)
        data = add_flights(made, folder)
        made.registry.register(train(made, data), "delay")
        made.registry.register(train(made, data, flipped=True), "delay")
    return folder / "project", clock.now


@pytest.fixture
def registered(two_versions, tmp_path):
    """The registry of a workspace with these."""
    project, now = two_versions
    with copied(project, tmp_path / "registered", FakeClock(now)) as made:
        yield made.registry


def test_versions_count_up_and_carry_where_they_came_from(workspace, data):
    run = train(workspace, data, C=0.5)
    first = workspace.registry.register(run, "delay")
    second = workspace.registry.register(run, "delay", description="again")
    assert (first.reference, second.reference) == ("model:delay@v1", "model:delay@v2")
    assert first.data == (data,)
    assert first.params["C"] == "0.5"
    assert first.model.signature.names == ("temp", "wind")
    assert first.model.content == second.model.content
    upward = workspace.ledger.edges_of(first.reference, upward=True)
    assert (f"run:{run}", first.reference, "produced") in upward
    assert (data, f"run:{run}", "consumed") in upward
    assert workspace.registry.version("delay").version == 2
    assert [each.version for each in workspace.registry.versions("delay")] == [2, 1]


def test_a_model_without_data_or_parameters_is_refused_by_name(workspace, data):
    from sklearn.linear_model import LogisticRegression

    with workspace.tracking.start() as run:
        run.log_model(LogisticRegression().fit(np.eye(4), [0, 1, 0, 1]), example=np.eye(4))
    with pytest.raises(Refused, match="data and parameters"):
        workspace.registry.register(run.run_id, "delay")
    with pytest.raises(NotFound):
        workspace.registry.version("delay")


def test_a_run_without_a_model_says_so(workspace, data):
    with workspace.tracking.start(params={"a": 1}) as run:
        workspace.data.dataset(data).to_arrow()
    with pytest.raises(NotFound, match="has no model called 'model'"):
        workspace.registry.register(run.run_id, "delay")


def test_data_read_by_an_earlier_part_of_the_same_run_counts(workspace, data):
    """A pipeline's training step does not read the dataset itself; the step before it does."""
    from sklearn.linear_model import LogisticRegression

    with workspace.tracking.start(params={"C": 1}) as whole:
        with workspace.tracking.start(name="prepare"):
            workspace.data.dataset(data).to_arrow()
        with workspace.tracking.start(name="fit") as fit:
            fit.log_model(LogisticRegression().fit(np.eye(4), [0, 1, 0, 1]), example=np.eye(4))
    assert whole.run_id != fit.run_id
    assert workspace.registry.register(fit.run_id, "delay").data == (data,)


def test_aliases_move_and_their_history_stays(registered):
    registered.set_alias("delay@v1", "champion", "the first")
    registered.set_alias("delay@v2", "champion", "better")
    assert registered.version("delay@champion").version == 2
    with pytest.raises(Conflict, match="'champion' means model:delay@v2, not model:delay@v1"):
        registered.remove_alias("delay@v1", "champion")
    registered.remove_alias("delay@v2", "champion")
    history = registered.alias_history("delay")
    assert [(each.alias, each.version, each.reason) for each in history] == [
        ("champion", None, ""),
        ("champion", 2, "better"),
        ("champion", 1, "the first"),
    ]
    with pytest.raises(NotFound, match="no alias 'champion'"):
        registered.version("delay@champion")
    with pytest.raises(InvalidInput, match="cannot be an alias"):
        registered.set_alias("delay@v1", "v3")


def test_wrong_names_get_the_nearest(registered):
    with pytest.raises(NotFound, match="no model is called 'dely'") as caught:
        registered.version("dely")
    assert "delay" in caught.value.hint
    with pytest.raises(NotFound, match=r"no model:delay@v9"):
        registered.version("delay@v9")


def test_a_deprecated_version_is_not_promoted(registered):
    registered.set_alias("delay@v1", "champion")
    with pytest.raises(Conflict, match="champion"):
        registered.deprecate("delay@v1")
    assert registered.deprecate("delay@v2", "wrong labels").state is ModelState.DEPRECATED
    with pytest.raises(Refused, match="deprecated"):
        registered.promote("delay@v2")


def test_the_handle_answers_like_the_model(registered):
    handle = registered.model("delay@v1")
    rows = flights(50, seed=4)
    answer = handle.predict(rows)
    assert set(answer) == {"probability", "label"}
    matrix = np.column_stack([rows["temp"], rows["wind"]])
    assert np.array_equal(answer["probability"], handle.load().native.predict_proba(matrix)[:, 1])
    with pytest.raises(InvalidInput, match="missing column 'wind'"):
        handle.predict({"temp": [1.0]})


def test_without_a_champion_there_is_nothing_to_beat(registered):
    gates = gate.gates(
        "delay",
        gate.better_than(),
        gate.slices_not_worse(["origin"]),
        gate.provenance_complete(),
        evaluation=EVALUATION,
    )
    promotion = registered.promote("delay@v1", gates=gates)
    assert promotion.allowed
    assert registered.version("delay@champion").version == 1


def test_a_worse_model_is_refused_with_reasons_and_the_alias_stays(registered):
    registered.set_alias("delay@v1", "champion")
    gates = gate.gates(
        "delay",
        gate.better_than("champion", metrics=["log_loss", "auc"]),
        gate.slices_not_worse(["origin"], margin=0.05, min_rows=50),
        evaluation=EVALUATION,
    )
    promotion = registered.promote("delay@v2", gates=gates)
    assert not promotion.allowed
    assert [each.passed for each in promotion.gates] == [False, False]
    assert "model:delay@v1 on the same 600 rows" in promotion.gates[0].reason
    assert "is worse off by" in promotion.gates[1].reason
    assert registered.version("delay@champion").version == 1
    assert registered.promotions("delay@v2") == [promotion]
    event = registered.context.ledger.events(newest_first=True, limit=1)[0]
    assert event.action == "model.refused"


def test_a_better_model_takes_over(registered):
    registered.set_alias("delay@v2", "champion")
    gates = gate.gates(
        "delay", gate.better_than("champion", metrics=["log_loss", "auc"]), evaluation=EVALUATION
    )
    promotion = registered.promote("delay@v1", gates=gates)
    assert promotion.allowed
    assert promotion.previous == "model:delay@v2"
    evidence = promotion.gates[0].evidence["metrics"][0]
    assert evidence["low"] > 0
    assert evidence["blocks"] > 20


def test_rows_may_be_given_instead_of_declared(registered):
    registered.set_alias("delay@v2", "champion")
    gates = gate.gates("delay", gate.better_than(), evaluation=gate.evaluation(label="late", data="absent"))
    assert not registered.promote(
        "delay@v1", gates=gates
    ).allowed  # the declared dataset does not exist: undecided is not passed
    assert registered.promote("delay@v1", gates=gates, rows=flights(300, seed=5)).allowed


def test_missing_truth_is_refused(registered):
    registered.set_alias("delay@v2", "champion")
    rows = flights(300, seed=5).to_pydict()
    rows["late"][7] = None
    gates = gate.gates("delay", gate.better_than(), evaluation=EVALUATION)
    result = registered.check("delay@v1", gates, rows=rows)[0]
    assert not result.passed
    assert "the truth in column 'late' is missing in 1 rows" in result.reason


def test_a_fresh_process_answers_the_same(registered):
    result = registered.check("delay@v1", [gate.answers_in_fresh_process()])[0]
    assert result.passed, result.reason
    assert result.evidence["rows"] == 64


def test_models_answer_rows_in_another_process_as_they_do_here(registered):
    """What a process that compares models, and has not loaded their libraries, is told."""
    from everloop.registry.evaluation import Rows
    from everloop.registry.scoring import scores_of
    from everloop.tracking.formats.columns import columns_of

    rows = columns_of(registered.context.room(Data).dataset("flights").to_arrow())
    good, other = registered.model("delay@v1"), registered.model("delay@v2")
    (other.folder() / "model.skops").write_bytes(b"torn")
    found = scores_of({each.reference: each.folder() for each in (good, other)}, rows)
    here = Rows(rows, "late")
    assert np.array_equal(found[good.reference], here.scores(good))
    told = found[other.reference]
    assert isinstance(told, Corrupted)
    assert "model.skops" in told.message
    without = {name: column for name, column in rows.items() if name != "temp"}
    assert isinstance(scores_of({good.reference: good.folder()}, without)[good.reference], InvalidInput)


def test_the_card_names_sources_and_lists_gaps(registered):
    assert not registered.check("delay@v1", [gate.has_card()])[0].passed
    card = registered.write_card("delay@v1", intended_use="plan the day at the gate")
    assert registered.check("delay@v1", [gate.has_card()])[0].passed
    assert len(card.sections) == 9
    assert registered.card("delay@v1") == card
    training = next(section for section in card.sections if section.title == "Training data")
    assert training.entries[0].source == "data:flights@v1"
    assert any("to be written by a person" in gap for gap in card.gaps)
    numbers = [
        entry for section in card.sections for entry in section.entries if not entry.gap and "=" in entry.text
    ]
    assert all(entry.source for entry in numbers)
    assert "## Ethical considerations" in markdown(card)


def test_best_compares_on_the_same_rows(registered):
    best = registered.best("delay", rows=flights(600, seed=3), label="late", block="day")
    assert best.reference == "model:delay@v1"
    assert [each.reference for each in best.candidates] == ["model:delay@v1", "model:delay@v2"]
    assert best.candidates[1].behind_high < 0
    assert "lowest log_loss on the same 600 rows" in best.rule


def test_best_leaves_the_champion_where_noise_decides(workspace, data, tmp_path):
    """Two models of the same kind of data: which of them looks better on some rows is chance."""
    workspace.registry.register(train(workspace, data), "delay")
    workspace.registry.register(train(workspace, add_flights(workspace, tmp_path, "others", seed=1)), "delay")
    for version in (1, 2):
        workspace.registry.set_alias(f"delay@v{version}", "champion")
        best = workspace.registry.best("delay", rows=flights(600, seed=3), label="late", block="day")
        assert best.reference == f"model:delay@v{version}"


def test_without_rows_best_says_that_runs_judged_themselves(registered):
    best = registered.best("delay")
    assert best.reference == "model:delay@v2"
    assert "on rows of their own" in best.rule
    registered.set_alias("delay@v1", "champion")
    assert registered.best("delay").reference == "model:delay@v1"  # both logged the same: no reason to switch


def test_a_package_stands_alone(registered, tmp_path):
    package = registered.package("delay@v1", out=tmp_path / "package")
    assert package.parity is not None
    assert package.parity.passed
    assert "scikit-learn==" in (tmp_path / "package" / "requirements.txt").read_text()
    with pytest.raises(Conflict, match="is not empty"):
        registered.package("delay@v1", out=tmp_path / "package")
    with pytest.raises(InvalidInput, match="there is no target 'foldr'"):
        registered.package("delay@v1", "foldr")


def test_rows_it_was_trained_on_are_kept_to_compare_with(registered):
    rows = registered.reference_rows("delay@v1")
    assert rows.num_rows == 600
    assert rows.column_names == ["temp", "wind", "probability", "label"]


def test_registry_operations_work_near_and_far(any_workspace, tmp_path):
    data = add_flights(any_workspace, tmp_path)
    record = any_workspace.registry.register(train(any_workspace, data), "team/delay")
    any_workspace.registry.set_alias(record.reference, "champion")
    found = any_workspace.registry.version("team/delay@champion")
    assert found.files == record.files
    assert found.aliases == ("champion",)
    assert any_workspace.registry.models()[0].aliases == {"champion": 1}
    assert any_workspace.registry.promote(record.reference, "challenger").allowed


@pytest.mark.parametrize(
    ("low", "high", "proof", "passed"),
    [
        (0.01, 0.03, "sure", True),
        (-0.01, 0.05, "sure", False),
        (-0.01, 0.05, "estimate", True),
        (None, None, "sure", False),
    ],
)
def test_sure_wants_the_whole_interval(low, high, proof, passed):
    seen = MetricEvidence("auc", 0.72, 0.70, 0.02, low, high, 1000, 10)
    result = decide_better(gate.better_than("champion", metrics=["auc"], proof=proof), "model:m@v1", [seen])
    assert result.passed is passed
    assert "auc" in result.reason


def test_small_slices_decide_nothing():
    assert not decide_slices(gate.slices_not_worse(["origin"]), "model:m@v1", []).passed
    fine = SliceEvidence("origin", "JFK", 300, 0.5, 0.49, -0.01)
    assert decide_slices(gate.slices_not_worse(["origin"], margin=0.02), "model:m@v1", [fine]).passed


@pytest.mark.parametrize(
    "declare",
    [
        lambda: gate.gates("delay", gate.better_than()),
        lambda: gate.gates("delay", "better"),
        lambda: gate.slices_not_worse("origin"),
        lambda: gate.reproduces(at_least="bit"),
        lambda: gate.better_than(metrics=["auk"]),
    ],
)
def test_declarations_that_cannot_work_are_refused_when_written(declare):
    with pytest.raises(InvalidDefinition) as caught:
        declare()
    assert caught.value.hint


def test_declarations_are_data():
    declared = gate.gates("delay", gate.better_than(), gate.reproduces(), evaluation=EVALUATION)
    assert msgspec.json.decode(msgspec.json.encode(declared), type=gate.GateSet) == declared
