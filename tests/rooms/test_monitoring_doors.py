"""The same through every door: in this process, behind a server, and on the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.support.streams import MODEL, reference_table

from everloop.cli.main import main
from everloop.domain.alerts import AlertState, Report
from everloop.domain.monitors import DAY, Reading, Streak, monitor, outcome
from everloop.domain.policies import policy, trigger
from everloop.domain.rollouts import Plan, rollout_plan
from everloop.errors import Conflict, InvalidInput, NotFound
from everloop.monitoring.records import Evaluation, FamilyStep, Note, ResultRecord, WindowRecord
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.workspace import Workspace

DAY_ONE = datetime(2013, 6, 1, tzinfo=UTC)
LOSS = monitor("loss", endpoint="delay", measure="excess_loss")


def day(number: int, *, over: bool) -> Evaluation:
    """One final day, as an evaluation reports it."""
    start = DAY_ONE + number * DAY
    reading = Reading(
        "", 0.04, 0.01, 0.001, value=0.06, reference=0.02, low=0.01, high=0.07, rows=900, blocks=14, over=over
    )
    values = {
        "loss": 0.5,
        "excess": 0.06,
        "auc": 0.68,
        "requests": 950.0,
        "errors": 2.0,
        "p95": 0.02,
        "estimated_auc": 0.7,
    }
    report = Report(
        "it predicts worse", start, "worse by 0.04", "loss by days", "retrain", ({"monitor": "loss"},)
    )
    return Evaluation(
        windows=(WindowRecord("delay", MODEL, "live", start, start + DAY, "final", 950, 900, values),),
        results=(ResultRecord("delay", "loss", MODEL, start, over, Streak(1, 0), over, (reading,)),),
        steps=(
            FamilyStep("performance", MODEL, start + DAY, over, over, not over, report if over else None),
        ),
        notes=(Note("inputs", MODEL, start + DAY, "'temp' has moved", (reading,)),) if number == 0 else (),
    )


def test_an_alert_lives_the_same_life_behind_a_server(any_workspace: Workspace) -> None:
    room = any_workspace.monitoring
    room.declare([LOSS], [outcome("delay", wait_days=1)])
    assert room.monitors(endpoint="delay") == [LOSS]
    (fired,) = room.record_evaluation("delay", day(0, over=True)).alerts
    assert fired.state is AlertState.FIRING
    assert room.record_evaluation("delay", day(1, over=True)).alerts == (), (
        "one alert, however often it is measured"
    )
    assert len(room.alerts(endpoint="delay", state="open")) == 1
    held = room.ack(ref=fired.alert_id[:12], because="looking at it")
    assert (held.state, held.acknowledged_because) == (AlertState.ACKNOWLEDGED, "looking at it")
    quiet = room.silence(ref=f"alert:{fired.alert_id}", until=DAY_ONE + 30 * DAY, because="known")
    assert quiet.silenced_until == DAY_ONE + 30 * DAY
    health = room.health(endpoint="delay")
    assert health.realised is not None
    assert health.realised["excess"]["value"] == pytest.approx(0.06)
    assert health.realised["coverage"] == pytest.approx(900 / 950)
    assert health.errors == {"count": 4.0, "requests": 1900.0, "rate": pytest.approx(4 / 1900)}
    assert [alert.alert_id for alert in health.alerts] == [fired.alert_id]
    assert room.record_evaluation("delay", day(2, over=False)).alerts[0].state is AlertState.RESOLVED
    assert room.record_evaluation("delay", day(3, over=True)).alerts[0].fingerprint == fired.fingerprint
    assert len(room.alerts(endpoint="delay")) == 2, "it came back: a new episode of the same thing"
    assert room.alerts(endpoint="delay")[0].silenced_because == "known", "and is as silent as the first one"
    with pytest.raises(Conflict, match="is resolved"):
        room.ack(ref=fired.alert_id)


def test_a_model_that_takes_over_ends_the_alerts_of_the_one_before(workspace: LocalWorkspace) -> None:
    room = workspace.monitoring
    (fired,) = room.record_evaluation("delay", day(0, over=True)).alerts
    step = FamilyStep(
        "performance", "model:delay@v2", DAY_ONE + 5 * DAY, over=False, sustained=False, clear=False
    )
    room.record_evaluation("delay", Evaluation(steps=(step,)))
    ended = room.alert(ref=fired.alert_id)
    assert ended.state is AlertState.RESOLVED
    assert ended.resolved_because == "model:delay@v2 took over"


def test_references_plans_and_policies_cross_the_wire(any_workspace: Workspace) -> None:
    record = any_workspace.monitoring.set_reference(MODEL, reference_table(1, days=4, rows=60))
    assert record.days == 4
    found = any_workspace.monitoring.model_reference(MODEL)
    assert found is not None
    assert "temp" in found.columns
    any_workspace.rollout.declare([rollout_plan("delay", weights=(0.2,))])
    assert any_workspace.rollout.plan(endpoint="delay") == Plan(weights=(0.2,))
    assert any_workspace.rollout.current(endpoint="delay") is None
    fresh = policy("fresh", endpoint="delay", model="delay", pipeline="a:b", on=trigger(alert="performance"))
    assert any_workspace.loop.declare([fresh]) == [fresh]
    assert any_workspace.loop.due(now=DAY_ONE) == []


def test_a_table_the_training_run_logged_is_the_reference_of_its_model(workspace: LocalWorkspace) -> None:
    from sklearn.linear_model import LogisticRegression

    workspace.data.add(pa.table({"x": [0.0, 1.0]}), name="rows")
    with workspace.tracking.start(params={"C": 1}) as run:
        workspace.data.dataset("rows").to_arrow()
        run.log_model(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), example={"x": np.array([0.0, 1.0])})
        run.log_table(reference_table(1, days=4, rows=60), "reference.parquet")
    version = workspace.registry.register(run.run_id, "delay")
    assert workspace.monitoring.reference(model=version.reference) is None
    found = workspace.monitoring.model_reference(version.reference)
    assert found is not None
    assert len(found.days["excess"].means) == 4
    kept = workspace.monitoring.reference(model=version.reference)
    assert kept is not None
    assert kept.days == 4


def test_what_is_wrong_is_said_in_one_sentence(any_workspace: Workspace) -> None:
    room = any_workspace.monitoring
    with pytest.raises(NotFound, match="no alert abcd"):
        room.alert(ref="alert:abcd")
    with pytest.raises(InvalidInput, match="never 'fired'"):
        room.alerts(state="fired")
    (fired,) = room.record_evaluation("delay", day(0, over=True)).alerts
    with pytest.raises(InvalidInput, match="needs a reason"):
        room.silence(ref=fired.alert_id, until=DAY_ONE, because=" ")
    with pytest.raises(InvalidInput, match="no time zone"):
        room.evaluate("delay", datetime(2013, 6, 1))  # noqa: DTZ001 (that is the mistake)
    with pytest.raises(InvalidInput, match="no column 'time'"):
        room.set_reference(MODEL, pa.table({"label": [1.0]}))


def said(capsys: pytest.CaptureFixture[str], *command: str, code: int = 0) -> dict[str, object]:
    assert main([*command, "--json"]) == code
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


def test_the_commands_print_what_the_rooms_say(
    workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (fired,) = workspace.monitoring.record_evaluation("delay", day(0, over=True)).alerts
    (workspace.project / "watching.py").write_text(
        "import everloop as ev\nloss = ev.monitor('loss', endpoint='delay', measure='excess_loss')\n"
    )
    monkeypatch.setenv("EVERLOOP_WORKSPACE", str(workspace.project))
    assert said(capsys, "monitors", "apply", "watching.py")["monitors"] == ["loss"]
    assert said(capsys, "monitors", "list")["monitors"][0]["measure"] == "excess_loss"  # type: ignore[index]
    assert said(capsys, "alerts", "list", "--state", "firing")["alerts"][0]["alert_id"] == fired.alert_id  # type: ignore[index]
    assert said(capsys, "alerts", "show", fired.alert_id)["report"]["what"] == "it predicts worse"  # type: ignore[index]
    assert said(capsys, "alerts", "ack", fired.alert_id, "--because", "seen")["state"] == "acknowledged"
    until = "2013-08-01T00:00:00Z"
    assert (
        said(capsys, "alerts", "silence", fired.alert_id, "--until", until, "--because", "known")[
            "silenced_because"
        ]
        == "known"
    )
    assert said(capsys, "loop", "policies") == {"policies": []}
    for command in (
        ["alerts", "list"],
        ["alerts", "show", fired.alert_id],
        ["monitors", "list"],
        ["loop", "history"],
    ):
        assert main(command) == 0
        assert capsys.readouterr().out


def test_commands_on_what_is_not_there_end_with_2(
    workspace: LocalWorkspace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    workspace.monitoring.declare([LOSS])
    monkeypatch.setenv("EVERLOOP_WORKSPACE", str(workspace.project))
    for command in (
        ["health", "delya"],
        ["actuals", "add", "delay", str(tmp_path / "none.csv")],
        ["alerts", "show", "alert:abcd"],
        ["rollout", "status", "delay"],
        ["rollback", "delay"],
        ["retrain", "delay"],
    ):
        assert "message" in said(capsys, *command, code=2)["error"]  # type: ignore[operator]
