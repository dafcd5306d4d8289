"""Run folders that the client of Weights & Biases wrote (its version 0.31.0) come in."""

from __future__ import annotations

import io
import math
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.cli.main import main
from everloop.domain.runs import NOTE
from everloop.errors import Corrupted, InvalidInput, NotFound
from everloop.exchange.bringing import bring_in
from everloop.exchange.wandb.reading import RunFolders
from everloop.exchange.wandb.records import BLOCK, HEADER, records
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.workspace import Workspace

STORE = Path(__file__).parent / "stores" / "wandb"


def written(records: list[bytes]) -> bytes:
    """A file of these records, part by part as LevelDB's log format says."""
    out = bytearray(HEADER)
    for record in records:
        rest, begins = record, True
        while rest or begins:
            if BLOCK - len(out) % BLOCK < 7:
                out += bytes(BLOCK - len(out) % BLOCK)
            most = BLOCK - len(out) % BLOCK - 7
            part, rest = rest[:most], rest[most:]
            kind = {(True, True): 1, (True, False): 2, (False, False): 3, (False, True): 4}[begins, not rest]
            out += struct.pack("<IHB", zlib.crc32(bytes([kind]) + part), len(part), kind) + part
            begins = False
    return bytes(out)


def test_run_folders_come_over(any_workspace: Workspace) -> None:
    report = bring_in(any_workspace, RunFolders(STORE))
    runs = {run.name: run for run in any_workspace.tracking.search().runs}
    first, second = runs["first"], runs["second"]
    assert (first.experiment, first.status, second.status) == ("digits", "finished", "failed")
    assert first.params == {
        "lr": "0.1",
        "model.depth": "3",
        "model.kind": "tree",
        "layers": "[1, 2]",
        "none": "null",
        "on": "true",
        "text": "words",
        "late": "1",
    }
    told = {key: value for key, value in first.tags.items() if key.startswith("wandb.")}
    assert told["wandb.tags"] == "one, b"
    assert (told["wandb.group"], told["wandb.job_type"]) == ("g", "train")
    assert first.tags[NOTE] == "what *was* tried"
    assert first.source == "/home/ada/train.py"
    history = any_workspace.tracking.history(run_id=first.run_id, key="val.acc")
    assert np.frombuffer(history.steps, "<i8").tolist() == list(range(20))
    assert np.frombuffer(history.values, "<f8").tolist() == [step / 20 for step in range(20)]
    assert np.all(np.diff(np.frombuffer(history.times, "<i8")) >= 0)
    odd = any_workspace.tracking.history(run_id=first.run_id, key="odd")
    assert math.isnan(np.frombuffer(odd.values, "<f8")[3])
    assert (first.metrics["best"], first.metrics["big"]) == (0.05, math.inf)
    assert any(key.startswith("system/") for key in first.metrics)
    assert not any(key.startswith("_") for key in first.metrics)
    assert not any(key.startswith(("table", "hist")) for key in first.metrics)
    files = {file.path: file.digest for file in any_workspace.tracking.artifacts(run_id=first.run_id)}
    assert any_workspace.objects.read(files["output.log"]) == b"printed\n"
    assert any(path.startswith("media/table/") for path in files)
    left = {each.kind for each in report.skipped}
    assert left == {"histogram", "table-file", "text", "truth value"}

    again = bring_in(any_workspace, RunFolders(STORE))
    assert not any(again.imported.values())


def test_one_run_and_an_experiment_of_ones_own(workspace: LocalWorkspace) -> None:
    [folder] = STORE.glob("*qbo15vhf")
    bring_in(workspace, RunFolders(folder, "mine"))
    assert [(run.name, run.experiment) for run in workspace.tracking.search().runs] == [("second", "mine")]


def test_a_killed_run_and_one_that_wrote_nothing(workspace: LocalWorkspace, tmp_path: Path) -> None:
    shutil.copytree(STORE, tmp_path / "wandb")
    first, second = sorted((tmp_path / "wandb").glob("*/*.wandb"))
    first.write_bytes(first.read_bytes()[:3000])
    second.write_bytes(b"")
    (tmp_path / "wandb" / "latest-run").symlink_to(first.parent)
    report = bring_in(workspace, RunFolders(tmp_path / "wandb"))
    [run] = workspace.tracking.search().runs
    assert (run.name, run.status) == ("first", "killed")
    assert [(each.kind, each.name.split("/")[1]) for each in report.skipped] == [("run", second.name)]


def test_damage_is_seen_and_named(workspace: LocalWorkspace, tmp_path: Path) -> None:
    shutil.copytree(STORE, tmp_path / "wandb")
    first = min((tmp_path / "wandb").glob("*/*.wandb"))
    content = bytearray(first.read_bytes())
    content[3000] ^= 1
    first.write_bytes(content)
    report = bring_in(workspace, RunFolders(tmp_path / "wandb"))
    [left] = [each for each in report.skipped if each.kind == "record file"]
    assert "from here on it is not read" in left.reason
    assert len(workspace.tracking.search().runs) == 2


def test_nothing_to_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidInput, match="holds no runs of Weights & Biases"):
        RunFolders(tmp_path)
    with pytest.raises(NotFound, match="there is no folder"):
        RunFolders(tmp_path / "none")
    assert main(["import", "wandb", str(tmp_path)]) == 2
    assert "holds no runs" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.sampled_from([0, 1, 40, BLOCK - 20, BLOCK - 7, BLOCK, 3 * BLOCK]), max_size=6))
def test_records_are_read_back(sizes: list[int]) -> None:
    said = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    assert list(records(io.BytesIO(written(said)))) == said


@given(st.binary(min_size=1, max_size=40), st.data())
def test_a_bit_that_turned_is_seen(said: bytes, data: st.DataObject) -> None:
    """In a file that goes on: what is cut off at its end is a writer that was killed."""
    content = bytearray(written([said, b"and another"]))
    at = data.draw(st.integers(0, len(HEADER) + 3))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Corrupted):
        list(records(io.BytesIO(content)))
