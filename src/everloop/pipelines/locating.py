"""Which pipeline is meant, and the project that its code belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from everloop.errors import InvalidInput
from everloop.governance.definitions import load, pick
from everloop.pipelines.steps import Pipeline

_OF_OTHER_TOOLS = ("MLproject", "dvc.yaml")


def find_pipeline(given: str | Pipeline[..., Any], project: Path) -> tuple[Pipeline[..., Any], str]:
    """A declared pipeline, or the one that ``FILE:NAME`` names; and that text, relative to the project, to find it again."""
    if isinstance(given, Pipeline):
        file, _, name = given.source.rpartition(":")
        return given, f"{_relative(Path(file), project)}:{name}" if file else ""
    if not isinstance(given, str):
        raise InvalidInput(
            f"{given!r} is not a pipeline", hint="decorate the function with @everloop.pipeline"
        )
    foreign = _of_other_tools(given, project)
    if foreign is not None:
        return foreign, foreign.source
    file, colon, name = given.rpartition(":")
    if not colon or not file or not name:
        raise InvalidInput(
            f"'{given}' does not name a pipeline",
            hint="write FILE.py:NAME or MODULE:NAME, or name a dvc.yaml or MLproject",
        )
    module = load(file, project)
    return pick(module, name, Pipeline, "pipeline"), given if not file.endswith(
        ".py"
    ) else f"{_relative(Path(module.__file__ or file), project)}:{name}"


def _of_other_tools(given: str, project: Path) -> Pipeline[..., Any] | None:
    """The pipeline of a dvc.yaml (``dvc.yaml``, ``dvc.yaml:train``) or an MLproject, or of the one in a folder (``.``, as `mlflow
    run` takes it); None when something else is named."""
    file, _, entry = given.partition(":")
    if Path(file).is_dir():
        inside = [each for each in _OF_OTHER_TOOLS if Path(file, each).is_file()]
        file = str(Path(file, inside[0])) if inside else file
    if Path(file).name not in _OF_OTHER_TOOLS:
        return None
    path = next((each.resolve() for each in (Path(file), project / file) if each.is_file()), None)
    if path is None:
        raise InvalidInput(f"there is no file {file}", hint=f"it is looked for here and in {project}")
    if not path.is_relative_to(project.resolve()):
        raise InvalidInput(f"{file} is not inside the project {project}", hint="run it from its own folder")
    if path.name == "MLproject":
        from everloop.pipelines.foreign.mlproject import ProjectPipeline

        return ProjectPipeline(path, entry, project)
    from everloop.pipelines.foreign.dvc import dvc_pipeline

    return dvc_pipeline(path, entry, project)


def project_of(pipeline: Pipeline[..., Any], project: Path) -> Path:
    """The folder that code is relative to: the workspace's project, or that of a file outside of it."""
    file = pipeline.source.rpartition(":")[0]
    if (
        not file
        or Path(file).name in _OF_OTHER_TOOLS
        or Path(file).resolve().is_relative_to(project.resolve())
    ):
        return project.resolve()
    return Path(file).resolve().parent


def _relative(path: Path, project: Path) -> str:
    resolved = path.resolve()
    return (
        resolved.relative_to(project.resolve()).as_posix()
        if resolved.is_relative_to(project.resolve())
        else str(resolved)
    )
