"""Runs as an ``mlruns`` folder, in the layout that MLflow's file store reads, with the models that came out of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.domain.adoption import derived_id
from everloop.domain.logged_models import OUTPUT, LoggedModel, LoggedModelStatus
from everloop.domain.runs import (
    DELETED,
    FAILED,
    FINISHED,
    INTERRUPTED,
    KILLED,
    RUNNING,
    ArtifactRecord,
    Experiment,
    RunRecord,
)
from everloop.domain.times import micros
from everloop.errors import InvalidInput, NotFound
from everloop.exchange.mlflow import conventions
from everloop.exchange.mlflow.files import META, REGISTRY, TRASH
from everloop.exchange.source import Skipped

if TYPE_CHECKING:
    from everloop.domain.models import ModelRecord, ModelVersionRecord
    from everloop.workspace.workspace import Workspace

STATUS_NUMBERS = {RUNNING: 1, FINISHED: 3, FAILED: 4, KILLED: 5, INTERRUPTED: 5}
MODEL_STATUS_NUMBERS = {LoggedModelStatus.PENDING: 1, LoggedModelStatus.READY: 2, LoggedModelStatus.FAILED: 3}
LOCAL_SOURCE = 4
_LINE_BREAKS = {"\x85": "\\N", "\u2028": "\\L", "\u2029": "\\P"}
_PIECE = 1 << 20


class Exported(msgspec.Struct):
    """What was written: where, how many of each kind, and what could not be and why."""

    path: str
    runs: int = 0
    artifacts: int = 0
    logged_models: int = 0
    versions: int = 0
    skipped: list[Skipped] = []
    format: str = "mlruns"


def export_mlruns(workspace: Workspace, runs: Sequence[RunRecord], folder: Path) -> Exported:
    """Write runs with histories, artifacts, datasets, logged models and the registered versions made of them into a new folder.

    It appears under its name when it is whole. Raises InvalidInput where something is there already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInput(f"{folder} is there already", hint="name a folder that is new or empty")
    growing = folder.with_name(folder.name + ".incomplete")
    shutil.rmtree(growing, ignore_errors=True)
    try:
        growing.mkdir(parents=True)
        done = _Export(workspace, growing, folder.resolve()).write(runs)
        if folder.is_dir():
            folder.rmdir()
        growing.rename(folder)
    except OSError as error:
        raise InvalidInput(
            f"{folder} cannot be written: {error.strerror}", hint="name a folder you may write to"
        ) from None
    finally:
        shutil.rmtree(growing, ignore_errors=True)
    return done


class _Export:
    """`root` is written to; `final` is what it will be called, which the files name."""

    def __init__(self, workspace: Workspace, root: Path, final: Path) -> None:
        self._tracking, self._registry, self._objects = (
            workspace.tracking,
            workspace.registry,
            workspace.objects,
        )
        self._root, self._final = root, final
        self._folders: dict[int, Path] = {}
        self._done = Exported(str(final))

    def write(self, runs: Sequence[RunRecord]) -> Exported:
        wanted = {run.experiment_id for run in runs}
        for experiment in self._tracking.experiments(state="all"):
            if experiment.id in wanted or experiment.id == 0:
                self._write_experiment(experiment)
        for run in runs:
            self._write_run(run)
        self._write_registry({run.run_id for run in runs})
        return self._done

    # Experiments and runs

    def _write_experiment(self, experiment: Experiment) -> None:
        folder = self._root / (f"{TRASH}/" if experiment.state == DELETED else "") / str(experiment.id)
        self._folders[experiment.id] = folder
        fields = {
            "artifact_location": self._address(self._root / str(experiment.id)),
            "creation_time": _milliseconds(experiment.created),
            "experiment_id": str(experiment.id),
            "last_update_time": _milliseconds(experiment.updated),
            "lifecycle_stage": experiment.state,
            "name": experiment.name,
        }
        _write_meta(folder, fields)
        self._write_texts(folder / "tags", experiment.tags, f"experiment {experiment.id}")

    def _write_run(self, run: RunRecord) -> None:
        folder = self._folders[run.experiment_id] / run.run_id
        fields: dict[str, Any] = {
            "artifact_uri": self._address(folder / "artifacts"),
            "end_time": None if run.end_time is None else _milliseconds(run.end_time),
            "entry_point_name": "",
            "experiment_id": str(run.experiment_id),
            "lifecycle_stage": run.state,
            "run_id": run.run_id,
            "run_name": run.name,
            "run_uuid": run.run_id,
            "source_name": run.source,
            "source_type": LOCAL_SOURCE,
            "source_version": run.version,
            "start_time": _milliseconds(run.start_time),
            "status": STATUS_NUMBERS[run.status],
            "tags": [],
            "user_id": run.user,
        }
        _write_meta(folder, fields)
        for each in ("params", "metrics", "tags", "artifacts"):
            (folder / each).mkdir()
        owner = run.reference
        self._write_texts(folder / "params", run.params, owner)
        self._write_texts(folder / "tags", _facts(run) | run.tags, owner)
        for key in run.metrics:
            history = self._tracking.history(run_id=run.run_id, key=key)
            self._write_text(
                folder / "metrics", key, _lines(history.steps, history.times, history.values), owner
            )
        files = self._tracking.artifacts(run_id=run.run_id)
        self._write_files(folder / "artifacts", files)
        self._done.artifacts += len(files)
        self._write_datasets(folder, run)
        self._write_models(folder, run)
        self._done.runs += 1

    def _write_datasets(self, folder: Path, run: RunRecord) -> None:
        for each in self._tracking.datasets_of(run_ids=[run.run_id]).get(run.run_id, []):
            dataset = derived_id("dataset", each.name, each.digest)
            fields = {
                name: getattr(each, name)
                for name in ("digest", "name", "profile", "schema", "source", "source_type")
            }
            _write_meta(folder.parent / "datasets" / dataset, fields)
            tags = each.tags | ({conventions.CONTEXT: each.context} if each.context else {})
            use = {
                "destination_id": run.run_id,
                "destination_type": "RUN",
                "source_id": dataset,
                "source_type": "DATASET",
            }
            _write_meta(folder / "inputs" / derived_id("input", dataset, run.run_id), use | {"tags": tags})

    # Models

    def _write_models(self, folder: Path, run: RunRecord) -> None:
        for link in self._tracking.models_of_runs(run_ids=[run.run_id]):
            word = "OUTPUT" if link.role == OUTPUT else "INPUT"
            fields: dict[str, Any] = {
                "destination_id": link.model_id,
                "destination_type": f"MODEL_{word}",
                "source_id": link.model_id if link.role == OUTPUT else run.run_id,
                "source_type": f"RUN_{word}",
                "step": link.step,
                "tags": {},
            }
            _write_meta(folder / f"{word.lower()}s" / link.model_id, fields)
            try:
                self._write_model(self._tracking.logged_model(model_id=link.model_id))
            except NotFound:
                self._done.skipped.append(Skipped("logged model", link.model_id, "it is deleted"))

    def _write_model(self, model: LoggedModel) -> None:
        experiment = self._folders.get(model.experiment_id)
        if experiment is None or (experiment / REGISTRY / model.model_id).exists():
            return
        folder = experiment / REGISTRY / model.model_id
        fields = {
            "artifact_location": self._address(folder / "artifacts"),
            "creation_timestamp": _milliseconds(model.created),
            "experiment_id": str(model.experiment_id),
            "last_updated_timestamp": _milliseconds(model.updated),
            "model_id": model.model_id,
            "model_type": model.kind or None,
            "name": model.name,
            "source_run_id": model.source_run,
            "status": MODEL_STATUS_NUMBERS[model.status],
            "status_message": model.status_message or None,
        }
        _write_meta(folder, fields)
        for each in ("params", "metrics", "tags", "artifacts"):
            (folder / each).mkdir()
        self._write_texts(folder / "params", model.params, model.model_id)
        self._write_texts(folder / "tags", model.tags, model.model_id)
        points: dict[str, list[str]] = {}
        for point in model.measured:
            of_dataset = f" {point.dataset} {point.dataset_digest}" if point.dataset else ""
            line = f"{_milliseconds(point.time)} {point.number!r} {point.step} {point.run_id}{of_dataset}\n"
            points.setdefault(point.key, []).append(line)
        self._write_texts(
            folder / "metrics", {key: "".join(lines) for key, lines in points.items()}, model.model_id
        )
        self._write_files(folder / "artifacts", self._tracking.logged_model_files(model_id=model.model_id))
        self._done.logged_models += 1

    def _write_registry(self, runs: set[str]) -> None:
        for model in self._registry.models():
            versions = [each for each in self._registry.versions(name=model.name) if each.run in runs]
            if not versions:
                continue
            if "/" in model.name or model.name.startswith("."):
                self._done.skipped.append(Skipped("model", model.name, "MLflow's files have no such names"))
                continue
            kept = {each.version for each in versions}
            self._write_registered(
                model, {alias: each for alias, each in model.aliases.items() if each in kept}
            )
            for each in versions:
                self._write_version(model, each)
            self._done.versions += len(versions)

    def _write_registered(self, model: ModelRecord, aliases: Mapping[str, int]) -> None:
        folder = self._root / REGISTRY / model.name
        fields = {
            "aliases": {alias: str(version) for alias, version in aliases.items()},
            "creation_timestamp": _milliseconds(model.created),
            "description": model.description,
            "last_updated_timestamp": _milliseconds(model.updated),
            "name": model.name,
        }
        _write_meta(folder, fields)
        self._write_texts(folder / "tags", model.tags, f"model:{model.name}")
        self._write_texts(
            folder / "aliases", {alias: str(version) for alias, version in aliases.items()}, model.name
        )

    def _write_version(self, model: ModelRecord, version: ModelVersionRecord) -> None:
        run = self._tracking.run(run_id=version.run)
        place = self._address(
            self._root / str(run.experiment_id) / version.run / "artifacts" / version.artifact
        )
        source = f"models:/{version.logged_model}" if version.logged_model else place
        fields = {
            "aliases": list(version.aliases),
            "creation_timestamp": _milliseconds(version.created),
            "current_stage": version.stage or "None",
            "description": version.description,
            "last_updated_timestamp": _milliseconds(version.updated or version.created),
            "model_id": version.logged_model or None,
            "name": model.name,
            "run_id": version.run,
            "run_link": version.run_link,
            "source": source,
            "status": "READY",
            "status_message": None,
            "storage_location": source,
            "user_id": version.user,
            "version": version.version,
        }
        folder = self._root / REGISTRY / model.name / f"version-{version.version}"
        _write_meta(folder, fields)
        self._write_texts(folder / "tags", version.tags, version.reference)

    # Files

    def _address(self, path: Path) -> str:
        return (self._final / path.relative_to(self._root)).as_uri()

    def _write_texts(self, folder: Path, texts: Mapping[str, str], owner: str) -> None:
        for key, text in texts.items():
            self._write_text(folder, key, text, owner)

    def _write_text(self, folder: Path, key: str, text: str, owner: str) -> None:
        """A value in the file of its key. With the keys `a` and `a/b` the second has no place: a file is no folder."""
        file = folder / key
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            self._done.skipped.append(
                Skipped(folder.name, f"{owner} {key}", "another key is a folder in its path, or a file")
            )

    def _write_files(self, folder: Path, files: Iterable[ArtifactRecord]) -> None:
        for file in files:
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._objects.open(file.digest) as stored, target.open("wb") as out:
                shutil.copyfileobj(stored, out, _PIECE)


def _facts(run: RunRecord) -> dict[str, str]:
    """What MLflow keeps as tags."""
    facts = {
        conventions.NAME: run.name,
        conventions.USER: run.user,
        conventions.SOURCE: run.source,
        conventions.COMMIT: run.version,
        conventions.PARENT: run.parent or "",
    }
    return {key: value for key, value in facts.items() if value}


def _lines(steps: bytes, times: bytes, values: bytes) -> str:
    import numpy as np

    columns = (np.frombuffer(times, "<i8") // 1000, np.frombuffer(values, "<f8"), np.frombuffer(steps, "<i8"))
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return "".join(f"{time} {value!r} {step}\n" for time, value, step in rows)


def _milliseconds(moment: datetime) -> int:
    return micros(moment) // 1000


def _write_meta(folder: Path, fields: Mapping[str, Any]) -> None:
    """A meta.yaml, in block style as MLflow's own."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [_yaml(name, fields[name]) for name in sorted(fields)]
    (folder / META).write_text("".join(lines), encoding="utf-8")


def _yaml(name: str, value: Any) -> str:
    """A field. Texts are written as JSON, which is YAML too.

    >>> print(_yaml("tags", {"a": "x: é"}) + _yaml("end_time", None) + _yaml("aliases", []), end="")
    tags:
      "a": "x: é"
    end_time: null
    aliases: []
    """
    if isinstance(value, dict) and value:
        inner = "".join(f"  {_json(key)}: {_json(each)}\n" for key, each in value.items())
        return f"{name}:\n{inner}"
    if isinstance(value, list) and value:
        return f"{name}:\n" + "".join(f"- {_json(each)}\n" for each in value)
    return f"{name}: {_json(value)}\n"


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    for character, escaped in _LINE_BREAKS.items():
        text = text.replace(character, escaped)
    return text
