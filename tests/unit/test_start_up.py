"""What commands do not import. Most of what a short command takes is importing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from everloop.cli import deferred

RUN = """
import json, sys
from everloop.cli.main import main
code = main(sys.argv[1:])
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""

HEAVY = {
    "alembic",
    "asyncio",
    "duckdb",
    "httpx",
    "importlib.metadata",
    "jinja2",
    "numpy",
    "obstore",
    "pyarrow",
    "sqlalchemy",
    "starlette",
}
"""Packages, and modules of Python, that take 20 ms or more."""


FLOW = """
import everloop as ev

@ev.step
def count(text: str) -> int:
    return len(text)

@ev.pipeline
def counts():
    return count("letters")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a folder in it, made by a command as users make one."""
    project = tmp_path_factory.mktemp("project")
    (project / "letters").mkdir()
    (project / "letters/a.txt").write_text("a")
    (project / "flow.py").write_text(FLOW)
    assert loaded(project, "data", "add", "letters", "--name", "letters")
    return project


def loaded(project: Path, *command: str) -> set[str]:
    """The heavy ones among the modules that a command imported."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *command],
        cwd=project,
        env=os.environ | {"EVERLOOP_WORKSPACE": str(project)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code == 0, done
    return HEAVY & set(modules)


def test_help_imports_nothing_heavy(project: Path) -> None:
    assert loaded(project, "--help") == set()


def test_what_is_compared_with_files_alone_needs_no_database(project: Path) -> None:
    assert loaded(project, "data", "status", "letters") == set()


@pytest.mark.parametrize(
    "command", ["runs list", "models list", "audit log", "why data:letters@v1", "status"]
)
def test_what_is_known_is_told_with_the_database_alone(project: Path, command: str) -> None:
    assert loaded(project, *command.split()) == {"sqlalchemy"}


def test_a_run_of_which_all_is_known_needs_the_database_alone(project: Path) -> None:
    assert loaded(project, "run", "flow.py:counts")
    assert loaded(project, "run", "flow.py:counts") == {"sqlalchemy"}


def test_a_module_that_waits_is_whole_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("colorsys", "wsgiref", "wsgiref.util"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with deferred.waiting({"colorsys": ("rgb_to_hsv",), "wsgiref.util": ()}):
        import colorsys
        import wsgiref.util

        convert = colorsys.rgb_to_hsv
        assert isinstance(colorsys, deferred.Waiting)
        assert isinstance(wsgiref.util, deferred.Waiting)
    assert "colorsys" not in sys.modules  # whoever imports it from now on gets the real one
    assert convert(1, 1, 1) == (0, 0, 1)
    assert colorsys.hls_to_rgb is sys.modules["colorsys"].hls_to_rgb
    assert wsgiref.util.guess_scheme({"HTTPS": "on"}) == "https"
    assert not isinstance(sys.modules["wsgiref.util"], deferred.Waiting)


CASCADE = """
from everloop.store.schema.tracking import runs
from everloop.store.ledger.changes import _cascading
from everloop.store.schema.base import metadata
known = set(metadata.tables)
print(*sorted(child.name for child, _ in _cascading(runs) if child.name not in known))
"""


def test_rows_of_rooms_that_were_not_imported_are_deleted_along() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CASCADE], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["run_comments", "run_models"]
