"""The operation `impact`."""

import msgspec

from everloop.data.data import Data
from everloop.domain.datasets import VersionRecord
from everloop.domain.featureviews.on_demand import OnDemandView
from everloop.domain.references import Kind, Reference
from everloop.errors import InvalidReference, NotFound, nearest
from everloop.features.features import Features
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.pipelines.pipelines import Pipelines
from everloop.registry.registry import Registry
from everloop.serving.serving import Serving
from everloop.tracking.tracking import Tracking
from everloop.workspace.impacts.changed import Change, parse_change, touched
from everloop.workspace.impacts.newest import present
from everloop.workspace.impacts.spreading import ORDER, Affected, Present, spread
from everloop.workspace.naming import meant


class Impact(msgspec.Struct, frozen=True):
    """What changes would reach.

    changes: as they were understood. affected: each thing once, steps first, endpoints last. seconds: to compute anew all that
    is affected and known, by what it took the last time. unknown: code that nothing which ran so far depends on, with the name
    that was perhaps meant, or nothing.
    """

    changes: list[str]
    affected: list[Affected]
    seconds: float
    unknown: dict[str, str]


class Impacts(Room):
    """Questions about what has not been changed yet."""

    @operation(Permission.READ)
    def impact(self, changes: list[str]) -> Impact:
        """What changes would reach, before they are made: steps, datasets, features, the latest runs, models, endpoints, with the
        seconds to compute them anew.

        A change is a file of the project (``src/train.py``), a function or class in it (``train.py::fit``), a dataset
        (``data:flights``), a column (``data:flights.dep_delay``), a feature (``feature:weather:temp``), an installed package
        (``package:numpy``), a pipeline, run, model or endpoint.
        """
        understood = [self._understood(each) for each in changes]
        asked = {each for change in understood for each in self._versions(change)}
        views = self.context.room(Features).recorded_views()
        with self.look() as look:
            now = present(look, views, asked)
        found: dict[tuple[str, str], Affected] = {}
        unknown: dict[str, str] = {}
        for change in understood:
            if change.what == "code" and (hint := _unknown(change, now)) is not None:
                unknown[change.text] = hint
            for each in spread(change, now):
                before = found.get((each.kind, each.reference))
                if before is None or (each.sure and not before.sure):
                    found[each.kind, each.reference] = each
                elif before.seconds is not None and (each.seconds or 0.0) > before.seconds:
                    found[each.kind, each.reference] = msgspec.structs.replace(before, seconds=each.seconds)
        affected = sorted(found.values(), key=lambda each: ORDER.index(each.kind))
        scripts = {f"run:{each.run}" for each in now.runs if not each.steps}
        seconds = sum(
            each.seconds or 0.0
            for each in affected
            if each.kind == "step" or (each.kind == "run" and each.reference in scripts)
        )
        return Impact([each.text for each in understood], affected, round(seconds, 6), unknown)

    def _understood(self, text: str) -> Change:
        """A change with what it names looked up; NotFound and InvalidReference as the rooms raise them."""
        change = parse_change(text)
        if change.what == "data":
            return self._dataset(change)
        if change.what == "feature":
            record = self.context.room(Features).recorded(
                str(Reference(Kind.FEATURE, change.name, change.version))
            )
            view = record.view
            known = (
                list(view.names) if isinstance(view, OnDemandView) else [each.name for each in view.features]
            )
            if change.part and change.part not in known:
                raise NotFound(
                    f"feature view '{change.name}' has no feature '{change.part}'",
                    hint=nearest(change.part, known) or f"it has {', '.join(known)}",
                )
            return change
        if change.what == "reference":
            return msgspec.structs.replace(change, name=self._existing(Reference.parse(change.name)))
        if change.what == "code" and "::" not in text and "." not in text and "/" not in text:
            try:  # a name without its kind
                return self._understood(str(meant(self.context, text)))
            except (NotFound, InvalidReference) as error:
                hint = error.hint or "a file is named with its ending, a function as FILE::FUNCTION"
                raise type(error)(error.message, hint=hint) from None
        return change

    def _dataset(self, change: Change) -> Change:
        data = self.context.room(Data)
        try:
            record = data.version(str(Reference(Kind.DATA, change.name, change.version)))
        except NotFound:
            name, dot, column = change.name.rpartition(".")
            if not dot:
                raise
            try:
                record = data.version(str(Reference(Kind.DATA, name)))
            except NotFound:
                raise NotFound(
                    f"there is no dataset '{change.name}', and none '{name}' with a column '{column}'",
                    hint=nearest(name, [each.name for each in data.datasets()], see="everloop data list"),
                ) from None
            return self._column(msgspec.structs.replace(change, name=name, part=column), record)
        return change

    def _column(self, change: Change, record: VersionRecord) -> Change:
        known = [each.name for each in record.columns or ()]
        if change.part not in known:
            raise NotFound(
                f"{record.reference} has no column '{change.part}'",
                hint=nearest(change.part, known) or f"it has {', '.join(known[:20]) or 'no columns'}",
            )
        return change

    def _existing(self, asked: Reference) -> str:
        """A run, pipeline, model or endpoint that is there, as it is printed."""
        if asked.kind is Kind.RUN:
            return f"run:{self.context.room(Tracking).resolve(asked.name)}"
        if asked.kind is Kind.MODEL:
            registry = self.context.room(Registry)
            if asked.version is None and asked.alias is None:
                known = [each.name for each in registry.models()]
                if asked.name not in known:
                    raise NotFound(f"there is no model '{asked.name}'", hint=nearest(asked.name, known))
                return str(asked)
            return str(registry.version(str(asked)).reference)
        if asked.kind is Kind.ENDPOINT:
            return str(self.context.room(Serving).endpoint(asked.name).reference)
        pipelines = self.context.room(Pipelines)
        if not pipelines.runs(asked.name, limit=1):
            names = {each.pipeline for each in pipelines.runs()}
            raise NotFound(
                f"no run of a pipeline '{asked.name}' is known",
                hint=nearest(asked.name, names, see="everloop runs list"),
            )
        return str(asked)

    def _versions(self, change: Change) -> list[str]:
        """References whose latest readers count: the newest three versions of a dataset or view."""
        if change.what not in ("data", "feature"):
            return []
        if change.version is not None:
            return [f"{change.what}:{change.name}@v{change.version}"]
        if change.what == "data":
            newest = self.context.room(Data).version(f"data:{change.name}").version
        else:
            newest = self.context.room(Features).recorded(f"feature:{change.name}").version
        return [f"{change.what}:{change.name}@v{each}" for each in range(newest, max(newest - 3, 0), -1)]


def _unknown(change: Change, now: Present) -> str | None:
    """None where some code that ran reaches what is named; else the name that was perhaps meant."""
    known: set[str] = set()
    for run in now.runs:
        if not run.steps and run.source and run.source.rpartition("/")[2] == change.name.rpartition("/")[2]:
            return None
        for step in run.steps:
            if touched(change.name, step.code) is not None:
                return None
            known |= {each.name for each in step.code if each.kind in ("function", "class", "constant")}
    inner = "::" in change.name
    candidates = known if inner else {each.partition("::")[0] for each in known}
    if inner:  # the right name in another file is likelier than a similar one in this
        local = change.name.partition("::")[2]
        same = sorted(each for each in known if each.partition("::")[2] == local)
        if same:
            return f"did you mean '{same[0]}'?"
    return nearest(change.name, candidates)
