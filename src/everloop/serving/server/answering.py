"""One request from rows to logged answer: check, route, compute, log, reply; then the shadow arms."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from everloop.domain.times import Clock, micros
from everloop.errors import EverloopError, Failed
from everloop.serving.frames import Frame, Packed, hex_ids, new_ids, pack, pack_times
from everloop.serving.server.arms import Lineup, LoadedArm
from everloop.serving.server.logbook import Logbook
from everloop.serving.server.metrics import Figures
from everloop.serving.server.requests import Asked
from everloop.serving.server.shadow import ShadowQueue, Waiting
from everloop.tracking.formats.columns import Columns


class Answered(msgspec.Struct, frozen=True):
    """Answers in the order of the rows."""

    ids: list[str]
    arms: list[str]
    models: list[str]
    outputs: Columns


class Logged(msgspec.Struct, frozen=True):
    """What all frames of a request share, for all its rows."""

    ids: bytes
    times: bytes | int
    keys: list[str] | None
    received: int

    def of(self, rows: Sequence[int] | None) -> Logged:
        """The same for some of the rows."""
        if rows is None:
            return self
        ids = b"".join(self.ids[16 * row : 16 * row + 16] for row in rows)
        times = self.times
        if isinstance(times, bytes):
            times = b"".join(times[8 * row : 8 * row + 8] for row in rows)
        keys = None if self.keys is None else [self.keys[row] for row in rows]
        return Logged(ids, times, keys, self.received)


class Answerer:
    """Answers requests from one lineup at a time. Safe to use from several threads."""

    def __init__(self, logbook: Logbook, figures: Figures, shadows: ShadowQueue, clock: Clock) -> None:
        self._logbook = logbook
        self._figures = figures
        self._shadows = shadows
        self._clock = clock

    def answer(self, lineup: Lineup, asked: Asked, forced: str | None = None) -> Answered:
        """Answer all rows or none. The answers are in the log when this returns."""
        lineup.checked_names(list(asked.columns))
        now = self._clock()
        ids = asked.ids or new_ids(asked.rows, now)
        logged = Logged(
            ids, pack_times(asked.times if asked.times is not None else now), asked.keys, micros(now)
        )
        texts = hex_ids(ids)
        parts = lineup.route(asked.keys or texts, forced)
        fed = {arm.arm.name: arm.feed(asked.columns) for arm, _ in parts}
        frames, arms, models, outputs = [], [""] * asked.rows, [""] * asked.rows, []
        failure: EverloopError | None = None
        for arm, rows in parts:
            columns = _taken(fed[arm.arm.name], rows)
            frame, answers, error = _compute(arm, columns, logged.of(rows), lineup.deployment.revision)
            frames.append(frame)
            failure = failure or error
            outputs.append((rows, answers))
            for row in range(asked.rows) if rows is None else rows:
                arms[row], models[row] = arm.arm.name, arm.arm.model
            self._count(arm, frame)
        self._logbook.write(frames)
        if lineup.shadows:
            work = lambda: self._shadow(lineup, asked, logged)  # noqa: E731 (a name would say no more)
            self._shadows.offer(Waiting(asked.rows * len(lineup.shadows), work))
        if failure is not None:
            raise failure
        return Answered(texts, arms, models, _joined(outputs, asked.rows))

    def _shadow(self, lineup: Lineup, asked: Asked, logged: Logged) -> None:
        frames = []
        for arm in lineup.shadows:
            try:
                frame, _, _ = _compute(arm, arm.feed(asked.columns), logged, lineup.deployment.revision)
            except EverloopError as error:  # columns the live arm does not need, or of other types
                frame = _frame(arm, logged, lineup.deployment.revision, error=error.message)
            frames.append(frame)
            self._count(arm, frame)
        self._logbook.write(frames)

    def _count(self, arm: LoadedArm, frame: Frame) -> None:
        if frame.error:
            self._figures.failed(frame.arm, frame.mode, frame.rows)
        else:
            self._figures.answered(frame.arm, frame.mode, arm.arm.model, frame.rows)


def _compute(
    arm: LoadedArm, columns: Columns, logged: Logged, revision: int
) -> tuple[Frame, Columns, EverloopError | None]:
    began = time.perf_counter()
    try:
        answers = arm.model.answer(columns)
    except Failed as error:
        took = time.perf_counter() - began
        return _frame(arm, logged, revision, took, columns, error=error.message), {}, error
    return _frame(arm, logged, revision, time.perf_counter() - began, columns, answers), answers, None


def _frame(
    arm: LoadedArm,
    logged: Logged,
    revision: int,
    seconds: float = 0.0,
    features: Columns | None = None,
    outputs: Columns | None = None,
    error: str = "",
) -> Frame:
    return Frame(
        revision=revision,
        arm=arm.arm.name,
        mode=arm.arm.mode.value,
        model=arm.arm.model,
        received=logged.received,
        seconds=seconds,
        ids=logged.ids,
        times=logged.times,
        keys=list(logged.keys) if logged.keys is not None else None,
        score=arm.signature.score or "",
        error=error,
        features=_packed(features or {}),
        outputs=_packed(outputs or {}),
    )


def _packed(columns: Columns) -> dict[str, Packed]:
    return {name: pack(column) for name, column in columns.items()}


def _taken(columns: Columns, rows: Sequence[int] | None) -> Columns:
    if rows is None:
        return columns
    index = np.asarray(rows)
    return {name: column[index] for name, column in columns.items()}


def _joined(parts: list[tuple[list[int] | None, Columns]], rows: int) -> Columns:
    """The answers of several arms in the order of the rows; an output that one arm does not give is empty for its rows."""
    if len(parts) == 1:
        return parts[0][1]
    joined: dict[str, Any] = {}
    for chosen, answers in parts:
        for name, column in answers.items():
            if name not in joined:
                empty = (
                    np.full(rows, np.nan) if column.dtype.kind == "f" else np.full(rows, None, dtype=object)
                )
                joined[name] = empty
            joined[name][chosen] = column
    return joined
