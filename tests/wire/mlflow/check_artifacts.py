"""Artifacts: files, folders, text, dictionaries, figures, images, tables; their names; what may not be reached."""

import base64
import http.client
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import mlflow
import pytest

NAMES = ["plain.txt", "with space.txt", "ünïcödé ☃.txt", "100%.txt", "رحلة.txt", "🚀.txt"]


def ask(method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """A request as it stands, with nothing made neat on the way; with the login that the client has."""
    parts = urlsplit(os.environ["MLFLOW_TRACKING_URI"])
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    if secret := os.environ.get("MLFLOW_TRACKING_PASSWORD"):
        pair = f"{os.environ['MLFLOW_TRACKING_USERNAME']}:{secret}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    try:
        connection.request(method, parts.path.rstrip("/") + path, body, headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def place(run: Any) -> str:
    """Where the run's files are below the proxy."""
    return f"/api/2.0/mlflow-artifacts/artifacts/{run.info.experiment_id}/{run.info.run_id}/artifacts"


def test_files_and_folders(client: Any, run: Any, folder: Path) -> None:
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "a.bin").write_bytes(bytes(range(256)) * 5_000)
    (folder / "deep" / "er" / "b.txt").write_text("b")
    (folder / "empty.txt").write_bytes(b"")
    mlflow.log_artifact(str(folder / "a.bin"), "one")
    mlflow.log_artifacts(str(folder), "all")
    root = client.list_artifacts(run.info.run_id)
    assert [(each.path, each.is_dir) for each in root] == [("all", True), ("one", True)]
    inside = {each.path: each.file_size for each in client.list_artifacts(run.info.run_id, "all")}
    assert inside["all/a.bin"] == 1_280_000
    assert set(inside) == {"all/a.bin", "all/deep", "all/empty.txt"}
    assert client.list_artifacts(run.info.run_id, "nothing") == []
    assert client.list_artifacts(run.info.run_id, "all/a.bin") == []
    got = Path(client.download_artifacts(run.info.run_id, "all", str(folder.parent)))
    assert (got / "a.bin").read_bytes() == (folder / "a.bin").read_bytes()
    assert (got / "deep" / "er" / "b.txt").read_text() == "b"
    assert (got / "empty.txt").read_bytes() == b""
    with pytest.raises(mlflow.MlflowException):
        client.download_artifacts(run.info.run_id, "not there.txt")


@pytest.mark.parametrize("name", NAMES)
def test_names(client: Any, run: Any, folder: Path, name: str) -> None:
    (folder / name).write_text(name)
    mlflow.log_artifact(str(folder / name), "sub folder é")
    (found,) = client.list_artifacts(run.info.run_id, "sub folder é")
    assert found.path == f"sub folder é/{name}"
    got = mlflow.artifacts.download_artifacts(
        run_id=run.info.run_id, artifact_path=found.path, dst_path=str(folder / "got")
    )
    assert Path(got).read_text() == name


@pytest.mark.parametrize("name", ["a%20b.txt", "a#b?c&d.txt", "%2e%2e.txt"])
def test_names_that_the_client_does_not_quote(run: Any, name: str) -> None:
    """It puts them into the address as they are, and unquotes what is listed: whoever quotes is understood."""
    path = f"{place(run)}/{quote(name)}"
    assert ask("PUT", path, b"x")[0] == 200
    assert ask("GET", path)[2] == b"x"
    listed = json.loads(ask("GET", f"/api/2.0/mlflow/artifacts/list?run_id={run.info.run_id}")[2])
    assert [each["path"] for each in listed["files"]] == [name]


def test_text_and_dictionaries(run: Any) -> None:
    mlflow.log_text("héllo", "notes.txt")
    mlflow.log_text("anew", "notes.txt")
    mlflow.log_dict({"a": [1, 2]}, "config.json")
    mlflow.log_dict({"a": 1}, "config.yml")
    uri = run.info.artifact_uri
    assert mlflow.artifacts.load_text(f"{uri}/notes.txt") == "anew"
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/notes.txt") == "anew"
    assert mlflow.artifacts.load_dict(f"{uri}/config.json") == {"a": [1, 2]}
    assert mlflow.get_artifact_uri("notes.txt") == f"{uri}/notes.txt"


def test_figures_and_images(client: Any, run: Any) -> None:
    import matplotlib.pyplot as plt
    import numpy as np

    figure = plt.figure()
    figure.add_subplot().plot([1, 2, 3])
    mlflow.log_figure(figure, "plots/line.png")
    plt.close(figure)
    image = np.random.default_rng(1).integers(0, 255, (8, 9, 3), dtype=np.uint8)
    mlflow.log_image(image, "plots/noise.png")
    assert mlflow.artifacts.load_image(f"{run.info.artifact_uri}/plots/noise.png").size == (9, 8)
    for step in range(3):
        mlflow.log_image(image, key="noise", step=step)
    mlflow.flush_artifact_async_logging()
    names = [each.path for each in client.list_artifacts(run.info.run_id, "images")]
    assert len([each for each in names if each.endswith(".png")]) == 3
    assert {each.path for each in client.list_artifacts(run.info.run_id, "plots")} == {
        "plots/line.png",
        "plots/noise.png",
    }


def test_tables_grow(run: Any, experiment: Any) -> None:
    import pandas as pd

    for rows in ([1, 2], [3]):
        mlflow.log_table(pd.DataFrame({"x": rows, "y": ["é"] * len(rows)}), "table.json")
    found = mlflow.load_table("table.json", run_ids=[run.info.run_id])
    assert list(found["x"]) == [1, 2, 3]


def test_ranges_and_heads(run: Any) -> None:
    data = bytes(range(256)) * 10_000
    path = f"{place(run)}/data.csv"
    assert ask("PUT", path, data)[0] == 200
    status, headers, body = ask("GET", path)
    assert (status, body) == (200, data)
    assert headers["content-disposition"].startswith("attachment")
    assert headers["content-length"] == str(len(data))
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["etag"]
    for asked, expected in (
        ("bytes=5-9", data[5:10]),
        ("bytes=-7", data[-7:]),
        ("bytes=2559990-", data[-10:]),
    ):
        status, headers, body = ask("GET", path, Range=asked)
        assert (status, body) == (206, expected)
        assert headers["content-range"].endswith(f"/{len(data)}")
    assert ask("GET", path, Range="bytes=99999999-")[0] == 416
    status, headers, body = ask("HEAD", path)
    assert (status, headers["content-length"], body) == (200, str(len(data)), b"")
    assert ask("GET", f"{place(run)}/none.csv")[0] == 404
    assert ask("PUT", f"{place(run)}/folder/x", b"1")[0] == 200
    assert ask("GET", f"{place(run)}/folder")[0] == 400


def test_deleting(client: Any, run: Any) -> None:
    for name in ("a/1", "a/2", "b"):
        ask("PUT", f"{place(run)}/{name}", b"x")
    assert ask("DELETE", f"{place(run)}/a")[0] == 200
    assert ask("DELETE", f"{place(run)}/a")[0] == 200
    assert [each.path for each in client.list_artifacts(run.info.run_id)] == ["b"]


WAYS_OUT = [
    "..",
    "../x",
    "%2e%2e",
    "..%2fx",
    "%2fetc%2fpasswd",
    "a/%2e%2e/x",
    "a/../../x",
    "C:%5cx",
    "a%5c..%5cx",
    "a%00b",
    "a//b",
    "./a",
    "a/.",
]


@pytest.mark.parametrize("path", WAYS_OUT)
def test_ways_out_are_closed(run: Any, path: str) -> None:
    for method in ("PUT", "GET", "DELETE"):
        status, _, body = ask(method, f"{place(run)}/{path}", b"x" if method == "PUT" else b"")
        assert status == 400, body
        assert json.loads(body)["error_code"] == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize("path", ["..", "/etc/passwd", "%2e%2e", "a/../..", "C:\\x"])
def test_no_listing_outside(run: Any, path: str) -> None:
    asked = quote(f"{run.info.experiment_id}/{run.info.run_id}/artifacts/{path}", safe="%")
    assert ask("GET", f"/api/2.0/mlflow-artifacts/artifacts?path={asked}")[0] == 400
    assert ask("GET", f"/api/2.0/mlflow-artifacts/artifacts?path={quote('/' + path)}")[0] in (400, 404)
    assert (
        ask("GET", f"/api/2.0/mlflow/artifacts/list?run_id={run.info.run_id}&path={quote(path, safe='%')}")[0]
        == 400
    )


def test_a_run_that_is_not_there_takes_no_files(run: Any) -> None:
    path = f"/api/2.0/mlflow-artifacts/artifacts/{run.info.experiment_id}/{'0' * 32}/artifacts/x"
    assert ask("PUT", path, b"x")[0] == 404
    assert ask("PUT", "/api/2.0/mlflow-artifacts/artifacts/x", b"x")[0] == 404


def test_files_of_a_deleted_run_are_read_only(client: Any, experiment: Any) -> None:
    run = client.create_run(experiment.experiment_id)
    client.log_text(run.info.run_id, "x", "a.txt")
    client.delete_run(run.info.run_id)
    assert ask("GET", f"{place(run)}/a.txt")[2] == b"x"
    assert ask("PUT", f"{place(run)}/b.txt", b"x")[0] == 400


def test_the_list_of_the_pages(client: Any, run: Any) -> None:
    mlflow.log_text("x", "a/b.txt")
    _, _, body = ask("GET", f"/ajax-api/2.0/mlflow/artifacts/list?run_uuid={run.info.run_id}&path=a")
    found = json.loads(body)
    assert found == {
        "root_uri": run.info.artifact_uri,
        "files": [{"path": "a/b.txt", "is_dir": False, "file_size": 1}],
    }


def test_large_files_go_in_parts_and_come_by_ranges_where_a_client_is_set_to_it(
    client: Any, run: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for way, size in (("UPLOAD", "1000"), ("DOWNLOAD", "1500")):
        monkeypatch.setenv(f"MLFLOW_ENABLE_PROXY_MULTIPART_{way}", "true")
        monkeypatch.setenv(f"MLFLOW_MULTIPART_{way}_MINIMUM_FILE_SIZE", "1000")
        monkeypatch.setenv(f"MLFLOW_MULTIPART_{way}_CHUNK_SIZE", size)
    (folder / "large é.bin").write_bytes(bytes(range(250)) * 20 + b"end")
    client.log_artifact(run.info.run_id, str(folder / "large é.bin"), "a b")
    assert [each.file_size for each in client.list_artifacts(run.info.run_id, "a b")] == [5_003]
    (folder / "again").mkdir()
    found = mlflow.artifacts.download_artifacts(
        run_id=run.info.run_id, artifact_path="a b/large é.bin", dst_path=str(folder / "again")
    )
    assert Path(found).read_bytes() == (folder / "large é.bin").read_bytes()
