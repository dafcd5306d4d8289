"""Endpoints: who answers whom, what was answered, and finding it again."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.trained import add_flights, train
from tests.support.workspaces import FakeClock, copied

from everloop.client.ambient import using
from everloop.domain import gates as gate
from everloop.domain.deployments import Arm, Mode, arm_of, checked_arms, key_number, thresholds
from everloop.domain.expressions import evaluate
from everloop.errors import InvalidInput, NotFound, StorageError, Unavailable
from everloop.serving.frames import Frame, encode, hex_ids, new_ids, pack, pack_times
from everloop.serving.predictions import HEAD, table_of
from everloop.serving.snapshot import log_folder
from everloop.store.journal import JournalWriter
from everloop.tracking.formats.fresh import PROVEN, proven
from everloop.workspace.local import LocalWorkspace

NOON = datetime(2013, 4, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def two_versions(tmp_path_factory):
    """Where two registered versions are, of which the first answers the endpoint 'delay', and the moment that it began to."""
    folder, clock = tmp_path_factory.mktemp("two"), FakeClock()
    with LocalWorkspace(folder / "project", clock=clock) as workspace, using(workspace):
        data = add_flights(workspace, folder)
        workspace.registry.register(train(workspace, data), "delay")
        workspace.registry.register(train(workspace, data, C=0.01), "delay")
        workspace.serving.deploy("delay", "model:delay@v1")
    return folder / "project", clock.now


@pytest.fixture
def deployed(two_versions, tmp_path):
    """A workspace with these."""
    project, now = two_versions
    with copied(project, tmp_path / "deployed", FakeClock(now)) as workspace:
        yield workspace


@pytest.fixture
def endpoint(deployed):
    return deployed.serving


@pytest.fixture(scope="module")
def running(two_versions, tmp_path_factory):
    """The same with a server of 'delay', for tests that look at a day of their own: to start one takes seconds."""
    project, now = two_versions
    with (
        copied(project, tmp_path_factory.mktemp("running"), FakeClock(now)) as workspace,
        workspace.serving.start("delay") as server,
    ):
        yield workspace.serving, server.url


def ask(url, rows=3, time=NOON, **more):
    body = {
        "columns": {"temp": [60.0 + row for row in range(rows)], "wind": [10.0] * rows},
        "time": time.isoformat(),
        **more,
    }
    answer = httpx.post(f"{url}/predict", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def test_a_deployment_is_a_folder_that_stands_alone(deployed, endpoint):
    folder = endpoint.folder("delay")
    snapshot = json.loads((folder / "deployment.json").read_text())
    assert snapshot["revision"] == 1
    assert (folder / snapshot["arms"][0]["folder"] / "model.skops").is_file()
    assert ("model:delay@v1", "endpoint:delay", "deployed") in deployed.ledger.edges_of(
        "endpoint:delay", upward=True
    )


def test_what_a_gate_has_proven_on_this_machine_is_not_proven_again(deployed, endpoint, tmp_path):
    """A fresh process takes seconds; the proof goes with the model's folder, but never to another machine."""
    gates = [gate.answers_in_fresh_process(tolerance=1e-9)]
    assert deployed.registry.promote("model:delay@v2", gates=gates).allowed
    endpoint.deploy("delay", "model:delay@v2")
    unproven, by_gate = (
        endpoint.folder("delay") / "models" / deployed.registry.version(f"delay@v{number}").digest
        for number in (1, 2)
    )
    assert not proven(unproven)
    assert proven(by_gate)
    (by_gate / PROVEN).write_text("scikit-learn==0.1")
    assert not proven(by_gate), "other packages: another proof is needed"
    package = deployed.registry.package("model:delay@v2", "folder", out=tmp_path / "package", verify=True)
    assert not list(Path(package.path).rglob(PROVEN))


def test_arms_have_a_history(deployed, endpoint):
    before = deployed.clock.now
    deployed.clock.advance(days=1)
    arms = [Arm("champion", "delay@v1", weight=0.9), Arm("candidate", "delay@v2", weight=0.1)]
    record = endpoint.set_arms("delay", arms, "canary")
    assert record.revision == 2
    assert record.arm("candidate").model == "model:delay@v2"
    assert [(each.revision, each.reason) for each in endpoint.revisions("delay")] == [
        (2, "canary"),
        (1, "deployed model:delay@v1"),
    ]
    assert [arm.name for arm in endpoint.arms_at("delay", before)] == ["champion"]
    assert endpoint.endpoint("delay").salt == record.salt


@pytest.mark.parametrize(
    ("arms", "says"),
    [
        ([Arm("a", "delay@v1", weight=0.5)], "sum to 0.5"),
        ([Arm("a", "delay@v1", mode=Mode.SHADOW)], "no arm is live"),
        ([Arm("a", "delay@v1"), Arm("a", "delay@v2", mode=Mode.OFF)], "two arms are called 'a'"),
        ([Arm("a", "delay@v1", weight=-1.0)], "weight of arm 'a' is -1"),
        ([Arm("a", "delay@v1", transform={"temp": "open('x')"})], "more than arithmetic"),
        ([Arm("a", "delay@v1", transform={"tmp": "temp * 2"})], "takes no column 'tmp'"),
    ],
)
def test_arms_that_make_no_sense_change_nothing(endpoint, arms, says):
    with pytest.raises(InvalidInput, match=says):
        endpoint.set_arms("delay", arms)
    assert endpoint.endpoint("delay").revision == 1


def test_unknown_names_get_the_nearest(endpoint):
    with pytest.raises(NotFound, match="no endpoint 'dela'") as caught:
        endpoint.endpoint("dela")
    assert "'delay'" in caught.value.hint
    with pytest.raises(NotFound, match="no model is called 'x'"):
        endpoint.deploy("delay", "model:x@v1")


def test_every_answer_is_found_again(deployed, endpoint):
    with endpoint.start("delay") as server:
        answered = ask(server.url, keys=["UA1", "UA2", "UA3"])
        table = endpoint.predictions("delay")
        assert endpoint.address("delay") == server.url
        with pytest.raises(Unavailable, match="served already"):
            endpoint.start("delay")
    assert endpoint.address("delay") is None
    assert endpoint.apply("delay") is None
    assert table["prediction_id"].to_pylist() == sorted(answered["prediction_id"])
    rows = {row["prediction_id"]: row for row in table.to_pylist()}
    second = rows[answered["prediction_id"][1]]
    assert second["score"] == answered["probability"][1]
    assert second["label"] == str(answered["label"][1])
    assert (second["key"], second["arm"], second["mode"], second["model"]) == (
        "UA2",
        "champion",
        "live",
        "model:delay@v1",
    )
    assert (second["temp"], second["time"]) == (61.0, NOON)
    found = endpoint.prediction(f"prediction:{answered['prediction_id'][1]}")
    assert found.features == {"temp": 61.0, "wind": 10.0}
    assert found.model == "model:delay@v1"
    brought = endpoint.collect("delay")
    assert [record.rows_by_model for record in brought] == [{"model:delay@v1": 3}]
    assert endpoint.collect("delay") == []
    assert endpoint.prediction(answered["prediction_id"][1]) == found
    assert endpoint.predictions("delay").equals(table)
    assert (
        endpoint.segments("delay", since=brought[0].last, until=brought[0].last + timedelta(days=1))
        == brought
    )
    assert endpoint.segments("delay", until=brought[0].first) == []
    assert endpoint.segments("delay", since=brought[0].last + timedelta(seconds=1)) == []
    with pytest.raises(NotFound):
        endpoint.segments("nowhere", until=brought[0].first)
    assert deployed.governance.verify().ok


def test_a_closed_part_is_collected_while_the_server_goes_on(running):
    endpoint, url = running
    endpoint.deploy("delay", "model:delay@v1")
    endpoint.apply("delay")
    endpoint.collect("delay")
    day = NOON + timedelta(days=10)
    ask(url, time=day)
    assert [record.rows for record in endpoint.collect("delay")] == [3]
    ask(url, rows=2, time=day + timedelta(days=1))
    assert endpoint.predictions("delay", since=day, until=day + timedelta(days=2)).num_rows == 5
    assert (
        endpoint.predictions("delay", since=day + timedelta(hours=1), until=day + timedelta(days=2)).num_rows
        == 2
    )
    assert endpoint.predictions("delay", since=day - timedelta(days=1), until=day).num_rows == 0
    assert endpoint.predictions("delay", columns=["temp"]).column_names == [*HEAD.names, "temp"]


def test_shadow_answers_are_logged_beside_and_never_given(running):
    endpoint, url = running
    endpoint.set_arms("delay", [Arm("champion", "delay@v1"), Arm("candidate", "delay@v2", mode=Mode.SHADOW)])
    endpoint.apply("delay")
    day = {"since": NOON + timedelta(days=20), "until": NOON + timedelta(days=21)}
    answered = ask(url, rows=10, time=day["since"])
    table = endpoint.predictions("delay", **day)
    assert set(answered["arm"]) == {"champion"}
    shadow = endpoint.predictions("delay", modes=["shadow"], **day)
    assert shadow["prediction_id"].to_pylist() == sorted(answered["prediction_id"])
    assert set(shadow["model"].to_pylist()) == {"model:delay@v2"}
    assert table.num_rows == 20
    assert endpoint.prediction(answered["prediction_id"][0]).mode == "live"
    traffic = {each.arm: each for each in endpoint.traffic("delay", **day)}
    assert (traffic["champion"].rows, traffic["candidate"].rows, traffic["candidate"].errors) == (10, 10, 0)


def test_what_the_model_was_fed_is_what_is_logged(running):
    """Serving code that feeds Celsius: the log shows it, whatever the caller sent."""
    endpoint, url = running
    endpoint.deploy("delay", "model:delay@v1", transform={"temp": "(temp - 32) * 5 / 9"})
    endpoint.apply("delay")
    day = NOON + timedelta(days=30)
    ask(url, rows=1, time=day)
    assert endpoint.predictions("delay", since=day, until=day + timedelta(days=1))["temp"].to_pylist() == [
        (60.0 - 32) * 5 / 9
    ]


def test_new_arms_reach_a_running_server(running):
    endpoint, url = running
    for number in (1, 2):
        made = endpoint.deploy("delay", f"model:delay@v{number}")
        assert endpoint.apply("delay") == made.revision
        assert set(ask(url)["model"]) == {f"model:delay@v{number}"}


def test_a_damaged_model_is_not_taken_and_the_old_one_goes_on(endpoint):
    with endpoint.start("delay") as server:
        endpoint.deploy(
            "delay", "model:delay@v2"
        )  # places the files; the server has not looked yet, or takes it rightly
        endpoint.apply("delay")
        endpoint.deploy("delay", "model:delay@v1")
        endpoint.apply("delay")
        folder = endpoint.folder("delay")
        snapshot = json.loads((folder / "deployment.json").read_text())
        snapshot["arms"][0]["digest"], snapshot["revision"] = "0" * 64, 9
        temporary = folder / "next.json"
        temporary.write_text(json.dumps(snapshot))
        os.replace(temporary, folder / "deployment.json")
        with pytest.raises(InvalidInput, match="is not the model that was deployed"):
            endpoint.apply("delay")
        assert set(ask(server.url)["model"]) == {"model:delay@v1"}
        assert "not the model" in httpx.get(f"{server.url}/health").json()["problem"]


def test_a_port_in_use_is_said(endpoint):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f"cannot listen on 127.0.0.1:{port}"):
            endpoint.start("delay", port=port)


def test_a_whole_file_is_answered(endpoint, tmp_path):
    rows = pa.table({"temp": [50.0, 70.0], "wind": [5.0, 9.0], "label": ["mine", "too"], "extra": [1, 2]})
    pq.write_table(rows, tmp_path / "in.parquet")
    assert endpoint.predict("delay@v1", tmp_path / "in.parquet", tmp_path / "out.csv") == 2
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == '"temp","wind","label","extra","probability","output.label"'
    with pytest.raises(InvalidInput, match=r"neither \.parquet nor \.csv"):
        endpoint.predict("delay@v1", tmp_path / "in.parquet", tmp_path / "out.txt")
    with pytest.raises(NotFound):
        endpoint.predict("delay@v1", tmp_path / "none.parquet", tmp_path / "out.csv")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InvalidInput, match="cannot be read"):
        endpoint.predict("delay@v1", tmp_path / "bad.parquet", tmp_path / "new.csv")
    assert not (tmp_path / "new.csv").exists()


def test_an_unknown_prediction_is_not_found(endpoint):
    with pytest.raises(NotFound, match="there is no prediction abcd1234"):
        endpoint.prediction("prediction:abcd1234")


def frame(ids, number=0, **more):
    import numpy as np

    rows = len(ids) // 16
    columns = {
        "temp": pack(np.arange(rows, dtype=np.float64)),
        "carrier": pack(np.array(["AA"] * rows, dtype=object)),
    }
    outputs = {"probability": pack(np.full(rows, 0.5)), "label": pack(np.full(rows, True))}
    facts = {
        "arm": "champion",
        "mode": "live",
        "model": "model:delay@v1",
        "revision": 1,
        "seconds": 0.1,
        **more,
    }
    return Frame(
        ids=ids,
        times=pack_times(NOON + timedelta(seconds=number)),
        received=1,
        score="probability",
        features=columns,
        outputs=outputs,
        **facts,
    )


def test_a_torn_log_loses_only_what_was_never_acknowledged(endpoint):
    log = log_folder(endpoint.folder("delay"))
    log.mkdir(parents=True)
    path = log / f"{'0' * 31}1.journal"
    ids = new_ids(4, NOON)
    with JournalWriter(path) as writer:
        writer.append(encode(frame(ids[:32])))
        writer.append(encode(frame(ids[32:])))
    path.write_bytes(path.read_bytes()[:-5])
    assert [record.rows for record in endpoint.collect("delay")] == [2]
    assert endpoint.predictions("delay")["prediction_id"].to_pylist() == sorted(hex_ids(ids[:32]))


def test_collecting_after_a_kill_in_between_counts_nothing_twice(endpoint, monkeypatch):
    log = log_folder(endpoint.folder("delay"))
    log.mkdir(parents=True)
    path = log / f"{'0' * 31}2.journal"
    with JournalWriter(path) as writer:
        writer.append(encode(frame(new_ids(3, NOON))))
    kept = path.read_bytes()
    assert len(endpoint.collect("delay")) == 1
    path.write_bytes(kept)  # as if it had been killed before removing the journal
    assert endpoint.predictions("delay").num_rows == 3
    assert endpoint.collect("delay") == []
    assert not path.exists()
    assert endpoint.predictions("delay").num_rows == 3


def test_a_prediction_asked_twice_with_its_own_identifier_is_kept_once(endpoint):
    log = log_folder(endpoint.folder("delay"))
    log.mkdir(parents=True)
    with JournalWriter(log / f"{'0' * 31}3.journal") as writer:
        ids = new_ids(2, NOON)
        writer.append_many(
            [encode(frame(ids)), encode(frame(ids, number=5)), encode(frame(ids, arm="other", mode="shadow"))]
        )
    assert [record.rows for record in endpoint.collect("delay")] == [4]


def test_a_damaged_deployment_is_named(endpoint):
    path = endpoint.folder("delay") / "deployment.json"
    path.write_text("{")
    with pytest.raises(InvalidInput, match=r"deployment\.json cannot be read"):
        endpoint.start("delay")


def test_features_called_like_columns_of_the_log_keep_both(endpoint):
    import numpy as np

    ids = new_ids(2, NOON)
    clash = frame(ids)
    clash.features["time"] = pack(np.array([7.0, 8.0]))
    table = table_of([clash])
    assert table["feature.time"].to_pylist() == [7.0, 8.0]
    assert table["time"].to_pylist() == [NOON, NOON]


keys = st.text(min_size=1, max_size=20)
weights = st.integers(1, 99).map(lambda percent: percent / 100)


def split(weight):
    return [Arm("champion", "model:m@v1", weight=1 - weight), Arm("candidate", "model:m@v2", weight=weight)]


@given(keys, st.text(max_size=10), weights, weights)
def test_a_key_that_has_the_candidate_keeps_it_when_the_weight_grows(key, salt, one, two):
    small, large = sorted((one, two))
    if arm_of(salt, key, thresholds(split(small))) == "candidate":
        assert arm_of(salt, key, thresholds(split(large))) == "candidate"


@given(weights)
def test_shares_come_out_as_weights(weight):
    ends = thresholds(split(weight))
    drawn = [arm_of("salt", f"flight-{number}", ends) for number in range(4000)]
    assert drawn.count("candidate") / 4000 == pytest.approx(weight, abs=0.04)


@given(keys)
def test_another_salt_is_another_draw(key):
    assert 0 <= key_number("a", key) < 2**32
    assert checked_arms(split(0.5))
    assert len({key_number(str(salt), key) for salt in range(10)}) > 1


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_expressions_compute_what_python_computes(a, b):
    assert evaluate("(a - 32) * 5 / 9 + -b", {"a": a, "b": b}) == (a - 32) * 5 / 9 + -b


@pytest.mark.parametrize(
    "text", ["", "a.b", "a[0]", "f(a)", "a if b else c", "'x'", "lambda: 1", "a; b", "a and b", "1" * 501]
)
def test_only_arithmetic_is_an_expression(text):
    with pytest.raises(InvalidInput):
        evaluate(text, {"a": 1.0, "b": 2.0})


def test_identifiers_of_a_batch_are_version_7_and_unique():
    ids = hex_ids(new_ids(1000, NOON))
    assert len(set(ids)) == 1000
    assert all(each[12] == "7" and each[16] in "89ab" for each in ids)


def test_serving_operations_work_near_and_far(any_workspace, tmp_path):
    data = add_flights(any_workspace, tmp_path)
    record = any_workspace.registry.register(train(any_workspace, data), "delay")
    made = any_workspace.serving.deploy("delay", record.reference)
    assert any_workspace.serving.endpoint("endpoint:delay") == made
    assert any_workspace.serving.endpoints() == [made]
    assert any_workspace.serving.collect("delay") == []
    assert any_workspace.serving.predictions("delay").num_rows == 0


def test_a_full_disk_is_said(endpoint, monkeypatch):
    from everloop.registry import packaging

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packaging.os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        endpoint.deploy("delay", "model:delay@v2")
    assert endpoint.endpoint("delay").revision == 1
