"""What MLflow's file store wrote: an ``mlruns`` folder of any version since 1.0. Files are read one run at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from everloop.domain.adoption import (
    AdoptedExperiment,
    AdoptedLoggedModel,
    AdoptedModel,
    AdoptedRun,
    AdoptedVersion,
    MetricColumns,
    run_identifier,
)
from everloop.domain.logged_models import INPUT, OUTPUT, MeasuredPoint, RunModel
from everloop.domain.plain_yaml import read_yaml
from everloop.domain.run_inputs import LoggedDataset
from everloop.domain.runs import DELETED
from everloop.domain.times import EPOCH
from everloop.errors import InvalidInput
from everloop.exchange.folders import files_below
from everloop.exchange.mlflow import conventions
from everloop.exchange.mlflow.locations import Locations
from everloop.exchange.source import ForeignFile, Head, Skipped

META, TRASH, REGISTRY = "meta.yaml", ".trash", "models"
NO_EXPERIMENTS = {REGISTRY, TRASH}


class FileSource:
    """A `Source` over an mlruns folder."""

    def __init__(self, root: Path, moved: Sequence[tuple[str, str]] = ()) -> None:
        self.origin = f"mlflow {root}"
        self.skipped: list[Skipped] = []
        self._root = root
        self._locations = Locations(root.resolve().parent, moved)
        self._folders: dict[str, Path] = {}
        self._runs: dict[str, tuple[Path, dict[str, Any]]] = {}
        self._found = dict(self._experiments())
        if not self._found and not (root / REGISTRY).is_dir():
            raise InvalidInput(
                f"{root} is no mlruns folder: no folder in it has a {META}",
                hint="give the folder that holds the experiments' folders",
            )

    def close(self) -> None:
        """Nothing stays open between calls."""

    # Experiments and runs

    def experiments(self) -> dict[str, AdoptedExperiment]:
        return self._found

    def _experiments(self) -> Iterator[tuple[str, AdoptedExperiment]]:
        for folder, deleted in [
            *((each, False) for each in _subfolders(self._root) if each.name not in NO_EXPERIMENTS),
            *((each, True) for each in _subfolders(self._root / TRASH)),
        ]:
            meta = self._meta(folder, "experiment") if (folder / META).exists() or not deleted else None
            if meta is None:
                continue
            given = str(meta.get("experiment_id", folder.name))
            tags = meta["tags"] if isinstance(meta.get("tags"), dict) else {}
            tags = {str(key): str(value) for key, value in tags.items()} | self._texts(
                folder / "tags", f"experiment {given}"
            )
            self._folders[given] = folder
            # 1.x leaves the stage of what is in the trash as it was: the folder decides.
            state = DELETED if deleted else conventions.state_word(meta.get("lifecycle_stage"))
            yield (
                given,
                conventions.experiment(
                    given,
                    str(meta.get("name") or ""),
                    str(meta.get("artifact_location") or ""),
                    meta.get("creation_time"),
                    state=state,
                    updated=conventions.moment(meta.get("last_update_time")),
                    tags=tags,
                ),
            )

    def heads(self) -> Sequence[Head]:
        heads = []
        for given, folder in self._folders.items():
            for each in _subfolders(folder):
                if each.name in {"tags", "datasets", REGISTRY} or not _may_be_run(each):
                    continue
                meta = self._meta(each, "run")
                if meta is None:
                    continue
                run_id = str(meta.get("run_id") or meta.get("run_uuid") or each.name)
                self._runs[run_id] = each, meta | {"run_id": run_id, "experiment_id": given}
                status = conventions.status_word(meta.get("status"))
                heads.append(
                    Head(run_identifier(run_id), run_id, given, status, str(meta.get("artifact_uri") or each))
                )
        return sorted(heads, key=lambda head: (self._runs[head.given][1].get("start_time") or 0, head.given))

    def read(self, heads: Sequence[Head]) -> Iterator[AdoptedRun]:
        for head in heads:
            folder, meta = self._runs[head.given]
            name = f"run:{head.run_id}"
            yield conventions.run(
                meta,
                self._texts(folder / "params", name),
                self._texts(folder / "tags", name),
                self._metrics(folder / "metrics", name),
                list(self._datasets(folder)),
                list(self._models(folder, head.run_id)),
            )

    def files(self, head: Head) -> Iterable[ForeignFile]:
        folder = self._runs[head.given][0] / "artifacts"
        if not folder.is_dir():
            folder = self._locations.find(head.files, head.given)
        return files_below(folder, "artifact", f"run:{head.run_id}", self.skipped)

    def _metrics(self, folder: Path, owner: str) -> MetricColumns:
        import numpy as np

        keys: list[str] = []
        counts: list[int] = []
        points: list[tuple[int, str, int]] = []
        for file in files_below(folder, "metric", owner, self.skipped) if folder.is_dir() else ():
            found = dict.fromkeys(self._points(file, owner))  # 3.x repeats points when a model is logged
            if found:
                keys.append(file.path)
                counts.append(len(found))
                points += found
        if not points:
            return MetricColumns()
        times, values, steps = zip(*points, strict=True)
        return conventions.columns(
            keys,
            counts,
            np.array(steps, np.int64),
            np.array(times, np.int64),
            np.array([float(value) for value in values]),
        )

    def _points(self, file: ForeignFile, owner: str) -> Iterator[tuple[int, str, int]]:
        """Time, value (as written: one NaN must equal another) and step of each line; the oldest files have no step."""
        for number, line in enumerate(_text(file).splitlines(), 1):
            fields = line.split()
            if not fields:
                continue
            try:
                time, value, step = int(fields[0]), fields[1], int(fields[2]) if len(fields) > 2 else 0
                float(value)
                if abs(step) >= 2**63 or abs(time) >= 2**63:
                    raise OverflowError
            except (ValueError, IndexError, OverflowError):
                self.skipped.append(
                    Skipped("point", f"{owner} {file.path}", f"line {number} is no point: {line[:80]!r}")
                )
                continue
            yield time, value, step

    def _texts(self, folder: Path, owner: str) -> dict[str, str]:
        """Parameters or tags: the path is the key, the content the value, to the letter."""
        if not folder.is_dir():
            return {}
        return {
            file.path: _text(file)
            for file in files_below(folder, folder.name.rstrip("s"), owner, self.skipped)
        }

    def _datasets(self, folder: Path) -> Iterator[LoggedDataset]:
        for use in _subfolders(folder / "inputs"):
            meta = self._meta(use, "dataset")
            if meta is None or meta.get("source_type") != "DATASET":
                continue
            described = self._meta(
                folder.parent / "datasets" / Path(str(meta.get("source_id"))).name, "dataset"
            )
            if described is not None:
                tags = meta["tags"] if isinstance(meta.get("tags"), dict) else {}
                yield conventions.dataset(described, {str(key): str(value) for key, value in tags.items()})

    def _models(self, folder: Path, run_id: str) -> Iterator[RunModel]:
        for place, role in (("inputs", INPUT), ("outputs", OUTPUT)):
            for link in _subfolders(folder / place):
                if link.name.startswith("m-") and (meta := self._meta(link, "model")) is not None:
                    yield RunModel(run_id, link.name, role, int(meta.get("step") or 0))

    # Models

    def logged_models(self) -> Iterator[tuple[AdoptedLoggedModel, Callable[[], Iterable[ForeignFile]]]]:
        for given, folder in self._folders.items():
            for each in _subfolders(folder / REGISTRY):
                meta = self._meta(each, "logged model")
                if meta is None:
                    continue
                name, model_id = str(meta.get("name") or each.name), str(meta.get("model_id") or each.name)
                model = conventions.logged_model(
                    meta | {"model_id": model_id, "name": name},
                    self._texts(each / "params", model_id),
                    self._texts(each / "tags", model_id),
                    list(self._measured(each / "metrics", model_id)),
                )
                place = str(meta.get("artifact_location") or "")
                yield (
                    AdoptedLoggedModel(model, given),
                    partial(self._model_files, each / "artifacts", place, model_id),
                )

    def _model_files(self, own: Path, place: str, model_id: str) -> Iterable[ForeignFile]:
        folder = own if own.is_dir() else self._locations.find(place, model_id)
        return files_below(folder, "model file", model_id, self.skipped)

    def _measured(self, folder: Path, model_id: str) -> Iterator[MeasuredPoint]:
        for file in files_below(folder, "metric", model_id, self.skipped) if folder.is_dir() else ():
            for line in _text(file).splitlines():
                fields = line.split(" ", 5)
                try:
                    time, value, step, run = int(fields[0]), float(fields[1]), int(fields[2]), fields[3]
                except (ValueError, IndexError):
                    self.skipped.append(
                        Skipped("point", f"{model_id} {file.path}", f"no point: {line[:80]!r}")
                    )
                    continue
                dataset, digest = fields[4:] if len(fields) == 6 else ("", "")
                yield MeasuredPoint.of(
                    file.path,
                    conventions.infinite_number(value),
                    step,
                    conventions.moment(time) or EPOCH,
                    model_id,
                    run_identifier(run),
                    dataset,
                    digest,
                )

    def models(self) -> Iterator[AdoptedModel]:
        for folder in _subfolders(self._root / REGISTRY):
            meta = self._meta(folder, "model")
            if meta is None:
                continue
            name = str(meta.get("name") or folder.name)
            kept: list[AdoptedVersion] = []
            latest = 0
            for each in _subfolders(folder):
                if not each.name.startswith("version-"):
                    continue
                version = self._meta(each, "model version")
                if version is None:
                    continue
                version["version"] = int(version.get("version") or each.name.removeprefix("version-"))
                latest = max(latest, version["version"])
                if version.get("current_stage") != conventions.DELETED_VERSION:
                    kept.append(conventions.version(version, self._texts(each / "tags", f"model:{name}")))
            aliases = meta["aliases"] if isinstance(meta.get("aliases"), dict) else {}
            created = conventions.moment(meta.get("creation_timestamp")) or EPOCH
            yield AdoptedModel(
                name=name,
                created=created,
                updated=conventions.moment(meta.get("last_updated_timestamp")) or created,
                latest=latest,
                description=str(meta.get("description") or ""),
                tags=self._texts(folder / "tags", f"model:{name}"),
                aliases={str(alias): int(version) for alias, version in aliases.items()},
                versions=sorted(kept, key=lambda each: each.version),
            )

    def _meta(self, folder: Path, kind: str) -> dict[str, Any] | None:
        """The fields of a folder's meta.yaml; None, with a word in `skipped`, where a crash left none or half of one."""
        file = folder / META
        place = str(folder.relative_to(self._root))
        if file.is_symlink() or not file.is_file():
            self.skipped.append(Skipped(kind, place, f"there is no {META} in its folder"))
            return None
        try:
            meta = read_yaml(file.read_text(encoding="utf-8"))
        except (InvalidInput, UnicodeDecodeError, OSError) as error:
            self.skipped.append(Skipped(kind, place, f"its {META} cannot be read: {error}"))
            return None
        if not isinstance(meta, dict):
            self.skipped.append(Skipped(kind, place, f"its {META} is empty"))
            return None
        return meta


def _subfolders(folder: Path) -> list[Path]:
    """Folders in a folder by name, none where there is no such folder; hidden ones and links are nothing of MLflow's."""
    if not folder.is_dir():
        return []
    return sorted(
        each for each in folder.iterdir() if each.is_dir() and not each.is_symlink() and each.name[0] != "."
    )


def _may_be_run(folder: Path) -> bool:
    return any((folder / each).exists() for each in (META, "params", "metrics", "artifacts"))


def _text(file: ForeignFile) -> str:
    assert isinstance(file.content, Path)
    return file.content.read_bytes().decode(errors="replace")
