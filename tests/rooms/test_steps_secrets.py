"""Secrets of steps: given to the step that declares them, and found nowhere afterwards."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator

import pytest
from tests.support.projects import Project, project_in

import everloop as ev
from everloop.errors import InvalidDefinition, InvalidInput
from everloop.workspace.local import LocalWorkspace

VALUE = " ".join(("pa$s", "w0rd/Zq7"))  # put together: this file may be kept as the code of a run
CODE = """
    import base64
    import os
    import warnings
    import everloop as ev

    @ev.step(secrets=["DB_PASSWORD"])
    def fetch(fail: bool) -> int:
        value = ev.secret("DB_PASSWORD")
        assert os.environ["DB_PASSWORD"] == value
        print("connecting with", value)
        os.system('echo "and $DB_PASSWORD"')
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ev.log_param("address", f"db://{value}@host")
        print(base64.b64encode(value.encode()).decode())
        if fail:
            raise RuntimeError(f"wrong password: {value}")
        return len(value)

    told = ev.shell_step('printf %s "$DB_PASSWORD" | wc -c', secrets=["DB_PASSWORD"])

    @ev.step
    def nosy() -> bool:
        return "DB_PASSWORD" in os.environ

    @ev.step(secrets=["DB_PASSWORD"])
    def leaks() -> dict:
        return {"password": ev.File("dsn", f"db://{ev.secret('DB_PASSWORD')}@host".encode() + b"." * 10_000)}

    @ev.step(secrets=["OTHER"])
    def undeclared() -> str:
        return ev.secret("DB_PASSWORD")

    @ev.pipeline
    def work(fail: bool = False):
        return fetch(fail), told(), nosy()

    @ev.pipeline
    def leaking():
        return leaks()

    @ev.pipeline
    def asking():
        return undeclared()
"""


@pytest.fixture
def project(workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.setenv("DB_PASSWORD", VALUE)
    with project_in(workspace) as made:
        made.write("work.py", CODE)
        yield made


def stored(project: Project) -> bytes:
    """Everything that the workspace keeps: its ledger and journals, and the content of all objects."""
    files = b"".join(path.read_bytes() for path in project.workspace.folder.rglob("*") if path.is_file())
    objects = project.workspace.objects
    return files + b"".join(objects.read(digest) for digest in objects.digests())


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_a_step_has_its_secret_and_nothing_that_is_kept_does(project: Project, executor: str) -> None:
    run = project.run("work.py:work", executor)
    assert run.status == "finished", run.error
    length, told, nosy = run.value()
    assert (length, int(told), nosy) == (len(VALUE), len(VALUE), False)
    failed = project.run("work.py:work", executor, params={"fail": True})
    assert "RuntimeError: wrong password: ***" in failed.error
    assert VALUE not in failed.error
    if executor == "local":
        log = run.step("fetch").log
        assert log is not None
        lines = project.workspace.objects.read(log).decode().splitlines()
        assert sorted(lines) == ["***", "and ***", "connecting with ***"]
    kept = stored(project)
    assert VALUE.encode() not in kept
    assert base64.b64encode(VALUE.encode()) not in kept
    assert os.environ["DB_PASSWORD"] == VALUE


def test_another_value_executes_nothing_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.run("work.py:work")
    monkeypatch.setenv("DB_PASSWORD", "another")
    assert project.run("work.py:work").executed == 0


def test_a_missing_secret_is_told_before_anything_runs(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DB_PASSWORD")
    with pytest.raises(
        InvalidInput, match="step fetch needs the secret DB_PASSWORD, which is neither in the environ"
    ):
        project.run("work.py:work")
    assert [each.name for run in project.room.runs() for each in project.room.steps(run.run)] == []


def test_the_file_of_secrets_is_for_its_owner_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DB_PASSWORD")
    file = project.workspace.folder / "secrets.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"DB_PASSWORD = '{VALUE}'\n")
    file.chmod(0o644)
    with pytest.raises(InvalidInput, match="can be read by others") as told:
        project.run("work.py:work")
    assert told.value.hint == f"chmod 600 {file}"
    file.chmod(0o600)
    assert project.run("work.py:work").value()[0] == len(VALUE)
    assert ev.secret("DB_PASSWORD") == VALUE
    file.write_text("DB_PASSWORD = oops")
    with pytest.raises(InvalidInput, match="is not TOML"):
        project.run("work.py:work", force=True)


def test_a_secret_is_not_returned_and_not_given_to_who_does_not_declare_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "what leaks returned holds the secret DB_PASSWORD" in project.run("work.py:leaking").error
    assert VALUE.encode() not in stored(project)
    monkeypatch.setenv("OTHER", "something")
    assert "the step does not declare the secret DB_PASSWORD" in project.run("work.py:asking").error


def test_names_are_names() -> None:
    with pytest.raises(InvalidDefinition, match="secrets='DB_PASSWORD' are no names"):
        ev.step(secrets="DB_PASSWORD")(lambda: None)
