"""Pipelines as the ledger knows them: components of keys, steps of runs, cached results, reproductions; and their pure rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from everloop.domain.canonical import digest_of

StepStatus = Literal["executed", "cached", "failed", "skipped", "running"]
Grade = Literal["bits", "predictions", "tolerance", "failed"]
SHORT = 48
"""A plain parameter of up to this many characters stands in its component as it is, not as a digest."""
GRADES: tuple[Grade, ...] = ("bits", "predictions", "tolerance", "failed")
"""From the strongest claim to none."""


class Component(msgspec.Struct, frozen=True, order=True):
    """One thing that the result of a step depends on.

    kind: ``function``, ``class``, ``constant``, ``value``, ``effect``, ``project file``, ``binary`` (code); ``package``,
    ``python``; ``input``, ``parameter``, ``seed``; ``file``, ``environment variable``.
    name: which one, such as ``train.py::fit`` or ``scikit-learn``.
    digest: its content; for packages and Python the version as it is.
    line: where it stands in its file; 0 where that means nothing. Not part of the key.
    """

    kind: str
    name: str
    digest: str
    line: int = 0

    @property
    def identity(self) -> tuple[str, str]:
        return self.kind, self.name


class ChangedComponent(msgspec.Struct, frozen=True):
    """A component as it was (None: it is new) and as it is (None: it is gone), and in words what became of it."""

    was: Component | None
    now: Component | None
    said: str

    @property
    def one(self) -> Component:
        """The component as it is, else as it was."""
        found = self.now or self.was
        assert found is not None
        return found

    @property
    def kind(self) -> str:
        return self.one.kind


class StoredValue(msgspec.Struct, frozen=True):
    """A value that passed between steps, as the store holds it.

    digest: of its content, canonical: equal for equal values, whatever file format keeps them.
    tree: the plain part as JSON, with references to objects for arrays, tables and models; empty when it is long.
    tree_object: the object that holds a long plain part.
    objects: digest and size in bytes of each object.
    types: project classes and functions (``module:Name``) that are inside.
    kind: what it is, for people: ``table of 3 columns x 100 rows``.
    """

    digest: str
    tree: str
    tree_object: str = ""
    objects: tuple[tuple[str, int], ...] = ()
    types: tuple[str, ...] = ()
    kind: str = ""


class CachedResult(msgspec.Struct, frozen=True):
    """A finished step. `reads` are the datasets and features it read by itself, as asked for and as found."""

    key: str
    step: str
    value: StoredValue
    run: str
    seconds: float
    time: datetime
    reads: tuple[Read, ...] = ()


class Read(msgspec.Struct, frozen=True):
    """A dataset or feature view that a step opened by itself: asked for (``data:flights``), found (``data:flights@v3``)."""

    asked: str
    found: str


class StepRecord(msgspec.Struct, frozen=True):
    """A step of a run of a pipeline.

    position: from 0, in the order the pipeline called them; parts of a map have one each.
    step: what names it in its project, ``train.py::fit``; name: what people call it, ``fit`` or ``fit[3]``.
    run: the tracking run in which it was computed; for a cached step that of the run that computed it.
    reason: why it was executed, or why not. A step is recorded as running when it has no run of its own to tell of it, and takes
    a while.
    """

    position: int
    name: str
    step: str
    status: StepStatus
    seconds: float = 0.0
    reason: str = ""
    key: str = ""
    run: str | None = None
    value: StoredValue | None = None
    error: str = ""
    log: str | None = None
    attempts: int = 1
    inputs: tuple[str, ...] = ()


class KeyParts(msgspec.Struct, frozen=True):
    """What a key was made from; the code apart, because many keys share it. `code` is the digest of `code_components`."""

    code: str
    code_components: tuple[Component, ...]
    other_components: tuple[Component, ...]
    notes: tuple[str, ...] = ()


class KeysBefore(msgspec.Struct, frozen=True):
    """What a step was computed from earlier: the newest key under each name and under any; parts by key, code by its digest, and
    by key the newest run of a pipeline that had it."""

    names: dict[str, str] = {}
    newest: str = ""
    parts: dict[str, KeyParts] = {}
    code: dict[str, tuple[Component, ...]] = {}
    runs: dict[str, str] = {}

    def components(self, name: str) -> tuple[Component, ...] | None:
        """All components of the newest key under a name, else under any; None when the step was never computed."""
        parts = self.parts.get(self.names.get(name, self.newest))
        return None if parts is None else (*parts.other_components, *self.code.get(parts.code, ()))


class FinishedStep(msgspec.Struct, frozen=True):
    """A step to be recorded. `consumed`: references of datasets and features that went into it."""

    record: StepRecord
    parts: KeyParts | None = None
    reads: tuple[Read, ...] = ()
    consumed: tuple[str, ...] = ()
    log_size: int | None = None


class Claim(msgspec.Struct, frozen=True):
    """The answer to "may I compute this?".

    granted: it is yours now. result: it is there already. Neither: `owner` computes it, ask again later.
    run: the tracking run in which somebody began it before and was stopped: its checkpoint can be gone on from.
    """

    granted: bool
    owner: str = ""
    run: str | None = None
    result: CachedResult | None = None


class PipelineRunRecord(msgspec.Struct, frozen=True):
    """A run of a pipeline: from which module and name, with which parameters (`params` as typed by the user)."""

    run: str
    pipeline: str
    source: str
    params: dict[str, Any]
    executor: str
    status: str
    started: datetime
    resumed_from: str | None = None
    settings: dict[str, Any] = {}


class Comparison(msgspec.Struct, frozen=True):
    """One output of one step, original against rebuilt. `largest` is the largest difference in units of eps x scale (k)."""

    step: str
    grade: Grade
    detail: str
    original: str
    rebuilt: str
    largest: float | None = None


class Reproduction(msgspec.Struct, frozen=True):
    """What `reproduce` found. `evidence` are sentences; `first_divergence` names the first step that differs."""

    reference: str
    run: str
    grade: Grade
    comparisons: tuple[Comparison, ...]
    evidence: tuple[str, ...]
    first_divergence: str | None
    seconds: float
    original_seconds: float
    time: datetime


def key_of(components: Iterable[Component]) -> str:
    """The key of a step: the digest of its components' kinds, names and digests, in any order.

    >>> a, b = Component("function", "m.py::f", "1", line=3), Component("seed", "seed", "0")
    >>> key_of([a, b]) == key_of([b, msgspec.structs.replace(a, line=9)])
    True
    """
    return digest_of(sorted({(each.kind, each.name, each.digest) for each in components}))


def changes(before: Iterable[Component], after: Iterable[Component]) -> list[str]:
    """What differs between two sets of components, the likeliest cause first, each as a few words.

    >>> changes([Component("function", "train.py::fit", "1", 12)], [Component("function", "train.py::fit", "2", 14)])
    ['function fit changed (train.py, line 14)']
    >>> changes([Component("package", "numpy", "2.0")], [Component("package", "numpy", "2.1")])
    ['package numpy 2.0 -> 2.1']
    """
    return [each.said for each in changed(before, after)]


def changed(before: Iterable[Component], after: Iterable[Component]) -> list[ChangedComponent]:
    """The components that differ, the likeliest cause first."""
    old = {each.identity: each for each in before}
    new = {each.identity: each for each in after}
    found: list[ChangedComponent] = []
    for identity in sorted(old.keys() | new.keys()):
        was, now = old.get(identity), new.get(identity)
        if was is not None and now is not None and was.digest == now.digest:
            continue
        found.append(ChangedComponent(was, now, _change(was, now)))
    found = [each for each in found if each.kind != ENTRY] or found
    return sorted(found, key=lambda each: _RANK.get(each.kind, len(_RANK)))


def reason(before: Sequence[Component] | None, after: Sequence[Component]) -> str:
    """Why a step has to be executed, in one line.

    >>> reason(None, [])
    'never computed before'
    """
    if before is None:
        return "never computed before"
    found = changes(before, after)
    if not found:
        return "its result is not stored any more"
    return "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")


def strongest_common(grades: Iterable[Grade]) -> Grade:
    """The grade of a whole: that of its weakest part.

    >>> strongest_common(["bits", "tolerance"])
    'tolerance'
    """
    return max(grades, key=GRADES.index, default="bits")


ENTRY = "entry"
"""The kind of the component that says which function a key is for. It follows other changes of the code, so those are told."""

_RANK = {
    kind: rank
    for rank, kind in enumerate(
        [
            "function",
            "class",
            "constant",
            "value",
            "project file",
            "effect",
            "parameter",
            "file",
            "environment variable",
            "input",
            "data",
            "seed",
            "package",
            "python",
        ]
    )
}


def _change(was: Component | None, now: Component | None) -> str:
    one = now or was
    assert one is not None
    what, place = one.name, ""
    if "::" in one.name:
        file, _, what = one.name.partition("::")
        place = f" ({file}, line {one.line})" if one.line else f" ({file})"
    if one.kind in {"package", "python", "seed", "data", "environment"}:
        label = one.kind if one.kind == one.name else f"{one.kind} {one.name}"
        return f"{label} {was.digest if was else 'none'} -> {now.digest if now else 'none'}"
    if (
        one.kind == "parameter"
        and was is not None
        and now is not None
        and max(len(was.digest), len(now.digest)) <= SHORT
    ):
        return f"parameter {one.name} {was.digest} -> {now.digest}"
    if one.kind == ENTRY:
        return f"what is bound to {what} changed"
    verb = "changed" if was is not None and now is not None else ("is new" if now is not None else "is gone")
    if one.kind in {"project file", "effect"}:
        return f"{what if one.kind == 'effect' else one.name} {verb}{place}"
    return f"{one.kind} {what} {verb}{place}"
