"""The demo's training pipeline comes out equal, bit for bit, in one process, on worker processes and on Ray. Part of
``make soak-pipelines``: Ray's start takes long on a busy machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from everloop.workspace.local import LocalWorkspace

pytestmark = [
    pytest.mark.skipif(not os.environ.get("EVERLOOP_TEST_KILLS"), reason="make soak-pipelines"),
    pytest.mark.timeout(1200),
]
FLIGHTS = Path(__file__).parents[2] / "examples" / "flights"
TRAIN = "definitions.training:train"
ASKED = {"since": "2013-01-01", "until": "2013-02-01", "judged_days": "7"}
RECIPES = ("baseline", "logistic", "boosting")
STEPS = ["examples", "examples#2", "fit", "judge"]
BYTES_VARY = {"model/model.skops", "model/model.json"}
"""Files with addresses in memory, and the digest of one. The models in them are compared by content, as results of steps."""

Digests = dict[tuple[str, str], str]


def test_the_demo_is_equal_on_every_executor(tmp_path: Path) -> None:
    data = tmp_path / "data"
    command(FLIGHTS, sys.executable, "months.py", str(data))
    # A trained model holds the number of threads that it was binned with; in this process nobody limits it to a step's share.
    found = {"inline": digests(tmp_path / "inline", data, "inline", OMP_NUM_THREADS="1")}
    found |= {name: digests(tmp_path / name, data, name) for name in ("local", "ray")}
    for (recipe, name), digest in found["local"].items():
        print(f"{recipe:9} {name:28} {digest[:16]}")
    assert [name for recipe, name in found["local"] if recipe == "boosting"][:4] == STEPS
    for other in ("inline", "ray"):
        assert {key for key, digest in found["local"].items() if found[other].get(key) != digest} == set()
        assert found[other].keys() == found["local"].keys()


def digests(project: Path, data: Path, executor: str, **variables: str) -> Digests:
    """By recipe and name: the digest of each step's result, and of each file that the judging step kept with its run."""
    shutil.copytree(FLIGHTS, project, ignore=shutil.ignore_patterns("__pycache__", ".everloop"))
    everloop(project, "data", "add", str(data / "airports.parquet"), "--name", "airports")
    for file, name in (("weather", "weather"), ("2013-01", "flights")):
        checked = ("--name", name, "--checks", "definitions/data.py")
        everloop(project, "data", "add", str(data / f"{file}.parquet"), *checked)
    everloop(project, "features", "apply")
    asked = [part for name, value in ASKED.items() for part in ("--param", f"{name}={value}")]
    found: Digests = {}
    for recipe in RECIPES:
        given = (*asked, "--param", f"recipe={recipe}")
        done = everloop(project, "run", TRAIN, "--executor", executor, *given, **variables)
        assert done["status"] == "finished", done["error"]
        with LocalWorkspace(project) as workspace:
            assert workspace.pipelines.pipeline_run(done["run"]).executor == executor
            steps = workspace.pipelines.steps(done["run"])
            found |= {(recipe, each.name): each.value.digest for each in steps if each.value is not None}
            judged = next(each.run for each in steps if each.name == "judge")
            assert judged is not None
            kept = workspace.tracking.artifacts(judged)
            found |= {(recipe, each.path): each.digest for each in kept if each.path not in BYTES_VARY}
    return found


def everloop(project: Path, *arguments: str, **variables: str) -> dict[str, Any]:
    program = str(Path(sys.executable).with_name("everloop"))
    answer: dict[str, Any] = msgspec.json.decode(command(project, program, *arguments, "--json", **variables))
    return answer


def command(folder: Path, *arguments: str, **variables: str) -> str:
    done = subprocess.run(
        arguments, cwd=folder, env=os.environ | variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout
