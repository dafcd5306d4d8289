"""A rollout from its first request to its end, on days that are replayed by the arms in force: the room alone decides.

Serving, registry and features below it are stand-ins here that hold tables in memory; `test_rollout_served.py` has the real ones.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from everloop.domain.deployments import Arm, Mode
from everloop.domain.monitors import DAY, outcome
from everloop.domain.rollouts import Plan, State, Verdict
from everloop.errors import Conflict, NotFound
from everloop.features.features import Features
from everloop.registry.registry import Registry
from everloop.rollout.rollout import Rollouts
from everloop.serving.serving import Serving
from everloop.tracking.tracking import Tracking
from everloop.workspace.local import LocalWorkspace

FIRST = datetime(2013, 6, 1, tzinfo=UTC)
ROWS = 300
OLD, NEW = "model:delay@v1", "model:delay@v2"
Scores = Callable[[np.ndarray, np.ndarray], np.ndarray]


def good(truth: np.ndarray, noise: np.ndarray) -> np.ndarray:
    return np.clip(truth + 0.05 * noise, 0.02, 0.98)


def stale(truth: np.ndarray, noise: np.ndarray) -> np.ndarray:
    return np.clip(0.2 * truth + 0.4, 0.02, 0.98)


def wrong(truth: np.ndarray, noise: np.ndarray) -> np.ndarray:
    return 1 - good(truth, noise)


class Stage:
    """An endpoint in memory: `play(day)` lets the arms in force answer a day of requests."""

    def __init__(self, models: dict[str, Scores], fails: dict[str, float] | None = None) -> None:
        self.models, self.fails = models, fails or {}
        self.arms: tuple[Arm, ...] = (Arm("champion", OLD),)
        self.salt, self.parts, self.labels, self.switched, self.applied = "", [], [], 0, 0
        self.aliases: list[tuple[str, str]] = []
        self.allowed = True

    # What serving does

    def endpoint(self, name: str) -> Any:
        if name != "delay":
            raise NotFound(f"there is no endpoint {name}")
        return SimpleNamespace(name=name, arms=self.arms)

    def set_arms(self, endpoint: str, arms: list[Arm], reason: str = "", salt: str = "") -> None:
        self.arms, self.salt, self.switched = tuple(arms), salt, self.switched + 1

    def apply(self, endpoint: str) -> int:
        self.applied = self.switched
        return self.applied

    def predictions(
        self, endpoint: str, *, since: datetime | None = None, until: datetime | None = None, **_: Any
    ) -> pa.Table:
        whole = (
            pa.concat_tables(self.parts)
            if self.parts
            else _log([], [], np.array([]), FIRST, Arm("champion", OLD))
        )
        stamp = pa.timestamp("us", tz="UTC")
        mask = pc.and_(
            pc.greater_equal(whole["time"], pa.scalar(since or FIRST, stamp)),
            pc.less(whole["time"], pa.scalar(until or FIRST + 999 * DAY, stamp)),
        )
        return whole.filter(mask)

    # What the registry does

    def version(self, reference: str) -> Any:
        model = SimpleNamespace(
            features=("feature:weather@v1",), signature=SimpleNamespace(names=["temp", "hour"])
        )
        return SimpleNamespace(reference=reference, run="r", model=model)

    def artifacts(self, run: str, path: str) -> list[Any]:
        return []

    def promotions(self, reference: str) -> list[Any]:
        return []

    def promote(self, reference: str, to: str, because: str = "") -> Any:
        if self.allowed:
            self.aliases.append((reference, to))
        return SimpleNamespace(
            allowed=self.allowed,
            gates=[SimpleNamespace(name="slices", passed=self.allowed, reason="JFK is worse")],
        )

    def set_alias(self, reference: str, alias: str, reason: str = "") -> None:
        self.aliases.append((reference, alias))

    # What the features do

    def comparable(self, feature: str, logged: list[str]) -> list[str]:
        return [feature] if {"key", "temp"} <= set(logged) else []

    def parity(self, rows: pa.Table, features: list[str], **_: Any) -> Any:
        fed, expected = rows["temp"].to_numpy(), rows["expected"].to_numpy()
        different = ~np.isclose(fed, expected)
        sample = [
            {"logged": float(a), "history": float(b)} for a, b in zip(fed[:5], expected[:5], strict=True)
        ]
        column = SimpleNamespace(column="temp", rows_different=int(different.sum()), sample=sample)
        return SimpleNamespace(compared=rows.num_rows, different=int(different.sum()), columns=[column])

    def play(self, day: int) -> None:
        rng = np.random.default_rng([5, day])
        start = FIRST + day * DAY
        truth = np.clip(rng.beta(2, 5, ROWS) + rng.normal(0, 0.05), 0.02, 0.98)
        noise = rng.normal(0, 1, ROWS)
        label = (rng.random(ROWS) < truth).astype(float)
        temp = rng.normal(70, 10, ROWS)
        ids = [f"{day:04d}{row:028d}" for row in range(ROWS)]
        share = np.array([zlib.crc32(f"{self.salt}{each}".encode()) / 2**32 for each in ids])
        at = 0.0
        for arm in self.arms:
            if arm.mode is Mode.OFF:
                continue
            rows = np.arange(ROWS)
            if arm.mode is Mode.LIVE:
                rows = np.flatnonzero((share >= at) & (share < at + arm.weight))
                at += arm.weight
            score = self.models[arm.model](truth, noise)[rows]
            broken = rng.random(len(rows)) < self.fails.get(arm.model, 0.0)
            fed = (temp - 32) * 5 / 9 if arm.transform else temp
            self.parts.append(
                _log(
                    [ids[row] for row in rows],
                    np.where(broken, np.nan, score),
                    temp[rows],
                    start,
                    arm,
                    fed[rows],
                )
            )
        observed = pa.array([start + timedelta(hours=20)] * ROWS, pa.timestamp("us", tz="UTC"))
        self.labels.append(pa.table({"prediction_id": ids, "label": label, "observed": observed}))


def _log(ids: list[str], score: Any, expected: Any, start: datetime, arm: Arm, fed: Any = ()) -> pa.Table:
    rows = len(ids)
    stamp = pa.timestamp("us", tz="UTC")
    scores = pa.array(np.asarray(score, dtype=float), from_pandas=True)
    return pa.table(
        {
            "prediction_id": pa.array(ids, pa.string()),
            "time": pa.array([start + timedelta(seconds=200 * row) for row in range(rows)], stamp),
            "key": pa.array(ids, pa.string()),
            "arm": pa.array([arm.name] * rows, pa.string()),
            "mode": pa.array([str(arm.mode)] * rows, pa.string()),
            "model": pa.array([arm.model] * rows, pa.string()),
            "score": scores,
            "seconds": pa.array([0.001] * rows, pa.float64()),
            "error": pa.array(
                [None if valid else "it failed" for valid in scores.is_valid().to_pylist()], pa.string()
            ),
            "temp": pa.array(np.asarray(fed, dtype=float)),
            "expected": pa.array(np.asarray(expected, dtype=float)),
        }
    )


class Replay:
    def __init__(self, workspace: LocalWorkspace, stage: Stage) -> None:
        self.stage, self.workspace = stage, workspace
        for room in (Serving, Registry, Features, Tracking):
            workspace._rooms[room] = stage  # type: ignore[assignment]
        self.monitoring = workspace.monitoring
        self.monitoring.declare([], [outcome("delay", wait_days=1)])
        self.rollouts = workspace.room(Rollouts)
        self.day = 0

    def play(self, days: int, *, advance: bool = True) -> list[Any]:
        """Replay days; a day's labels come in the next night, then the rollout looks. Ends with the rollout."""
        seen = []
        for _ in range(days):
            self.stage.play(self.day)
            self.day += 1
            self.monitoring.add_actuals("delay", self.stage.labels[-1], received=self.now)
            if advance:
                seen.append(self.rollouts.advance("delay", self.now))
                if seen[-1].ended:
                    break
        return seen

    @property
    def now(self) -> datetime:
        return FIRST + self.day * DAY + timedelta(hours=1)


@pytest.fixture
def replay(workspace: LocalWorkspace) -> Callable[..., Replay]:
    return lambda *args, **kwargs: Replay(workspace, Stage(*args, **kwargs))


def test_a_better_model_goes_from_parity_to_promotion_on_its_evidence(replay: Callable[..., Replay]) -> None:
    run = replay({OLD: stale, NEW: good})
    run.rollouts.start("delay", NEW, time=run.now)
    seen = run.play(40)
    states = list(dict.fromkeys(each.state for each in seen))
    assert states == [State.SHADOW, State.CANARY, State.PROMOTED]
    assert run.stage.aliases == [(NEW, "champion")]
    live = {arm.model: arm.weight for arm in run.stage.arms if arm.mode is Mode.LIVE}
    assert live == {NEW: 1.0}
    weights = [each.weights[NEW] for each in seen]
    assert weights == sorted(weights)
    assert set(weights) == {0.0, 0.1, 0.5, 1.0}
    last = seen[-1]
    assert last.evidence.e_gain >= last.plan.bar
    assert last.evidence.gain_low <= last.evidence.gain <= last.evidence.gain_high
    told = run.rollouts.decisions(last.reference)
    assert [each.number for each in told] == list(range(1, len(told) + 1))
    assert all(each.reason and each.evidence for each in told)


def test_an_equal_model_is_held_and_the_story_goes_on(replay: Callable[..., Replay]) -> None:
    run = replay({OLD: good, NEW: good})
    run.rollouts.start("delay", NEW, plan=Plan(shadow_days=10), time=run.now)
    last = run.play(14)[-1]
    assert (last.state, last.verdict) == (State.SHADOW, Verdict.HOLD)
    assert "does not suffice" in last.reason
    assert last.evidence.blocks == 14
    assert len(run.workspace.ledger.events(actions=["rollout.held"])) == 1


def test_celsius_for_fahrenheit_is_stopped_before_any_label(replay: Callable[..., Replay]) -> None:
    run = replay({OLD: stale, NEW: good})
    run.rollouts.start("delay", NEW, transform={"temp": "(temp - 32) * 5 / 9"}, time=run.now)
    run.stage.play(0)
    run.day = 1
    stopped = run.rollouts.advance("delay", run.now)
    assert stopped.state is State.STOPPED
    assert "'temp'" in stopped.reason
    assert "Celsius where Fahrenheit was meant" in stopped.reason
    assert [arm.model for arm in run.stage.arms] == [OLD]
    assert stopped.evidence.blocks == 0


def test_the_champion_itself_fed_wrongly_is_stopped(replay: Callable[..., Replay]) -> None:
    run = replay({OLD: good, NEW: good})
    run.rollouts.start("delay", OLD, transform={"temp": "(temp - 32) * 5 / 9"}, time=run.now)
    (stopped,) = run.play(1)
    assert stopped.state is State.STOPPED
    assert [arm.transform for arm in run.stage.arms] == [{}]


def test_a_feed_that_breaks_later_is_found_by_the_weekly_check(replay: Callable[..., Replay]) -> None:
    run = replay({OLD: good, NEW: good})
    run.rollouts.start("delay", NEW, time=run.now)
    assert run.play(3)[-1].state is State.SHADOW
    broken = {"temp": "(temp - 32) * 5 / 9"}
    run.stage.arms = tuple(
        msgspec.structs.replace(arm, transform=broken) if arm.model == NEW else arm for arm in run.stage.arms
    )
    last = run.play(10)[-1]
    assert last.state is State.STOPPED
    assert run.day <= 9
    assert "'temp'" in last.reason


def test_a_worse_model_forced_into_canary_is_rolled_back_by_itself(replay: Callable[..., Replay]) -> None:
    run = replay({OLD: good, NEW: wrong})
    run.rollouts.start("delay", NEW, strategy="canary", time=run.now)
    assert {arm.name: arm.weight for arm in run.stage.arms if arm.mode is Mode.LIVE} == {
        "champion": 0.9,
        "candidate": 0.1,
    }
    last = run.play(20)[-1]
    assert last.state is State.ROLLED_BACK
    assert last.evidence.e_harm >= last.plan.harm_bar
    assert [(arm.model, arm.weight) for arm in run.stage.arms] == [(OLD, 1.0)]
    assert last.seconds is not None
    assert run.stage.aliases == []


def test_a_candidate_that_fails_is_out_on_the_first_day(replay: Callable[..., Replay]) -> None:
    run = replay({OLD: stale, NEW: good}, fails={NEW: 0.2})
    run.rollouts.start("delay", NEW, strategy="canary", time=run.now)
    (only,) = run.play(5)
    assert only.state is State.ROLLED_BACK
    assert "fails more often" in only.reason


def test_a_restart_goes_on_from_the_same_evidence_and_looking_twice_changes_nothing(
    replay: Callable[..., Replay],
) -> None:
    run = replay({OLD: stale, NEW: good})
    run.rollouts.start("delay", NEW, time=run.now)
    before = run.play(6)[-1]
    run.rollouts = Rollouts(run.workspace)
    again = run.rollouts.advance("delay", run.now)
    assert again.evidence == before.evidence
    assert again.progress == before.progress


def test_gates_that_refuse_hold_a_winner_back(replay: Callable[..., Replay]) -> None:
    run = replay({OLD: stale, NEW: good})
    run.stage.allowed = False
    run.rollouts.start("delay", NEW, time=run.now)
    last = run.play(40)[-1]
    assert (last.state, last.verdict) == (State.CANARY, Verdict.HOLD)
    assert "JFK is worse" in last.reason


def test_rollback_after_a_promotion_gives_the_old_champion_everything_back(
    replay: Callable[..., Replay],
) -> None:
    run = replay({OLD: stale, NEW: good})
    run.rollouts.start("delay", NEW, time=run.now)
    run.rollouts.promote("delay", time=run.now)
    assert run.rollouts.status("delay").state is State.PROMOTED
    back = run.rollouts.rollback("delay", because="a customer called", time=run.now)
    assert (back.model, back.instead_of) == (OLD, NEW)
    assert run.stage.applied == run.stage.switched, "a running server was not waited for"
    assert [(arm.model, arm.weight) for arm in run.stage.arms] == [(OLD, 1.0)]
    assert run.stage.aliases[-1] == (OLD, "champion")
    with pytest.raises(Conflict, match="no model to go back to"):
        run.rollouts.rollback("delay", time=run.now)


def test_one_rollout_at_a_time_and_abort_ends_it(replay: Callable[..., Replay]) -> None:
    run = replay({OLD: stale, NEW: good, "model:delay@v3": good})
    run.rollouts.start("delay", NEW, time=run.now)
    with pytest.raises(Conflict, match="in a rollout of model:delay@v2 already"):
        run.rollouts.start("delay", "model:delay@v3", time=run.now)
    run.rollouts.abort("delay", because="wrong version", time=run.now)
    assert [(arm.model, arm.weight) for arm in run.stage.arms] == [(OLD, 1.0)]
    assert run.rollouts.start("delay", "model:delay@v3", time=run.now).state is State.PARITY
    with pytest.raises(Conflict, match="answers 'delay' already"):
        run.rollouts.start("delay", OLD, time=run.now)


def test_what_is_not_there_says_so(replay: Callable[..., Replay]) -> None:
    run = replay({OLD: stale, NEW: good})
    with pytest.raises(NotFound, match="in no rollout"):
        run.rollouts.advance("delay", run.now)
    with pytest.raises(NotFound, match="never had a rollout"):
        run.rollouts.status("delay")
