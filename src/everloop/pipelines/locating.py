"""Which pipeline is meant, and the project that its code belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from everloop.errors import InvalidInput
from everloop.governance.definitions import load, pick
from everloop.pipelines.steps import Pipeline


def find_pipeline(given: str | Pipeline[..., Any], project: Path) -> tuple[Pipeline[..., Any], str]:
    """A declared pipeline, or the one that ``FILE:NAME`` names; and that text, relative to the project, to find it again."""
    if isinstance(given, Pipeline):
        file, _, name = given.source.rpartition(":")
        return given, f"{_relative(Path(file), project)}:{name}" if file else ""
    if not isinstance(given, str):
        raise InvalidInput(
            f"{given!r} is not a pipeline", hint="decorate the function with @everloop.pipeline"
        )
    file, colon, name = given.rpartition(":")
    if not colon or not file or not name:
        raise InvalidInput(f"'{given}' does not name a pipeline", hint="write FILE.py:NAME or MODULE:NAME")
    module = load(file, project)
    return pick(module, name, Pipeline, "pipeline"), given if not file.endswith(
        ".py"
    ) else f"{_relative(Path(module.__file__ or file), project)}:{name}"


def project_of(pipeline: Pipeline[..., Any], project: Path) -> Path:
    """The folder that code is relative to: the workspace's project, or that of a file outside of it."""
    file = pipeline.source.rpartition(":")[0]
    if not file or Path(file).resolve().is_relative_to(project.resolve()):
        return project.resolve()
    return Path(file).resolve().parent


def _relative(path: Path, project: Path) -> str:
    resolved = path.resolve()
    return (
        resolved.relative_to(project.resolve()).as_posix()
        if resolved.is_relative_to(project.resolve())
        else str(resolved)
    )
