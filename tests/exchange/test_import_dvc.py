"""DVC repositories come in with their history, and versions go out as DVC keeps them.

`stores/dvc/repository.tar.xz` was made by real DVC (`stores/dvc/make.sh`): eight commits, a branch and its merge, a folder and a
file, a stage, a remote that is a folder; of one version the content is lost, of another it is in the remote only.
"""

import hashlib
import json
import os
import subprocess
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.workspaces import FakeClock

from everloop.cli.main import main
from everloop.errors import Conflict, InvalidInput
from everloop.exchange.dvc.exporting import export_dvc
from everloop.exchange.dvc.importing import DvcImport, DvcReport
from everloop.exchange.dvc.tracked import outputs, stages
from everloop.workspace.local import LocalWorkspace

STORES = Path(__file__).parent / "stores"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    with tarfile.open(STORES / "dvc" / "repository.tar.xz") as archive:
        archive.extractall(tmp_path / "kept", filter="data")
    return tmp_path / "kept" / "project"


def imported(workspace: LocalWorkspace, folder: Path, **options: Any) -> DvcReport:
    return DvcImport(workspace.data, folder, **options).run()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def cached(folder: Path, content: bytes, *, layout: str = "files/md5/", name: str = "") -> str:
    """Put content into a DVC cache as DVC does."""
    digest = name or md5(content)
    place = folder / ".dvc" / "cache" / f"{layout}{digest[:2]}" / digest[2:]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return digest


class TestHistory:
    def test_each_commit_that_changed_an_output_is_a_version(
        self, workspace: LocalWorkspace, repository: Path
    ) -> None:
        report = imported(workspace, repository)
        assert report.imported == {"datasets": 3, "versions": 7, "files": 10, "bytes": 135}
        assert report.datasets == ["data/images", "data/labels.csv", "out"]
        labels = workspace.data.log("data/labels.csv")[::-1]
        assert [(each.message, each.user, each.created.day, each.rows) for each in labels] == [
            ("First labels and images", "ada <ada@example.org>", 2, 2),
            ("A third label", "grace <grace@example.org>", 3, 3),
            ("Bees count", "ada <ada@example.org>", 8, 4),
        ]
        assert [each.parent for each in labels] == [
            None,
            "data:data/labels.csv@v1",
            "data:data/labels.csv@v2",
        ]
        added = workspace.data.add(repository / "data/labels.csv", "the same")
        assert labels[2].content == added.content  # the rows of the newest, as they are in the work tree
        assert workspace.data.dataset("data/labels.csv@v1").to_arrow()["label"].to_pylist() == ["cat", "dog"]
        # The branch's commit brought the dog; its merge brings nothing new.
        assert [each.message for each in workspace.data.log("data/images")] == [
            "A dog",
            "First labels and images",
        ]
        images = workspace.data.dataset("data/images")
        assert [file.path for file in images.files()] == ["1.png", "3.png", "cats/größe 2.png"]
        assert images.open("cats/größe 2.png").read() == b"meow"
        assert [each.message for each in workspace.data.log("out")] == ["Bees count", "Count them"]
        assert workspace.governance.verify().ok

    def test_what_is_lost_is_named_with_the_reason(self, workspace: LocalWorkspace, repository: Path) -> None:
        (left,) = imported(workspace, repository).skipped
        assert left.kind == "version"
        assert "data/labels.csv at" in left.name
        assert "The third is a cow" in left.name
        assert "neither in the cache nor in a remote that is a folder" in left.reason

    def test_stages_are_told(self, workspace: LocalWorkspace, repository: Path) -> None:
        report = imported(workspace, repository)
        (stage,) = report.stages
        (command,) = report.run
        assert command == f"cd {repository} && everloop run dvc.yaml"
        assert (stage.name, stage.command) == ("count", "python3 count.py")
        assert (stage.dependencies, stage.outputs) == (["count.py", "data/labels.csv"], ["out"])

    def test_a_second_import_adds_nothing_even_of_what_was_removed(
        self, workspace: LocalWorkspace, repository: Path
    ) -> None:
        imported(workspace, repository)
        workspace.data.remove("data/images@v1")
        before = workspace.ledger.head()
        report = imported(workspace, repository)
        assert (report.imported["versions"], report.present["versions"]) == (0, 7)
        assert workspace.ledger.head() == before

    def test_an_import_goes_on_where_it_was_interrupted(
        self, workspace: LocalWorkspace, repository: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told: list[str] = []

        def interrupt(line: str) -> None:
            told.append(line)
            if len(told) == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            imported(workspace, repository, say=interrupt)
        report = imported(workspace, repository)
        assert (report.present["versions"], report.imported["versions"]) == (3, 4)
        assert [each.version for each in workspace.data.log("data/labels.csv")] == [3, 2, 1]

    def test_another_revision_and_a_prefix(self, workspace: LocalWorkspace, repository: Path) -> None:
        report = imported(workspace, repository, revision="HEAD~4", prefix="old/")
        assert report.datasets == ["old/data/images", "old/data/labels.csv"]
        with pytest.raises(InvalidInput, match=r"history of .* cannot be read"):
            imported(workspace, repository, revision="no-such-branch")

    def test_new_commits_are_added_later(self, workspace: LocalWorkspace, repository: Path) -> None:
        imported(workspace, repository)
        content = b"id,label\n9,ant\n"
        cached(repository, content)
        (repository / "data/labels.csv.dvc").write_text(
            f"outs:\n- md5: {md5(content)}\n  size: {len(content)}\n  hash: md5\n  path: labels.csv\n"
        )
        git(repository, "commit", "-qam", "Only an ant")
        report = imported(workspace, repository)
        assert (report.imported["versions"], report.present["versions"]) == (1, 7)
        assert workspace.data.version("data/labels.csv").message == "Only an ant"

    def test_parallel_branches_do_not_repeat_each_other(
        self, workspace: LocalWorkspace, tmp_path: Path
    ) -> None:
        """`dvc.lock` holds many outputs: a commit that changes one of them has not changed the others, whatever a branch did."""
        folder = tmp_path / "branches"
        (folder / ".dvc").mkdir(parents=True)
        git(folder, "init", "-q", "-b", "main")

        def commit(message: str, **content: str) -> None:
            outs = "".join(
                f"  {name}:\n    outs:\n    - {{path: {name}, hash: md5, md5: {cached(folder, text.encode())}}}\n"
                for name, text in content.items()
            )
            (folder / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n{outs}")
            git(folder, "add", "dvc.lock")
            git(folder, "commit", "-qm", message)

        commit("both", a="1", b="1")
        git(folder, "checkout", "-q", "-b", "side")
        commit("a on the side", a="2", b="1")
        git(folder, "checkout", "-q", "main")
        commit("b on main", a="1", b="2")
        imported(workspace, folder)
        assert [each.message for each in workspace.data.log("a")] == ["both"]
        git(folder, "merge", "-q", "-X", "ours", "side", "-m", "merged")
        imported(workspace, folder)
        assert {each.message for each in workspace.data.log("a")} == {"both", "a on the side"}
        assert {each.message for each in workspace.data.log("b")} == {"both", "b on main"}


class TestWithoutGitAndOldFormats:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "plain" / ".dvc").mkdir(parents=True)
        return tmp_path / "plain"

    def track(self, folder: Path, name: str, digest: str, extra: str = "  hash: md5\n") -> None:
        (folder / f"{name}.dvc").write_text(f"outs:\n- md5: {digest}\n{extra}  path: {name}\n")

    def test_without_git_the_files_as_they_are_now(self, workspace: LocalWorkspace, folder: Path) -> None:
        self.track(folder, "a.txt", cached(folder, b"one"))
        assert imported(workspace, folder).imported["versions"] == 1
        assert imported(workspace, folder).present["versions"] == 1
        self.track(folder, "a.txt", cached(folder, b"two"))
        assert imported(workspace, folder).imported["versions"] == 1
        assert workspace.data.dataset("a.txt").open("a.txt").read() == b"two"

    def test_the_layout_and_the_md5_of_dvc_2(self, workspace: LocalWorkspace, folder: Path) -> None:
        """Written by hand after DVC 2's source: text counts with LF, the cache has no folder `files/md5`."""
        windows, unix = b"a,b\r\n1,2\r\n", b"a,b\n1,2\n"
        cached(folder, windows, layout="", name=md5(unix))
        self.track(folder, "t.csv", md5(unix), extra="  size: 10\n")
        binary = b"\0\r\n" * 5
        cached(folder, binary, layout="")
        self.track(folder, "b.bin", md5(binary), extra="")
        report = imported(workspace, folder)
        assert report.skipped == []
        assert workspace.data.dataset("t.csv").open("t.csv").read() == windows
        assert workspace.data.dataset("b.bin").open("b.bin").read() == binary

    def test_what_is_no_table_by_its_ending_is_kept_as_it_is(
        self, workspace: LocalWorkspace, folder: Path
    ) -> None:
        for name, content in {"r.csv": b"a,b\n1,2,3\n", "p.parquet": b"PAR1 no", "e.csv": b""}.items():
            self.track(folder, name, cached(folder, content))
        report = imported(workspace, folder)
        assert (report.imported["versions"], report.skipped) == (3, [])
        assert {each.rows for each in workspace.data.datasets()} == {None}

    def test_damaged_content_is_not_taken(self, workspace: LocalWorkspace, folder: Path) -> None:
        digest = cached(folder, b"good")
        cached(folder, b"evil", name=digest)
        self.track(folder, "a.txt", digest)
        (left,) = imported(workspace, folder).skipped
        assert "does not match its MD5" in left.reason
        assert workspace.data.datasets() == []

    def test_a_folder_that_leads_out_of_itself(self, workspace: LocalWorkspace, folder: Path) -> None:
        inner = cached(folder, b"x")
        listing = json.dumps([{"md5": inner, "relpath": "../../escaped"}]).encode()
        self.track(folder, "d", cached(folder, listing, name=md5(listing) + ".dir"))
        (left,) = imported(workspace, folder).skipped
        assert "'..'" in left.reason

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("outs: [", "is not plain YAML"),
            ("- just\n- a list\n", "holds no mapping"),
            ("outs: 3\n", "its outs are no list"),
            ("outs:\n- md5: nonsense\n  hash: md5\n  path: x\n", "is no MD5"),
            ("outs:\n- md5: aa\n  hash: md5\n  path: ../../etc/passwd\n", "not below the repository"),
            ("outs:\n- md5: aa\n  hash: md5\n  path: 'a@b'\n", "a@b"),
        ],
    )
    def test_files_that_say_nonsense(
        self, workspace: LocalWorkspace, folder: Path, text: str, said: str
    ) -> None:
        (folder / "x.dvc").write_text(text)
        (left,) = imported(workspace, folder).skipped
        assert said in f"{left.name} {left.reason}"

    def test_outputs_without_an_md5_are_none(self, workspace: LocalWorkspace, folder: Path) -> None:
        (folder / "x.dvc").write_text("outs:\n- path: x\n  cache: false\n- etag: 12\n  path: y\n")
        report = imported(workspace, folder)
        assert (report.skipped, report.datasets) == ([], [])

    def test_a_remote_in_a_cloud_is_named(self, workspace: LocalWorkspace, folder: Path) -> None:
        (folder / ".dvc" / "config").write_text("['remote \"cloud\"']\n    url = s3://bucket/path\n")
        (left,) = imported(workspace, folder).skipped
        assert (left.kind, left.name) == ("remote", "cloud")
        assert "dvc fetch --all-commits" in left.reason

    def test_no_repository(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="no DVC repository"):
            imported(workspace, tmp_path)

    @given(text=st.text(max_size=200))
    def test_any_text_is_understood_or_refused(self, text: str) -> None:
        for name in ("x.dvc", "dvc.lock"):
            try:
                outputs(name, text)
                stages("dvc.yaml", text)
            except InvalidInput:
                continue

    def test_paths_of_a_stage_start_at_its_working_folder(self) -> None:
        lock = "schema: '2.0'\nstages:\n  s@1:\n    outs:\n    - {path: o, hash: md5, md5: aa}\n"
        assert [each.path for each in outputs("sub/dvc.lock", lock, {"s": "deeper"})] == ["sub/deeper/o"]
        alone = "wdir: ..\nouts:\n- {path: o, md5: aa}\n"
        assert [each.path for each in outputs("sub/x.dvc", alone)] == ["o"]


class TestExport:
    def test_what_came_from_dvc_goes_back_as_it_was(
        self, workspace: LocalWorkspace, repository: Path, tmp_path: Path
    ) -> None:
        """The `.dvc` files and the cache that real DVC wrote, byte by byte."""
        imported(workspace, repository)
        target = tmp_path / "target"
        (target / ".dvc").mkdir(parents=True)
        for name in ("data/images", "data/labels.csv", "out"):
            export_dvc(workspace.data, name, target)
        for name in ("data/images.dvc", "data/labels.csv.dvc"):
            assert (target / name).read_text() == (repository / name).read_text()
        assert (target / "data/.gitignore").read_text().split() == ["/images", "/labels.csv"]
        assert "69ca04c9babf54325bcd20d2ca36b007.dir" in (target / "out.dvc").read_text()
        cache = {
            path.relative_to(target): path
            for path in (target / ".dvc/cache/files").rglob("*")
            if path.is_file()
        }
        assert len(cache) == 7
        for path, written in cache.items():
            assert written.read_bytes() == (repository / path).read_bytes()
            assert written.stat().st_mode & 0o777 == 0o444
        with LocalWorkspace(tmp_path / "other") as other:
            assert imported(other, target).imported["versions"] == 3
            assert other.data.version("data/images").digest == workspace.data.version("data/images").digest

    def test_nothing_is_replaced_without_being_told(self, workspace: LocalWorkspace, tmp_path: Path) -> None:
        (tmp_path / "target" / ".dvc").mkdir(parents=True)
        (tmp_path / "f.txt").write_text("one")
        workspace.data.add(tmp_path / "f.txt", "f")
        first = export_dvc(workspace.data, "f", tmp_path / "target", "raw/f.txt")
        assert (first.path, first.md5) == ("raw/f.txt.dvc", md5(b"one"))
        assert export_dvc(workspace.data, "f", tmp_path / "target", "raw/f.txt") == first
        (tmp_path / "f.txt").write_text("two")
        workspace.data.add(tmp_path / "f.txt", "f")
        with pytest.raises(Conflict, match="names other content"):
            export_dvc(workspace.data, "f", tmp_path / "target", "raw/f.txt")
        assert export_dvc(workspace.data, "f", tmp_path / "target", "raw/f.txt", force=True).md5 == md5(
            b"two"
        )
        assert export_dvc(workspace.data, "f", tmp_path / "target").md5.endswith(".dir")
        with pytest.raises(InvalidInput, match="no DVC repository"):
            export_dvc(workspace.data, "f", tmp_path)
        with pytest.raises(InvalidInput, match="cannot be a file"):
            export_dvc(workspace.data, "f", tmp_path / "target", "../out")


def test_the_commands(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "project" / ".everloop").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    assert main(["import", "dvc", str(repository), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["imported"]["versions"], len(report["skipped"]), len(report["stages"])) == (7, 1, 1)
    assert main(["data", "export-dvc", "data/labels.csv@v2", str(repository), "--json"]) == 2
    assert "names other content" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert main(["data", "export-dvc", "data/labels.csv@v2", str(repository), "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == "data/labels.csv.dvc"
    assert main(["import", "dvc", str(tmp_path), "--json"]) == 2


def git(folder: Path, *arguments: str) -> None:
    who = {
        name: "ada" if name.endswith("NAME") else "ada@example.org"
        for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL")
    }
    subprocess.run(
        ["git", "-C", str(folder), "-c", "commit.gpgsign=false", *arguments],
        check=True,
        capture_output=True,
        env=os.environ | who,
    )
