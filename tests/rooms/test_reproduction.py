"""Rebuilding with other libraries, with another environment, of datasets; and what is named when it comes out otherwise."""

from __future__ import annotations

import sys
import textwrap
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from everloop.domain.pipelines import Component
from everloop.pipelines.pipelines import Pipelines
from everloop.pipelines.reproduction.randomness import suspects
from everloop.pipelines.reproduction.surroundings import differences, surroundings
from everloop.tracking.capture import Environment
from everloop.workspace.local import LocalWorkspace

STEPS = """
    import everloop as ev
    import numpy as np

    @ev.step
    def load():
        table = ev.data("points").to_arrow()
        return np.column_stack([table["x"].to_numpy(), table["y"].to_numpy()])

    @ev.step(seed=1)
    def boost(rows, threads):
        import xgboost
        model = xgboost.XGBRegressor(n_estimators=8, max_depth=3, subsample=0.8, random_state=3, n_jobs=threads)
        model.fit(rows, rows.sum(axis=1))
        return np.asarray(model.predict(rows)), model.get_booster().save_raw("ubj").hex()

    @ev.step
    def lighten(rows, threads):
        import lightgbm
        options = {"n_estimators": 8, "num_leaves": 7, "min_child_samples": 5, "verbose": -1, "n_jobs": threads}
        model = lightgbm.LGBMRegressor(subsample=0.8, subsample_freq=1, random_state=3, **options)
        model.fit(rows, rows.sum(axis=1))
        return model.predict(rows)

    @ev.step
    def summarise(rows):
        table = __import__("pyarrow").table({"x": rows[:, 0], "y": rows[:, 1]})
        import duckdb
        found = duckdb.connect().from_arrow(table).aggregate("round(x) as k, avg(y) as y", "k").order("k").arrow()
        found = found.read_all() if hasattr(found, "read_all") else found
        ev.workspace().data.add(found, name="summary", producer=ev.active_run().reference)
        return found

    @ev.step
    def shuffled(rows):
        np.random.shuffle(rows := rows.copy())
        return rows

    @ev.pipeline
    def train(threads: int = 1):
        rows = load()
        boost(rows, threads)
        lighten(rows, threads)
        return summarise(rows)

    @ev.pipeline
    def shuffle():
        return shuffled(load())
    """


@pytest.fixture
def room(workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipelines]:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = list(sys.path)
    workspace.project.mkdir(parents=True, exist_ok=True)
    (workspace.project / "boosting.py").write_text(textwrap.dedent(STEPS))
    points = {"x": [0.1 * i - 2 for i in range(60)], "y": [0.3 * (i % 7) - 1 for i in range(60)]}
    workspace.data.add(pa.table(points), name="points")
    yield workspace.room(Pipelines)
    sys.modules.pop("boosting", None)
    sys.path[:] = path


def test_boosted_trees_and_tables_come_out_to_the_bit_and_datasets_are_rebuilt_by_what_made_them(
    room: Pipelines, workspace: LocalWorkspace
) -> None:
    pytest.importorskip("xgboost")
    pytest.importorskip("lightgbm")
    run = room.run("boosting.py:train", {"threads": 2}, executor="inline")
    assert run.status == "finished", run.error
    report = room.reproduce("data:summary@v1")
    assert report.reference == "data:summary@v1"
    assert report.run == run.run_id
    told = {each.step: each for each in report.comparisons}
    assert {"load", "summarise", "summarise: data:summary@v1"} == set(told)
    assert report.grade == "bits", report
    assert told["summarise: data:summary@v1"].detail.startswith("equal rows")
    assert len(workspace.data.log("summary")) == 1  # the rebuild added nothing here
    whole = room.reproduce(run.reference, environment="same")
    assert {each.step: each.grade for each in whole.comparisons}["boost"] in ("bits", "predictions")
    assert {each.step: each.grade for each in whole.comparisons}["lighten"] in ("bits", "predictions")


def test_chance_is_found_out_by_running_a_step_twice_and_named_by_its_line(room: Pipelines) -> None:
    run = room.run("boosting.py:shuffle", executor="inline")
    report = room.reproduce(run.reference)
    assert report.grade == "failed"
    assert report.first_divergence is not None
    line = textwrap.dedent(STEPS).splitlines().index("    np.random.shuffle(rows := rows.copy())") + 1
    assert report.first_divergence.startswith("shuffled: the result: ")
    assert "first in row" in report.first_divergence
    expected = f"this step gives another result each time: unseeded numpy.random in boosting.py line {line}"
    assert report.first_divergence.endswith(expected)


def test_another_kernel_of_linear_algebra_is_within_tolerance(
    room: Pipelines, workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another processor, as far as it can be had on one machine: OpenBLAS takes the kernels it is told to."""
    import platform

    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("the kernels' names are those of one family of processors")
    solving = """
        import everloop as ev
        import numpy as np

        @ev.step
        def solve():
            rows = np.random.default_rng(5).normal(size=(400, 30))
            weights, *_ = np.linalg.lstsq(rows, rows @ np.linspace(0, 1, 30) + 0.01 * rows[:, 0] ** 2, rcond=None)
            return rows @ weights

        @ev.pipeline
        def fit():
            return solve()
        """
    (workspace.project / "boosting.py").write_text(textwrap.dedent(solving))
    run = room.run("boosting.py:fit", executor="inline")
    assert run.status == "finished", run.error
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Nehalem")
    report = room.reproduce(run.reference, environment="same")
    assert report.grade in ("tolerance", "bits"), report.comparisons
    if report.grade == "tolerance":  # where numpy is built with OpenBLAS and this processor has newer kernels
        assert report.first_divergence is not None
        assert "run twice here it gives the same result" in report.first_divergence
        assert any("units of eps x scale" in line for line in report.evidence)


THEN = Environment(
    python=".".join(map(str, sys.version_info[:3])),
    implementation="CPython",
    platform="",
    cpu="",
    cpus=1,
    packages=["everloop==0.1", "tiny-thing==1.0"],
    threads={},
    variables={},
)
NOW = msgspec.structs.replace(THEN, packages=["everloop==0.2", "tiny-thing==2.0", "other==1.0"])


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one wheel, which is all that uv and pip are allowed to see."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    dist = "tiny_thing-1.0.dist-info"
    with zipfile.ZipFile(folder / "tiny_thing-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_thing.py", "VALUE = 1\n")
        wheel.writestr(f"{dist}/METADATA", "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.0\n")
        wheel.writestr(
            f"{dist}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(
            f"{dist}/RECORD", f"tiny_thing.py,,\n{dist}/METADATA,,\n{dist}/WHEEL,,\n{dist}/RECORD,,\n"
        )
    for tool in ("UV", "PIP"):
        monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(folder))
    return folder


def test_an_environment_is_made_of_the_captured_packages_once(tmp_path: Path, shelf: Path) -> None:
    import subprocess

    assert surroundings(tmp_path, THEN, THEN, "auto").python == ""
    assert surroundings(tmp_path, THEN, NOW, "same").evidence.startswith("environment: NOT the captured one")
    assert "tiny-thing==1.0 -> tiny-thing==2.0" in differences(THEN, NOW)
    made = surroundings(tmp_path, THEN, NOW, "auto")
    assert made.evidence.endswith("and the 1 package captured, Everloop as it is now"), made
    asked = "import tiny_thing, everloop, numpy; print(tiny_thing.VALUE)"
    done = subprocess.run([made.python, "-c", asked], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "1", done.stderr
    others = subprocess.run(
        [made.python, "-c", "import pytest"], capture_output=True, timeout=60, check=False
    )
    assert others.returncode != 0  # nothing else that happens to be installed here
    for each in shelf.iterdir():
        each.unlink()
    assert (
        surroundings(tmp_path, THEN, THEN, "rebuild").python == made.python
    )  # found again, without asking for it


def test_what_cannot_be_had_is_said_and_this_environment_taken(tmp_path: Path, shelf: Path) -> None:
    gone = msgspec.structs.replace(THEN, packages=["gone-thing==9.9"])
    found = surroundings(tmp_path, gone, NOW, "auto")
    assert found.python == ""
    assert found.evidence.startswith("environment: NOT the captured one (")
    assert "the captured one could not be had: " in found.evidence
    assert "gone-thing" in found.evidence
    assert surroundings(tmp_path, msgspec.structs.replace(THEN, packages=[]), NOW, "rebuild").python == ""


def test_what_no_seed_decides_is_seen_in_the_code(tmp_path: Path) -> None:
    code = """
        import random, time, uuid as u
        import numpy as np
        from numpy.random import default_rng as rng
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.model_selection import train_test_split, KFold

        def draws():
            np.random.normal()
            random.shuffle([])
            rng()
            rng(7)
            np.random.RandomState(seed=3)
            u.uuid4()
            time.time()
            RandomForestClassifier(5)
            RandomForestClassifier(random_state=0)
            train_test_split([], **{})
            KFold(3)

        def apart():
            random.random()
        """
    text = textwrap.dedent(code)
    (tmp_path / "code.py").write_text(text)
    parts = [Component("function", "code.py::draws", "1"), Component("package", "numpy", "2")]
    lines = {each.line: each.what for each in suspects(tmp_path, parts, seeded=False)}
    at = {words: number for number, words in enumerate((line.strip() for line in text.splitlines()), 1)}
    assert lines == {
        at["np.random.normal()"]: "unseeded numpy.random",
        at["random.shuffle([])"]: "unseeded random",
        at["rng()"]: "numpy.random.default_rng without a seed",
        at["u.uuid4()"]: "uuid.uuid4",
        at["time.time()"]: "time.time",
        at["RandomForestClassifier(5)"]: "RandomForestClassifier without random_state",
    }
    seeded = {each.what for each in suspects(tmp_path, parts, seeded=True)}
    assert seeded == {"numpy.random.default_rng without a seed", "uuid.uuid4", "time.time"}
