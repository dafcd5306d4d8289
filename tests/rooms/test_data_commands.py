"""The commands of data and features as a user types them: JSON keys, exit codes, sentences."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from everloop.cli.main import main

NOON = datetime(2013, 6, 1, 12, tzinfo=UTC)
INSTANT = pa.timestamp("us", "UTC")

DEFINITIONS = """
import everloop as ev

weather = ev.checks("weather", dataset="weather", checks=[
    ev.check.not_null("origin"),
    ev.check.in_range("wind", 0, 150, severity="quarantine"),
])
airport = ev.entity("airport", keys=["origin"])
reports = ev.feature_view("reports", entity=airport, source="weather", event_time="time", available="30min", features=["wind"])
"""

Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    (folder / ".everloop").mkdir(parents=True)
    monkeypatch.chdir(folder)
    (folder / "weather_definitions.py").write_text(DEFINITIONS)
    for name, wind in {"a": [10.0, 11.0], "b": [12.0, 999.0]}.items():
        times = [NOON + timedelta(hours=hour) for hour in range(2)]
        table = pa.table({"origin": ["JFK", "JFK"], "time": pa.array(times, INSTANT), "wind": wind})
        pq.write_table(table, folder / f"{name}.parquet")
    return folder


@pytest.fixture
def run(project: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, Any]:
        code = main([*arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


def test_the_life_of_a_dataset(run: Run, project: Path) -> None:
    code, added = run("data", "add", "a.parquet", "--name", "weather", "--message", "first")
    assert (code, added["reference"], added["files"], added["unchanged"]) == (0, "data:weather@v1", 1, False)
    assert {"digest", "bytes", "new_bytes"} <= added.keys()
    checks = ["--checks", "weather_definitions.py"]
    code, added = run("data", "add", "b.parquet", "--name", "weather", "--append", *checks)
    assert (code, added["rows"], added["quarantine"], added["quarantined_rows"]) == (
        0,
        3,
        "data:weather/quarantine@v1",
        1,
    )
    assert [dataset["name"] for dataset in run("data", "list")[1]["datasets"]] == [
        "weather",
        "weather/quarantine",
    ]
    versions = run("data", "log", "weather")[1]["versions"]
    assert [(each["reference"], each["message"]) for each in versions] == [
        ("data:weather@v2", ""),
        ("data:weather@v1", "first"),
    ]
    shown = run("data", "show", "weather@v2")[1]
    assert [file["path"] for file in shown["file_list"]] == ["a.parquet", "b.parquet"]
    assert not shown["checks"][0]["passed"]
    diff = run("data", "diff", "weather@v1", "weather@v2", "--key", "origin,time,wind")[1]
    assert (diff["added"], diff["rows_added"], diff["rows_changed"]) == (["b.parquet"], 1, 0)
    assert run("data", "check", "weather", *checks)[0] == 0
    code, report = run("data", "check", "weather/quarantine", "--checks", "weather_definitions.py:weather")
    assert (code, report["passed"]) == (1, False)
    assert report["checks"][1]["sample"] == [{"row": 0, "wind": 999.0}]
    assert run("data", "checkout", "weather", "out")[1]["files"] == 2
    assert run("data", "status", "out")[1]["clean"]
    (project / "out" / "a.parquet").unlink()
    assert run("data", "status", "out")[1]["removed"] == ["a.parquet"]
    assert run("data", "rm", "weather@v1")[1]["removed"] == ["data:weather@v1"]


def test_the_life_of_a_feature(run: Run, project: Path) -> None:
    run("data", "add", "a.parquet", "--name", "weather")
    assert [view["reference"] for view in run("features", "apply", "weather_definitions.py")[1]["views"]] == [
        "feature:reports@v1"
    ]
    asked = [NOON + timedelta(minutes=minutes) for minutes in (29, 30, 90)]
    frame = pa.table({"origin": ["JFK"] * 3, "at": pa.array(asked, INSTANT)})
    pq.write_table(frame, project / "frame.parquet")
    features = ["--feature", "reports:wind", "--time", "at"]
    code, done = run("features", "history", "--in", "frame.parquet", "--out", "out.parquet", *features)
    assert (code, done["rows"], done["nulls"], done["sources"]) == (
        0,
        3,
        {"wind": 1},
        {"weather": "data:weather@v1"},
    )
    answer = pq.read_table(project / "out.parquet")
    assert answer["wind"].to_pylist() == [None, 10.0, 11.0]
    assert run("features", "parity", "out.parquet", *features)[0] == 0
    pq.write_table(answer.set_column(2, "wind", pc.multiply(answer["wind"], 1.6)), project / "kmh.parquet")
    code, report = run("features", "parity", "kmh.parquet", *features)
    assert (code, report["compared"], report["different"]) == (1, 3, 2)
    assert {"column", "rows_different", "max_abs", "first_time"} <= report["columns"][0].keys()
    assert (
        run("features", "materialize", "--until", "2013-06-01T13:00:00Z")[1]["materialized"][0]["entities"]
        == 1
    )
    code, got = run(
        "features", "get", "reports", "origin=JFK", "origin=XXX", "--time", "2013-06-01T13:30:00Z"
    )
    assert [(row["status"], row["values"]["wind"], row["age"]) for row in got["rows"]] == [
        ("present", 10.0, 5400.0),
        ("unknown", None, None),
    ]
    [listed] = run("features", "list")[1]["views"]
    assert (listed["features"], listed["materialized"]) == (["wind"], "2013-06-01T13:00:00Z")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["data", "add", "nothing.csv", "--name", "d"], 2, "there is no file or folder nothing.csv"),
        (["data", "add", "half.parquet", "--name", "d"], 2, "half.parquet is not readable Parquet"),
        (["data", "show", "d"], 2, "no dataset is called 'd'"),
        (["data", "show", "run:abcdef12"], 2, "names a run, not a dataset"),
        (["data", "add", "a.parquet", "--name", "weather", "--checks", "broken.py"], 2, "broken.py, line 1"),
        (
            ["data", "add", "a.parquet", "--name", "d", "--checks", "weather_definitions.py"],
            2,
            "no checks are declared",
        ),
        (["features", "apply", "broken.py"], 2, "broken.py, line 1"),
        (["features", "get", "reports", "origin=JFK"], 2, "online store"),
        (["features", "get", "reports", "JFK"], 2, "does not name an entity"),
        (["features", "materialize", "--until", "2013-06-01"], 2, "has no time zone"),
    ],
)
def test_mistakes_get_a_sentence(
    run: Run, project: Path, arguments: list[str], code: int, message: str
) -> None:
    (project / "half.parquet").write_bytes((project / "a.parquet").read_bytes()[:-20])
    (project / "broken.py").write_text("def (:\n")
    got, answer = run(*arguments)
    assert got == code
    assert message in answer["error"]["message"]


def test_people_see_tables_and_sentences(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "add", "b.parquet", "--name", "weather", "--checks", "weather_definitions.py"]) == 0
    out = capsys.readouterr().out
    assert "1 bad rows went to data:weather/quarantine@v1" in out
    assert "wind.in_range: 1 of 2" in out
    main(["features", "apply", "weather_definitions.py"])
    main(["features", "materialize", "--until", "2013-06-02T00:00:00Z"])
    for command in (
        ["data", "list"],
        ["data", "log", "weather"],
        ["data", "show", "weather"],
        ["features", "list"],
    ):
        assert main(command) == 0
        assert "weather" in capsys.readouterr().out


def test_a_folder_is_checked_out_in_part_and_asked_about(run: Run, project: Path) -> None:
    assert run("data", "add", "a.parquet", "--name", "weather")[0] == 0
    assert run("data", "add", "b.parquet", "--name", "weather", "--append")[0] == 0
    code, done = run("data", "checkout", "weather", "out", "--only", "b.*", "--link", "hardlink")
    assert (code, done["files"], done["link"], done["only"]) == (0, 1, "hardlink", ["b.*"])
    code, status = run("data", "status", "out")
    assert (code, status["reference"], status["clean"], status["only"]) == (
        0,
        "data:weather@v2",
        True,
        ["b.*"],
    )
    code, refused = run("data", "checkout", "weather", "out", "--only", "nothing")
    assert (code, "no file is named by" in refused["error"]["message"]) == (2, True)
    assert run("data", "checkout", "weather", "out", "--link", "symlink")[0] == 2
    assert run("data", "status", "elsewhere")[0] == 2
