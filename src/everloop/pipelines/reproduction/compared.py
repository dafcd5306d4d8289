"""The original held against its rebuild: outputs of steps, models that they logged, datasets that they added."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from everloop.data.data import Data
from everloop.data.dataset import Dataset
from everloop.domain.pipelines import Comparison, Grade, StepRecord, strongest_common
from everloop.domain.references import Kind, Reference
from everloop.errors import EverloopError, NotFound
from everloop.governance.rooms import Context
from everloop.pipelines.comparing import compare_outputs, compare_tables
from everloop.pipelines.rebuild import Rebuilt, opened_beside
from everloop.pipelines.reproduction.randomness import Suspect, suspects
from everloop.store.objects import Objects, open_objects
from everloop.tracking.tracking import Tracking


class Compared:
    """Comparisons between a workspace and the rebuild in `project`."""

    def __init__(self, context: Context, project: Path, tolerance: float) -> None:
        self._context, self._project, self._tolerance = context, project, tolerance
        self._own = open_objects(project / ".everloop" / "objects")
        self._stores = (context.objects, self._own)

    def all(self, before: Sequence[StepRecord], rebuilt: Rebuilt) -> list[Comparison]:
        """Everything that came out of these steps, in their order."""
        after = {each.name: each for each in rebuilt.steps}
        found: list[Comparison] = []
        with opened_beside(self._project) as other:
            for step in before:
                twin = after.get(step.name)
                found += self._output(step, twin)
                if step.run is not None and twin is not None:
                    found += self._models(other, step.name, step.run, twin.run)
                    found += self._datasets(other, step.name, step.run)
                elif step.run is not None:
                    found += self._models(other, step.name, step.run, None)
        return found

    def twice(self, step: str, once: Rebuilt, again: Rebuilt) -> Grade | None:
        """How equal a step came out when it was computed twice here; None where that cannot be told."""
        values = [next((s for s in each.steps if s.name == step), None) for each in (once, again)]
        one, two = values
        if one is None or two is None or one.value is None or two.value is None:
            return None
        grades = [compare_outputs(step, one.value, two.value, (self._own, self._own), self._tolerance).grade]
        with opened_beside(self._project) as other:
            tracking = other.room(Tracking)
            runs = [each.run for each in (one, two)]
            if runs[0] and runs[1] and runs[0] != runs[1]:
                models, others = (_models_of(tracking, each) for each in runs if each)
                grades += [
                    _compare_model(path, files, others[path], (self._own, self._own), self._tolerance).grade
                    for path, files in models.items()
                    if path in others
                ]
        return strongest_common(grades)

    def suspects(self, step: str, rebuilt: Rebuilt) -> list[Suspect]:
        """What in the code of a step may be why it gives something else each time."""
        from everloop.pipelines.pipelines import Pipelines

        key = next((each.key for each in rebuilt.steps if each.name == step), "")
        with opened_beside(self._project) as other:
            try:
                parts = other.room(Pipelines).components(key)
            except NotFound:
                return []
        seeded = any(each.kind == "seed" and each.digest not in ("", "None") for each in parts)
        return suspects(self._project, parts, seeded=seeded)

    def _output(self, step: StepRecord, twin: StepRecord | None) -> Iterator[Comparison]:
        if step.value is None:
            return
        if twin is None or twin.value is None:
            said = "it was not reached" if twin is None else (twin.error.partition("\n")[0] or twin.reason)
            yield Comparison(step.name, "failed", said, step.value.digest, "")
        else:
            yield compare_outputs(step.name, step.value, twin.value, self._stores, self._tolerance)

    def _models(self, other: Context, step: str, run: str, twin: str | None) -> Iterator[Comparison]:
        """By canonical digest, else by their answers to the rows stored with the original."""
        after = _models_of(other.room(Tracking), twin) if twin else {}
        for path, files in _models_of(self._context.room(Tracking), run).items():
            label = f"{step}: {path}"
            if path in after:
                yield _compare_model(label, files, after[path], self._stores, self._tolerance)
            else:
                yield Comparison(label, "failed", "the rebuild logged no such model", "", "")

    def _datasets(self, other: Context, step: str, run: str) -> Iterator[Comparison]:
        """Versions that a step added, by the digest of their rows, else column by column."""
        data, own = self._context.room(Data), other.room(Data)
        for reference in self._context.room(Tracking).describe(run).produced:
            parsed = Reference.parse(reference)
            if parsed.kind is not Kind.DATA:
                continue
            label = f"{step}: {reference}"
            twin = own.newest(parsed.name)
            if twin is None:
                yield Comparison(label, "failed", "the rebuild added no such dataset", "", "")
                continue
            try:
                one = data.dataset(reference)
            except EverloopError as error:
                yield Comparison(label, "failed", f"the original cannot be read: {error.message}", "", "")
                continue
            yield _compare_dataset(label, one, own.dataset(twin.reference), self._tolerance)


def _compare_dataset(label: str, one: Dataset, two: Dataset, tolerance: float) -> Comparison:
    before, after = one.record, two.record
    if before.digest == after.digest or (before.content and before.content == after.content):
        what = f"equal rows: {before.rows:,}" if before.rows is not None else f"equal files: {before.files}"
        return Comparison(label, "bits", what, before.digest, after.digest, 0.0)
    if before.rows is None or after.rows is None:
        return Comparison(label, "failed", "its files differ", before.digest, after.digest)
    if before.rows != after.rows:
        said = f"{before.rows:,} rows became {after.rows:,}"
        return Comparison(label, "failed", said, before.digest, after.digest)
    grade, detail, largest = compare_tables(one.to_arrow(), two.to_arrow(), tolerance)
    return Comparison(label, grade, detail, before.digest, after.digest, largest)


def _models_of(tracking: Tracking, run: str) -> dict[str, dict[str, str]]:
    """Folders of a run that hold a model: path -> file -> object."""
    listed = tracking.artifacts(run)
    folders = [each.path.removesuffix("/model.json") for each in listed if each.path.endswith("/model.json")]
    return {
        folder: {
            each.path[len(folder) + 1 :]: each.digest for each in listed if each.path.startswith(f"{folder}/")
        }
        for folder in folders
    }


def _compare_model(
    label: str,
    before: dict[str, str],
    after: dict[str, str],
    stores: tuple[Objects, Objects],
    tolerance: float,
) -> Comparison:
    from everloop.stats.exactness import compare_predictions
    from everloop.tracking.formats import read_model_file

    one, two = (
        read_model_file(store.read(files["model.json"]))
        for files, store in zip((before, after), stores, strict=True)
    )
    if one.content == two.content:
        return Comparison(
            label, "bits", "equal canonical content of the model", one.content, two.content, 0.0
        )
    if "probe.json" not in before:
        return Comparison(
            label, "failed", "the model differs, and no rows were stored to ask it", one.content, two.content
        )
    with tempfile.TemporaryDirectory(prefix="everloop-") as top:
        models = [
            _loaded(Path(top, name), files, store)
            for name, files, store in zip("ab", (before, after), stores, strict=True)
        ]
        inputs, _ = models[0].probe()
        answers = [each.answer(inputs) for each in models]
    name = models[0].signature.score or models[0].signature.outputs[0].name
    found = compare_predictions(answers[0][name], answers[1][name], tolerance=tolerance)
    detail = f"the stored probe of {one.probe_rows} rows: {found.reason}"
    return Comparison(label, found.grade, detail, one.content, two.content, found.k)


def _loaded(folder: Path, files: dict[str, str], store: Objects) -> Any:
    from everloop.tracking.formats import load_model

    for name, digest in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.read(digest))
    return load_model(folder)
