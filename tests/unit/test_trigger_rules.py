"""Which times come, which are made up for, and what a firing hands over: the pure rules of triggers."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

import everloop as ev
from everloop.domain.firings import Standing, begins_at, parameters, take_turns
from everloop.domain.policies import Trigger
from everloop.domain.triggers import RECORDED, PipelineTrigger, due_times, next_time, times_between
from everloop.errors import InvalidDefinition, InvalidInput

PARIS = ZoneInfo("Europe/Paris")


def made(**options: Any) -> PipelineTrigger:
    return ev.trigger(**({"name": "t", "pipeline": "a:b"} | options))


def local(trigger: PipelineTrigger, since: datetime, until: datetime) -> list[str]:
    return [f"{each.astimezone(PARIS):%d %H:%M%z}" for each in times_between(trigger, since, until)]


# The clocks change


def test_half_past_two_when_the_clocks_go_forward_comes_once_at_three() -> None:
    nightly = made(cron="30 2 * * *", zone="Europe/Paris")
    days = datetime(2026, 3, 28, tzinfo=PARIS), datetime(2026, 3, 31, tzinfo=PARIS)
    assert local(nightly, *days) == ["28 02:30+0100", "29 03:00+0200", "30 02:30+0200"]


def test_half_past_two_when_the_clocks_go_back_comes_once() -> None:
    nightly = made(cron="30 2 * * *", zone="Europe/Paris")
    days = datetime(2026, 10, 24, tzinfo=PARIS), datetime(2026, 10, 27, tzinfo=PARIS)
    assert local(nightly, *days) == ["24 02:30+0200", "25 02:30+0200", "26 02:30+0100"]
    due = due_times(nightly, datetime(2026, 10, 24, 12, tzinfo=UTC), datetime(2026, 10, 25, 12, tzinfo=UTC))
    assert [each.scheduled for each in due] == [datetime(2026, 10, 25, 0, 30, tzinfo=UTC)]


def test_every_hour_when_the_clocks_go_back_comes_in_both_of_them() -> None:
    hourly = made(cron="30 * * * *", zone="Europe/Paris")
    hours = datetime(2026, 10, 25, 1, tzinfo=PARIS), datetime(2026, 10, 25, 4, tzinfo=PARIS)
    assert local(hourly, *hours) == ["25 01:30+0200", "25 02:30+0200", "25 02:30+0100", "25 03:30+0100"]


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cron": "0 0 31 2 *"}, "never comes"),
        ({"cron": "0 0 0 * * *"}, "has 6 fields, not five"),
        ({"cron": "0 0 0 * * * 2030"}, "has 7 fields, not five"),
        ({"cron": "R * * * *"}, "has a random field"),
        ({"cron": "H H * * *"}, "has a random field"),
        ({"cron": "@reboot"}, "'@reboot' is no time"),
        ({"cron": "@every 5m"}, "there is no '@every 5m'"),
        ({"cron": "60 * * * *"}, "never comes: Bad minute"),
        ({"cron": "@daily", "zone": "Europe/Pariss"}, "no time zone 'Europe/Pariss'"),
        ({"cron": "@daily", "every": "1h"}, "set off by cron and every"),
        ({"cron": "@daily", "debounce": "1min"}, "nothing to debounce"),
        ({"data": "raw", "jitter": "1min"}, "jitter spreads times"),
        ({"cron": "@daily", "params": {"day": "{date}"}}, r"asks for \{date\}"),
        ({"cron": "@daily", "params": {"day": "{scheduled.year}"}}, "more than a name"),
        ({"data": "raw", "params": {"file": "{file}"}}, r"asks for \{file\}"),
        ({"cron": "@daily", "overlap": "wait"}, "no overlap 'wait'"),
        ({"alert": "performence"}, "no family of alerts"),
        ({"pipeline": "", "cron": "@daily"}, "a pipeline, a retraining or a sweep"),
        ({"alias": "delay"}, "names no alias"),
        ({"every": "0s"}, "an interval of 0 s"),
        ({"name": "--help"}, "is not made of words"),
        ({"name": "two words"}, "is not made of words"),
        ({"name": "a/../b"}, "folder|words"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises((InvalidDefinition, InvalidInput), match=message) as refused:
        made(**options)
    assert refused.value.hint


@pytest.mark.parametrize(
    "cron",
    ["@daily", "@hourly", "@weekly", "@monthly", "@yearly", "0 0 L * *", "0 0 * * 5#2", "0 9 * JAN MON"],
)
def test_what_cron_knows_is_taken(cron: str) -> None:
    assert next_time(made(cron=cron), datetime(2026, 1, 1, tzinfo=UTC)) is not None


def test_without_a_name_it_is_part_of_a_policy() -> None:
    assert ev.trigger(alert="performance") == Trigger("performance")


# What was missed

SCHEDULES = st.sampled_from(
    [
        {"cron": "*/7 * * * *"},
        {"cron": "30 2 * * *", "zone": "Europe/Paris"},
        {"cron": "0 */5 * * 1-5", "zone": "America/New_York"},
        {"every": "17min"},
        {"every": "1d"},
    ]
)
MOMENTS = st.timedeltas(timedelta(), timedelta(days=365)).map(
    lambda each: datetime(2026, 1, 1, tzinfo=UTC) + each
)
SPANS = st.timedeltas(timedelta(), timedelta(days=3))


@given(SCHEDULES, MOMENTS, SPANS, st.sampled_from(["none", "latest", "all"]), st.integers(1, 5))
def test_no_more_is_started_than_allowed_and_none_is_forgotten(
    schedule: dict[str, Any], since: datetime, span: timedelta, rule: str, most: int
) -> None:
    trigger = made(**schedule, catch_up=rule, catch_up_most=most)
    now = since + span
    due = due_times(trigger, since, now)
    times = [each.scheduled for each in due]
    expected = [each for each in times_between(trigger, since, now) if each > since]
    assert times == expected[-max(RECORDED, most) :]
    started = [each.scheduled for each in due if not each.missed]
    assert len(started) <= {"none": 1, "latest": 1, "all": most}[rule]
    assert started == times[len(times) - len(started) :]
    if rule != "none":
        assert bool(started) == bool(times)


@given(SCHEDULES, MOMENTS, st.lists(st.timedeltas(timedelta(), timedelta(hours=9)), min_size=1, max_size=6))
def test_looking_often_finds_the_same_times_as_looking_once(
    schedule: dict[str, Any], since: datetime, pauses: list[timedelta]
) -> None:
    trigger = made(**schedule)
    moments = [since]
    for pause in pauses:
        moments.append(moments[-1] + pause)
    often = [each.scheduled for a, b in pairwise(moments) for each in due_times(trigger, a, b)]
    once = list(times_between(trigger, since + timedelta(microseconds=1), moments[-1]))
    assert often[-RECORDED:] == once[-RECORDED:]


def test_a_month_off_is_told_in_a_hundred_rows_and_a_number() -> None:
    minutely = made(cron="* * * * *")
    due = due_times(minutely, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC))
    assert len(due) == RECORDED
    assert due[0].missed.endswith("and 2,780 before it")


def test_it_rests_before_its_start_and_after_its_end() -> None:
    term = {"start": datetime(2026, 1, 2, tzinfo=UTC), "end": datetime(2026, 1, 3, 12, tzinfo=UTC)}
    daily = made(cron="@daily", catch_up="all", **term)
    due = due_times(daily, datetime(2025, 12, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    assert [each.scheduled.day for each in due] == [2, 3]
    assert next_time(daily, datetime(2025, 12, 1, tzinfo=UTC)) == datetime(2026, 1, 2, tzinfo=UTC)
    assert next_time(daily, datetime(2026, 1, 3, tzinfo=UTC)) is None


@given(MOMENTS)
def test_jitter_is_within_its_bounds_and_always_the_same(moment: datetime) -> None:
    spread = made(cron="@daily", jitter="10min")
    assert timedelta() <= begins_at(spread, moment) - moment < timedelta(minutes=10)
    assert begins_at(spread, moment) == begins_at(spread, moment)


# What is handed over


def test_facts_go_into_texts_at_any_depth() -> None:
    nightly = made(
        cron="0 1 * * *",
        zone="Europe/Paris",
        params={
            "day": "{scheduled:%Y-%m-%d}",
            "at": "{scheduled}",
            "of": [{"x": "{{{scheduled:%H}}}"}],
            "n": 1,
        },
    )
    given = parameters(nightly, {"scheduled": datetime(2026, 6, 1, 23, tzinfo=UTC)})
    assert given == {"day": "2026-06-02", "at": "2026-06-02T01:00:00+02:00", "of": [{"x": "{01}"}], "n": 1}


def test_a_text_that_is_one_fact_keeps_its_type_and_a_missing_one_is_named() -> None:
    fresh = made(data="raw", params={"version": "{version}", "ref": "{data}"})
    assert parameters(fresh, {"version": 3, "data": "data:raw@v3"}) == {"version": 3, "ref": "data:raw@v3"}
    with pytest.raises(InvalidInput, match=r"parameter ref needs \{data\}"):
        parameters(fresh, {"version": 3})
    assert parameters(fresh, {"version": 3}, {"ref": "data:raw@v1"})["ref"] == "data:raw@v1"


@given(
    st.sampled_from(["skip", "queue", "allow", "replace"]),
    st.lists(st.sampled_from("ab"), max_size=2, unique=True),
    st.lists(st.tuples(st.sampled_from("cdef"), st.booleans()), max_size=4, unique_by=lambda each: each[0]),
)
def test_turns_forget_nobody_and_overlap_only_where_it_is_allowed(
    overlap: Any, running: list[str], line: list[tuple[str, bool]]
) -> None:
    standing = [Standing(name, waits) for name, waits in line]
    turn = take_turns(overlap, running, standing)
    begun, skipped = set(turn.begin), {each for each, _ in turn.skip}
    assert begun.isdisjoint(skipped)
    assert begun | skipped <= {each.id for each in standing}
    if overlap != "allow":
        assert len(running) * bool(begun) == 0
        assert len(begun) <= 1
    if overlap in ("queue", "allow"):
        assert not skipped
    if standing and not running:
        assert begun
