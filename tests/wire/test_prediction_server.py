"""The prediction server over HTTP: three protocols, bad input of every kind, models changed under load."""

import json
import threading
import time

import httpx
import pytest
from tests.wire.prediction_servers import NAMES, Started, deploy_by_hand, save_flights_model, training_rows

from everloop.domain.deployments import CONTROL_HEADER, Arm, Mode
from everloop.serving.predictions import Segment, joined
from everloop.serving.process import control

ROW = {"temp": 70.0, "wind": None, "hour": 7, "carrier": "AA"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_flights_model(folder / "shallow", depth=1)
    save_flights_model(folder / "deep", depth=4)
    return {"model:delay@v1": folder / "shallow", "model:delay@v2": folder / "deep"}


@pytest.fixture(scope="module")
def served(models, tmp_path_factory):
    """A server with one arm, for tests that do not change it."""
    folder = tmp_path_factory.mktemp("endpoint") / "delay"
    deploy_by_hand(folder, models, [Arm("champion", "model:delay@v1")])
    with Started(folder) as server:
        yield server


class Redeployed:
    """A server whose arms the tests change, as to start one takes seconds."""

    def __init__(self, started):
        self.folder, self.url, self.revision = started.folder, started.url, 1

    def place(self, models, arms):
        """Write the next deployment, of which the server is told nothing."""
        self.revision += 1
        deploy_by_hand(self.folder, models, arms, revision=self.revision)

    def deploy(self, models, arms):
        self.place(models, arms)
        assert control(self.folder, "reload") == {"revision": self.revision}


@pytest.fixture(scope="module")
def other(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("changing") / "delay"
    deploy_by_hand(folder, models, [Arm("champion", "model:delay@v1")])
    with Started(folder) as server:
        yield Redeployed(server)


@pytest.fixture
def client(served):
    with httpx.Client(base_url=served.url, timeout=30) as made:
        yield made


def log_of(folder):
    return joined(
        [part.rows for path in (folder / "log").glob("*.journal") for part in Segment(path).parts()]
    )


def test_health_readiness_and_metrics(client):
    assert client.get("/health").json()["endpoint"] == "delay"
    assert client.get("/ready").json()["arms"][0]["model"] == "model:delay@v1"
    assert client.get("/ping").status_code == 200
    client.post("/predict", json={"rows": [ROW]})
    text = client.get("/metrics").text
    assert (
        'everloop_predictions_total{arm="champion",endpoint="delay",mode="live",model="model:delay@v1"}'
        in text
    )
    assert client.get("/nothing").status_code == 404
    assert client.put("/predict").status_code == 405


def test_rows_are_answered_by_rows_and_columns_by_columns(client):
    rows = training_rows(50)
    by_rows = client.post("/predict", json={"rows": rows}).json()["predictions"]
    columns = {name: [row[name] for row in rows] for name in NAMES}
    by_columns = client.post("/predict", json={"columns": columns}).json()["predictions"]
    assert [each["probability"] for each in by_rows] == by_columns["probability"]
    assert set(by_rows[0]) == {"prediction_id", "arm", "model", "probability", "label"}
    assert len(set(by_columns["prediction_id"])) == 50


def test_predictions_are_logged_before_the_reply(client, served):
    asked = {"rows": [ROW], "keys": ["UA-1"], "ids": ["0" * 31 + "7"], "time": "2013-04-01T12:00:00+02:00"}
    assert client.post("/predict", json=asked).json()["predictions"][0]["prediction_id"] == "0" * 31 + "7"
    rows = {row["prediction_id"]: row for row in log_of(served.folder).to_pylist()}
    logged = rows["0" * 31 + "7"]
    assert logged["time"].isoformat() == "2013-04-01T10:00:00+00:00"
    assert (logged["key"], logged["temp"], logged["wind"], logged["carrier"]) == ("UA-1", 70.0, None, "AA")


def test_invocations_take_the_forms_of_mlflow(client):
    values = [ROW[name] for name in NAMES]
    forms = [
        {"dataframe_split": {"columns": list(NAMES), "data": [values], "index": [4]}},
        {"dataframe_split": {"columns": [*NAMES[::-1], "more"], "data": [[*values[::-1], 1]]}},
        {"dataframe_records": [ROW]},
        {"instances": [ROW]},
        {"inputs": {name: [value] for name, value in ROW.items()}},
        {"inputs": [ROW]},
    ]
    answers = [client.post("/invocations", json=form) for form in forms]
    assert {answer.status_code for answer in answers} == {200}
    assert {json.dumps(answer.json()["predictions"]) for answer in answers} == {"[true]"}
    assert client.post("/invocations", json={"instances": [ROW], "inputs": [ROW]}).status_code == 400
    assert (
        client.post("/invocations", content=b"a,b", headers={"content-type": "text/csv"}).status_code == 400
    )


def tensors(**change):
    made = {
        "temp": {"datatype": "FP64", "shape": [2], "data": [70.0, 50.0]},
        "wind": {"datatype": "FP32", "shape": [2, 1], "data": [[3.0], [None]]},
        "hour": {"datatype": "INT32", "shape": [2], "data": [7, 8]},
        "carrier": {"datatype": "BYTES", "shape": [2], "data": ["AA", "UA"]},
    }
    for name, value in change.items():
        made[name] = made.get(name, {}) | value
    return [{"name": name, **tensor} for name, tensor in made.items()]


def test_open_inference_in_json(client):
    metadata = client.get("/v2/models/delay").json()
    assert [each["name"] for each in metadata["inputs"]] == list(NAMES)
    assert client.get("/v2/models/delay/versions/1/ready").json()["ready"] is True
    asked = {"id": "7", "inputs": tensors(), "outputs": [{"name": "probability"}]}
    reply = client.post("/v2/models/delay/infer", json=asked).json()
    assert reply["id"] == "7"
    assert [(each["name"], each["shape"]) for each in reply["outputs"]] == [("probability", [2])]
    assert client.get("/v2/models/other").status_code == 404
    assert client.get("/v2/health/live").json() == {"live": True, "ready": True}


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": tensors(temp={"shape": [3]})},
        {"inputs": tensors(temp={"datatype": "BYTES"})},
        {"inputs": tensors(hour={"data": [7, 2**70]})},
        {"inputs": tensors(extra={"datatype": "FP64", "shape": [2], "data": [1, 2]})},
        {"inputs": tensors()[1:]},
        {"inputs": []},
        {"inputs": [3]},
        {"inputs": tensors(), "outputs": [{"name": "nothing"}]},
        {
            "inputs": [
                {"name": "temp", "shape": [2], "datatype": "FP64", "parameters": {"binary_data_size": 16}}
            ]
        },
    ],
)
def test_open_inference_refuses_what_does_not_fit(client, body):
    reply = client.post("/v2/models/delay/infer", json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]


def test_the_binary_extension_is_refused_with_a_sentence(client):
    reply = client.post(
        "/v2/models/delay/infer", content=b"{}....", headers={"Inference-Header-Content-Length": "2"}
    )
    assert reply.status_code == 400
    assert "binary" in reply.json()["error"]


BAD = {
    "empty": b"",
    "not JSON": b"temp=1",
    "not UTF-8": b"\xff\xfe{}",
    "a letter that is not UTF-8": b'{"rows": [{"carrier": "\xff"}]}',
    "not an object": b"[1]",
    "too deep": b'{"rows":' + b"[" * 100_000,
    "no rows": b'{"rows": []}',
    "rows of what": b'{"rows": [1]}',
    "rows and columns": b'{"rows": [{}], "columns": {}}',
    "neither": b"{}",
    "unknown member": json.dumps({"rows": [ROW], "key": ["a"]}).encode(),
    "missing column": json.dumps({"rows": [{"temp": 1.0}]}).encode(),
    "unknown column": json.dumps({"rows": [{**ROW, "tmp": 1.0}]}).encode(),
    "half a number": json.dumps({"rows": [{**ROW, "hour": 2.5}]}).encode(),
    "a number as an object": json.dumps({"rows": [{**ROW, "hour": {"is": 7}}]}).encode(),
    "infinite": b'{"rows": [{"temp": Infinity, "wind": 1, "hour": 1, "carrier": "AA"}]}',
    "text for a number": json.dumps({"rows": [{**ROW, "temp": "70"}]}).encode(),
    "a number for text": json.dumps({"rows": [{**ROW, "carrier": 1}]}).encode(),
    "true for a number": json.dumps({"rows": [{**ROW, "temp": True}]}).encode(),
    "a list for a number": json.dumps({"rows": [{**ROW, "temp": [1]}]}).encode(),
    "columns of what": b'{"columns": {"temp": 1}}',
    "uneven columns": json.dumps(
        {"columns": {"temp": [1.0], "wind": [1.0, 2.0], "hour": [1], "carrier": ["AA"]}}
    ).encode(),
    "too few keys": json.dumps({"rows": [ROW], "keys": []}).encode(),
    "no key": json.dumps({"rows": [ROW], "keys": [None]}).encode(),
    "own words as identifiers": json.dumps({"rows": [ROW], "ids": ["flight-1"]}).encode(),
    "a time without zone": json.dumps({"rows": [ROW], "time": "2013-04-01T12:00:00"}).encode(),
    "no time": json.dumps({"rows": [ROW], "time": "noon"}).encode(),
    "huge number": b'{"rows": [{"temp": 1e999, "wind": 1, "hour": 1, "carrier": "AA"}]}',
    "half a character": b'{"rows": [{"temp": 1, "wind": 1, "hour": 1, "carrier": "\\ud800"}]}',
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_a_sentence_never_a_500(client, served, what):
    before = log_of(served.folder).num_rows
    reply = client.post("/predict", content=BAD[what])
    assert reply.status_code == 400, reply.text
    body = reply.json()
    assert body["error"] == body["message"]
    assert body["error_code"] == "INVALID_INPUT"
    assert log_of(served.folder).num_rows == before


def test_what_the_model_can_do_without_may_be_missing(client):
    assert client.post("/predict", json={"rows": [{**ROW, "carrier": "ZZ"}]}).status_code == 200
    rows = b'{"rows": [{"temp": NaN, "wind": NaN, "hour": null, "carrier": "AA"}]}'
    assert client.post("/predict", content=rows).status_code == 200


def test_what_the_model_needs_may_not_be_missing(other, tmp_path):
    from sklearn.linear_model import LogisticRegression

    from everloop.tracking.formats import save_model

    matrix = [[float(row % 5), row % 3] for row in range(30)]
    model = LogisticRegression().fit(matrix, [row % 2 for row in range(30)])
    example = {"temp": [row[0] for row in matrix], "hour": [row[1] for row in matrix]}
    save_model(model, tmp_path / "model", example=example)
    other.deploy({"model:plain@v1": tmp_path / "model"}, [Arm("champion", "model:plain@v1")])
    for body in (
        b'{"rows": [{"temp": null, "hour": 1}]}',
        b'{"rows": [{"temp": NaN, "hour": 1}]}',
        b'{"rows": [{"temp": 1, "hour": null}]}',
    ):
        reply = httpx.post(f"{other.url}/predict", content=body)
        assert reply.status_code == 400
        assert "may not be empty; row 0 has no value" in reply.json()["error"]


def test_bodies_and_batches_have_a_limit(client):
    reply = client.post("/predict", content=b" " * 50_000_000)
    assert reply.status_code == 413
    assert reply.json()["hint"]
    many = {
        "columns": {
            "temp": [1.0] * 20_001,
            "wind": [1.0] * 20_001,
            "hour": [1] * 20_001,
            "carrier": ["AA"] * 20_001,
        }
    }
    assert client.post("/predict", json=many).status_code == 413


def test_a_header_names_the_arm(models, other):
    arms = [Arm("champion", "model:delay@v1"), Arm("candidate", "model:delay@v2", mode=Mode.SHADOW)]
    other.deploy(models, arms)
    asked = {"json": {"rows": [ROW]}, "headers": {"X-Everloop-Arm": "candidate"}}
    assert httpx.post(f"{other.url}/predict", **asked).json()["predictions"][0]["model"] == "model:delay@v2"
    wrong = httpx.post(f"{other.url}/predict", json={"rows": [ROW]}, headers={"X-Everloop-Arm": "candidat"})
    assert wrong.status_code == 400
    assert "'candidate'" in wrong.json()["hint"]


def test_keys_stay_with_their_arm(models, other):
    arms = [Arm("champion", "model:delay@v1", weight=0.7), Arm("candidate", "model:delay@v2", weight=0.3)]
    other.deploy(models, arms)
    rows, keys = training_rows(300), [f"flight-{number}" for number in range(300)]

    def ask(asked, **headers):
        return httpx.post(f"{other.url}/predict", json=asked, headers=headers).json()["predictions"]

    first, second = (ask({"rows": rows, "keys": keys}) for _ in range(2))
    single = ask({"rows": rows[5:6], "keys": keys[5:6]})
    alone = {arm: ask({"rows": rows}, **{"X-Everloop-Arm": arm}) for arm in ("champion", "candidate")}
    assert [each["arm"] for each in first] == [each["arm"] for each in second]
    assert single[0]["arm"] == first[5]["arm"]
    assert {each["arm"] for each in first} == {"champion", "candidate"}
    for row, each in enumerate(first):
        assert each["probability"] == alone[each["arm"]][row]["probability"]


def test_models_are_changed_under_load_without_a_lost_request(models, tmp_path):
    """Champion, canary, back: every request gets an answer, and each answer is in the log. A server of its own, that has yet to
    load the candidate."""
    champion, candidate = Arm("champion", "model:delay@v1"), Arm("candidate", "model:delay@v2")
    canary = [Arm("champion", "model:delay@v1", weight=0.5), Arm("candidate", "model:delay@v2", weight=0.5)]
    deploy_by_hand(tmp_path, models, [champion])
    statuses: list[int] = []
    answered: list[str] = []
    done = threading.Event()

    def ask(url):
        with httpx.Client(base_url=url, timeout=30) as client:
            while not done.is_set():
                reply = client.post("/predict", json={"rows": [ROW]})
                statuses.append(reply.status_code)
                answered.append(reply.json()["predictions"][0]["prediction_id"])

    with Started(tmp_path) as server:
        threads = [threading.Thread(target=ask, args=(server.url,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for revision, arms in enumerate((canary, [candidate], [champion], canary, [champion]), start=2):
            deploy_by_hand(tmp_path, models, arms, revision=revision)
            assert control(tmp_path, "reload") == {"revision": revision}
        done.set()
        for thread in threads:
            thread.join()
    assert set(statuses) == {200}
    assert set(answered) <= set(log_of(tmp_path)["prediction_id"].to_pylist())


@pytest.mark.parametrize("key", [None, "", "guessed"])
def test_only_who_may_read_the_folder_gives_orders(served, client, key):
    headers = {} if key is None else {CONTROL_HEADER: key}
    for order in ("reload", "settle", "anything"):
        reply = client.post(f"/control/{order}", json={"close_segment": True}, headers=headers)
        assert reply.status_code == 403
        assert "takes orders only" in reply.json()["message"]
    assert control(served.folder, "settle")["settled"]
    assert (served.folder / "server.json").stat().st_mode & 0o077 == 0


def test_a_new_deployment_is_noticed_without_being_told(models, other):
    other.place(models, [Arm("champion", "model:delay@v1"), Arm("old", "model:delay@v1", mode=Mode.OFF)])
    deadline = time.monotonic() + 30
    while httpx.get(f"{other.url}/health").json()["revision"] != other.revision:
        assert time.monotonic() < deadline
