"""Looking back at pipelines: what ran when, and under which names."""

from __future__ import annotations

from pathlib import Path

import pytest

from everloop.errors import NotFound
from everloop.workspace.workspace import Workspace

CODE = """
import everloop as ev

@ev.step
def load(rows: int):
    with ev.start_run(name="inner"):
        pass
    return list(range(rows))

@ev.step
def part(value: int, limit: int):
    if value >= limit:
        raise ValueError(f"{value} is too much")
    return value

@ev.pipeline
def train(rows: int = 3, limit: int = 9):
    return part.map(load(rows), limit=limit)
"""


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project of a remote workspace is the folder one works in."""
    monkeypatch.chdir(tmp_path)


def test_a_run_is_a_line_in_the_grid_and_a_span_of_time(any_workspace: Workspace) -> None:
    pipelines, project = any_workspace.pipelines, any_workspace.project
    project.mkdir(parents=True, exist_ok=True)
    (project / "train.py").write_text(CODE)
    for params in ({}, {}, {"limit": 2}):
        pipelines.run("train.py:train", params, executor="inline")
    [overview] = pipelines.overview(recent=2)
    assert (overview.pipeline, overview.runs) == ("train", 3)
    assert [each.status for each in overview.recent] == ["failed", "finished"]
    newest, again, first = pipelines.past_runs("train")
    assert newest.seconds is not None

    totals = {(each.of, each.name): each for each in pipelines.step_totals([first.run, again.run])}
    assert totals[again.run, "part[0]"].count == 3
    assert totals[again.run, "part[0]"].status == "cached"

    moments = {each.name: each for each in pipelines.timeline(first.run)}
    load = moments["load"]
    assert load.exact
    assert load.began is not None
    assert load.ended is not None
    assert first.started <= load.began <= load.ended
    assert first.ended is not None
    assert load.ended <= first.ended
    cached = {each.name: each for each in pipelines.timeline(again.run)}["load"]
    assert cached.began is None, "what was taken from the cache was not at work"


def test_a_step_is_found_by_its_name_or_the_nearest_is_named(any_workspace: Workspace) -> None:
    pipelines, project = any_workspace.pipelines, any_workspace.project
    project.mkdir(parents=True, exist_ok=True)
    (project / "train.py").write_text(CODE)
    pipelines.run("train.py:train", {}, executor="inline")
    pipelines.run("train.py:train", {"limit": 5}, executor="inline")
    use = pipelines.step_use("train.py::part")
    assert use.names == {"part[0]": 2, "part[1]": 2, "part[2]": 2}
    assert use.pipelines == {"train": 2}
    history = pipelines.step_history("train.py::part", "part[1]")
    assert [each.reason for each in history] == ["parameter limit 9 -> 5", "never computed before"]
    with pytest.raises(NotFound) as error:
        pipelines.step_use("train.py::prt")
    assert "train.py::part" in error.value.hint
