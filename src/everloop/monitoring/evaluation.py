"""One look at an endpoint: closes days that are over, judges days whose labels have come. Reads through
`Sources`, decides purely, and returns what is to be written, so that it can be run twice with the same
end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from everloop.domain.monitors import (
    DAY,
    Family,
    Measure,
    Monitor,
    Reading,
    Severity,
    Streak,
    is_clear,
    next_streak,
    window_start,
)
from everloop.monitoring import judging, reports
from everloop.monitoring.records import Evaluation, FamilyStep, Note, Progress, ResultRecord, WindowRecord
from everloop.monitoring.references import (
    ESTIMATED_FROM,
    Reference,
    day_states,
    encode_states,
    estimated_values,
    group_counts,
    measurements,
)
from everloop.monitoring.windows import (
    SCORE,
    kind_of,
    labelled,
    numbers_of,
    performance_values,
    service_values,
)
from everloop.stats import changepoint
from everloop.stats.blocks import BlockMeans

COLUMN_MEASURES = frozenset({*judging.ASPECTS, Measure.GROUP_GAP})
"""Measures with a reading a column, each with a streak of its own."""
VALUE_OF: dict[Measure, str] = {
    Measure.EXCESS_LOSS: "excess",
    Measure.DAILY_AUC: "auc",
    Measure.CALIBRATION: "gap",
    Measure.ESTIMATED: "estimated_auc",
}
"""Which value of a day each trailing measure judges."""

LIVE = "live"
CHAMPION_ARM = "champion"
WATCHED = "watched"
"""The value that marks the window of the model that monitors judge."""


class Sources(Protocol):
    """What an evaluation reads."""

    def predictions(self, since: datetime | None, until: datetime) -> pa.Table:
        """The log's rows with since <= time < until."""
        ...

    def labels(self, start: datetime, rows: pa.Table) -> pa.Table:
        """One final label a prediction (prediction_id, label) for the day that starts then, as known now."""
        ...

    def reference(self, model: str) -> Reference | None: ...

    def window(self, model: str, mode: str, start: datetime) -> WindowRecord | None:
        """A window as stored by an earlier look."""
        ...

    def history(self, model: str) -> list[WindowRecord]:
        """The model's final live windows, oldest first, as stored."""
        ...

    def store(self, data: bytes) -> tuple[str, int]:
        """Put bytes into the object store: digest and size."""
        ...


class Look:
    """The work of one `evaluate`. Days are closed in order as soon as they are over (inputs, service); they
    are judged on their labels in order, none before the one before it."""

    def __init__(self, endpoint: str, progress: Progress, sources: Sources, until: datetime) -> None:
        self._endpoint = endpoint
        self._monitors = progress.monitors
        self._outcome = progress.outcome
        self._sources = sources
        self._until = until
        self._last_start = progress.last_start
        self._waiting = list(progress.waiting)
        self._latest = {result.monitor: result for result in progress.latest}
        self._windows: dict[tuple[str, str, datetime], WindowRecord] = {}
        self._history: dict[str, list[WindowRecord]] = {}
        self._rows: dict[datetime, pa.Table] = {}
        self._results: list[ResultRecord] = []
        self._steps: list[FamilyStep] = []
        self._notes: list[Note] = []

    def run(self) -> Evaluation:
        judged = None
        for start in self._days_over():
            if self._close(start):
                self._waiting.append(start)
            self._judge_waiting(as_of=start + DAY)
            judged = start + DAY
        if judged != self._until:
            self._judge_waiting(as_of=self._until)
        return Evaluation(
            tuple(self._windows.values()), tuple(self._results), tuple(self._steps), tuple(self._notes)
        )

    def _days_over(self) -> list[datetime]:
        shift = self._outcome.day_starts_at
        if self._last_start is not None:
            start = self._last_start + DAY
        else:
            first = pc.min(self._sources.predictions(None, self._until)["time"]).as_py()
            if first is None:
                return []
            start = window_start(first, shift)
        days = []
        while start + DAY <= self._until:
            days.append(start)
            start += DAY
        return days

    def _close(self, start: datetime) -> bool:
        rows = self._day(start)
        if rows.num_rows == 0:
            return False
        groups = by_model(rows)
        champion = champion_of(groups)
        for (model, mode), part in groups.items():
            values = service_values(part) | {WATCHED: float(model == champion and mode == LIVE)}
            state, size = None, 0
            reference = self._sources.reference(model)
            if reference is not None:
                values |= estimated_values(reference, numbers_of(part[SCORE]), self._outcome.positive_above)
                states = day_states(reference, part)
                state, size = self._sources.store(encode_states(states))
                if model == champion and mode == LIVE:
                    self._judge_columns(start, model, part.num_rows, reference, states)
                    self._judge_groups(start, model, part, reference)
            self._put(
                WindowRecord(
                    self._endpoint,
                    model,
                    mode,
                    start,
                    start + DAY,
                    "closed",
                    part.num_rows,
                    0,
                    values,
                    state,
                    size,
                )
            )
        if champion is not None:
            self._judge_service(
                start, champion, service_values(groups[champion, LIVE]), groups[champion, LIVE].num_rows
            )
        return True

    def _judge_waiting(self, as_of: datetime) -> None:
        """Judge days on their labels, in order. `as_of` bounds the clock: looking once late gives what
        looking daily gave, as far as the labels are the same."""
        while self._waiting:
            start = self._waiting[0]
            rows = self._day(start)
            groups = by_model(rows)
            champion = champion_of(groups)
            labels = self._sources.labels(start, rows)
            truths = {key: labelled(part, labels) for key, part in groups.items()}
            live = (champion, LIVE) if champion is not None else None
            known, answered = (len(truths[live][0]), groups[live].num_rows) if live else (0, 0)
            ready = answered > 0 and known >= self._outcome.coverage * answered
            overdue = as_of >= start + DAY + timedelta(days=self._outcome.wait_days)
            status = "final" if ready or overdue else "provisional"
            for (model, mode), part in groups.items():
                y, scores = truths[model, mode]
                reference = self._sources.reference(model)
                kind = reference.kind if reference is not None else kind_of(y, scores)
                before = self._windows.get((model, mode, start)) or self._sources.window(model, mode, start)
                values = dict(before.values) if before else service_values(part)
                values |= performance_values(y, scores, kind)
                self._put(
                    WindowRecord(
                        self._endpoint,
                        model,
                        mode,
                        start,
                        start + DAY,
                        status,
                        part.num_rows,
                        y.size,
                        values,
                        before.state if before else None,
                        before.state_size if before else 0,
                    )
                )
                if status == "final" and model == champion and mode == LIVE:
                    self._judge_performance(self._windows[model, mode, start])
            if status != "final":
                return
            self._waiting.pop(0)
            self._rows.pop(start, None)

    def _judge_columns(
        self, start: datetime, model: str, rows: int, reference: Reference, states: Mapping[str, object]
    ) -> None:
        measured = measurements(reference, states)  # type: ignore[arg-type]
        judged = []
        for monitor in self._of(Family.INPUTS):
            before = self._before(monitor, model)
            streaks = {reading.column: reading.streak for reading in before.readings} if before else {}
            readings = judging.column_readings(monitor, measured, reference.floors, streaks, rows)
            judged.append((monitor, readings))
        self._settle(Family.INPUTS, start, model, judged, since=None)

    def _judge_groups(self, start: datetime, model: str, part: pa.Table, reference: Reference) -> None:
        judged = []
        for monitor in self._of(Family.FAIRNESS):
            known = reference.groups.get(monitor.group)
            if known is None or monitor.group not in part.column_names:
                continue
            now = group_counts(part[monitor.group], numbers_of(part[SCORE]), self._outcome.positive_above)
            before = self._before(monitor, model)
            streaks = (
                {reading.column.partition("=")[2]: reading.streak for reading in before.readings}
                if before
                else {}
            )
            judged.append((monitor, judging.group_readings(monitor, known, now, streaks)))
        self._settle(Family.FAIRNESS, start, model, judged, since=None)

    def _judge_service(
        self, start: datetime, model: str, values: Mapping[str, float | None], rows: int
    ) -> None:
        judged: list[tuple[Monitor, list[Reading]]] = []
        for monitor in self._of(Family.SERVICE):
            if monitor.measure is Measure.ERRORS:
                errors = values.get("errors")
                reading = judging.rate_reading(monitor, int(errors), rows) if errors is not None else None
            else:
                reading = judging.limit_reading(monitor, values.get("p95"), rows)
            judged.append((monitor, [reading] if reading else []))
        self._settle(Family.SERVICE, start, model, judged, since=None)

    def _judge_performance(self, window: WindowRecord) -> None:
        history = self._model_history(window.model)
        history.append(window)
        reference = self._sources.reference(window.model)
        judged: list[tuple[Monitor, list[Reading]]] = []
        for monitor in self._of(Family.PERFORMANCE):
            name = VALUE_OF[monitor.measure]
            blocks = reference.days.get(ESTIMATED_FROM.get(name, name)) if reference is not None else None
            reading = None
            if blocks is not None:
                days = day_values(history[-max(monitor.trailing, 2) * 2 :], name)
                reading = judging.trailing_reading(monitor, days, blocks, self._outcome.minimum_rows)
            judged.append((monitor, [reading] if reading else []))
        since = self._onset(history, judged, reference)
        self._settle(Family.PERFORMANCE, window.start, window.model, judged, since=since)

    def _onset(
        self,
        history: Sequence[WindowRecord],
        judged: Sequence[tuple[Monitor, Sequence[Reading]]],
        reference: Reference | None,
    ) -> datetime | None:
        """Since when the value that moved furthest over its floor has moved: the change point of its days."""
        over = [(m, r[0]) for m, r in judged if r and r[0].over and m.severity is Severity.ALERT]
        if not over or reference is None:
            return None
        worst = max(over, key=lambda each: each[1].effect / max(each[1].floor, 1e-9))[0]
        name = VALUE_OF[worst.measure]
        days = [day for day in day_values(history, name) if day.rows >= self._outcome.minimum_rows]
        return onset(days, reference.days[name])

    def _settle(
        self,
        family: Family,
        start: datetime,
        model: str,
        judged: Sequence[tuple[Monitor, list[Reading]]],
        since: datetime | None,
    ) -> None:
        """Keep what was read, and say what it means for the family's alert."""
        states = []
        sustained_notes: list[str] = []
        for monitor, readings in judged:
            if not readings:
                continue
            before = self._before(monitor, model)
            over = any(reading.over for reading in readings)
            # A column between clear and over must not keep the alert of another one open.
            clear = not over if monitor.measure in COLUMN_MEASURES else is_clear(readings)
            streak = next_streak(before.streak if before else Streak(), over=over, clear=clear)
            if monitor.measure in COLUMN_MEASURES:
                sustained = any(reading.streak >= monitor.persistence for reading in readings)
            else:
                sustained = streak.over >= monitor.persistence or any(reading.shock for reading in readings)
            kept = tuple(reading for reading in readings if reading.over) or tuple(readings[:3])
            result = ResultRecord(self._endpoint, monitor.name, model, start, over, streak, sustained, kept)
            self._results.append(result)
            self._latest[monitor.name] = result
            if monitor.severity is Severity.NOTE:
                self._note(monitor, before, result, start)
            else:
                states.append((monitor, result))
        for monitor, result in self._noted_now():
            sustained_notes += [
                reports.sentence(monitor, reading) for reading in result.readings if reading.over
            ]
        if not states:
            return
        over = any(result.over for _, result in states)
        alarmed = [(monitor, result.readings) for monitor, result in states if result.over]
        report = None
        if over:
            report = reports.family_report(
                family, self._endpoint, model, alarmed, since=since or start, notes=sustained_notes[:10]
            )
        self._steps.append(
            FamilyStep(
                family=str(family),
                model=model,
                window_end=start + DAY,
                over=over,
                sustained=any(result.sustained for _, result in states),
                clear=all(result.streak.clear >= monitor.persistence for monitor, result in states),
                report=report,
            )
        )

    def _note(
        self, monitor: Monitor, before: ResultRecord | None, result: ResultRecord, start: datetime
    ) -> None:
        """Said when it begins, per column: not every day again."""
        known = (
            {reading.column for reading in before.readings if reading.over}
            if before and before.sustained
            else set()
        )
        if not result.sustained:
            return
        fresh = tuple(
            reading
            for reading in result.readings
            if reading.over
            and reading.column not in known
            and (monitor.measure not in COLUMN_MEASURES or reading.streak == monitor.persistence)
        )
        if fresh:
            text = "; ".join(reports.sentence(monitor, reading) for reading in fresh)
            self._notes.append(Note(monitor.name, result.model, start + DAY, text, fresh))

    def _noted_now(self) -> list[tuple[Monitor, ResultRecord]]:
        return [
            (monitor, self._latest[monitor.name])
            for monitor in self._monitors
            if monitor.severity is Severity.NOTE
            and monitor.name in self._latest
            and self._latest[monitor.name].sustained
        ]

    def _of(self, family: Family) -> list[Monitor]:
        return [monitor for monitor in self._monitors if monitor.family is family]

    def _before(self, monitor: Monitor, model: str) -> ResultRecord | None:
        """The monitor's last result on this model: another model starts anew."""
        latest = self._latest.get(monitor.name)
        return latest if latest is not None and latest.model == model else None

    def _model_history(self, model: str) -> list[WindowRecord]:
        if model not in self._history:
            self._history[model] = list(self._sources.history(model))
        return self._history[model]

    def _put(self, window: WindowRecord) -> None:
        self._windows[window.model, window.mode, window.start] = window

    def _day(self, start: datetime) -> pa.Table:
        if start not in self._rows:
            self._rows[start] = self._sources.predictions(start, start + DAY)
        return self._rows[start]


def by_model(rows: pa.Table) -> dict[tuple[str, str], pa.Table]:
    """A day's rows by (model, mode), in the order of first appearance."""
    if rows.num_rows == 0:
        return {}
    models = rows["model"].cast(pa.string())
    modes = rows["mode"].cast(pa.string())
    both = pc.binary_join_element_wise(models, modes, "\n")
    return {
        tuple(name.split("\n")): rows.filter(pc.equal(both, name)) for name in pc.unique(both).to_pylist()
    }


def champion_of(groups: Mapping[tuple[str, str], pa.Table]) -> str | None:
    """The model that is watched: the one whose arm is called champion, else the one that answered most live requests. A canary
    that got a little more than half of a day's traffic does not take the champion's place."""
    live = {model: part for (model, mode), part in groups.items() if mode == LIVE}
    if not live:
        return None

    def weight(model: str) -> tuple[bool, int, str]:
        arms = live[model]["arm"]
        return bool(pc.any(pc.equal(arms, CHAMPION_ARM)).as_py()), live[model].num_rows, model

    return max(live, key=weight)


def day_values(windows: Sequence[WindowRecord], name: str) -> list[judging.DayValue]:
    """One value of each window that has it."""
    return [
        judging.DayValue(window.start.isoformat(), window.labelled or window.rows, value)
        for window in windows
        if (value := window.values.get(name)) is not None
    ]


def onset(days: Sequence[judging.DayValue], reference: BlockMeans) -> datetime | None:
    """Since when: the most likely shift of the mean in the days, seen with as many of the reference's last
    days before them (a shift that began with the first day cannot be seen without what was before)."""
    if not days:
        return None
    before = list(reference.means[-max(len(days), 14) :])
    found = changepoint.onset([*before, *(day.value for day in days)])
    at = max(found.index - len(before), 0) if found is not None else 0
    return datetime.fromisoformat(days[min(at, len(days) - 1)].start)
