"""The story of the flights, told short: every room works with every other on real data."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from everloop.workspace.local import LocalWorkspace

STEPS = [
    "Months arrive",
    "Features that know no future",
    "Three recipes",
    "Gates",
    "Serving",
    "The year goes by",
    "Bad candidates",
    "Killed, resumed, reproduced",
    "Eight questions",
]


def everloop(*arguments: str, at: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EVERLOOP_")}
    command = [sys.executable, "-m", "everloop", *arguments, "--json"]
    return subprocess.run(command, cwd=at, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    folder = tmp_path_factory.mktemp("story")
    done = everloop("demo", "flights", "--fast", "--dir", "demo", at=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "demo", msgspec.json.decode(done.stdout)


@pytest.mark.timeout(600)
def test_every_step_is_told(told: tuple[Path, dict[str, object]]) -> None:
    steps = told[1]["steps"]
    assert [step["name"] for step in steps] == STEPS  # type: ignore[attr-defined]
    assert all(step["seen"] for step in steps)  # type: ignore[attr-defined]
    answers = told[1]["answers"]
    assert {"why", "best", "resume", "package", "health", "retrain", "rollout"} <= set(answers)  # type: ignore[call-overload]


@pytest.mark.timeout(600)
def test_what_the_story_promises_holds(told: tuple[Path, dict[str, object]]) -> None:
    seen = {step["name"]: " ".join(step["seen"]) for step in told[1]["steps"]}  # type: ignore[attr-defined]
    assert "0 of 522,690 values differ" in seen["Features that know no future"]
    assert "run again: 0 steps executed" in seen["Three recipes"]
    assert "model:delay@v1 (boosting) is champion" in seen["Gates"]
    assert "model:delay@v2 (logistic) is refused" in seen["Gates"]
    assert ", 0 failed" in seen["The year goes by"]
    assert "Celsius: stopped" in seen["Bad candidates"]
    assert "with 0 labels known" in seen["Bad candidates"]
    assert "baseline in canary: rolled_back" in seen["Bad candidates"]
    assert "the same bits" in seen["Killed, resumed, reproduced"]
    assert "rebuilt, it grades 'bits'" in seen["Killed, resumed, reproduced"]


@pytest.mark.timeout(600)
def test_a_second_telling_is_safe_and_the_workspace_is_sound(told: tuple[Path, dict[str, object]]) -> None:
    folder = told[0]
    again = everloop("demo", "flights", "--fast", "--dir", str(folder), at=folder.parent)
    assert again.returncode == 0
    assert msgspec.json.decode(again.stdout) == told[1]
    verified = everloop("audit", "verify", at=folder)
    assert verified.returncode == 0, verified.stdout


@pytest.mark.timeout(600)
def test_one_prediction_leads_to_rows_features_model_run_and_environment(
    told: tuple[Path, dict[str, object]],
) -> None:
    with LocalWorkspace(told[0]) as workspace:
        asked = workspace.serving.predictions("delay", columns=["temp"]).slice(1000, 1).to_pylist()[0]
        why = workspace.provenance.why(f"prediction:{asked['prediction_id']}")
        assert why.complete, why.missing
        assert why.facts["features"]["temp"] == asked["temp"]
        assert {"data:flights@v3", "data:weather@v1"} <= set(why.data)
        assert why.environment.packages
        assert why.code.tree
        assert len(why.code.commit) == 40
        down = workspace.provenance.why("data:flights@v3")
        assert down.predictions[asked["model"]] > 10_000
