"""How a change spreads through the results as they are now: from code and data to steps, what they make, models, endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from everloop.domain.pipelines import Component
from everloop.workspace.impacts.changed import Change, touched

AffectedKind = Literal["step", "feature", "data", "run", "model", "endpoint"]
ORDER: tuple[AffectedKind, ...] = ("step", "data", "feature", "run", "model", "endpoint")


class Affected(msgspec.Struct, frozen=True):
    """One thing that would not be what it is.

    reference: as other commands take it; of a step, what names it in its project (``train.py::fit``). why: a few words.
    seconds: what computing it anew took the last time, with what it needs that is affected too; None where that is not known.
    sure: False where it can only be said that it may be so (a column of a table that a step reads whole).
    """

    reference: str
    kind: AffectedKind
    why: str
    seconds: float | None = None
    sure: bool = True


class MadeStep(msgspec.Struct, frozen=True):
    """A step in a run of a pipeline. `child` is its own tracking run; `inputs` are names of steps; `reads` references;
    `seconds` is how long it took when it was computed."""

    run: str
    name: str
    step: str
    child: str | None
    inputs: tuple[str, ...]
    seconds: float
    code: tuple[Component, ...]
    reads: frozenset[str]

    @property
    def called(self) -> str:
        """The name that other steps know it by: the parts of a map have one together."""
        return self.name.partition("[")[0]


class MadeRun(msgspec.Struct, frozen=True):
    """A run of a pipeline with its steps in their order, or (`pipeline` empty) of a script. newest: whether it is the latest
    result of its pipeline or script; others are here because a model was made by them. seconds: None while it runs."""

    run: str
    pipeline: str
    source: str
    newest: bool
    seconds: float | None = None
    steps: tuple[MadeStep, ...] = ()
    reads: frozenset[str] = frozenset()


class MadeModel(msgspec.Struct, frozen=True):
    """A model version that counts now: the newest of its name, one with an alias, one that an endpoint has."""

    reference: str
    run: str
    features: tuple[str, ...]
    columns: frozenset[str]
    aliases: tuple[str, ...] = ()


class Feeds(msgspec.Struct, frozen=True):
    """A feature view: what it is made from, datasets and views by name (``data:weather``, ``feature:wind``); `columns` are the
    texts in which columns of its datasets occur, by feature."""

    name: str
    version: int
    sources: tuple[str, ...]
    columns: dict[str, str]


class Present(msgspec.Struct, frozen=True):
    """The results as they are now. produced: newest version of a dataset -> the run that made it. serving: endpoint
    -> (model reference, mode) of its arms."""

    runs: tuple[MadeRun, ...]
    produced: dict[str, str]
    models: tuple[MadeModel, ...]
    views: tuple[Feeds, ...]
    serving: dict[str, tuple[tuple[str, str], ...]]


def spread(change: Change, present: Present) -> list[Affected]:
    """Everything that a change reaches, each thing once, in the order of the life cycle."""
    return _Spread(change, present).found()


class _Mark(msgspec.Struct, frozen=True):
    why: str
    sure: bool = True


class _Spread:
    def __init__(self, change: Change, present: Present) -> None:
        self.change = change
        self.present = present
        self.steps: dict[tuple[str, str], _Mark] = {}
        self.things: dict[str, _Mark] = {}
        """Datasets and views by name (``data:flights``), runs, models and endpoints by reference."""
        self.made_by: dict[str, list[str]] = {}
        for reference, run_id in present.produced.items():
            self.made_by.setdefault(run_id, []).append(reference)
        self.by_run: dict[str, tuple[MadeRun, MadeStep | None]] = {}
        for run in present.runs:
            self.by_run[run.run] = (run, None)
            for step in run.steps:
                if step.child is not None:
                    self.by_run.setdefault(step.child, (run, step))

    def found(self) -> list[Affected]:
        self._begin()
        while self._round():
            pass
        affected = [*self._steps(), *self._data(), *self._views(), *self._runs(), *self._models()]
        affected += [
            Affected(name, "endpoint", mark.why, self._cost_of_endpoint(name), mark.sure)
            for name, mark in self.things.items()
            if name.startswith("endpoint:") and name != self.change.name
        ]
        return sorted(affected, key=lambda each: ORDER.index(each.kind))

    # What is touched at once

    def _begin(self) -> None:
        change = self.change
        if change.what in ("data", "feature"):
            self.things[f"{change.what}:{change.name}"] = _Mark("it is what changes")
        elif change.what == "reference":
            self.things[change.name] = _Mark("it is what changes")
        for run in self.present.runs:
            for step in run.steps:
                mark = self._direct(run, step)
                if mark is not None:
                    self.steps[step.run, step.name] = mark
            if change.what == "code" and not run.steps and _is_script(run, change.name):
                self._mark(f"run:{run.run}", _Mark(f"a run of {run.source}"))

    def _direct(self, run: MadeRun, step: MadeStep) -> _Mark | None:
        change = self.change
        if change.what == "reference":
            if change.name in (f"pipeline:{run.pipeline}", f"run:{run.run}", f"run:{step.child}"):
                return _Mark(f"a step of {change.name}")
            return None
        if change.what == "package":
            versions = [each for each in step.code if each.kind == "package" and each.name == change.name]
            return _Mark(f"its code uses {change.name} {versions[0].digest}") if versions else None
        if change.what != "code":
            return None
        found = touched(change.name, step.code)
        if found is None:
            return None
        if found.kind == "project file":
            return _Mark("its code cannot be seen through, so any file of the project counts", sure=False)
        file, _, local = found.name.partition("::")
        return _Mark(f"its code reaches {found.kind} {local or file} ({file}, line {found.line})")

    # What follows from it

    def _round(self) -> bool:
        """Go once through everything; whether anything new was reached."""
        before = len(self.steps) + len(self.things)
        for run in self.present.runs:
            self._through(run)
        for view in self.present.views:
            self._through_view(view)
        for model in self.present.models:
            mark = self._of_model(model)
            if mark is not None:
                self._mark(model.reference, mark)
        for endpoint, arms in self.present.serving.items():
            for served, mode in arms:
                if served in self.things and mode != "off":
                    self._mark(endpoint, _Mark(f"it has {served} ({mode})", self.things[served].sure))
        return len(self.steps) + len(self.things) > before

    def _through(self, run: MadeRun) -> None:
        reached: dict[str, bool] = {}
        """Names of steps, and whether it is sure."""
        for step in run.steps:
            key = (step.run, step.name)
            if key not in self.steps:
                mark = self._by_reading(step.reads)
                came = [each for each in _called(step.inputs) if each in reached]
                came.sort(key=lambda each: not reached[each])
                if came and (mark is None or not mark.sure):
                    mark = _Mark(f"takes what {came[0]} gives", reached[came[0]])
                if mark is None:
                    continue
                self.steps[key] = mark
            reached[step.called] = reached.get(step.called, False) or self.steps[key].sure
            self._made(step.child or run.run, run, f"made by step {step.called}")
        if run.steps and reached:
            if run.newest:
                latest = _Mark(f"the latest result of pipeline:{run.pipeline}", any(reached.values()))
                self._mark(f"run:{run.run}", latest)
        elif not run.steps:
            mark = self._by_reading(run.reads)
            if mark is not None:
                self._mark(f"run:{run.run}", mark)
            if f"run:{run.run}" in self.things:
                self._made(run.run, run, f"made by a run of {run.source}")

    def _made(self, owner: str, run: MadeRun, why: str) -> None:
        """Datasets that an affected run makes; an older run's are not what their names mean now."""
        if run.newest:
            for made in self.made_by.get(owner, ()):
                self._mark(made.partition("@")[0], _Mark(why))

    def _through_view(self, view: Feeds) -> None:
        name = f"feature:{view.name}"
        if name in self.things:
            return
        for source in view.sources:
            if source not in self.things:
                continue
            column = self.change.part if source == f"data:{self.change.name}" else ""
            uses = [feature for feature, text in view.columns.items() if column and column in text]
            if uses:
                self._mark(name, _Mark(f"{', '.join(uses[:3])} is computed from {source}.{column}"))
            else:
                self._mark(name, _Mark(f"computed from {source}", sure=not column))
            return

    def _by_reading(self, reads: frozenset[str]) -> _Mark | None:
        doubtful: _Mark | None = None
        for each in sorted(reads):
            name, _, version = each.partition("@")
            mark = self.things.get(each) or self.things.get(name)
            if mark is None or not self._is_meant(name, version):
                continue
            if name == f"data:{self.change.name}" and self.change.part:
                doubtful = _Mark(f"reads {each}, of which {self.change.part} is a column", sure=False)
            elif mark.sure:
                return _Mark(f"reads {each}")
            else:
                doubtful = doubtful or _Mark(f"reads {each}", sure=False)
        return doubtful

    def _is_meant(self, name: str, version: str) -> bool:
        """Where a version of a dataset or view is what changes, only who reads that version."""
        change = self.change
        if change.version is None or name != f"{change.what}:{change.name}":
            return True
        return version in ("", f"v{change.version}")

    def _of_model(self, model: MadeModel) -> _Mark | None:
        change = self.change
        if change.what == "reference" and change.name in (
            model.reference,
            *(f"{model.reference.partition('@')[0]}{at}" for at in ("", *(f"@{a}" for a in model.aliases))),
        ):
            return _Mark("it is what changes")
        for taken in model.features:
            view = taken.partition(":")[0].partition("@")[0]
            if f"feature:{view}" in self.things:
                asked = change.part if change.what == "feature" and change.name == view else ""
                if not asked or taken.rpartition(":")[2] == asked or ":" not in taken:
                    return _Mark(f"takes {taken}", self.things[f"feature:{view}"].sure)
        run, step = self.by_run.get(model.run, (None, None))
        if run is None:
            return None
        if step is None:
            if run.steps:
                first = next((s for s in run.steps if (s.run, s.name) in self.steps), None)
                if first is None:
                    return None
                return _Mark(f"made by run:{run.run[:8]} of pipeline:{run.pipeline}", self._sure(first))
            mark = self.things.get(f"run:{run.run}") or self._by_reading(run.reads)
            if mark is None:
                return None
            if not mark.sure and change.part in model.columns:
                return _Mark(f"takes the column {change.part}")
            return _Mark(f"made by run:{run.run[:8]}, {mark.why}", mark.sure)
        if (step.run, step.name) not in self.steps:
            return None
        if change.what == "data" and change.part in model.columns:
            return _Mark(f"takes the column {change.part}")
        return _Mark(f"made by step {step.called} of pipeline:{run.pipeline}", self._sure(step))

    def _sure(self, step: MadeStep) -> bool:
        return self.steps[step.run, step.name].sure

    def _mark(self, name: str, mark: _Mark) -> None:
        self.things.setdefault(name, mark)

    # What is told

    def _steps(self) -> Iterator[Affected]:
        """Steps of the latest runs; the parts of a map are one."""
        for run in self.present.runs:
            if not run.newest:
                continue
            by_step: dict[str, list[MadeStep]] = {}
            for step in run.steps:
                if (step.run, step.name) in self.steps:
                    by_step.setdefault(step.step, []).append(step)
            for name, parts in by_step.items():
                mark = self.steps[parts[0].run, parts[0].name]
                times = f" ({len(parts)} times in pipeline:{run.pipeline})" if len(parts) > 1 else ""
                yield Affected(
                    name, "step", mark.why + times, _total(each.seconds for each in parts), mark.sure
                )

    def _data(self) -> Iterator[Affected]:
        newest = {reference.partition("@")[0]: reference for reference in self.present.produced}
        for name, mark in self.things.items():
            if name.startswith("data:") and name != f"data:{self.change.name}":
                reference = newest[name]
                yield Affected(
                    reference, "data", mark.why, self._cost_of(self.present.produced[reference]), mark.sure
                )

    def _views(self) -> Iterator[Affected]:
        for view in self.present.views:
            mark = self.things.get(f"feature:{view.name}")
            if mark is not None and self.change.name != view.name:
                yield Affected(f"feature:{view.name}@v{view.version}", "feature", mark.why, sure=mark.sure)

    def _runs(self) -> Iterator[Affected]:
        for run in self.present.runs:
            mark = self.things.get(f"run:{run.run}")
            if mark is None or not run.newest:
                continue
            again = [each for each in run.steps if (each.run, each.name) in self.steps]
            seconds = _total(each.seconds for each in again) if run.steps else run.seconds
            count = f": {len(again)} of {len(run.steps)} steps would run again" if run.steps else ""
            yield Affected(f"run:{run.run}", "run", mark.why + count, seconds, mark.sure)

    def _models(self) -> Iterator[Affected]:
        for model in self.present.models:
            mark = self.things.get(model.reference)
            if mark is not None and model.reference != self.change.name:
                goes_by = f" ({', '.join(model.aliases)})" if model.aliases else ""
                yield Affected(
                    model.reference, "model", mark.why + goes_by, self._cost_of(model.run), mark.sure
                )

    def _cost_of_endpoint(self, endpoint: str) -> float | None:
        runs = {each.reference: each.run for each in self.present.models}
        models = {model for model, _ in self.present.serving[endpoint] if model in self.things}
        costs = [self._cost_of(runs[each]) for each in sorted(models) if each in runs]
        known = [each for each in costs if each is not None]
        return _total(known) if known else None

    def _cost_of(self, made_by: str) -> float | None:
        """Seconds to make anew what a run made: of the affected steps up to it."""
        run, step = self.by_run.get(made_by, (None, None))
        if run is None:
            return None
        if not run.steps:
            return run.seconds
        needed = {each.name for each in run.steps} if step is None else _upward(run.steps, step)
        return _total(
            each.seconds for each in run.steps if each.name in needed and (each.run, each.name) in self.steps
        )


def _called(inputs: Iterable[str]) -> list[str]:
    return [each.partition("[")[0] for each in inputs]


def _is_script(run: MadeRun, name: str) -> bool:
    file = name.partition("::")[0]
    return bool(run.source) and (run.source == file or run.source.endswith(f"/{file}"))


def _upward(steps: Sequence[MadeStep], last: MadeStep) -> set[str]:
    """The names of a step and of all whose results went into it."""
    by_call: dict[str, list[MadeStep]] = {}
    for each in steps:
        by_call.setdefault(each.called, []).append(each)
    needed: set[str] = set()
    waiting = [last]
    while waiting:
        each = waiting.pop()
        if each.name in needed:
            continue
        needed.add(each.name)
        for one in each.inputs:
            called = by_call.get(one.partition("[")[0], [])
            waiting += [part for part in called if one in (part.name, part.called)]
    return needed


def _total(seconds: Iterable[float]) -> float:
    return round(sum(seconds), 6)
