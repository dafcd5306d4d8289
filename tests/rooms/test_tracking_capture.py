"""What is captured at the start of a run, what never is, and the way back."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import msgspec
import pytest

from everloop.domain.runs import Captured
from everloop.errors import Conflict, NotFound
from everloop.tracking import capture as capturing
from everloop.tracking.capture import Code, Environment, capture, restore
from everloop.tracking.secrets import is_secret, masked_command
from everloop.tracking.tracking import Tracking
from everloop.workspace.local import LocalWorkspace


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a commit, and a script in it that counts as the one that was started."""
    folder = tmp_path / "repository"
    (folder / "src").mkdir(parents=True)
    (folder / "train.py").write_text("print('committed')\n")
    (folder / "src" / "gone.py").write_text("x = 1\n")
    (folder / "src" / "kept.py").write_text("x = 2\n")
    (folder / ".gitignore").write_text("*.log\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    monkeypatch.setattr(capturing, "entry_file", lambda: folder / "train.py")
    return folder


def captured(workspace: LocalWorkspace, project: Path) -> tuple[Captured, Code]:
    found = capture(workspace.objects, project=project, seeds={}, leave_out=[workspace.folder])
    return found, msgspec.json.decode(workspace.objects.read(found.code), type=Code)


def test_a_clean_work_tree_is_its_commit(workspace: LocalWorkspace, project: Path) -> None:
    found, code = captured(workspace, project)
    assert (found.source, found.commit, found.branch) == (
        "train.py",
        git(project, "rev-parse", "HEAD"),
        "main",
    )
    assert not found.dirty
    assert (code.files, code.deleted) == ([], [])


def test_every_change_is_kept_and_comes_back(
    workspace: LocalWorkspace, project: Path, tmp_path: Path
) -> None:
    (project / "train.py").write_text("print('changed')\n")
    (project / "src" / "gone.py").unlink()
    (project / "new folder").mkdir()
    (project / "new folder" / "ünew.py").write_text("y = 1\n")
    (project / "run.sh").write_text("#!/bin/sh\n")
    (project / "run.sh").chmod(0o755)
    (project / "link").symlink_to("train.py")
    (project / "debug.log").write_text("ignored")
    (project / ".everloop").mkdir()
    (project / ".everloop" / "ledger.db").write_bytes(b"not code")
    git(project, "add", "run.sh")
    before = git(project, "status", "--porcelain")
    found, code = captured(workspace, project)
    assert git(project, "status", "--porcelain") == before
    assert found.dirty
    assert {(each.path, each.mode) for each in code.files} == {
        ("train.py", "100644"),
        ("new folder/ünew.py", "100644"),
        ("run.sh", "100755"),
        ("link", "120000"),
    }
    assert code.deleted == ["src/gone.py"]

    restore(workspace.objects, found.code, tmp_path / "back", repository=project)
    for path in ("train.py", "new folder/ünew.py", "src/kept.py", ".gitignore"):
        assert (tmp_path / "back" / path).read_bytes() == (project / path).read_bytes()
    assert os.readlink(tmp_path / "back" / "link") == "train.py"
    assert os.access(tmp_path / "back" / "run.sh", os.X_OK)
    assert not (tmp_path / "back" / "src" / "gone.py").exists()
    assert not (tmp_path / "back" / "debug.log").exists()
    with pytest.raises(Conflict, match="there already"):
        restore(workspace.objects, found.code, tmp_path / "back", repository=project)
    with pytest.raises(NotFound, match="no commit"):
        restore(workspace.objects, found.code, tmp_path / "other", repository=tmp_path)


def test_a_change_between_two_runs_of_one_process_is_seen(workspace: LocalWorkspace, project: Path) -> None:
    first, _ = captured(workspace, project)
    (project / "train.py").write_text("print('two')\n")
    second, _ = captured(workspace, project)
    again, _ = captured(workspace, project)
    assert first.code != second.code == again.code
    assert first.environment == second.environment


def test_a_file_that_is_too_large_is_named_instead(
    workspace: LocalWorkspace, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capturing, "LARGEST_FILE", 100)
    (project / "data.bin").write_bytes(bytes(101))
    _, code = captured(workspace, project)
    assert (code.files, code.skipped) == ([], ["data.bin"])


def test_files_of_secrets_are_named_and_not_kept(workspace: LocalWorkspace, project: Path) -> None:
    secrets = [".env", "conf/.env.production", "conf/secrets.yaml", "deploy.pem", "id_ed25519"]
    (project / "conf").mkdir()
    for path in secrets:
        (project / path).write_text("PASSWORD=hunter2")
    (project / "key_features.py").write_text("x = 1\n")
    found, code = captured(workspace, project)
    assert sorted(code.skipped) == sorted(secrets)
    assert [each.path for each in code.files] == ["key_features.py"]
    assert found.dirty
    for held in found.holds:
        assert b"hunter2" not in workspace.objects.read(held.digest)


def test_without_git_the_file_that_was_started_is_kept(
    workspace: LocalWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "alone").mkdir()
    script = tmp_path / "alone" / "train.py"
    script.write_text("print('alone')\n")
    monkeypatch.setattr(capturing, "entry_file", lambda: script)
    found, code = captured(workspace, tmp_path)
    assert (found.source, found.commit, found.dirty) == ("alone/train.py", "", False)
    assert [each.path for each in code.files] == ["train.py"]
    restore(workspace.objects, found.code, tmp_path / "back")
    assert (tmp_path / "back" / "train.py").read_text() == "print('alone')\n"


def test_a_repository_without_a_commit_is_kept_whole(
    workspace: LocalWorkspace, project: Path, tmp_path: Path
) -> None:
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "train.py").write_text("1\n")
    git(fresh, "init", "-q")
    capturing_entry, capturing.entry_file = capturing.entry_file, lambda: fresh / "train.py"
    try:
        found, code = captured(workspace, fresh)
    finally:
        capturing.entry_file = capturing_entry
    assert found.commit == ""
    assert [each.path for each in code.files] == ["train.py"]


def test_the_environment_is_named(
    workspace: LocalWorkspace, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t-value")
    monkeypatch.setenv("MY_OWN", "private-value")
    found, _ = captured(workspace, project)
    content = workspace.objects.read(found.environment)
    environment = msgspec.json.decode(content, type=Environment)
    assert environment.python == ".".join(map(str, sys.version_info[:3]))
    assert environment.threads["OMP_NUM_THREADS"] == "3"
    assert environment.variables["CUDA_VISIBLE_DEVICES"] == "0"
    assert any(each.startswith("sqlalchemy==") for each in environment.packages)
    assert b"value" not in content


@pytest.mark.parametrize(
    "name",
    ["password", "DB_PASSWORD", "api-key", "API_KEY", "apikey", "AWS_SECRET_ACCESS_KEY", "token", "HF_TOKEN", "authToken",
     "client_secret", "private_key", "passphrase", "credentials", "SENTRY_DSN", "session_id", "passwd", "accessKey"],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)
    assert masked_command(["x.py", f"--{name}", "abc", f"--{name}=abc", f"{name}=abc"]) == [
        "x.py", f"--{name}", "***", f"--{name}=***", f"{name}=***"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["lr", "max_tokens", "n_tokens", "tokenizer", "sort_key", "primary-key", "author", "keys_dim", "monkey", "join_key",
     "secretary", "pad_token", "key_size"],
)  # fmt: skip
def test_names_that_are_none(name: str) -> None:
    assert not is_secret(name)


def test_secrets_in_a_command_are_masked_wherever_they_stand() -> None:
    hidden = ["AKIAIOSFODNN7EXAMPLE", "ghp_" + "a" * 36, "sk-" + "b" * 40, "postgresql://ann:hunter2@db/x"]
    shown = masked_command(["train.py", *hidden, "--lr", "0.1"])
    assert shown == ["train.py", "***", "***", "***", "postgresql://***@db/x", "--lr", "0.1"]
    header = masked_command(["train.py", "-H", "Authorization: Bearer 0123456789abcdef", "Bearer of news"])
    assert header == ["train.py", "-H", "Authorization: Bearer ***", "Bearer of news"]


def test_a_run_holds_what_it_captured(tracking_run: tuple[Tracking, str]) -> None:
    tracking, run_id = tracking_run
    found = tracking.describe(run_id).captured
    held = {
        digest for digest, holder, _ in tracking.context.ledger.held_objects() if holder == f"run:{run_id}"
    }
    assert {found.environment, found.code} <= held
    tracking.delete_runs([run_id])
    tracking.purge_runs([run_id])
    assert not [1 for _, holder, _ in tracking.context.ledger.held_objects() if holder == f"run:{run_id}"]
    assert [each.action for each in tracking.context.ledger.events(subject=f"run:{run_id}")][
        -1
    ] == "run.purged"


@pytest.fixture
def tracking_run(workspace: LocalWorkspace) -> tuple[Tracking, str]:
    tracking: Tracking = workspace.tracking
    with tracking.start(seeds={"numpy": 40}) as run:
        pass
    return tracking, run.run_id


def test_the_cells_of_a_notebook_are_kept_without_secrets(
    workspace: LocalWorkspace, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = ["", "x = 1", 'api_key = "s3cr3t-value"\nos.environ["HF_TOKEN"] = "s3cr3t-value"', "start(x)"]
    shell = types.SimpleNamespace(user_ns={"In": inputs, "__vsc_ipynb_file__": "/home/ann/train.ipynb"})
    package = types.ModuleType("IPython")
    package.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setattr(capturing, "entry_file", lambda: None)
    monkeypatch.chdir(project)
    found, code = captured(workspace, project)
    assert found.source == "train.ipynb"
    (cells,) = [each for each in code.files if each.path == "notebook_cells.py"]
    text = workspace.objects.read(cells.digest).decode()
    assert text.startswith("# In [1]\nx = 1\n")
    assert text.endswith("# In [3]\nstart(x)\n")
    assert "s3cr3t" not in text
    inputs.append("start(2)")
    again, _ = captured(workspace, project)
    assert again.code != found.code
