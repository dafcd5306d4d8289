"""Triggers: what starts pipelines by itself, as a user of one workspace meets it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from tests.support.workspaces import FakeClock

import everloop as ev
from everloop.domain.runs import Owner
from everloop.domain.triggers import FiringStatus, PipelineTrigger
from everloop.errors import Conflict, InvalidDefinition, InvalidInput, NotFound
from everloop.loop.triggers.records import Firing
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
    ev.workspace().data.add(pa.table({"a": [1]}), name)
    return name

@ev.pipeline
def grows(name="raw"):
    return add(name)
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
