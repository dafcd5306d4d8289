"""The whole way with nothing stood in for: a real server answers, labels come, the alert trains in a worker, a rollout begins."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from tests.support.trained import add_flights, train

from everloop.domain.deployments import Mode
from everloop.domain.monitors import DAY, outcome
from everloop.domain.rollouts import Plan, State, Verdict
from everloop.loop.records import Status
from everloop.workspace.local import LocalWorkspace

FIRST = datetime(2013, 6, 1, tzinfo=UTC)
ROWS = 240


def truth(rng: np.random.Generator) -> tuple[dict[str, Any], np.ndarray]:
    """A day's requests as the model expects them, and what becomes of them: warmer is later."""
    temp, wind = rng.normal(60, 15, ROWS), rng.normal(10, 4, ROWS)
    late = (temp - 60 + 0.5 * (wind - 10) + rng.normal(0, 8, ROWS) > 0).astype(float)
    return {"temp": temp.tolist(), "wind": wind.tolist()}, late


class Days:
    """The world outside: asks the server, and says later what became of it."""

    def __init__(self, workspace: LocalWorkspace, url: str) -> None:
        self.workspace, self.url, self.day, self.statuses = workspace, url, 0, []

    def live(self, days: int) -> None:
        for _ in range(days):
            start = FIRST + self.day * DAY
            columns, late = truth(np.random.default_rng([1, self.day]))
            times = [(start + timedelta(seconds=300 * row)).isoformat() for row in range(ROWS)]
            keys = [f"{self.day}-{row}" for row in range(ROWS)]
            answer = httpx.post(
                f"{self.url}/predict", json={"columns": columns, "keys": keys, "time": times}, timeout=60
            )
            self.statuses.append(answer.status_code)
            observed = pa.array([start + timedelta(hours=22)] * ROWS, pa.timestamp("us", tz="UTC"))
            self.day += 1
            receipt = self.workspace.monitoring.add_actuals(
                "delay", pa.table({"key": keys, "label": late, "observed": observed}), received=self.now
            )
            assert receipt.matched == ROWS

    @property
    def now(self) -> datetime:
        return FIRST + self.day * DAY + timedelta(hours=1)

    @property
    def revision(self) -> int:
        """Which arms the server answers by."""
        return int(httpx.get(f"{self.url}/ready", timeout=60).json()["revision"])


@pytest.fixture
def versions(workspace: LocalWorkspace, tmp_path: Path) -> LocalWorkspace:
    """A good model (v1, the champion) and one that has its labels the wrong way round (v2)."""
    data = add_flights(workspace, tmp_path)
    workspace.registry.register(train(workspace, data), "delay")
    workspace.registry.register(train(workspace, data, flipped=True), "delay")
    workspace.registry.set_alias("delay@v1", "champion")
    return workspace


def test_a_worse_model_forced_into_canary_is_rolled_back_on_a_live_server(versions: LocalWorkspace) -> None:
    versions.serving.deploy("delay", "model:delay@v1")
    versions.monitoring.declare([], [outcome("delay", wait_days=0)])
    with versions.serving.start("delay") as server:
        world = Days(versions, server.url)
        begun = versions.rollout.start("delay", "model:delay@v2", strategy="canary", time=FIRST)
        assert begun.weights == {"model:delay@v1": 0.9, "model:delay@v2": pytest.approx(0.1)}
        for _ in range(14):
            world.live(1)
            record = versions.rollout.advance("delay", world.now)
            if record.ended:
                break
        assert record.state is State.ROLLED_BACK, record.reason
        assert record.evidence.e_harm >= record.plan.harm_bar
        assert record.evidence.rows == world.day * ROWS, "every request has an answer of both models"
        assert world.revision == versions.serving.endpoint("delay").revision, (
            "the switch waits for the server"
        )
        assert record.seconds is not None
        world.live(1)
        log = versions.serving.predictions("delay", since=FIRST + (world.day - 1) * DAY)
        assert set(log["model"].to_pylist()) == {"model:delay@v1"}
    assert set(world.statuses) == {200}, "no request failed"


def test_promotion_and_rollback_swap_models_under_a_running_server(
    versions: LocalWorkspace, tmp_path: Path
) -> None:
    data = versions.data.dataset("flights").reference
    better = versions.registry.register(train(versions, str(data), C=0.5), "delay").reference
    versions.serving.deploy("delay", "model:delay@v2")
    versions.monitoring.declare([], [outcome("delay", wait_days=0)])
    plan = Plan(minimum_blocks=3, step_days=1, weights=(0.5,))
    with versions.serving.start("delay") as server:
        world = Days(versions, server.url)
        versions.rollout.start("delay", better, plan=plan, time=world.now)
        for _ in range(20):
            world.live(1)
            record = versions.rollout.advance("delay", world.now)
            if record.ended:
                break
        assert record.state is State.PROMOTED, record.reason
        assert "champion" in versions.registry.version(better).aliases
        live = [arm for arm in versions.serving.endpoint("delay").arms if arm.mode is Mode.LIVE]
        assert [arm.model for arm in live] == [better]
        back = versions.rollout.rollback("delay", time=world.now)
        assert (back.model, back.instead_of) == ("model:delay@v2", better)
        assert world.revision == versions.serving.endpoint("delay").revision, (
            "the switch waits for the server"
        )
        world.live(1)
        log = versions.serving.predictions("delay", since=FIRST + (world.day - 1) * DAY, modes=["live"])
        assert set(log["model"].to_pylist()) == {"model:delay@v2"}
    assert set(world.statuses) == {200}


FLOW = """
    import everloop as ev
    import numpy as np

    @ev.step
    def fit(flights: str, until: str):
        from sklearn.linear_model import LogisticRegression
        table = ev.data(flights).to_arrow()
        columns = {name: table[name].to_numpy() for name in ("temp", "wind")}
        model = LogisticRegression().fit(np.column_stack(list(columns.values())), table["late"].to_numpy())
        run = ev.active_run()
        run.log_model(model, "model", example=columns)
        return 1

    @ev.pipeline
    def train(flights: str = "data:flights", until: str = ""):
        return fit(flights, until)

    loss = ev.monitor("loss", endpoint="delay", measure="excess_loss")
    truth = ev.outcome("delay", wait_days=0)
    fresh = ev.policy("fresh", endpoint="delay", model="delay", pipeline="flow.py:train", on=ev.trigger(alert="performance"))
    """


def test_an_alert_trains_a_candidate_in_a_worker_and_a_rollout_begins(versions: LocalWorkspace) -> None:
    (versions.project / "flow.py").write_text(textwrap.dedent(FLOW))
    (versions.project / "everloop.toml").write_text('name = "flights"\n')
    versions.loop.apply("flow.py")
    versions.serving.deploy("delay", "model:delay@v2")
    columns, late = truth(np.random.default_rng(99))
    rows = {**{name: np.tile(values, 10) for name, values in columns.items()}, "label": np.tile(late, 10)}
    score = np.clip(np.tile(late, 10) * 0.6 + 0.2, 0.05, 0.95)  # what the model was thought to be worth
    times = [FIRST - (1 + row % 10) * DAY for row in range(len(score))]
    reference = pa.table(
        {**rows, "probability": score, "time": pa.array(times, pa.timestamp("us", tz="UTC"))}
    )
    versions.monitoring.set_reference("model:delay@v2", reference)
    with versions.serving.start("delay") as server:
        world = Days(versions, server.url)
        world.live(3)
        versions.monitoring.evaluate("delay", world.now)
        (alert,) = versions.monitoring.alerts(state="firing")
        assert alert.family == "performance"
        assert versions.monitoring.health("delay").alerts[0].alert_id == alert.alert_id
        (done,) = versions.loop.tick(world.now)
        assert done.status is Status.ROLLING_OUT, done.message
        assert done.candidate == "model:delay@v3"
        assert done.alert == alert.alert_id
        assert versions.rollout.status("delay").candidate == "model:delay@v3"
        assert "2013-06-04" in versions.registry.version("delay@v3").params["until"]
        upward = versions.ledger.edges_of(str(done.rollout), upward=True)
        assert (f"alert:{alert.alert_id}", done.rollout, "triggered") in upward
    assert set(world.statuses) == {200}


def test_an_endpoint_nobody_has_asked_yet_is_healthy_and_empty(versions: LocalWorkspace) -> None:
    versions.serving.deploy("delay", "model:delay@v1")
    assert versions.monitoring.evaluate("delay", FIRST).closed == 0
    health = versions.monitoring.health("delay")
    assert (health.realised, health.latency, health.alerts) == (None, None, [])
    versions.rollout.start("delay", "model:delay@v2", time=FIRST)
    looked = versions.rollout.advance("delay", FIRST + DAY)
    assert (looked.state, looked.evidence.blocks) == (State.SHADOW, 0)
    assert "nothing to recompute" in looked.reason
    assert versions.rollout.advance("delay", FIRST + 60 * DAY).verdict is Verdict.HOLD
    early = pa.table({"key": ["nobody"], "label": [1.0]})
    assert versions.monitoring.add_actuals("delay", early, received=FIRST).unmatched == 1
