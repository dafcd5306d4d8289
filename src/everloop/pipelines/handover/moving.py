"""Results go from one place to another: what is missing there, objects first, in batches each of which arrives whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from everloop.data.stores.transferring import move_objects
from everloop.domain.handover import HandedOver, ReceivedResults, Refused, SentResults
from everloop.errors import Conflict

if TYPE_CHECKING:
    from everloop.store.objects import Objects

AT_ONCE = 200
OBJECTS_AT_ONCE = 2_000
POINTS_IN_A_MESSAGE = 50_000
"""How many points of a run travel in the message itself; more go through the object store."""
ATTEMPTS = 3


class ResultsPlace(Protocol):
    """Where results can come from and go to. The pipelines room of any workspace is one."""

    @property
    def label(self) -> str:
        """What people call it."""
        ...

    @property
    def objects(self) -> Objects: ...

    def pipelines_with_results(self) -> list[str]:
        """The pipelines of which there may be results."""
        ...

    def result_ids(self, pipeline: str, runs: int = 0) -> list[str]:
        """The results of a pipeline: of its newest so many runs, or of all. Raises NotFound when it is not known."""
        ...

    def known_results(self, pipeline: str, ids: list[str]) -> list[str]:
        """Those of these results of a pipeline that are there."""
        ...

    def sent_results(self, pipeline: str, ids: list[str]) -> SentResults:
        """Some results with all that belongs to them; what is gone since is left out."""
        ...

    def receive_results(self, sent: SentResults, dry_run: bool = False) -> ReceivedResults:
        """Take results in whose objects are there. Raises Conflict when objects are missing."""
        ...


def hand_over(
    source: ResultsPlace, target: ResultsPlace, pipeline: str, runs: int, dry_run: bool
) -> HandedOver:
    """Bring the results of a pipeline from one place to another. A dry run asks the target what it would take."""
    ids = source.result_ids(pipeline=pipeline, runs=runs)
    known = {each for some in _some(ids) for each in target.known_results(pipeline=pipeline, ids=list(some))}
    wanted = [each for each in ids if each not in known]
    added, present, objects, size = 0, len(known), 0, 0
    refused: list[Refused] = []
    for some in _some(wanted):
        sent = source.sent_results(pipeline=pipeline, ids=list(some))
        said = target.receive_results(sent=sent, dry_run=True)
        going = sent.only(set(said.added))
        missing = target.objects.missing(going.needs)
        objects, size = objects + len(missing), size + sum(going.needs[each] for each in missing)
        refused += said.refused
        if not dry_run:
            said = _arrived(source, target, going)
            refused += said.refused
        added, present = added + len(said.added), present + said.present
    return HandedOver(
        pipeline=pipeline,
        source=source.label,
        target=target.label,
        added=added,
        present=present,
        refused=refused,
        objects=objects,
        bytes=size,
        dry_run=dry_run,
    )


def _arrived(source: ResultsPlace, target: ResultsPlace, going: SentResults) -> ReceivedResults:
    """What was brought over long before its results are recorded may have been freed there meanwhile: then it goes again."""
    light = _without_points(going, target.objects)
    for attempt in range(ATTEMPTS):
        missing = sorted(target.objects.missing(light.needs))
        for start in range(0, len(missing), OBJECTS_AT_ONCE):
            some = missing[start : start + OBJECTS_AT_ONCE]
            move_objects(source.objects, target.objects, light.needs, some)
        try:
            return target.receive_results(sent=light)
        except Conflict:
            if attempt + 1 == ATTEMPTS or not target.objects.missing(light.needs):
                raise
    raise AssertionError("the last attempt returns or raises")


def _without_points(sent: SentResults, store: Objects) -> SentResults:
    """Points of metrics that are too many for a message go by way of the store."""
    runs = [
        msgspec.structs.replace(
            run,
            metrics=msgspec.structs.replace(
                run.metrics, points=b"", stored=store.put(run.metrics.points).digest
            ),
        )
        if run.metrics.points and run.metrics.count > POINTS_IN_A_MESSAGE
        else run
        for run in sent.runs
    ]
    return msgspec.structs.replace(sent, runs=runs)


def _some(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE))
