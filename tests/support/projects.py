"""A user's project for tests of pipelines: files in a folder, and runs of what is in them, each as a new process would see it."""

from __future__ import annotations

import sys
import textwrap
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from everloop.pipelines.outcome import PipelineRun
from everloop.pipelines.pipelines import Pipelines
from everloop.workspace.local import LocalWorkspace


class Project:
    """The folder of a workspace."""

    def __init__(self, workspace: LocalWorkspace) -> None:
        self.workspace = workspace
        self.folder = workspace.project
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def room(self) -> Pipelines:
        return self.workspace.room(Pipelines)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def edit(self, name: str, before: str, after: str) -> None:
        text = (self.folder / name).read_text()
        assert before in text
        (self.folder / name).write_text(text.replace(before, after))

    def forget(self) -> None:
        """Modules of the project are imported anew."""
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(str(self.folder)):
                del sys.modules[name]

    def run(self, pipeline: str, executor: str = "inline", **options: Any) -> PipelineRun:
        self.forget()
        params = options.pop("params", {})
        return self.room.run(pipeline, params, executor=executor, **options)


@contextmanager
def project_in(workspace: LocalWorkspace) -> Iterator[Project]:
    """The project of a workspace; afterwards none of its modules is left."""
    path, bytecode = list(sys.path), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    made = Project(workspace)
    try:
        yield made
    finally:
        made.forget()
        sys.path[:] = path
        sys.dont_write_bytecode = bytecode


def statuses(run: PipelineRun) -> dict[str, str]:
    """What became of each step of a run."""
    return {each.name: each.status for each in run.steps}


def wheel(folder: Path, answer: int) -> Path:
    """A package of one module, built by hand: no index is asked for anything."""
    path = folder / "tiny-1.0-py3-none-any.whl"
    info = "tiny-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny.py", f"ANSWER = {answer}\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path
