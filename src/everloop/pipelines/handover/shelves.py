"""Results in a store without a ledger: a folder on a network disk, or a bucket on S3.

Beside the objects stand notes, ``results/<pipeline's digest>/<own digest>.json``, each of some results, written once and never
changed: when some of its results are taken down, a note of the others is put before it goes. Whoever may write there is believed,
as far as a key, its code and its value fit together.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from everloop.domain.canonical import canonical, sha256
from everloop.domain.handover import (
    RESULT_NOTES,
    ReceivedResults,
    Refused,
    SentResult,
    SentResults,
    TakenDown,
    decoded_results,
)
from everloop.errors import NotFound, nearest

if TYPE_CHECKING:
    from everloop.store.objects import ContentStore


class ResultShelf:
    """The results in a store; `everloop.pipelines.handover.moving.ResultsPlace` says what is promised."""

    def __init__(self, store: ContentStore) -> None:
        self.objects = store
        self._read: dict[str, list[SentResults]] = {}

    @property
    def label(self) -> str:
        return self.objects.name

    def pipelines_with_results(self) -> list[str]:
        return sorted({decoded_results(note).pipeline for _, note in self.objects.notes(RESULT_NOTES)})

    def result_ids(self, pipeline: str, runs: int = 0) -> list[str]:
        """All that are there: `runs` says nothing where no runs are known."""
        found = [each.id for note in self._notes(pipeline) for each in note.results]
        if not found:
            raise self._unknown(pipeline)
        return list(dict.fromkeys(found))

    def known_results(self, pipeline: str, ids: list[str]) -> list[str]:
        there = {each.id for note in self._notes(pipeline) for each in note.results}
        return [each for each in ids if each in there]

    def sent_results(self, pipeline: str, ids: list[str]) -> SentResults:
        wanted, results, parts = set(ids), dict[str, SentResult](), []
        for note in self._notes(pipeline):
            own = note.only(wanted - results.keys())
            results |= {each.id: each for each in own.results}
            parts.append(own)
        return SentResults(
            pipeline=pipeline,
            origin=self.label,
            results=list(results.values()),
            code={name: each for part in parts for name, each in part.code.items()},
            runs=list({run.run_id: run for part in parts for run in part.runs}.values()),
        )

    def receive_results(self, sent: SentResults, dry_run: bool = False) -> ReceivedResults:
        known = set(self.known_results(sent.pipeline, [each.id for each in sent.results]))
        new = [each for each in sent.results if each.id not in known]
        refused = [
            Refused(each.id, each.result.step, fault)
            for each in new
            if (fault := each.fault(sent.code.get(each.code)))
        ]
        taken = sent.only({each.id for each in new} - {each.id for each in refused})
        if taken.results and not dry_run:
            self._put(taken)
            self._read.setdefault(sent.pipeline, []).append(taken)
        return ReceivedResults([each.id for each in taken.results], len(known), refused)

    def take_down(self, pipeline: str, *, before: datetime | None = None, dry_run: bool = False) -> TakenDown:
        """Take results of a pipeline off the shelf: all, or those that were computed before a moment. Their bytes go with the
        next collection of the shelf. Raises NotFound for a pipeline that it has nothing of."""
        notes = [(name, decoded_results(note)) for name, note in self.objects.notes(_folder(pipeline))]
        notes = [(name, each) for name, each in notes if each.pipeline == pipeline]
        if not notes:
            raise self._unknown(pipeline)
        everything = {each.id for _, note in notes for each in note.results}
        staying: set[str] = set()
        for name, note in notes:
            kept = {each.id for each in note.results if before is not None and each.result.time >= before}
            staying |= kept
            if len(kept) == len(note.results) or dry_run:
                continue
            if kept:
                self._put(note.only(kept))
            self.objects.drop_note(name)
        if not dry_run:
            self._read.pop(pipeline, None)
        return TakenDown(
            pipeline=pipeline, removed=len(everything - staying), left=len(staying), dry_run=dry_run
        )

    def _put(self, results: SentResults) -> None:
        note = canonical(results)
        self.objects.put_note(
            f"{_folder(results.pipeline)}{sha256(note)[:32]}.json", note, needs=results.needs
        )

    def _unknown(self, pipeline: str) -> NotFound:
        names = self.pipelines_with_results()
        return NotFound(
            f"{self.label} has no results of a pipeline '{pipeline}'",
            hint=nearest(pipeline, names) or f"bring them there: everloop pipelines push {pipeline}",
        )

    def _notes(self, pipeline: str) -> list[SentResults]:
        if pipeline not in self._read:
            notes = [decoded_results(note) for _, note in self.objects.notes(_folder(pipeline))]
            self._read[pipeline] = [each for each in notes if each.pipeline == pipeline]
        return self._read[pipeline]


def _folder(pipeline: str) -> str:
    return f"{RESULT_NOTES}{sha256(pipeline.encode())[:32]}/"
