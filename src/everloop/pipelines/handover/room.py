"""The part of the pipelines room by which results of steps leave a workspace, and come into one.

A result is taken in when it is what it says it is: its key is made again from the code and arguments that came with it, its value
is read again from its objects, and the data and features that went into it are here with the same content. With it comes the run
that computed it, so where it is used one can see by whom, when and from which commit.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from everloop.domain.adoption import AdoptedExperiment, derived_id
from everloop.domain.handover import (
    HandedOver,
    ReceivedResults,
    Refused,
    SentCode,
    SentResult,
    SentResults,
    portable,
    result_id,
)
from everloop.domain.pipelines import CachedResult, Component, Read, StoredValue
from everloop.domain.references import Kind, Reference
from everloop.domain.runs import RUNNING
from everloop.errors import Conflict, NotFound, nearest
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Context, Room
from everloop.pipelines.handover.given import in_experiment, run_given
from everloop.store.ledger import Reader, Transaction
from everloop.store.schema.base import edges
from everloop.store.schema.data import dataset_versions
from everloop.store.schema.pipelines import (
    pipeline_steps,
    step_code,
    step_keys,
    step_results,
)
from everloop.store.schema.tracking import runs as tracked_runs
from everloop.tracking.tracking import Tracking

if TYPE_CHECKING:
    from everloop.pipelines.handover.moving import ResultsPlace

_DEFINED = edges.c.role == "defined"
_KEYS_AT_ONCE = 1_000
_READS_SHOWN = 200


class Handover(Room):
    """Results of steps, given and taken."""

    name = "pipelines"

    # Where the caller is

    @property
    def label(self) -> str:
        """What people call this workspace."""
        return self.context.location

    def push_results(
        self, pipeline: str, target: "ResultsPlace", *, runs: int = 0, dry_run: bool = False
    ) -> HandedOver:
        """Bring the stored results of a pipeline to another workspace or a shelf. `runs`: those of its newest so many runs; 0: of
        all. Raises NotFound for a pipeline that has not run here."""
        from everloop.pipelines.handover.moving import hand_over

        return hand_over(self, target, pipeline, runs, dry_run)

    def pull_results(
        self, pipeline: str, source: "ResultsPlace", *, runs: int = 0, dry_run: bool = False
    ) -> HandedOver:
        """Bring the stored results of a pipeline here, as `push_results`."""
        from everloop.pipelines.handover.moving import hand_over

        return hand_over(source, self, pipeline, runs, dry_run)

    # Operations

    @operation(Permission.READ)
    def pipelines_with_results(self) -> list[str]:
        """The pipelines that have run here, or whose results were brought here."""
        query = sa.select(edges.c.source).where(edges.c.source.startswith("pipeline:"), _DEFINED).distinct()
        with self.look() as look:
            return [row.source.removeprefix("pipeline:") for row in look.all(query)]

    @operation(Permission.READ)
    def result_ids(self, pipeline: str, runs: int = 0) -> list[str]:
        """The stored results of a pipeline's steps, by identifier; of its newest so many runs, or of all. Runs that came along
        with results count as runs of it."""
        chosen = sa.select(edges.c.target).where(edges.c.source == f"pipeline:{pipeline}", _DEFINED)
        with self.look() as look:
            newest = look.all(chosen.order_by(edges.c.target.desc()).limit(runs or None))
            found = {
                (row.time, _id(row))
                for some in _some([row.target.removeprefix("run:") for row in newest])
                for row in look.all(_of_runs(some))
            }
        if not newest:
            names = self.pipelines_with_results()
            raise NotFound(
                f"no pipeline '{pipeline}' has run in {self.label}",
                hint=nearest(pipeline, names) or "run it there first",
            )
        return [each for _, each in sorted(found)]

    @operation(Permission.READ)
    def known_results(self, pipeline: str, ids: list[str]) -> list[str]:
        """Those of these results that are here, whichever pipeline they were computed in."""
        keys = sorted({each.partition("/")[0] for each in ids})
        found: set[str] = set()
        with self.look() as look:
            for some in _some(keys):
                query = sa.select(step_results.c.key, step_results.c.reads)
                found |= {_id(row) for row in look.all(query.where(step_results.c.key.in_(some)))}
        return [each for each in ids if each in found]

    @operation(Permission.READ)
    def sent_results(self, pipeline: str, ids: list[str]) -> SentResults:
        """These results with all that another workspace must know of them."""
        wanted, keys = set(ids), sorted({each.partition("/")[0] for each in ids})
        with self.look() as look:
            rows = [
                row
                for some in _some(keys)
                for row in look.all(sa.select(step_results).where(step_results.c.key.in_(some)))
                if _id(row) in wanted
            ]
            parts = {
                row.key: row
                for some in _some(keys)
                for row in look.all(sa.select(step_keys).where(step_keys.c.key.in_(some)))
            }
            codes = look.all(
                sa.select(step_code).where(step_code.c.code.in_({row.code for row in parts.values()}))
            )
            above = _above(look, {row.run for row in rows})
            consumed = _consumed(look, {row.run for row in rows})
        contents = _Contents(self.context)
        results = [
            SentResult(
                CachedResult(
                    row.key,
                    row.step,
                    msgspec.convert(row.value, StoredValue),
                    row.run,
                    row.seconds,
                    row.time,
                    portable(_reads(row)),
                ),
                parts[row.key].code,
                tuple(msgspec.convert(parts[row.key].components, list[Component])),
                contents.of(consumed.get(row.run, ())),
            )
            for row in rows
            if row.key in parts
        ]
        tracking = self.context.room(Tracking)
        given = {each.result.run: above.get(each.result.run) for each in results}
        given |= {parent: None for parent in given.values() if parent is not None}
        return SentResults(
            pipeline=pipeline,
            origin=self.label,
            results=results,
            code={
                row.code: SentCode(tuple(msgspec.convert(row.components, list[Component])), tuple(row.notes))
                for row in codes
            },
            runs=[run_given(tracking, run, self.label, parent) for run, parent in given.items()],
        )

    @operation(Permission.WRITE)
    def receive_results(self, sent: SentResults, dry_run: bool = False) -> ReceivedResults:
        """Take results in; those that are here stay as they are. What is not what it says it is, or was computed from data that
        are not here, is refused, the others are taken. With `dry_run` nothing is stored, and objects need not be here yet.

        Raises Conflict when objects are missing.
        """
        known = set(self.known_results(sent.pipeline, [each.id for each in sent.results]))
        new = [each for each in sent.results if each.id not in known]
        refused = self._refusals(sent, new)
        taken = sent.only({each.id for each in new} - {each.id for each in refused})
        if not dry_run:
            absent = self.objects.missing(taken.needs)
            if absent:
                raise Conflict(
                    f"{len(absent)} objects of the results are not stored here", hint="send them again"
                )
            broken = self._broken(taken.results)
            refused += broken
            taken = taken.only({each.id for each in taken.results} - {each.id for each in broken})
            if taken.results:
                self._take_in(taken)
        return ReceivedResults([each.id for each in taken.results], len(known), refused)

    def _refusals(self, sent: SentResults, new: list[SentResult]) -> list[Refused]:
        contents = _Contents(self.context)
        runs = {each.run_id for each in sent.runs}
        found = []
        for each in new:
            reason = each.fault(sent.code.get(each.code)) or contents.differing(each.contents)
            if not reason and each.result.run not in runs:
                reason = "the run that computed it did not come along"
            if reason:
                found.append(Refused(each.id, each.result.step, reason))
        return found

    def _broken(self, results: list[SentResult]) -> list[Refused]:
        """Those whose value is not what their digest says."""
        from everloop.pipelines.values.encoding import is_sound

        said = "its value is not the one that its digest names"
        return [
            Refused(each.id, each.result.step, said)
            for each in results
            if not is_sound(each.result.value, self.objects)
        ]

    def _take_in(self, taken: SentResults) -> None:
        tracking = self.context.room(Tracking)
        names = list(dict.fromkeys(run.experiment for run in taken.runs))
        wanted = [AdoptedExperiment(key=derived_id("everloop experiment", each), name=each) for each in names]
        numbers = {
            name: str(each.id)
            for name, each in zip(names, tracking.adopt_experiments(found=wanted), strict=True)
        }
        found = [in_experiment(run, numbers[run.experiment]) for run in taken.runs]
        tracking.adopt_runs(found=found, origin=taken.origin)
        with self.change() as tx:
            _record(tx, taken)


def _record(tx: Transaction, taken: SentResults) -> None:
    code = [
        {"code": name, "components": each.components, "notes": each.notes}
        for name, each in taken.code.items()
    ]
    tx.insert_new(step_code, code)
    keys = [
        {
            "key": each.result.key,
            "step": each.result.step,
            "code": each.code,
            "components": each.components,
            "time": tx.now,
        }
        for each in taken.results
    ]
    tx.insert_new(step_keys, keys)
    tx.insert_new(step_results, [_result_row(each.result) for each in taken.results])
    for each in taken.results:
        run = f"run:{each.result.run}"
        for digest, size in each.result.value.objects:
            tx.hold(digest, size, run)
        for reference in each.contents:
            tx.edge(reference, run, "consumed")
    parents = {run.parent for run in taken.runs}
    for given in taken.runs:
        if given.parent is None or given.run_id in parents:
            tx.edge(f"pipeline:{taken.pipeline}", f"run:{given.run_id}", "defined")
    facts = {
        "from": taken.origin,
        "count": len(taken.results),
        "by": sorted({run.user for run in taken.runs}),
        "first": [
            {"step": each.result.step, "key": each.result.key, "run": each.result.run}
            for each in taken.results[:_READS_SHOWN]
        ],
    }
    tx.event("pipeline.results_received", f"pipeline:{taken.pipeline}", facts)


def _result_row(result: CachedResult) -> dict[str, object]:
    from everloop.domain.canonical import digest_of

    return {
        "key": result.key,
        "reads_digest": digest_of(result.reads),
        "step": result.step,
        "value": result.value,
        "reads": result.reads,
        "run": result.run,
        "seconds": result.seconds,
        "time": result.time,
    }


class _Contents:
    """What dataset versions and feature views hold here, by reference."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[str, str] = {}

    def of(self, references: Iterable[str]) -> dict[str, str]:
        """Digests by reference; empty for what is not here."""
        return {each: self._digest(each) for each in references}

    def differing(self, contents: Mapping[str, str]) -> str:
        """Why a result that was computed from these cannot be used here; empty when it can."""
        for reference, digest in sorted(contents.items()):
            if Reference.parse(reference).kind not in (Kind.DATA, Kind.FEATURE):
                return f"it was computed from {reference}, which cannot be compared"
            here = self._digest(reference)
            if not here:
                return f"it was computed from {reference}, which is not here"
            if here != digest:
                return f"it was computed from {reference}, which has another content here"
        return ""

    def _digest(self, reference: str) -> str:
        if reference not in self._known:
            self._known[reference] = self._find(Reference.parse(reference))
        return self._known[reference]

    def _find(self, reference: Reference) -> str:
        if reference.kind is Kind.DATA:
            chosen = (dataset_versions.c.name == reference.name) & (
                dataset_versions.c.version == reference.version
            )
            with self._context.ledger.read() as look:
                digest = look.scalar(
                    sa.select(dataset_versions.c.digest).where(chosen, dataset_versions.c.removed.is_(None))
                )
            return digest or ""
        if reference.kind is Kind.FEATURE:
            from everloop.features.features import Features

            try:
                return self._context.room(Features).recorded(str(reference)).digest
            except NotFound:
                return ""
        return ""


def _of_runs(runs: list[str]) -> sa.Select[tuple[object, ...]]:
    """Results that were computed or used in runs of pipelines."""
    keys = sa.select(pipeline_steps.c.key).where(
        pipeline_steps.c.run.in_(runs), pipeline_steps.c.status.in_(("executed", "cached"))
    )
    parts = sa.select(tracked_runs.c.id).where(tracked_runs.c.parent.in_(runs))
    theirs = step_results.c.key.in_(keys) | step_results.c.run.in_(runs) | step_results.c.run.in_(parts)
    columns = (step_results.c.key, step_results.c.reads, step_results.c.time)
    return sa.select(*columns).where(theirs, step_results.c.run.in_(_ended_runs()))


def _ended_runs() -> sa.Select[tuple[str]]:
    """Runs that are over and were not purged: a result whose run is gone holds no objects any more."""
    return sa.select(tracked_runs.c.id).where(tracked_runs.c.status != RUNNING)


def _above(look: Reader, runs: set[str]) -> dict[str, str]:
    """For each run of a single step the run of the pipeline that it was computed in, where that is over and still here."""
    found: dict[str, str] = {}
    for some in _some(sorted(runs)):
        query = sa.select(pipeline_steps.c.child, pipeline_steps.c.run).where(
            pipeline_steps.c.child.in_(some),
            pipeline_steps.c.status == "executed",
            pipeline_steps.c.run.in_(_ended_runs()),
        )
        found |= {row.child: row.run for row in look.all(query.order_by(pipeline_steps.c.time.desc()))}
    return found


def _consumed(look: Reader, runs: set[str]) -> dict[str, list[str]]:
    """What went into each run: data, features, models."""
    found: dict[str, list[str]] = {}
    for some in _some(sorted(runs)):
        query = sa.select(edges.c.source, edges.c.target).where(
            edges.c.target.in_([f"run:{each}" for each in some]), edges.c.role == "consumed"
        )
        for row in look.all(query.order_by(edges.c.source)):
            found.setdefault(row.target.removeprefix("run:"), []).append(row.source)
    return found


def _reads(row: "sa.Row[tuple[object, ...]]") -> tuple[Read, ...]:
    return tuple(msgspec.convert(row.reads, list[Read]))


def _id(row: "sa.Row[tuple[object, ...]]") -> str:
    return result_id(row.key, _reads(row))


def _some(items: list[str]) -> Iterable[list[str]]:
    return (items[start : start + _KEYS_AT_ONCE] for start in range(0, len(items), _KEYS_AT_ONCE))
