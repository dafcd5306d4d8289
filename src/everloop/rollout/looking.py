"""What has come since the last look at a rollout: parity, errors, and the losses of days that became final."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from everloop.domain.monitors import DAY, window_start
from everloop.domain.rollouts import ColumnParity, Evidence, State
from everloop.features.features import Features
from everloop.monitoring.monitoring import Monitoring
from everloop.registry.registry import Registry
from everloop.rollout.arms import CANDIDATE_SIDE, CHAMPION_SIDE
from everloop.rollout.records import Ledgered, RolloutRecord
from everloop.serving.serving import Serving

if TYPE_CHECKING:
    import pyarrow as pa

    from everloop.governance.rooms import Context


def read_on(context: Context, record: RolloutRecord, until: datetime) -> Ledgered:
    """What has come since the last look: parity and errors up to now, losses of the days that became
    final."""
    from everloop.rollout.evidence import merged_parity, paired_gain, requests_and_errors, sample_of

    progress = record.progress
    monitoring = context.room(Monitoring)
    serving = context.room(Serving)
    if until > progress.read:
        rows = serving.predictions(record.endpoint, since=progress.read, until=until)
        candidate = requests_and_errors(rows, CANDIDATE_SIDE)
        champion = requests_and_errors(rows, CHAMPION_SIDE)
        live = requests_and_errors(rows, CANDIDATE_SIDE, live_only=True)
        looked: tuple[int, list[ColumnParity]] = (0, [])
        if _parity_due(record, until):
            looked = _parity(context, record, sample_of(rows, CANDIDATE_SIDE, record.plan.parity_rows))
        progress = msgspec.structs.replace(
            progress,
            read=until,
            guard=progress.guard.update(*candidate, *champion),
            requests=progress.requests + live[0],
            errors=progress.errors + candidate[1],
            parity_rows=progress.parity_rows + looked[0],
            parity=merged_parity(progress.parity, looked[1]),
            parity_checked=until if looked[0] else progress.parity_checked,
        )
    outcome = monitoring.outcome(endpoint=record.endpoint)
    since = progress.judged + DAY if progress.judged else window_start(record.started, outcome.day_starts_at)
    final = {
        window.start
        for window in monitoring.windows(
            endpoint=record.endpoint, since=since, until=until, mode="live", status="final"
        )
    }
    for start in sorted(final):
        rows = serving.predictions(
            record.endpoint, since=max(start, record.started), until=start + DAY, settle=False
        )
        labels = monitoring.labels(record.endpoint, start, start + DAY, rows)
        paired, gain = paired_gain(rows, labels, record.plan.loss)
        progress = msgspec.structs.replace(progress, judged=start)
        if gain is not None and paired >= record.plan.minimum_rows:
            progress = msgspec.structs.replace(
                progress, trial=progress.trial.update(gain), rows=progress.rows + paired
            )
    return progress


def evidence_of(context: Context, record: RolloutRecord, progress: Ledgered, moment: datetime) -> Evidence:
    """What the decision at a moment rests on."""
    trial = progress.trial
    interval = trial.interval() if trial.blocks else None
    return Evidence(
        days_in_stage=(moment - record.entered) / DAY,
        days_in_step=(moment - record.stepped) / DAY,
        parity_applies=bool(_features(context, record.candidate)),
        parity_rows=progress.parity_rows,
        parity=progress.parity,
        blocks=trial.blocks,
        rows=progress.rows,
        gain=trial.gain.mean,
        gain_low=interval.low if interval else None,
        gain_high=interval.high if interval else None,
        e_gain=trial.gain.peak,
        e_harm=trial.harm.peak,
        e_no_worse=trial.non_inferior.peak,
        e_errors=progress.guard.peak,
        requests=progress.requests,
        errors=progress.errors,
    )


def _parity(context: Context, record: RolloutRecord, rows: pa.Table) -> tuple[int, list[ColumnParity]]:
    """Rows compared, and what was found of each column: the features as this arm was fed them against history."""
    if rows.num_rows == 0:
        return 0, []
    from everloop.rollout.evidence import column_parity

    wanted = _comparable(context, record.candidate, rows.column_names)
    if not wanted:
        return 0, []
    room = context.room(Features)
    report = room.parity(rows, wanted, time="time", tolerance=record.plan.parity_tolerance)
    return report.compared, [
        column_parity(each.column, report.compared, each.rows_different, each.sample)
        for each in report.columns
    ]


def _comparable(context: Context, model: str, logged: Sequence[str]) -> list[str]:
    """The model's features that the log can be held against: those logged, of views whose keys are logged too."""
    room = context.room(Features)
    return [name for each in _features(context, model) for name in room.comparable(each, logged)]


def _features(context: Context, model: str) -> tuple[str, ...]:
    return tuple(context.room(Registry).version(model).model.features)


def _parity_due(record: RolloutRecord, moment: datetime) -> bool:
    """At every look until it has passed; then now and again, for a feed can break later too."""
    checked = record.progress.parity_checked
    return (
        record.state is State.PARITY
        or checked is None
        or moment - checked >= record.plan.parity_every_days * DAY
    )
