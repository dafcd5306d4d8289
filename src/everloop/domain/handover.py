"""Results of steps on their way from one workspace to another: what is sent, what is made sure of, what became of it."""

from __future__ import annotations

import msgspec

from everloop.domain.adoption import AdoptedRun
from everloop.domain.canonical import digest_of
from everloop.domain.pipelines import CachedResult, Component, Read, key_of
from everloop.errors import Corrupted

RESULT_NOTES = "results/"
"""Where notes of results lie in a store that has no ledger."""
_FILE = "file:"


class SentCode(msgspec.Struct, frozen=True):
    """The code that a key was made from, and what could not be seen through in it."""

    components: tuple[Component, ...]
    notes: tuple[str, ...] = ()


class SentResult(msgspec.Struct, frozen=True):
    """A finished step as it leaves a workspace. `code` names a `SentCode`; `components` are the other things that its key was
    made from; `contents`: the digest of each dataset version and feature view that went into its run, by reference."""

    result: CachedResult
    code: str
    components: tuple[Component, ...]
    contents: dict[str, str] = {}

    @property
    def id(self) -> str:
        """What tells it from other results, also of the same key: `result_id`."""
        return result_id(self.result.key, self.result.reads)

    def fault(self, code: SentCode | None) -> str:
        """Why it cannot be what it says it is; empty when its key is that of its parts."""
        if code is None or key_of(code.components) != self.code:
            return "its code is not the code that its key names"
        if key_of([Component("code", "code", self.code), *self.components]) != self.result.key:
            return "its key is not that of its code and arguments"
        return ""


class SentResults(msgspec.Struct, frozen=True):
    """Some results of a pipeline, with their code and the runs that computed them. `origin`: the workspace they come from."""

    pipeline: str
    origin: str
    results: list[SentResult]
    code: dict[str, SentCode]
    runs: list[AdoptedRun]

    @property
    def needs(self) -> dict[str, int]:
        """Digest and size of every object that belongs to it."""
        found = dict(pair for each in self.results for pair in each.result.value.objects)
        for run in self.runs:
            found |= {file.digest: file.size for file in run.artifacts}
            found |= {held.digest: held.size for held in run.captured.holds}
            if run.metrics.stored:
                found[run.metrics.stored] = 24 * run.metrics.count
        return found

    def only(self, wanted: set[str]) -> SentResults:
        """Those of these identifiers, with the code and the runs that they need."""
        results = [each for each in self.results if each.id in wanted]
        code = {each.code for each in results}
        runs = {each.result.run for each in results}
        runs |= {run.parent for run in self.runs if run.run_id in runs and run.parent}
        return msgspec.structs.replace(
            self,
            results=results,
            code={name: each for name, each in self.code.items() if name in code},
            runs=[each for each in self.runs if each.run_id in runs],
        )


class Refused(msgspec.Struct, frozen=True):
    """A result that was not taken, and why."""

    id: str
    step: str
    reason: str


class ReceivedResults(msgspec.Struct, frozen=True):
    """What became of some results: the identifiers of those that are new, how many were there, and what was not taken."""

    added: list[str]
    present: int
    refused: list[Refused] = []


class HandedOver(msgspec.Struct, frozen=True, kw_only=True):
    """What a push or pull of a pipeline's results did, or in a dry run would do. added, present: how many results are new at the
    destination, and how many it had. objects, bytes: moved."""

    pipeline: str
    source: str
    target: str
    added: int
    present: int
    refused: list[Refused]
    objects: int
    bytes: int
    dry_run: bool


class TakenDown(msgspec.Struct, frozen=True, kw_only=True):
    """Results of a pipeline that were taken off a shelf, or in a dry run would be, and how many stay."""

    pipeline: str
    removed: int
    left: int
    dry_run: bool


def decoded_results(note: bytes) -> SentResults:
    """The results of a note in a store. Raises Corrupted when it is none."""
    try:
        return msgspec.json.decode(note, type=SentResults)
    except msgspec.MsgspecError as error:
        raise Corrupted(f"the note of some results in the store cannot be read: {error}") from None


def result_id(key: str, reads: tuple[Read, ...]) -> str:
    """What a result is called where it is told from others: its key, and what the step read by itself.

    >>> seen = Read("file:rates.csv", "file:rates.csv@ab12-120-1700000000000000000")
    >>> result_id("k", (seen,)) == result_id("k", (Read("file:rates.csv", "file:rates.csv@ab12"),))
    True
    """
    return f"{key}/{digest_of(portable(reads))[:16]}"


def portable(reads: tuple[Read, ...]) -> tuple[Read, ...]:
    """Reads as they hold on any machine: of a file its content, not how it looked on the disk it was on."""
    return tuple(
        Read(each.asked, f"{name}@{content.partition('-')[0]}") if each.found.startswith(_FILE) else each
        for each in reads
        for name, _, content in [each.found.rpartition("@")]
    )
