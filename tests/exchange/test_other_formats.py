"""TensorBoard's event files and tables of runs come in; runs go out as an mlruns folder and come back the same."""

from __future__ import annotations

import io
import json
import math
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.workspaces import served

from everloop.cli.main import main
from everloop.domain.runs import checked_key
from everloop.errors import Corrupted, InvalidInput
from everloop.exchange.bringing import bring_in
from everloop.exchange.csvruns import CsvFile
from everloop.exchange.fitting import kept_key
from everloop.exchange.mlflow.exporting import export_mlruns
from everloop.exchange.mlflow.opening import open_source
from everloop.exchange.mlflow.server import ServerSource
from everloop.exchange.tensorboard.reading import LogFolder
from everloop.exchange.tensorboard.records import masked_crc32c, records
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.workspace import Workspace

STORES = Path(__file__).parent / "stores"
ROOT = Path(__file__).parents[2]
Unpack = Callable[[str], Path]


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))


class TestTensorBoard:
    def test_a_log_folder_comes_over(self, any_workspace: Workspace) -> None:
        report = bring_in(any_workspace, LogFolder(STORES / "tensorboard", "digits"))
        runs = {run.name: run for run in any_workspace.tracking.search().runs}
        assert sorted(runs) == ["first", "first/hp"]
        first = runs["first"]
        assert (first.experiment, first.status) == ("digits", "finished")
        history = any_workspace.tracking.history(run_id=first.run_id, key="loss/train")
        assert np.frombuffer(history.steps, "<i8").tolist() == list(range(20))
        assert np.frombuffer(history.times, "<i8").tolist() == [
            (1_700_000_000 + n) * 1_000_000 for n in range(20)
        ]
        written = [float(np.float32(1 / (n + 1))) for n in range(20)]  # TensorBoard keeps 32 bits
        assert np.frombuffer(history.values, "<f8").tolist() == written
        assert math.isnan(first.metrics["odd"])
        files = {file.path: file.digest for file in any_workspace.tracking.artifacts(run_id=first.run_id)}
        assert sorted(files) == ["images/pic/5.png", "texts/note/text_summary/3.txt"]
        assert any_workspace.objects.read(files["texts/note/text_summary/3.txt"]) == b"hello *world*"
        assert any_workspace.objects.read(files["images/pic/5.png"]).startswith(b"\x89PNG")
        assert runs["first/hp"].params == {"lr": "0.1", "bs": "32", "opt": "adam", "flag": "True"}
        assert runs["first/hp"].metrics == {"hp/acc": 0.5}
        assert [(each.kind, each.reason) for each in report.skipped] == [
            ("histogram", "1 of them are not read")
        ]

        again = bring_in(any_workspace, LogFolder(STORES / "tensorboard", "digits"))
        assert not any(again.imported.values())

    def test_a_file_that_breaks_off_gives_what_it_has(
        self, workspace: LocalWorkspace, tmp_path: Path
    ) -> None:
        shutil.copytree(STORES / "tensorboard" / "first", tmp_path / "logs" / "first")
        [file] = (tmp_path / "logs" / "first").glob("events*")
        file.write_bytes(file.read_bytes()[:500])
        report = bring_in(workspace, LogFolder(tmp_path / "logs"))
        [run] = [run for run in workspace.tracking.search().runs if run.name == "first"]
        assert 0 < workspace.tracking.history(run_id=run.run_id, key="loss/train").count < 20
        assert report.skipped == []  # its writer was killed: that is no damage

    def test_damage_is_seen_and_named(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        shutil.copytree(STORES / "tensorboard" / "first", tmp_path / "logs" / "first")
        [file] = (tmp_path / "logs" / "first").glob("events*")
        content = bytearray(file.read_bytes())
        content[500] ^= 1
        file.write_bytes(content)
        report = bring_in(workspace, LogFolder(tmp_path / "logs"))
        [left] = report.skipped
        assert left.kind == "event file"
        assert "checksum" in left.reason

    def test_nothing_to_read(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="holds no event files"):
            LogFolder(tmp_path)

    @given(st.lists(st.binary(max_size=40), max_size=5))
    def test_records_are_read_back(self, written: list[bytes]) -> None:
        assert list(records(io.BytesIO(b"".join(map(record, written))))) == written

    @given(st.binary(min_size=1, max_size=40), st.data())
    def test_a_bit_that_turned_is_seen(self, written: bytes, data: st.DataObject) -> None:
        content = bytearray(record(written))
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= 1 << data.draw(st.integers(0, 7))
        with pytest.raises(Corrupted):
            list(records(io.BytesIO(content)))


class TestTables:
    def bring(self, workspace: Workspace, path: Path, text: str, **options: list[str]) -> dict[str, object]:
        path.write_text(text)
        report = bring_in(workspace, CsvFile(path, **options))
        return {"report": report} | {run.name: run for run in workspace.tracking.search(state="all").runs}

    def test_columns_are_what_they_hold(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        text = "name;lr;rmse;Start Time;kind\na;0.1;0.5;2026-01-01 10:00:00;tree\nb;0.2;nan;2026-01-02T00:00:00+02:00;x\nc;1\n"
        found = self.bring(workspace, tmp_path / "sweep.csv", text, params=["lr"])
        a = workspace.tracking.run(run_id="a")
        assert (a.experiment, a.params, a.metrics) == ("sweep", {"lr": "0.1", "kind": "tree"}, {"rmse": 0.5})
        assert a.start_time.isoformat() == "2026-01-01T10:00:00+00:00"
        b = workspace.tracking.run(run_id="b")
        assert math.isnan(b.metrics["rmse"])
        assert b.start_time.isoformat() == "2026-01-01T22:00:00+00:00"
        assert [each.reason for each in found["report"].skipped] == ["it has 2 cells, not 5"]  # type: ignore[attr-defined]

    def test_rows_without_identifiers_are_known_again(
        self, workspace: LocalWorkspace, tmp_path: Path
    ) -> None:
        text = "lr,rmse\n0.1,1\n0.1,1\n0.2,2\n"
        self.bring(workspace, tmp_path / "x.csv", text)
        self.bring(workspace, tmp_path / "x.csv", text)
        assert len(workspace.tracking.search().runs) == 3

    def test_what_search_runs_of_mlflow_writes(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        text = (
            "run_id,experiment_id,status,artifact_uri,start_time,end_time,metrics.rmse,params.alpha,tags.mlflow.user\n"
            f"{'ab' * 16},1,FAILED,/x,2026-01-01 10:00:00+00:00,2026-01-01 10:01:00+00:00,0.5,0.1,ann\n"
        )
        self.bring(workspace, tmp_path / "runs.csv", text)
        run = workspace.tracking.run(run_id="ab" * 16)
        assert (run.status, run.params, run.metrics) == ("failed", {"alpha": "0.1"}, {"rmse": 0.5})
        assert run.tags == {"mlflow.user": "ann"}

    def test_what_runs_export_writes(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        from everloop.tracking.exporting import export

        with workspace.tracking.start("churn", "=one", params={"alpha": 0.5, "kind": "tree"}) as run:
            run.log_metric("rmse", 0.1 + 0.2)
        record = workspace.tracking.run(run_id=run.run_id)
        (tmp_path / "out.csv").write_bytes(export([record], "csv"))
        with LocalWorkspace(tmp_path / "other") as other:
            bring_in(other, CsvFile(tmp_path / "out.csv", params=["alpha"]))
            back = other.tracking.run(run_id=run.run_id)
        assert (back.name, back.experiment, back.status) == ("=one", "churn", "finished")
        assert (back.params, back.metrics) == (record.params, record.metrics)

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "has no header"),
            (b"a,a\n1,2\n", "two columns called 'a'"),
            (b"\xff\xfe\x00", "cannot be read as CSV"),
            (b'a,b\n"1,2\n', "cannot be read as CSV"),
        ],
    )
    def test_what_is_no_table(self, tmp_path: Path, content: bytes, said: str) -> None:
        (tmp_path / "x.csv").write_bytes(content)
        with pytest.raises(InvalidInput, match=said):
            CsvFile(tmp_path / "x.csv")


def everything(workspace: Workspace) -> dict[str, object]:
    """All there is of runs and models, without what only one workspace knows."""
    tracking, registry = workspace.tracking, workspace.registry
    found: dict[str, object] = {}
    for run in tracking.search(state="all").runs:
        facts = {
            name: str(getattr(run, name))
            for name in run.__struct_fields__
            if name not in {"experiment_id", "status"}
        }
        found[run.run_id] = (
            facts,
            [tracking.history(run_id=run.run_id, key=key) for key in run.metrics],
            tracking.artifacts(run_id=run.run_id),
            tracking.datasets_of(run_ids=[run.run_id]),
            tracking.models_of_runs(run_ids=[run.run_id]),
        )
    for model in registry.models():
        for version in registry.versions(name=model.name):
            found[version.reference] = (
                version.files,
                version.aliases,
                version.stage,
                version.tags,
                version.description,
            )
    return found


class TestExport:
    @pytest.fixture
    def filled(self, workspace: LocalWorkspace, unpacked: Unpack) -> LocalWorkspace:
        bring_in(workspace, open_source(str(unpacked("3.17.2") / "mlruns")))
        return workspace

    def test_what_goes_out_comes_back(self, filled: LocalWorkspace, tmp_path: Path) -> None:
        runs = filled.tracking.search(state="all").runs
        done = export_mlruns(filled, runs, tmp_path / "out")
        assert (done.runs, done.artifacts, done.logged_models, done.versions, done.skipped) == (
            8,
            2,
            1,
            2,
            [],
        )
        with LocalWorkspace(tmp_path / "other") as other:
            report = bring_in(other, open_source(str(tmp_path / "out")))
            assert report.skipped == []
            before = {
                name: said for name, said in everything(filled).items() if not name.startswith("model:greet")
            }
            assert everything(other) == before

    def test_the_real_client_reads_it(self, filled: LocalWorkspace, tmp_path: Path) -> None:
        python = ROOT / ".venv-mlflow3" / "bin" / "python"
        if not python.exists():
            pytest.skip("the client is not installed (make mlflow-clients)")
        runs = filled.tracking.search(state="all").runs
        export_mlruns(filled, runs, tmp_path / "out")
        script = (
            "import json, mlflow\n"
            f"mlflow.set_tracking_uri('file://{tmp_path / 'out'}')\n"
            "c = mlflow.MlflowClient()\n"
            "[run] = c.search_runs(['1'], \"run_name = 'parent'\")\n"
            "version = c.get_model_version_by_alias('Twice is nice', 'champion')\n"
            "print(json.dumps([run.data.params, len(c.get_metric_history(run.info.run_id, 'loss')),\n"
            "  [file.path for file in c.list_artifacts(run.info.run_id)], version.version, version.tags,\n"
            "  [file.path for file in mlflow.artifacts.list_artifacts('models:/Twice is nice@champion')]]))\n"
        )
        settings = {
            "MLFLOW_ALLOW_FILE_STORE": "true",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "HOME": str(tmp_path),
        }
        done = subprocess.run(
            [python, "-c", script], capture_output=True, text=True, env=settings, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr
        params, points, files, version, tags, model = json.loads(done.stdout.splitlines()[-1])
        assert params["text"] == "two\nlines, ünïcode 🎈"
        assert (points, files, int(version), tags) == (
            50,
            ["empty.txt", "notes"],
            1,
            {"checked": "yes: it was"},
        )
        assert "MLmodel" in model

    def test_what_is_there_is_left_alone(self, filled: LocalWorkspace, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine").write_text("x")
        with pytest.raises(InvalidInput, match="is there already"):
            export_mlruns(filled, [], tmp_path / "out")
        assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine"]

    def test_keys_that_are_folders_of_others(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        with workspace.tracking.start("e", params={"a": 1, "a/b": 2}) as run:
            pass
        done = export_mlruns(workspace, [workspace.tracking.run(run_id=run.run_id)], tmp_path / "out")
        [left] = done.skipped
        assert left.name == f"run:{run.run_id} a/b"


def test_a_server_that_speaks_the_protocol(
    workspace: LocalWorkspace, unpacked: Unpack, tmp_path: Path
) -> None:
    """Everloop's own, here; MLflow's were tried by hand, four releases of them."""
    bring_in(workspace, open_source(str(unpacked("3.17.2") / "mlruns")))
    with served(workspace) as address, LocalWorkspace(tmp_path / "other") as other:
        source = ServerSource(address)
        report = bring_in(other, source)
        source.close()
        assert report.imported["runs"] == 8
        before, after = everything(workspace), everything(other)
        assert {name for name in before if len(name) == 32} == {name for name in after if len(name) == 32}
        [parent] = [run for run in other.tracking.search().runs if run.name == "parent"]
        assert before[parent.run_id] == after[parent.run_id]


class TestCommands:
    def said(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, object]]:
        code = main([*arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    @pytest.fixture(autouse=True)
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("EVERLOOP_WORKSPACE", str(tmp_path / "project"))

    def test_the_report(
        self, workspace: LocalWorkspace, unpacked: Unpack, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = unpacked("3.17.2")
        moved = f"/srv/tracking/arts={folder / 'arts'}"
        code, report = self.said(capsys, "import", "mlflow", str(folder / "mlflow.db"), "--artifacts", moved)
        assert code == 0
        assert report["imported"]["runs"] == 8  # type: ignore[index]
        assert report["skipped"] == []
        assert main(["import", "mlflow", str(folder / "mlflow.db")]) == 0
        assert "here before" in capsys.readouterr().out

    def test_out_and_in_again(
        self, workspace: LocalWorkspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with workspace.tracking.start("churn", "one") as run:
            run.log_metric("rmse", 1.5)
        code, done = self.said(capsys, "runs", "export", str(tmp_path / "out"), "--format", "mlruns")
        assert (code, done["runs"]) == (0, 1)
        code, report = self.said(capsys, "import", "mlflow", str(tmp_path / "out"))
        assert (code, report["present"]["runs"]) == (0, 1)  # type: ignore[index]

    @pytest.mark.parametrize(
        "arguments",
        [
            ("mlflow", "/nowhere"),
            ("mlflow", "."),
            ("mlflow", ".", "--artifacts", "/a"),
            ("mlflow", "http://127.0.0.1:9"),
            ("tensorboard", "/nowhere"),
            ("csv", "/nowhere.csv"),
        ],
    )
    def test_mistakes_end_with_2_and_make_nothing(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        arguments: tuple[str, ...],
    ) -> None:
        code, said = self.said(capsys, "import", *arguments)
        assert code == 2
        assert said["error"]["message"]  # type: ignore[index]
        assert list(tmp_path.iterdir()) == []


@given(st.text(max_size=300))
def test_any_key_becomes_one_that_can_be_kept(key: str) -> None:
    kept = kept_key(key)
    assert not kept or checked_key(kept, "key") == kept
