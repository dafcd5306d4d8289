"""MLflow's protocol as it is on the wire: what no client says by accident, who may come in, that runs are the same runs here."""

import gzip
import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import httpx
import psutil
import pytest
from tests.support.workspaces import FakeClock, served

import everloop as ev
from everloop.client.remote import RemoteWorkspace
from everloop.domain.run_inputs import LoggedDataset
from everloop.errors import Unavailable
from everloop.workspace.local import LocalWorkspace

RUNS = "/api/2.0/mlflow/runs"


class Wire:
    """A served workspace, spoken to in plain HTTP."""

    def __init__(self, url: str, workspace: LocalWorkspace) -> None:
        self.url, self.workspace = url, workspace
        self.http = httpx.Client(base_url=url, timeout=30, trust_env=False)

    def post(self, path: str, **fields: Any) -> dict[str, Any]:
        answer = self.http.post(path, json=fields)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def get(self, path: str, /, **fields: Any) -> dict[str, Any]:
        answer = self.http.get(path, params=fields)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def run(self, **fields: Any) -> str:
        """The identifier of a new run."""
        return str(self.post(f"{RUNS}/create", experiment_id="0", **fields)["run"]["info"]["run_id"])

    def refused(self, method: str, path: str, **request: Any) -> tuple[int, str, str]:
        """Status, error code and message of a request that fails."""
        answer = self.http.request(method, path, **request)
        assert answer.headers["content-type"] == "application/json"
        body = answer.json()
        return answer.status_code, body["error_code"], body["message"]


@pytest.fixture
def wire(workspace: LocalWorkspace) -> Iterator[Wire]:
    with served(workspace) as url:
        found = Wire(url, workspace)
        yield found
        found.http.close()


class TestMessages:
    def test_numbers_may_be_text_and_a_bare_nan(self, wire: Wire) -> None:
        run = wire.run(start_time="1700000000000")
        for value in ('"1.5"', "NaN", '"NaN"', "true", '"-Infinity"', "7"):
            body = f'{{"run_id":"{run}","key":"m","value":{value},"timestamp":"5","step":"3","unknown":[1],"model_id":null}}'
            answer = wire.http.post(
                f"{RUNS}/log-metric",
                content=body,
                headers={"Content-Type": "application/json; charset=utf-8"},
            )
            assert (answer.status_code, answer.json()) == (200, {})
        points = wire.get("/api/2.0/mlflow/metrics/get-history", run_uuid=run, metric_key="m")["metrics"]
        assert {str(each["value"]) for each in points} == {"1.5", "NaN", "1.0", "-Infinity", "7.0"}
        assert all(each["timestamp"] == 5 and each["step"] == 3 for each in points)

    def test_a_fresh_run_is_answered_without_what_it_has_not(self, wire: Wire) -> None:
        run = wire.post(f"{RUNS}/create", experiment_id="0", run_name="first")["run"]
        assert set(run) == {"info", "data", "inputs", "outputs"}
        assert run["inputs"] == run["outputs"] == {}
        assert "end_time" not in run["info"]
        assert "metrics" not in run["data"]
        assert run["info"]["run_id"] == run["info"]["run_uuid"]
        assert {"key": "mlflow.runName", "value": "first"} in run["data"]["tags"]

    def test_what_cannot_be_understood_is_400(self, wire: Wire) -> None:
        run = wire.run()
        metric = {"run_id": run, "key": "m", "value": 1, "timestamp": 1}
        for change in ({"value": "abc"}, {"value": None}, {"timestamp": -1}, {"timestamp": None}, {"step": 2**63},
                       {"step": 1.5}, {"key": None}, {"run_id": None}, {"value": [1]}, {"timestamp": 10**18}):  # fmt: skip
            status, code, _ = wire.refused("POST", f"{RUNS}/log-metric", json=metric | change)
            assert (status, code) == (400, "INVALID_PARAMETER_VALUE"), change
        for content in (b"", b"[]", b"{", b'"x"', b"\xff", b"[" * 100_000):
            headers = {"Content-Type": "application/json"}
            assert wire.refused("POST", f"{RUNS}/log-metric", content=content, headers=headers)[0] == 400
        status, _, message = wire.refused(
            "POST", f"{RUNS}/log-metric", content=b"{}", headers={"Content-Type": "text/plain"}
        )
        assert status == 400
        assert "application/json" in message
        _, _, message = wire.refused(
            "POST", f"{RUNS}/log-metric", json={"run_id": run, "value": 1, "timestamp": 1}
        )
        assert "Missing value for required parameter 'key'" in message
        assert wire.refused("POST", f"{RUNS}/update", json={"run_id": run, "status": "DONE"})[0] == 400
        assert wire.refused("GET", f"{RUNS}/get")[0] == 400

    def test_unknown_endpoints_and_methods_answer_json(self, wire: Wire) -> None:
        assert wire.refused("GET", "/api/2.0/mlflow/nothing")[:2] == (404, "ENDPOINT_NOT_FOUND")
        assert wire.refused("POST", "/api/3.0/mlflow/runs/create", json={})[:2] == (404, "ENDPOINT_NOT_FOUND")
        assert wire.refused("PUT", f"{RUNS}/create", json={})[:2] == (405, "ENDPOINT_NOT_FOUND")
        assert wire.refused("GET", "/ajax-api/2.0/mlflow/gateway/x")[0] == 404

    @pytest.mark.parametrize("prefix", ["", "/ajax-api/2.0", "/team/a/api/2.0", "/api/2.0/preview"])
    def test_other_prefixes_lead_to_the_same_endpoints(self, wire: Wire, prefix: str) -> None:
        base = prefix or "/api/2.0"
        found = wire.get(f"{base}/mlflow/experiments/get", experiment_id="0")
        assert found["experiment"]["name"] == "Default"

    def test_many_runs_for_a_chart(self, wire: Wire) -> None:
        runs = [wire.run() for _ in range(3)]
        for run in runs:
            metrics = [{"key": "m", "value": i, "timestamp": i, "step": i} for i in range(1000)]
            wire.post(f"{RUNS}/log-batch", run_id=run, metrics=metrics)
        asked = {"run_ids": runs, "metric_key": "m", "max_results": 11}
        found = wire.get("/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval", **asked)["metrics"]
        steps = [each["step"] for each in found if each["run_id"] == runs[1]]
        assert (len(steps), steps[0], steps[-1]) == (11, 0, 999)
        inside = wire.get(
            "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval",
            start_step=10,
            end_step=20,
            **asked | {"max_results": 100},
        )["metrics"]
        assert {each["step"] for each in inside} == set(range(10, 21))
        for wrong in (
            {"max_results": 2501},
            {"max_results": 0},
            {"run_ids": ["0" * 32] * 101},
            {"start_step": 5},
        ):
            path = "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"
            assert wire.refused("GET", path, params=asked | wrong)[0] == 400
        bulk = wire.get(
            "/ajax-api/2.0/mlflow/metrics/get-history-bulk", run_id=runs, metric_key="m", max_results=1500
        )
        assert len(bulk["metrics"]) == 1500

    def test_the_server_says_what_it_can(self, wire: Wire) -> None:
        assert wire.get("/api/3.0/mlflow/server-info")["multipart_uploads_enabled"] is False
        assert wire.http.get("/version").text == ev.__version__


class TestDoors:
    def test_a_ledger_that_is_locked_is_worth_another_try(
        self, wire: Wire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def locked(*_: object, **__: object) -> None:
            raise Unavailable("the ledger is locked", hint="wait")

        monkeypatch.setattr("everloop.tracking.tracking.Tracking.experiment_by_number", locked)
        answer = wire.http.get("/api/2.0/mlflow/experiments/get", params={"experiment_id": "0"})
        assert (answer.status_code, answer.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        assert answer.headers["retry-after"] == "1"

    def test_tokens_open_as_password_and_as_bearer(self, workspace: LocalWorkspace) -> None:
        engineer = workspace.governance.create_token("ann", "engineer").secret
        viewer = workspace.governance.create_token("vic", "viewer").secret
        with served(workspace) as url, httpx.Client(base_url=url, trust_env=False) as http:
            path, body = f"{RUNS}/create", {"experiment_id": "0"}
            refused = http.post(path, json=body)
            assert (refused.status_code, refused.json()["error_code"]) == (401, "UNAUTHENTICATED")
            assert "Basic" in refused.headers["www-authenticate"]
            assert http.post(path, json=body, auth=("anyone", "wrong")).status_code == 401
            assert http.post(path, json=body, headers={"Authorization": "Basic !"}).status_code == 401
            made = http.post(path, json=body, auth=("anyone", engineer))
            assert made.status_code == 200
            assert made.json()["run"]["info"]["user_id"] == "ann"
            assert (
                http.post(path, json=body, headers={"Authorization": f"Bearer {engineer}"}).status_code == 200
            )
            seen = http.get(
                "/api/2.0/mlflow/experiments/get", params={"experiment_id": "0"}, auth=("x", viewer)
            )
            assert seen.status_code == 200
            denied = http.post(path, json=body, auth=("x", viewer))
            assert (denied.status_code, denied.json()["error_code"]) == (403, "PERMISSION_DENIED")
            run = made.json()["run"]["info"]
            files = f"/api/2.0/mlflow-artifacts/artifacts/0/{run['run_id']}/artifacts/a.txt"
            assert http.put(files, content=b"x").status_code == 401
            assert http.put(files, content=b"x", auth=("x", viewer)).status_code == 403
            assert http.put(files, content=b"x", auth=("x", engineer)).status_code == 200

    def test_other_sites_stay_out(self, wire: Wire) -> None:
        foreign = {"Origin": "https://elsewhere.example"}
        assert wire.refused("POST", f"{RUNS}/create", json={"experiment_id": "0"}, headers=foreign)[0] == 403
        rebound = {"Host": "elsewhere.example"}
        assert (
            wire.refused("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", headers=rebound)[0] == 403
        )


class TestOneLedger:
    def test_what_a_client_logs_is_a_run_like_any_other(self, wire: Wire) -> None:
        tags = {
            "mlflow.user": "ann", "mlflow.source.name": "/home/ann/train.py", "mlflow.source.git.commit": "36cfce" + "0" * 34,
            "mlflow.runName": "first", "team": "a",
        }  # fmt: skip
        parent = wire.run()
        given = [
            {"key": key, "value": value} for key, value in (tags | {"mlflow.parentRunId": parent}).items()
        ]
        run = wire.run(tags=given, start_time=1_700_000_000_123)
        wire.post(
            f"{RUNS}/log-batch",
            run_id=run,
            metrics=[
                {"key": "rmse", "value": value, "timestamp": 1, "step": step}
                for step, value in enumerate([3, 2, 1])
            ],
            params=[{"key": "alpha", "value": "0.5"}],
        )
        found = wire.workspace.tracking.run(run)
        assert (found.name, found.user, found.source, found.version[:6]) == (
            "first",
            "ann",
            "train.py",
            "36cfce",
        )
        assert (found.parent, found.params, found.metrics) == (parent, {"alpha": "0.5"}, {"rmse": 1})
        (summary,) = wire.workspace.tracking.summaries(run)
        assert (summary.count, summary.min, summary.max, summary.last_step) == (3, 1, 3, 2)
        assert wire.workspace.tracking.search("metrics.rmse < 2 and user = 'ann'").runs[0].run_id == run
        assert (f"run:{parent}", f"run:{run}", "child") in wire.workspace.ledger.edges_of(
            f"run:{run}", upward=True
        )

    def test_what_was_logged_here_is_seen_by_clients(self, wire: Wire) -> None:
        with wire.workspace.tracking.start("churn", "mine", params={"alpha": 1}) as run:
            for step in range(3):
                run.log_metric("loss", 1 / (step + 1), step=step)
            run.log_text("notes", "a/notes.txt")
        found = wire.get(f"{RUNS}/get", run_id=run.run_id)["run"]
        assert (found["info"]["run_name"], found["info"]["status"]) == ("mine", "FINISHED")
        tags = {each["key"]: each["value"] for each in found["data"]["tags"]}
        assert tags["mlflow.runName"] == "mine"
        assert tags["mlflow.user"]
        assert found["data"]["params"] == [{"key": "alpha", "value": "1"}]
        (metric,) = found["data"]["metrics"]
        assert (metric["value"], metric["step"]) == (1 / 3, 2)
        history = wire.get("/api/2.0/mlflow/metrics/get-history", run_id=run.run_id, metric_key="loss")[
            "metrics"
        ]
        assert [each["step"] for each in history] == [0, 1, 2]
        listed = wire.get("/api/2.0/mlflow/artifacts/list", run_id=run.run_id, path="a")
        assert [each["path"] for each in listed["files"]] == ["a/notes.txt"]
        where = f"tags.mlflow.user = '{tags['mlflow.user']}' and tags.mlflow.runName = 'mine'"
        experiment = found["info"]["experiment_id"]
        assert wire.post(f"{RUNS}/search", experiment_ids=[experiment], filter=where)["runs"]

    def test_a_run_of_ours_takes_what_a_client_adds(self, wire: Wire) -> None:
        """The journal's own records are numbered: what comes beside it neither hides nor repeats any of them."""
        with wire.workspace.tracking.start("both") as run:
            for step in range(5):
                run.log_metric("loss", step, step=step)
                wire.post(
                    f"{RUNS}/log-metric",
                    run_id=run.run_id,
                    key="loss",
                    value=-step,
                    timestamp=1,
                    step=100 + step,
                )
        history = wire.workspace.tracking.open(run.run_id).history("loss")
        assert sorted(history["step"].to_pylist()) == [0, 1, 2, 3, 4, 100, 101, 102, 103, 104]

    def test_datasets_are_part_of_the_run(self, wire: Wire) -> None:
        run = wire.run()
        dataset = {"name": "flights", "digest": "abc", "source_type": "local", "source": "{}", "schema": "{}"}
        given = {"dataset": dataset, "tags": [{"key": "mlflow.data.context", "value": "train"}]}
        wire.post(f"{RUNS}/log-inputs", run_id=run, datasets=[given, given])
        (found,) = wire.workspace.tracking.datasets_of([run])[run]
        assert isinstance(found, LoggedDataset)
        assert (found.name, found.digest, found.context) == ("flights", "abc", "train")
        other = wire.run()
        wire.post(f"{RUNS}/log-inputs", run_id=other, datasets=[given])
        pages = "/ajax-api/2.0/mlflow/experiments/search-datasets"
        summary = {"experiment_id": "0", "name": "flights", "digest": "abc", "context": "train"}
        assert wire.post(pages, experiment_ids=["0", "77", "x"])["dataset_summaries"] == [summary]
        assert wire.post(pages, experiment_ids=["1"]) == wire.post(pages) == {}
        for change in ({"name": "x" * 501}, {"digest": "x" * 37}, {"name": ""}):
            wrong = {"run_id": run, "datasets": [{"dataset": dataset | change}]}
            assert wire.refused("POST", f"{RUNS}/log-inputs", json=wrong)[0] == 400

    def test_a_silent_run_is_not_running_for_ever(self, wire: Wire, clock: FakeClock) -> None:
        run = wire.run()

        def status() -> str:
            return str(wire.get(f"{RUNS}/get", run_id=run)["run"]["info"]["status"])

        clock.advance(hours=23)
        assert status() == "RUNNING"
        wire.post(f"{RUNS}/log-metric", run_id=run, key="m", value=1, timestamp=1)
        clock.advance(hours=23)
        assert status() == "RUNNING"
        clock.advance(hours=2)
        assert status() == "KILLED"
        assert wire.workspace.tracking.settle() == [run]
        assert wire.workspace.tracking.run(run).status == "interrupted"
        wire.post(f"{RUNS}/log-metric", run_id=run, key="m", value=2, timestamp=2)
        assert status() == "RUNNING"
        wire.post(f"{RUNS}/update", run_id=run, status="FINISHED", end_time=1_800_000_000_000)
        assert status() == "FINISHED"

    def test_points_are_said_once_a_second(self, wire: Wire, clock: FakeClock) -> None:
        run = wire.run()
        before = len(wire.workspace.governance.log(actions=["run.*"], limit=1000))
        for step in range(100):  # the clock goes on by a few milliseconds a call
            wire.post(f"{RUNS}/log-metric", run_id=run, key="m", value=step, timestamp=step, step=step)
        said = len(wire.workspace.governance.log(actions=["run.*"], limit=1000)) - before
        assert said <= 2
        clock.advance(seconds=2)
        wire.post(f"{RUNS}/log-metric", run_id=run, key="m", value=1, timestamp=1000, step=1000)
        assert len(wire.workspace.governance.log(actions=["run.*"], limit=1000)) - before == said + 1
        wire.post(f"{RUNS}/set-tag", run_id=run, key="t", value="1")
        assert len(wire.workspace.governance.log(actions=["run.*"], limit=1000)) - before == said + 2
        assert wire.workspace.governance.verify().faults == []

    def test_the_operations_work_from_afar(self, wire: Wire, tmp_path: Path, clock: FakeClock) -> None:
        """What the adapter calls is there for our own client too."""
        from everloop.tracking import records

        run = wire.run()
        with RemoteWorkspace(wire.url, folder=tmp_path / "far", clock=clock) as far:
            data = records.batch([records.encode((records.POINT, "m", math.nan, 1, 1_000))])
            far.tracking.record(run, data)
            (point,) = far.tracking.last_points([run])[run]
            assert math.isnan(point.number)
            assert far.tracking.experiment_by_number(0).name == "Default"
            assert far.tracking.search_experiments("name like 'Def%'").experiments[0].id == 0


class TestFiles:
    def test_memory_does_not_grow_with_a_file(self, tmp_path: Path) -> None:
        """300 MB in and out; what a larger file needs is no more, since nothing depends on its length."""
        with LocalWorkspace(tmp_path / "project") as workspace, served(workspace) as url:
            wire = Wire(url, workspace)
            path = f"/api/2.0/mlflow-artifacts/artifacts/0/{wire.run()}/artifacts"
            wire.http.put(f"{path}/small", content=b"x" * (8 << 20))
            process, most, done = psutil.Process(), [0], threading.Event()
            before = process.memory_info().rss

            def watch() -> None:
                while not done.wait(0.02):
                    most[0] = max(most[0], process.memory_info().rss)

            thread = threading.Thread(target=watch)
            thread.start()
            try:
                piece = os.urandom(1 << 20)
                size = 300

                def pieces() -> Iterator[bytes]:
                    for number in range(size):
                        yield number.to_bytes(8) + piece[8:]

                assert wire.http.put(f"{path}/large", content=pieces()).status_code == 200
                received = 0
                with wire.http.stream("GET", f"{path}/large") as answer:
                    for part in answer.iter_bytes():
                        received += len(part)
            finally:
                done.set()
                thread.join()
            assert received == size << 20
            assert most[0] - before < 64 << 20
            wire.http.close()

    def test_a_cut_upload_leaves_nothing(self, wire: Wire) -> None:
        run = wire.run()
        path = f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/x"

        def broken() -> Iterator[bytes]:
            yield b"x" * 100_000
            raise RuntimeError("the network went away")

        with pytest.raises(RuntimeError):
            wire.http.put(path, content=broken())
        assert wire.get("/api/2.0/mlflow/artifacts/list", run_id=run) == {
            "root_uri": f"mlflow-artifacts:/0/{run}/artifacts"
        }

    def test_parts_are_a_file_when_all_are_there(self, workspace: LocalWorkspace) -> None:
        ann = ("x", workspace.governance.create_token("ann", "engineer").secret)
        bob = ("x", workspace.governance.create_token("bob", "engineer").secret)
        with served(workspace) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as http:
            made = http.post(f"{RUNS}/create", json={"experiment_id": "0"}, auth=ann).json()["run"]["info"]
            proxy = "/team/api/2.0/mlflow-artifacts"
            root = f"0/{made['run_id']}/artifacts"
            file = {"path": "C:\\\\data\\\\x.bin"}

            def asked(
                what: str, who: tuple[str, str] = ann, folder: str = "f", **fields: Any
            ) -> httpx.Response:
                return http.post(f"{proxy}/mpu/{what}/{root}/{folder}", json=file | fields, auth=who)

            def files() -> Any:
                found = http.get(f"{proxy}/artifacts", params={"path": f"{root}/f"}, auth=ann).json()
                return found.get("files", [])

            begun = asked("create", num_parts=2).json()
            first, second = begun["credentials"]
            assert first["url"].startswith(f"{url}/team/api/2.0/")  # as the client wrote it, whatever prefix
            assert httpx.put(first["url"], content=b"abc").status_code == 401
            assert http.put(first["url"], content=b"abc", auth=bob).status_code == 404
            tags = [
                httpx.put(each["url"], content=text, headers=each["headers"]).headers["etag"]
                for each, text in ((second, b"def"), (first, b"ab"), (first, b"abc"))
            ]
            whole = {
                "upload_id": begun["upload_id"],
                "parts": [{"part_number": 1, "etag": tags[2]}, {"part_number": 2, "etag": tags[0]}],
            }
            assert files() == []
            for wrong, status in (
                (whole | {"parts": whole["parts"][:1]}, 400),
                (
                    whole | {"parts": [whole["parts"][0], {"part_number": 2, "etag": "../../upload.json"}]},
                    400,
                ),
                (whole | {"upload_id": "../" + begun["upload_id"]}, 404),
                (whole | {"path": "other.bin"}, 400),
            ):
                assert asked("complete", **wrong).status_code == status
            assert asked("complete", bob, **whole).status_code == 404
            assert asked("complete", **whole).status_code == 200
            assert files() == [{"path": "x.bin", "is_dir": False, "file_size": 6}]
            read = http.get(f"{proxy}/presigned/{root}/f/x.bin", auth=ann).json()
            part = httpx.get(read["url"], headers=read["headers"] | {"Range": "bytes=2-3"})
            assert (part.status_code, part.content, read["file_size"]) == (206, b"cd", 6)
            assert asked("complete", **whole).status_code == 404
            given_up = asked("create", num_parts=1).json()
            httpx.put(given_up["credentials"][0]["url"], content=b"z", headers=first["headers"])
            assert asked("abort", upload_id=given_up["upload_id"]).status_code == 200
            assert httpx.put(given_up["credentials"][0]["url"], headers=first["headers"]).status_code == 404
            assert asked("create", folder="%2e%2e/%2e%2e", num_parts=1).status_code == 400
            assert asked("create", num_parts=0).status_code == 400
            assert list((workspace.folder / "uploads").iterdir()) == []


class TestAsMlflowsServer:
    """Answers that a walk through every method of MLflow's client, against `mlflow server` beside us, showed to differ."""

    def test_in_tracking(self, wire: Wire) -> None:
        api = "/api/2.0/mlflow"
        for path, asked in (
            ("experiments/get-by-name", {"experiment_name": ""}),
            ("metrics/get-history", {"run_id": wire.run(), "metric_key": ""}),
        ):
            status, code, message = wire.refused("GET", f"{api}/{path}", params=asked)
            assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
            assert "Missing value for required parameter" in message
        found = wire.refused("POST", f"{RUNS}/search", json={"experiment_ids": ["0", "abc"]})
        assert found[:2] == (400, "INVALID_PARAMETER_VALUE")
        found = wire.refused("GET", f"{api}/experiments/get", params={"experiment_id": "-1"})
        assert found[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
        # What `MlflowClient.create_run` sends: its user is no tag, so no column of a table of runs.
        run = wire.run(user_id="unknown", run_name="by hand")
        wire.post(f"{RUNS}/log-batch", run_id=run, tags=[{"key": "t", "value": v} for v in ("first", "last")])
        data = wire.get(f"{RUNS}/get", run_id=run)["run"]["data"]
        assert {each["key"]: each["value"] for each in data["tags"]} == {
            "mlflow.runName": "by hand",
            "t": "last",
        }
        point = {"run_id": run, "key": "m", "value": 1, "timestamp": 1, "model_id": f"m-{'0' * 32}"}
        assert wire.refused("POST", f"{RUNS}/log-metric", json=point)[0] == 404
        assert wire.get(f"{api}/metrics/get-history", run_id=run, metric_key="m") == {}

    def test_in_the_registry(self, wire: Wire) -> None:
        api = "/api/2.0/mlflow"
        wire.post(f"{api}/registered-models/create", name="delay")
        for path, wrong in (
            ("registered-models/create", {"name": "team/delay"}),  # which models:/team/delay/1 would not find
            ("registered-models/create", {"name": " "}),
            ("model-versions/create", {"name": "delay", "source": "runs:/nobody/model"}),
        ):
            found = wire.refused("POST", f"{api}/{path}", json=wrong)
            assert found[:2] == (400, "INVALID_PARAMETER_VALUE")
        newest = {"name": "delay", "alias": "latest"}
        refused = wire.refused("GET", f"{api}/registered-models/alias", params=newest)
        assert refused == (400, "INVALID_PARAMETER_VALUE", "Registered model alias latest not found.")
        for _ in range(3):
            made = wire.post(f"{api}/model-versions/create", name="delay", source="s3://bucket/model")
            assert made["model_version"]["description"] == ""  # a client would make None of what is left out
        wire.http.request("DELETE", f"{api}/model-versions/delete", json={"name": "delay", "version": "3"})
        found = wire.get(f"{api}/registered-models/alias", **newest)
        assert found["model_version"]["version"] == "2"

    def test_traces_of_mlflow_2(self, wire: Wire) -> None:
        api = "/api/2.0/mlflow/traces"
        begun = wire.post(
            api,
            experiment_id="0",
            timestamp_ms=1_700_000_000_000,
            request_metadata=[{"key": "mlflow.traceInputs", "value": '{"x": 1}'}],
            tags=[{"key": "mlflow.traceName", "value": "answer"}],
        )["trace_info"]
        assert begun["status"] == "IN_PROGRESS"
        assert "execution_time_ms" not in begun
        named = f"{api}/{begun['request_id']}"
        ended = {"status": "OK", "tags": [{"key": "more", "value": "yes"}]}
        early = wire.refused("PATCH", named, json=ended | {"timestamp_ms": 1})
        assert early[:2] == (400, "INVALID_PARAMETER_VALUE")
        assert wire.http.patch(named, json=ended | {"timestamp_ms": 1_700_000_000_250}).status_code == 200
        found = wire.get(f"{named}/info")["trace_info"]
        assert (found["status"], found["execution_time_ms"]) == ("OK", 250)
        tags = {each["key"]: each["value"] for each in found["tags"]}
        where = f"mlflow-artifacts:/0/traces/{begun['request_id']}/artifacts"
        assert tags == {"mlflow.artifactLocation": where, "mlflow.traceName": "answer", "more": "yes"}
        assert wire.get(api, experiment_ids=["0"], filter="name = 'answer'")["traces"] == [found]
        (trace,) = wire.workspace.tracking.search_traces(["0"]).traces  # as on our pages
        assert (trace.duration, trace.request) == (250_000, '{"x": 1}')
        assert wire.refused("GET", f"{api}/tr-{'0' * 32}/info")[:2] == (404, "RESOURCE_DOES_NOT_EXIST")


def field(number: int, content: bytes) -> bytes:
    """A field of bytes, of a message in Protocol Buffers; `content` has fewer than 16,384."""
    length = bytes([len(content) & 127 | 128, len(content) >> 7])
    return bytes([number << 3 | 2]) + length + content


def sent_span(number: int, parent: int = 0, status: int = 1, **attributes: bytes) -> bytes:
    """A request that exports one span of trace ``1111…``; attributes are values as they are encoded."""
    span = field(1, b"\x11" * 16) + field(2, bytes([number] * 8)) + field(5, f"step {number}".encode())
    span += field(4, bytes([parent] * 8)) if parent else b""
    span += b"\x39" + (number * 10**9).to_bytes(8, "little") + b"\x41" + (9 * 10**9).to_bytes(8, "little")
    for key, value in attributes.items():
        span += field(9, field(1, key.encode()) + field(2, value))
    span += field(15, bytes([3 << 3, status]))
    return field(1, field(2, field(2, span)))


class TestOpenTelemetry:
    """Steps from any exporter, as OTLP."""

    TRACE = "tr-" + "11" * 16
    HEADERS: ClassVar = {"Content-Type": "application/x-protobuf"}

    def test_steps_of_a_trace_come_one_by_one(self, wire: Wire) -> None:
        run = wire.run()
        child = sent_span(2, parent=1, status=2, n=b"\x18" + b"\xff" * 9 + b"\x01", s=field(1, "ü".encode()))
        root = sent_span(1, **{"input.value": field(1, b"asked"), "l": field(5, field(1, b"\x10\x01"))})
        packed = {"Content-Encoding": "gzip", "x-mlflow-run-id": run, "x-mlflow-experiment-id": "0"}
        for body, headers, state in (
            (gzip.compress(child), packed, "IN_PROGRESS"),
            (root, {}, "OK"),
            (child, {}, "OK"),
        ):
            answer = wire.http.post("/v1/traces", content=body, headers=self.HEADERS | headers)
            assert (answer.status_code, answer.content) == (200, b"")
            assert wire.workspace.tracking.trace(self.TRACE).state == state
        # A file that a client put there itself, and that is none of steps, is replaced.
        file = f"/api/2.0/mlflow-artifacts/artifacts/0/traces/{self.TRACE}/artifacts/traces.json"
        whole = wire.http.get(file).content
        for odd in (b'{"spans": [{"name": 3}]}', b"[]", whole.replace(b"1000000000", b"null")):
            assert wire.http.put(file, content=odd).status_code == 200
            for body in (root, child):
                assert wire.http.post("/v1/traces", content=body, headers=self.HEADERS).status_code == 200
        trace = wire.workspace.tracking.trace(self.TRACE)
        assert (trace.duration, trace.request, trace.tags["mlflow.traceName"]) == (
            8_000_000,
            "asked",
            "step 1",
        )
        answered = wire.get("/api/3.0/mlflow/traces/get", trace_id=self.TRACE)["trace"]["spans"]
        assert [each["name"] for each in answered] == ["step 1", "step 2"]
        values = {
            each["key"]: each["value"] for each in answered[0]["attributes"] + answered[1]["attributes"]
        }
        assert (values["n"], values["s"]) == ({"int_value": -1}, {"string_value": "ü"})
        assert values["l"] == {"array_value": {"values": [{"bool_value": True}]}}
        where = f"run_id = '{run}' and span.status = 'ERROR' and span.attributes.s = 'ü'"
        assert [each.id for each in wire.workspace.tracking.search_traces(["0"], where).traces] == [
            self.TRACE
        ]

    def test_what_is_none_is_400(self, wire: Wire) -> None:
        deep = b"\x10\x01"
        for _ in range(50):
            deep = field(5, field(1, deep))
        for body in (b"", b"nonsense", b"\xff" * 40, field(1, b""), sent_span(3)[:-5], sent_span(3, v=deep)):
            found = wire.refused("POST", "/v1/traces", content=body, headers=self.HEADERS)
            assert found[:2] == (400, "INVALID_PARAMETER_VALUE"), body
        bomb = gzip.compress(bytes(65 << 20))
        for headers in (
            {"Content-Encoding": "gzip"},
            {"Content-Encoding": "br"},
            {"Content-Type": "text/html"},
        ):
            found = wire.refused("POST", "/v1/traces", content=bomb, headers=self.HEADERS | headers)
            assert found[:2] == (400, "INVALID_PARAMETER_VALUE")
        nobody = self.HEADERS | {"x-mlflow-experiment-id": "77"}
        assert wire.refused("POST", "/v1/traces", content=sent_span(1), headers=nobody)[0] == 404
        assert wire.workspace.tracking.search_traces(["0"]).traces == []
