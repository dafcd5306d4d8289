"""Triggers: what starts pipelines by itself, as a user of one workspace meets it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from tests.support.workspaces import FakeClock

import everloop as ev
from everloop.domain.alerts import Alert, AlertState, Report
from everloop.domain.firings import FiringStatus
from everloop.domain.pipelines import PipelineRunRecord
from everloop.domain.runs import Owner
from everloop.domain.triggers import PipelineTrigger, backfill_times
from everloop.errors import Conflict, InvalidDefinition, InvalidInput, NotFound
from everloop.loop.triggers import running
from everloop.loop.triggers.arriving import files_at
from everloop.loop.triggers.records import FileSeen, Firing
from everloop.loop.triggers.scheduler import Scheduler
from everloop.monitoring.alerting import put_alert
from everloop.tracking.places import this_process
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.workspace import Workspace

FLOW = """
import everloop as ev

@ev.step
def note(day):
    return day

@ev.pipeline
def refresh(day="never", k=1):
    return note(day)

@ev.pipeline
def breaks():
    return note("x").nothing

@ev.step
def add(name):
    import pyarrow as pa
    ev.workspace().data.add(pa.table({"a": [1]}), name, producer=ev.active_run().reference)
    return name

@ev.pipeline
def grows(name="raw"):
    return add(name)

@ev.pipeline
def tuned(x, base=1.0):
    from pathlib import Path
    stop = Path(__file__).with_name("stop")
    if x == 2 and stop.exists():
        stop.unlink()
        raise KeyboardInterrupt
    return {"loss": (x - base) ** 2}
"""
HELD = """
@ev.step
def wait(held):
    import os, time
    with open(held, "a") as file:
        print("at work", file=file)
    while os.path.exists(held):
        time.sleep(0.05)
    return {"loss": 1.0}

@ev.pipeline
def slowly(x, held):
    return wait(held)
"""
SPACE = """
sampler = "grid"
[space]
x = [1, 2, 3]
[objective]
metric = "loss"
"""
NIGHT = datetime(2026, 1, 1, 3, tzinfo=UTC)


@pytest.fixture
def project(workspace: LocalWorkspace) -> LocalWorkspace:
    workspace.project.mkdir(parents=True, exist_ok=True)
    (workspace.project / "flow.py").write_text(FLOW)
    return workspace


def declare(workspace: Workspace, **given: object) -> PipelineTrigger:
    made = ev.trigger(**({"name": "t", "pipeline": "flow.py:refresh", "executor": "inline"} | given))
    workspace.loop.declare_triggers(triggers=[made])
    return made


def tick(workspace: Workspace, now: datetime) -> list[Firing]:
    return workspace.loop.tick_triggers(now, in_process=True)


def history(workspace: Workspace, trigger: str = "t") -> list[tuple[str, str]]:
    """Status and reason of each firing, in the order of their times."""
    found = sorted(
        workspace.loop.firings(trigger=trigger, limit=1000), key=lambda each: (each.scheduled, each.id)
    )
    return [(str(each.status), each.reason) for each in found]


def statuses(workspace: Workspace, trigger: str = "t") -> list[str]:
    return [status for status, _ in history(workspace, trigger)]


# Times


def test_a_time_starts_the_pipeline_once_and_the_run_knows_why(
    project: LocalWorkspace, clock: FakeClock
) -> None:
    declare(project, cron="0 3 * * *", params={"day": "{scheduled:%Y-%m-%d}"})
    assert project.loop.trigger("t").next == NIGHT
    assert tick(project, NIGHT - timedelta(seconds=1)) == []
    (done,) = tick(project, NIGHT)
    assert (done.status, done.params, done.scheduled) == ("finished", {"day": "2026-01-01"}, NIGHT)
    assert tick(project, NIGHT + timedelta(minutes=1)) == []
    assert done.run is not None
    assert project.tracking.run(done.run.removeprefix("run:")).params == {"day": "2026-01-01", "k": "1"}
    why = project.provenance.why(done.run)
    assert ("trigger:t", "triggered") in {(link.source, link.role) for link in why.parents}
    clock.now = NIGHT
    assert project.loop.trigger("t").next == NIGHT + timedelta(days=1)


def test_nothing_is_written_while_nothing_is_due(project: LocalWorkspace) -> None:
    declare(project, cron="0 3 * * *")
    declare(project, name="u", data="flights")
    before = project.ledger.head()
    scheduler = project.loop.scheduler()
    scheduler.turn(NIGHT - timedelta(hours=1))
    assert project.ledger.head() == before


@pytest.mark.parametrize(("rule", "started", "missed"), [("none", 0, 72), ("latest", 1, 71), ("all", 5, 67)])
def test_after_three_days_off_no_more_than_the_cap_is_started(
    project: LocalWorkspace, rule: str, started: int, missed: int
) -> None:
    declare(project, cron="@hourly", catch_up=rule, catch_up_most=5, params={"k": 2})
    late = datetime(2026, 1, 4, 0, 30, tzinfo=UTC)
    assert len(tick(project, late)) == started
    found = statuses(project)
    assert (found.count("finished"), found.count("missed")) == (started, missed)
    assert tick(project, late) == []
    assert "nobody looked in time" in history(project)[0][1]


def test_a_pause_starts_nothing_and_says_what_it_skipped(project: LocalWorkspace, clock: FakeClock) -> None:
    declare(project, cron="0 3 * * *")
    project.loop.pause_trigger("t", because="the feed is down")
    assert tick(project, NIGHT) == []
    with pytest.raises(Conflict, match="the feed is down"):
        project.loop.fire("t")
    clock.now = NIGHT + timedelta(days=1, hours=1)
    project.loop.resume_trigger("t")
    assert [status for status, _ in history(project)] == ["skipped", "skipped"]
    assert history(project)[0][1].startswith("paused by")
    (done,) = tick(project, NIGHT + timedelta(days=2))
    assert done.status == "finished"


def test_a_changed_schedule_begins_now_and_an_equal_one_changes_nothing(
    project: LocalWorkspace, clock: FakeClock
) -> None:
    declare(project, cron="0 3 * * *")
    head = project.ledger.head()
    declare(project, cron="0 3 * * *")
    assert project.ledger.head() == head
    clock.now = NIGHT + timedelta(days=5)
    declare(project, cron="0 4 * * *")
    assert tick(project, clock.now) == []
    assert project.loop.trigger("t").next == NIGHT + timedelta(days=5, hours=1)


def test_what_fails_is_told_with_its_reason(project: LocalWorkspace) -> None:
    declare(project, pipeline="flow.py:breaks", cron="0 3 * * *")
    declare(project, name="gone", pipeline="flow.py:nothing", cron="0 3 * * *")
    tick(project, NIGHT)
    assert statuses(project) == ["failed"]
    ((status, reason),) = history(project, "gone")
    assert status == "failed"
    assert "has no pipeline called 'nothing'" in reason


# By hand


def test_fired_by_hand_with_a_commit_it_starts_once(
    any_workspace: Workspace, workspace: LocalWorkspace
) -> None:
    workspace.project.mkdir(parents=True, exist_ok=True)
    (workspace.project / "flow.py").write_text(FLOW)
    declare(any_workspace, params={"day": "{commit}"})
    with pytest.raises(InvalidInput, match=r"needs \{commit\}"):
        any_workspace.loop.fire("t")
    first = any_workspace.loop.fire("t", commit="abc")
    assert any_workspace.loop.fire("t", commit="abc").id == first.id
    assert first.params == {"day": "abc"}
    tick(workspace, workspace.clock())
    assert any_workspace.loop.firing(first.id).status == "finished"
    assert any_workspace.loop.fire("t", params={"day": "else"}).params == {"day": "else"}
    with pytest.raises(NotFound, match="no trigger 'tt'"):
        any_workspace.loop.fire("tt")


# While another one runs


def claim(workspace: Workspace, now: datetime, most: int = 9) -> list[Firing]:
    workspace.loop.decide_firings(now=now)
    return workspace.loop.claim_firings(now=now, process=this_process(), most=most)


@pytest.mark.parametrize(
    ("overlap", "second", "then"),
    [("skip", "skipped", 0), ("queue", "waiting", 1), ("allow", "running", 0), ("replace", "waiting", 1)],
)
def test_overlap(project: LocalWorkspace, overlap: str, second: str, then: int) -> None:
    declare(project, cron="@hourly", overlap=overlap)
    (first,) = claim(project, NIGHT)
    claim(project, NIGHT + timedelta(hours=1))
    assert statuses(project) == ["missed", "missed", "running", second]
    asked = project.loop.renew_firing(first.id, 1)
    assert asked.startswith("replaced by") == (overlap == "replace")
    project.loop.end_firing(first.id, 1, FiringStatus.REPLACED if asked else FiringStatus.FINISHED)
    assert len(claim(project, NIGHT + timedelta(hours=1))) == then


def test_by_hand_waits_its_turn_where_a_time_is_skipped(project: LocalWorkspace) -> None:
    declare(project, cron="@hourly", overlap="skip")
    (first,) = claim(project, NIGHT)
    asked = project.loop.fire("t")
    assert claim(project, NIGHT) == []
    project.loop.end_firing(first.id, 1, FiringStatus.FINISHED)
    assert [each.id for each in claim(project, NIGHT)] == [asked.id]


def test_one_whose_process_was_given_up_may_not_report(project: LocalWorkspace) -> None:
    declare(project, cron="@hourly")
    project.loop.decide_firings(now=NIGHT)
    (first,) = project.loop.claim_firings(now=NIGHT, process=gone_process())
    (again,) = claim(project, NIGHT)
    assert (again.id, again.attempts, again.deaths) == (first.id, 2, 1)
    with pytest.raises(Conflict, match="attempt 1 of 2"):
        project.loop.end_firing(first.id, 1, FiringStatus.FINISHED)
    project.loop.end_firing(first.id, 2, FiringStatus.FINISHED)
    assert statuses(project)[-1] == "finished"


def test_what_kills_its_process_again_and_again_is_given_up(project: LocalWorkspace) -> None:
    declare(project, cron="@hourly")
    project.loop.decide_firings(now=NIGHT)
    for attempt in (1, 2, 3):
        (held,) = project.loop.claim_firings(now=NIGHT, process=gone_process())
        assert held.attempts == attempt
    assert claim(project, NIGHT) == []
    assert history(project)[-1] == ("failed", "its process ended without a word (3 of 3 times)")


def gone_process() -> Owner:
    """A process of this machine that is not there any more."""
    return msgspec.structs.replace(this_process(), pid=2**22 + 1, began=1.0)


# Definitions


def test_triggers_of_a_module_are_applied_and_checked(project: LocalWorkspace) -> None:
    text = (
        "import everloop as ev\n"
        "from applied_flow import refresh\n"
        "nightly = ev.trigger('nightly', pipeline=refresh, cron='@daily', params={'day': '{scheduled}'})\n"
    )
    (project.project / "applied_flow.py").write_text(FLOW)  # no other project of this process has that name
    (project.project / "when.py").write_text(text)
    assert project.loop.apply("when.py").triggers == ("nightly",)
    record = project.loop.trigger("nightly")
    assert (record.starts, record.on, record.kind) == ("applied_flow.py:refresh", "@daily UTC", "cron")
    (project.project / "wrong.py").write_text(text.replace("'day'", "'dya'"))
    with pytest.raises(InvalidDefinition, match="trigger 'nightly': pipeline refresh has no parameter 'dya'"):
        project.loop.apply("wrong.py")
    project.loop.withdraw_trigger("nightly")
    assert project.loop.triggers() == []


# Events


def add(workspace: Workspace, name: str) -> str:
    import pyarrow as pa

    return str(workspace.data.add(pa.table({"a": [workspace.clock().timestamp()]}), name).reference)


def later(clock: FakeClock, **time: float) -> datetime:
    clock.advance(**time)
    return clock()


def test_new_data_starts_its_pipeline_but_nothing_from_before(
    project: LocalWorkspace, clock: FakeClock
) -> None:
    add(project, "raw/a")
    declare(project, data="raw/*", params={"day": "{data}", "k": "{version}"})
    assert tick(project, later(clock)) == []
    add(project, "raw/a")
    add(project, "other")
    (done,) = tick(project, later(clock))
    assert (done.status, done.params, done.cause) == (
        "finished",
        {"day": "data:raw/a@v2", "k": 2},
        "data:raw/a@v2 is new",
    )
    assert done.run is not None
    why = project.provenance.why(done.run)
    assert {("trigger:t", "triggered"), ("data:raw/a@v2", "triggered")} <= {
        (link.source, link.role) for link in why.parents
    }
    assert tick(project, later(clock)) == []


def test_debounced_events_start_once_for_the_newest(project: LocalWorkspace, clock: FakeClock) -> None:
    declare(project, data="raw", debounce="10min", params={"day": "{data}"})
    for _ in range(3):
        add(project, "raw")
        assert tick(project, later(clock, minutes=4)) == []
    (done,) = tick(project, later(clock, minutes=10))
    assert done.params == {"day": "data:raw@v3"}
    assert statuses(project) == ["skipped", "skipped", "finished"]
    assert history(project)[0][1].startswith("debounced: ")


def test_events_while_one_runs_wait_and_none_is_lost(project: LocalWorkspace, clock: FakeClock) -> None:
    declare(project, data="raw")
    add(project, "raw")
    (first,) = claim(project, later(clock))
    add(project, "raw")
    add(project, "raw")
    assert claim(project, later(clock)) == []
    project.loop.end_firing(first.id, 1, FiringStatus.FINISHED)
    assert len(tick(project, later(clock))) == 2
    assert statuses(project) == ["finished"] * 3


def test_a_pipeline_after_another_and_none_that_goes_round(project: LocalWorkspace, clock: FakeClock) -> None:
    declare(project, name="then", after="refresh", params={"day": "{run}"}, pipeline="flow.py:refresh")
    declare(project, name="broke", after="breaks", status="failed")
    declare(project, name="grow", data="raw", pipeline="flow.py:grows")
    declare(project, name="ask", pipeline="flow.py:breaks")
    first = project.pipelines.run("flow.py:refresh", executor="inline")
    (done,) = tick(project, later(clock))
    assert (done.trigger, done.params) == ("then", {"day": first.reference})
    assert tick(project, later(clock)) == []
    assert [status for status, _ in history(project, "then")] == ["finished", "skipped"]
    assert "it would go round" in history(project, "then")[1][1]
    project.loop.fire("ask")
    assert [each.trigger for each in tick(project, later(clock))] == ["ask"]
    assert [each.trigger for each in tick(project, later(clock))] == ["broke"]
    add(project, "raw")
    tick(project, later(clock))
    tick(project, later(clock))
    assert [status for status, _ in history(project, "grow")] == ["finished", "skipped"]
    assert [each.version for each in project.data.log("raw")][:1] == [2]


def test_an_alias_that_moves_and_an_alert_that_fires(project: LocalWorkspace, clock: FakeClock) -> None:
    declare(project, name="moved", alias="delay@champion", params={"day": "{model}"})
    declare(project, name="alarm", alert="performance", endpoint="delay", params={"day": "{alert}"})
    declare(project, name="other", alert="any", endpoint="else")
    with project.ledger.transaction(
        "test"
    ) as tx:  # what the registry and monitoring write, without a model behind it
        tx.event("model.alias_set", "model:delay@v2", {"alias": "champion", "reason": ""})
        tx.event("model.alias_set", "model:delay@v3", {"alias": "shadow", "reason": ""})
        alert = Alert(
            project.ids(), "f", "delay", "model:delay@v2", "performance", AlertState.FIRING, NIGHT, NIGHT,
            Report("it got worse", NIGHT, "", "", ""),
        )  # fmt: skip
        put_alert(tx, alert)
        tx.event("alert.firing", f"alert:{alert.alert_id}", {"endpoint": "delay", "family": "performance"})
    done = {each.trigger: each for each in tick(project, later(clock))}
    assert {name: each.params["day"] for name, each in done.items()} == {
        "moved": "model:delay@v2",
        "alarm": f"alert:{alert.alert_id}",
    }
    assert done["alarm"].cause == f"alert:{alert.alert_id}: it got worse"


# Files


def test_a_file_counts_once_it_has_stopped_growing(project: LocalWorkspace, clock: FakeClock) -> None:
    incoming = project.project / "incoming"
    incoming.mkdir()
    (incoming / "old.csv").write_text("was there before")
    declare(project, files="incoming/*.csv", params={"day": "{file}"})

    def look() -> list[str]:
        made = declared_files(project)
        project.loop.see_files(trigger="t", files=made, now=later(clock, seconds=5))
        return [str(each.params["day"]) for each in tick(project, later(clock))]

    assert look() == []
    assert look() == []
    (incoming / "new.csv").write_text("1")
    assert look() == []
    (incoming / "new.csv").write_text("12")
    assert look() == []
    assert look() == ["incoming/new.csv"]
    assert look() == []
    (incoming / "new.csv").write_text("written anew")
    assert [look(), look()] == [[], ["incoming/new.csv"]]


def declared_files(workspace: LocalWorkspace) -> list[FileSeen]:
    return files_at(workspace.loop.file_patterns()["t"], workspace.project)


def test_a_scheduler_looks_at_files_by_itself(project: LocalWorkspace, clock: FakeClock) -> None:
    declare(project, files="*.csv", params={"day": "{file}"})
    passed = iter(range(0, 1000, 10))
    scheduler = Scheduler(project.loop, timer=lambda: float(next(passed)), at_once=0)
    scheduler.turn(later(clock))
    (project.project / "a.csv").write_text("1")
    head = [scheduler.turn(later(clock, seconds=5)) or project.ledger.head() for _ in range(4)]
    assert [each.cause for each in project.loop.firings(trigger="t")] == ["a.csv has arrived (1 bytes)"]
    assert head[-1] == head[-2]


# Backfill


def test_a_backfill_does_each_time_once_in_order_and_goes_on(
    project: LocalWorkspace, clock: FakeClock
) -> None:
    declare(project, cron="0 3 * * *", params={"day": "{scheduled:%d}"})
    assert len(tick(project, NIGHT)) == 1  # the schedule was there first
    later, clock.now = NIGHT + timedelta(hours=2), NIGHT + timedelta(hours=1)
    since, until = datetime(2025, 12, 30, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    made = project.loop.backfill("t", since=since, until=until)
    assert (made.open, made.left_alone) == (2, 1)
    project.loop.pause_trigger("t")  # a backfill goes on
    (first,) = claim(project, later)
    assert first.params == {"day": "30"}
    assert claim(project, later) == []
    project.loop.end_firing(first.id, 1, FiringStatus.FAILED, "the disk was full")
    tick(project, later)
    assert project.loop.backfill_record(id=made.id).counts == {"failed": 1, "finished": 1}
    again = project.loop.backfill("t", since=since, until=until, params={"k": 5})
    assert (again.open, again.left_alone) == (1, 2)
    (mended,) = tick(project, later)
    assert (mended.id, mended.params) == (first.id, {"day": "30", "k": 5})
    assert project.loop.backfill("t", since=since, until=until).total == 0
    assert statuses(project) == ["finished"] * 3

    # What is still to come is left to the schedule: a firing made now would stand in its place then.
    far = clock.now + timedelta(days=1000)
    made = project.loop.backfill("t", since=clock.now - timedelta(days=1), until=far)
    assert (made.total, made.left_alone) == (0, 1)
    with pytest.raises(InvalidInput, match="is still to come"):
        project.loop.backfill("t", since=far, until=far)


def test_what_was_missed_is_made_up_for_by_a_backfill(project: LocalWorkspace, clock: FakeClock) -> None:
    declare(project, cron="@hourly", catch_up="none")
    tick(project, NIGHT + timedelta(minutes=30))
    assert statuses(project) == ["missed"] * 3
    clock.now = NIGHT + timedelta(minutes=30)
    made = project.loop.backfill("t", since=NIGHT - timedelta(hours=5), until=NIGHT, at_once=2)
    assert len(claim(project, NIGHT + timedelta(minutes=31))) == 2
    assert made.open == 6
    with pytest.raises(InvalidInput, match="more than 10,000 times"):
        project.loop.backfill("t", since=datetime(2020, 1, 1, tzinfo=UTC), until=NIGHT)
    declare(project, name="asked")
    with pytest.raises(InvalidInput, match="has no times to go through"):
        project.loop.backfill("asked", since=NIGHT, until=NIGHT)


def test_a_process_that_cannot_even_begin_is_not_waited_for(
    project: LocalWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(project, cron="0 3 * * *")
    monkeypatch.setattr("everloop.loop.triggers.scheduler.sys.executable", "/bin/false")
    project.loop.tick_triggers(NIGHT)
    assert history(project) == [("failed", "its process ended without a word (3 of 3 times)")]


def test_who_waits_hears_of_each_end(project: LocalWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(project)
    monkeypatch.setattr("everloop.loop.triggers.scheduler.sys.executable", "/bin/false")
    heard: list[str] = []
    asked = [project.loop.fire("t").id for _ in range(2)]
    over = project.loop.wait_for_firings(asked, told=lambda each: heard.append(each.id))
    assert heard == asked
    assert {each.status for each in over} == {"failed"}


def test_a_pipeline_whose_process_is_gone_is_told_to_who_waits_for_its_end(project: LocalWorkspace) -> None:
    declare(project, name="care", after="refresh", status="interrupted", params={"day": "{run}"})
    gone = msgspec.structs.replace(this_process(), pid=2**31 - 1, began=1.0)
    run = project.tracking.create_run(
        experiment="e", name="refresh", start_time=project.clock(), owner=gone
    ).run_id
    record = PipelineRunRecord(run, "refresh", "flow.py:refresh", {}, "inline", "running", project.clock())
    project.pipelines.begin(record)

    (done,) = tick(project, NIGHT)
    assert (done.trigger, done.status, done.params) == ("care", "finished", {"day": f"run:{run}"})
    assert project.pipelines.pipeline_run(run).status == "interrupted"
    (told,) = project.ledger.events(subject=f"run:{run}", actions=["pipeline.interrupted"])
    assert told.payload["resume"] == f"everloop resume {run}"
    head = project.ledger.head()
    assert project.pipelines.settle_runs() == []
    assert project.ledger.head() == head


def test_of_old_firings_only_the_newest_are_kept(project: LocalWorkspace, clock: FakeClock) -> None:
    declare(project, cron="0 3 * * *")
    for key in range(8):
        project.loop.fire(trigger="t", key=str(key))
    assert project.loop.forget_firings(keep=3) == 0, "they wait"
    tick(project, datetime.now(UTC) + timedelta(days=400))
    newest = [each.id for each in project.loop.firings(trigger="t")][:3]
    clock.now = NIGHT + timedelta(days=2)
    backfill = project.loop.backfill("t", since=NIGHT, until=NIGHT + timedelta(days=1))
    count = len(project.loop.firings(trigger="t", limit=1000))
    removed = project.loop.forget_firings(keep=5)
    left = project.loop.firings(trigger="t", limit=1000)
    assert [each.id for each in left[2:5]] == newest
    assert {each.backfill for each in left[:2]} == {backfill.id}
    assert (len(left), removed) == (5, count - 5)
    (told,) = project.ledger.events(actions=["trigger.forgotten"])
    assert told.payload == {"number": removed, "kept": 5}
    assert project.loop.forget_firings(keep=1) == 3, "a backfill that is not over stays"
    with pytest.raises(InvalidInput):
        project.loop.forget_firings(keep=0)


def test_a_sweep_goes_on_where_its_process_left_it(project: LocalWorkspace) -> None:
    pytest.importorskip("optuna")
    (project.project / "space.toml").write_text(SPACE)
    (project.project / "stop").touch()
    declare(
        project,
        pipeline="",
        sweep="flow.py:tuned",
        space="space.toml",
        trials=3,
        cron="0 3 * * *",
        params={"base": 3.0},
    )
    assert project.loop.trigger("t").starts == "a sweep of flow.py:tuned, 3 trials"
    with pytest.raises(KeyboardInterrupt):
        tick(project, NIGHT)
    (left,) = project.loop.firings(trigger="t")
    assert (left.status, left.attempts) == ("waiting", 1)
    assert [each.status for each in project.pipelines.trials(str(left.run)[4:])] == [
        "finished",
        "interrupted",
    ]

    (done,) = tick(project, NIGHT)
    assert (done.status, done.reason) == ("finished", "best: trial 2, loss 0")
    record = project.pipelines.sweep_record(str(done.run)[4:])
    assert (record.trials, record.plan.params) == (3, {"base": 3.0})
    trials = project.pipelines.trials(record.run)
    assert [each.status for each in trials] == ["finished"] * 3
    assert left.run != done.run
    why = project.provenance.why(str(done.run))
    assert ("trigger:t", "triggered") in {(link.source, link.role) for link in why.parents}


def test_a_newer_firing_replaces_a_sweep_in_the_middle_of_a_trial(
    project: LocalWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    monkeypatch.setattr(running, "RENEW_SECONDS", 0.05)
    (project.project / "space.toml").write_text(SPACE)
    (project.project / "flow.py").write_text(FLOW + HELD)
    held = project.project / "held"
    held.touch()
    options = {"sweep": "flow.py:slowly", "space": "space.toml", "trials": 3, "params": {"held": str(held)}}
    declare(project, pipeline="", overlap="replace", executor="local", **options)
    project.loop.fire("t")
    (first,) = claim(project, project.clock())

    def fire_again() -> None:
        while not (held.exists() and held.read_text()):  # its first trial is at work
            over.wait(0.05)
        project.loop.fire("t")
        project.loop.decide_firings(now=project.clock())
        project.loop.claim_firings(now=project.clock(), process=this_process())

    over = threading.Event()
    threading.Thread(target=fire_again, daemon=True).start()
    came = running.carry_out(project.loop, first)
    assert came.status == "replaced"
    assert came.reason.startswith("replaced by")
    trials = project.pipelines.trials(came.run.removeprefix("run:"))
    assert [each.status for each in trials] == ["interrupted"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pipeline": "flow.py:refresh", "trials": 3}, "belong to a sweep"),
        ({"sweep": "flow.py:tuned"}, "needs a space and a number of trials"),
        ({"sweep": "flow.py:tuned", "pipeline": "flow.py:refresh"}, "a pipeline, a retraining or a sweep"),
        ({"sweep": "flow.py:tuned", "space": "none.toml", "trials": 3}, "cannot be read"),
        ({"sweep": "flow.py:refresh", "space": "space.toml", "trials": 3}, "no parameter 'x'"),
        ({"sweep": "flow.py:tuned", "space": "aimless.toml", "trials": 3}, "does not say what is looked for"),
    ],
)
def test_a_sweep_that_cannot_be_made_is_told_when_it_is_declared(
    project: LocalWorkspace, given: dict[str, object], said: str
) -> None:
    (project.project / "space.toml").write_text(SPACE)
    (project.project / "aimless.toml").write_text(SPACE.partition("[objective]")[0])
    options = ", ".join(f"{name}={value!r}" for name, value in given.items())
    (project.project / "made.py").write_text(f"import everloop as ev\nt = ev.trigger('t', {options})\n")
    with pytest.raises(InvalidDefinition, match=said):
        project.loop.apply("made.py")


def test_a_retraining_says_what_it_came_to(project: LocalWorkspace) -> None:
    declare(project, pipeline="", retrain="delay", cron="0 3 * * *")
    tick(project, NIGHT)
    ((status, reason),) = history(project)
    assert status == "failed"
    assert reason.startswith("no policy says how 'delay' is trained")


def test_it_is_the_newest_time_that_is_told_of(project: LocalWorkspace, clock: FakeClock) -> None:
    declare(project, cron="0 3 * * *")
    declare(project, name="never", cron="0 3 * * *", start=NIGHT + timedelta(days=9))
    tick(project, NIGHT)
    clock.now = NIGHT + timedelta(hours=1)
    project.loop.backfill("t", since=NIGHT - timedelta(days=1), until=NIGHT)
    tick(project, NIGHT)
    found = {each.name: each.last for each in project.loop.triggers()}
    assert found["never"] is None
    assert found["t"] == project.loop.trigger("t").last
    assert found["t"] is not None
    assert found["t"].scheduled == NIGHT


def test_what_a_stopped_scheduler_cut_off_is_given_back(
    project: LocalWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = project.project / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 1000\n")
    slow.chmod(0o755)
    monkeypatch.setattr("everloop.loop.triggers.scheduler.sys.executable", str(slow))
    declare(project, cron="0 3 * * *")
    scheduler = project.loop.scheduler()
    scheduler.turn(NIGHT)
    assert statuses(project) == ["running"]
    scheduler.stop()
    assert history(project) == [("waiting", "its server stopped")]
    assert project.loop.firings(trigger="t")[0].deaths == 0


def test_a_trigger_declared_later_does_not_hear_of_before(project: LocalWorkspace, clock: FakeClock) -> None:
    declare(project, name="first", data="raw")
    add(project, "raw")
    declare(project, name="second", data="raw")
    assert [each.trigger for each in tick(project, later(clock))] == ["first"]
    add(project, "raw")
    assert {each.trigger for each in tick(project, later(clock))} == {"first", "second"}


def test_what_is_declared_wrongly_is_said_in_one_sentence(project: LocalWorkspace) -> None:
    with pytest.raises(InvalidDefinition, match="trigger 't': its start is '2026-02-01'"):
        ev.trigger("t", pipeline="flows.py:refresh", every="1min", start="2026-02-01")  # type: ignore[call-overload]
    twice = [ev.trigger("t", pipeline="flows.py:refresh", every=each) for each in ("1min", "2min")]
    with pytest.raises(InvalidInput, match="trigger 't' is declared 2 times"):
        project.loop.declare_triggers(triggers=twice)
    by_hand = ev.trigger("asked", pipeline="flows.py:refresh")
    day = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(InvalidInput, match="it is set off by hand"):
        backfill_times(by_hand, day, day)
