"""Policies act once for each cause, wait for good reasons, say why, and hand a candidate on only through its gates.

Pipelines, registry, serving and rollouts are stand-ins here; monitoring, and the loop, are real.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.domain.alerts import Report
from everloop.domain.gates import GateResult
from everloop.domain.monitors import DAY
from everloop.domain.policies import Cause, Policy, Situation, Trigger, decide, policy, trigger
from everloop.domain.rollouts import State, Verdict
from everloop.errors import Conflict, InvalidDefinition, NotFound
from everloop.loop.loop import Loop
from everloop.loop.records import Status
from everloop.monitoring.records import Evaluation, FamilyStep
from everloop.pipelines.pipelines import Pipelines
from everloop.registry.registry import Registry
from everloop.rollout.rollout import Rollouts
from everloop.serving.serving import Serving
from everloop.tracking.tracking import Tracking
from everloop.workspace.local import LocalWorkspace

NOW = datetime(2013, 6, 10, tzinfo=UTC)
FRESH = policy(
    "fresh",
    endpoint="delay",
    model="delay",
    pipeline="flights.py:train",
    on=trigger(alert="performance"),
    cooldown_days=10,
)


class Below:
    """The rooms below the loop: what they are told is written down."""

    def __init__(self) -> None:
        self.pipelines: list[tuple[str, dict[str, Any]]] = []
        self.rollouts: list[str] = []
        self.aborted: list[str] = []
        self.verdict = Verdict.CONTINUE
        self.came_to = State.SHADOW
        self.allowed, self.status, self.open = True, "finished", False
        self.arms = [SimpleNamespace(model="model:delay@v1", mode="live")]

    def run(self, pipeline: str, params: dict[str, Any], executor: str = "") -> Any:
        self.pipelines.append((pipeline, params))
        run = f"{len(self.pipelines):032x}"
        return SimpleNamespace(
            reference=f"run:{run}",
            run_id=run,
            status=self.status,
            error="ValueError: no rows",
            output=None,
            steps=(),
        )

    def artifacts(self, run: str, path: str) -> list[Any]:
        return [SimpleNamespace(path="model/model.json")]

    def models(self) -> list[Any]:
        return []

    def register(self, run: str, name: str, artifact: str) -> Any:
        return SimpleNamespace(reference=f"model:{name}@v{len(self.pipelines) + 1}")

    def promote(self, reference: str, to: str) -> Any:
        gates = [
            GateResult(
                "better than champion", self.allowed, "log loss is higher" if not self.allowed else "it is"
            )
        ]
        return SimpleNamespace(allowed=self.allowed, gates=gates)

    def alias_history(self, name: str) -> list[Any]:
        return [SimpleNamespace(alias="champion", version=1, time=NOW - 40 * DAY)]

    def endpoint(self, name: str) -> Any:
        return SimpleNamespace(arms=self.arms)

    def current(self, endpoint: str) -> Any:
        if not self.open:
            return None
        return SimpleNamespace(
            state=State.SHADOW, verdict=self.verdict, reference="rollout:ab", candidate="model:delay@v2"
        )

    def abort(self, endpoint: str, *, because: str, time: datetime) -> None:
        self.aborted.append(because)
        self.open = False

    def rollout(self, ref: str) -> Any:
        return SimpleNamespace(state=self.came_to, reason=f"it was {self.came_to}", ended=NOW + 3 * DAY)

    def start(self, endpoint: str, model: str, **_: Any) -> Any:
        self.rollouts.append(model)
        return SimpleNamespace(reference="rollout:" + "a" * 32, state=State.PARITY)


@pytest.fixture
def below(workspace: LocalWorkspace) -> Below:
    below = Below()
    for room in (Pipelines, Registry, Serving, Rollouts, Tracking):
        workspace._rooms[room] = below  # type: ignore[assignment]
    return below


@pytest.fixture
def loop(workspace: LocalWorkspace, below: Below) -> Loop:
    room = workspace.room(Loop)
    room.declare([FRESH])
    return room


@pytest.fixture
def fire(workspace: LocalWorkspace) -> Callable[..., str]:
    """Let an alert fire; gives its identifier."""

    def fire(
        when: datetime = NOW, family: str = "performance", model: str = "model:delay@v1", clear: bool = False
    ) -> str:
        report = Report(what=f"{family} fell", since=when - 5 * DAY, how_much="", tested="", to_do="")
        step = FamilyStep(
            family, model, when, over=not clear, sustained=not clear, clear=clear, report=report
        )
        workspace.monitoring.record_evaluation("delay", Evaluation(steps=(step,)))
        return next(
            each
            for each in workspace.monitoring.alerts("delay")
            if each.model == model and each.family == family
        ).alert_id

    return fire


def test_an_alert_trains_gates_and_begins_a_rollout_once(
    loop: Loop, below: Below, fire: Callable[..., str]
) -> None:
    alert = fire()
    (done,) = loop.tick(NOW, in_process=True)
    assert done.status is Status.ROLLING_OUT
    assert (done.candidate, done.rollout, done.alert) == ("model:delay@v2", "rollout:" + "a" * 32, alert)
    assert below.pipelines == [("flights.py:train", {"until": NOW.isoformat()})]
    assert [gate.name for gate in done.gates] == ["better than champion"]
    assert loop.tick(NOW + DAY, in_process=True) == []
    (decided,) = loop.context.ledger.events(actions=["loop.acted"])
    assert decided.payload["decision"]["act"]
    assert decided.payload["situation"]["now"]
    upward = loop.context.ledger.edges_of(done.rollout, upward=True)
    assert (f"alert:{alert}", done.rollout, "triggered") in upward


def test_a_refused_candidate_meets_no_traffic(loop: Loop, below: Below, fire: Callable[..., str]) -> None:
    below.allowed = False
    fire()
    (done,) = loop.tick(NOW, in_process=True)
    assert done.status is Status.REFUSED
    assert "log loss is higher" in done.message
    assert below.rollouts == []


def test_a_pipeline_that_fails_is_told_not_thrown(loop: Loop, below: Below, fire: Callable[..., str]) -> None:
    below.status = "failed"
    fire()
    (done,) = loop.tick(NOW, in_process=True)
    assert done.status is Status.FAILED
    assert "ValueError: no rows" in done.message


def test_a_rollout_on_hold_makes_way_for_a_fresher_candidate(
    loop: Loop, below: Below, fire: Callable[..., str]
) -> None:
    fire()
    below.open, below.verdict = True, Verdict.HOLD
    (done,) = loop.tick(NOW, in_process=True)
    assert done.status is Status.ROLLING_OUT
    assert below.aborted == ["on hold, and model:delay@v2 is fresher"]
    assert below.rollouts == ["model:delay@v2"]


def test_a_rollout_on_hold_stays_when_the_new_candidate_is_refused(
    loop: Loop, below: Below, fire: Callable[..., str]
) -> None:
    fire()
    below.open, below.verdict, below.allowed = True, Verdict.HOLD, False
    (done,) = loop.tick(NOW, in_process=True)
    assert done.status is Status.REFUSED
    assert below.aborted == []


def test_a_cause_waits_while_a_rollout_is_open_and_acts_after_it(
    loop: Loop, below: Below, fire: Callable[..., str]
) -> None:
    below.open = True
    fire()
    assert loop.tick(NOW, in_process=True) == []
    assert loop.tick(NOW + timedelta(hours=1), in_process=True) == []
    assert len(loop.context.ledger.events(actions=["loop.waited"])) == 1, "the reason is said once"
    below.open = False
    (done,) = loop.tick(NOW + DAY, in_process=True)
    assert done.status is Status.ROLLING_OUT


def test_a_cause_that_is_gone_is_dropped(loop: Loop, below: Below, fire: Callable[..., str]) -> None:
    below.open = True
    fire()
    loop.tick(NOW, in_process=True)
    fire(NOW + DAY, clear=True)
    below.open = False
    assert loop.tick(NOW + 2 * DAY, in_process=True) == []
    assert loop.retrainings()[0].status is Status.DROPPED


def test_broken_inputs_come_first(loop: Loop, below: Below, fire: Callable[..., str]) -> None:
    fire(family="inputs")
    fire()
    assert loop.tick(NOW, in_process=True) == []
    (waiting,) = loop.retrainings()
    assert "the inputs come first" in waiting.message


def test_the_cooldown_holds_the_second_alert_back(loop: Loop, below: Below, fire: Callable[..., str]) -> None:
    fire()
    loop.tick(NOW, in_process=True)
    fire(NOW + 3 * DAY, model="model:delay@v2")
    assert loop.tick(NOW + 3 * DAY, in_process=True) == []
    assert "cooldown" in loop.retrainings()[0].message
    fire(NOW + 11 * DAY, model="model:delay@v3")
    assert loop.tick(NOW + 11 * DAY, in_process=True) != []


def test_an_alert_that_fires_on_after_a_refusal_is_tried_again_after_the_cooldown(
    loop: Loop, below: Below, fire: Callable[..., str]
) -> None:
    below.allowed = False
    fire()
    assert [each.status for each in loop.tick(NOW, in_process=True)] == [Status.REFUSED]
    below.allowed = True
    done = []
    for day in range(1, 12):
        fire(NOW + day * DAY)
        done += loop.tick(NOW + day * DAY, in_process=True)
    assert [(each.status, each.requested) for each in done] == [(Status.ROLLING_OUT, NOW + 10 * DAY)]
    assert "(attempt 2)" in done[0].because


@pytest.mark.parametrize("came_to", [State.PROMOTED, State.ROLLED_BACK, State.STOPPED, State.ABORTED])
def test_a_retraining_ends_as_its_rollout_does(
    loop: Loop, below: Below, fire: Callable[..., str], came_to: State
) -> None:
    fire()
    loop.tick(NOW, in_process=True)
    assert loop.retrainings()[0].status is Status.ROLLING_OUT
    below.came_to = came_to
    (done,) = loop.retrainings("delay")
    assert (done.status, done.message, done.ended) == (str(came_to), f"it was {came_to}", NOW + 3 * DAY)
    fire(NOW + 11 * DAY)
    again = loop.tick(NOW + 11 * DAY, in_process=True)
    assert [each.because for each in again] == (
        [] if came_to is State.PROMOTED else ["performance fell (attempt 2)"]
    )


def test_a_champion_that_grows_old_is_trained_again(loop: Loop, below: Below) -> None:
    loop.declare(
        [policy("old", endpoint="delay", model="delay", pipeline="a:b", on=trigger(model_age_days=30))]
    )
    (done,) = loop.tick(NOW, in_process=True)
    assert "older than 30 days" in done.because
    assert loop.tick(NOW + DAY, in_process=True) == []


def test_retrain_by_hand_names_its_alert_and_needs_no_cooldown(
    loop: Loop, below: Below, fire: Callable[..., str]
) -> None:
    alert = fire()
    first = loop.retrain("delay", because=f"alert:{alert[:8]}", now=NOW, in_process=True)
    assert first.alert == alert
    assert first.because.startswith("by hand")
    assert loop.retrain("model:delay", now=NOW + DAY, in_process=True).status is Status.ROLLING_OUT
    with pytest.raises(NotFound, match="no policy says"):
        loop.retrain("dealy", now=NOW)


def test_one_retraining_of_a_model_at_a_time(loop: Loop) -> None:
    asked = loop.request("delay", NOW)
    with pytest.raises(Conflict, match="one at a time"):
        loop.request("delay", NOW)
    loop.claim(asked.id)
    with pytest.raises(Conflict, match="running"):
        loop.claim(asked.id)


def test_definitions_of_a_module_take_effect(workspace: LocalWorkspace) -> None:
    workspace.project.mkdir(parents=True, exist_ok=True)
    (workspace.project / "loop_watching.py").write_text(
        "from everloop.domain.monitors import monitor, outcome\n"
        "from everloop.domain.policies import policy, trigger\n"
        "from everloop.domain.rollouts import rollout_plan\n"
        "loss = monitor('loss', endpoint='delay', measure='excess_loss')\n"
        "truth = outcome('delay', day_starts_at=5)\n"
        "careful = rollout_plan('delay', weights=(0.2,))\n"
        "fresh = policy('fresh', endpoint='delay', model='delay', pipeline='a:b', on=trigger(alert='performance'))\n"
    )
    applied = workspace.room(Loop).apply("loop_watching.py")
    assert (applied.monitors, applied.plans, applied.policies) == (("loss",), ("delay",), ("fresh",))
    assert workspace.monitoring.outcome("delay").day_starts_at == 5
    assert workspace.room(Rollouts).plan("delay").weights == (0.2,)
    before = workspace.ledger.head()
    workspace.room(Loop).apply("loop_watching.py")
    assert workspace.ledger.head() == before, "the same declarations again change nothing"


moments = st.integers(-30, 30).map(lambda days: NOW + timedelta(days=days))


@given(
    happened=moments,
    done=st.booleans(),
    flying=st.sampled_from(["", "a rollout"]),
    last=st.none() | moments,
    broken=st.sampled_from([(), ("temp is missing",)]),
)
def test_a_policy_acts_only_when_nothing_stands_against_it(
    happened: datetime, done: bool, flying: str, last: datetime | None, broken: tuple[str, ...]
) -> None:
    rule = Policy("p", "e", "m", "a:b", (Trigger("performance"),), cooldown_days=10, maximum_age_days=7)
    decision = decide(rule, Cause("k", "it fell", happened), Situation(NOW, done, flying, last, broken))
    free = not done and not flying and not broken
    assert decision.act == (free and NOW - happened <= 7 * DAY and (last is None or NOW - last >= 10 * DAY))
    assert decision.reason


def test_a_policy_that_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidDefinition, match="sliding"):
        policy(
            "p", endpoint="e", model="m", pipeline="a:b", on=trigger(alert="performance"), window="sliding"
        )
    with pytest.raises(InvalidDefinition, match="performence"):
        trigger(alert="performence")
