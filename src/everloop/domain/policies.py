"""When a model is trained again without anyone typing the command, and what keeps that from running away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from everloop.domain.monitors import Family
from everloop.domain.names import checked_name
from everloop.domain.rollouts import Plan, RolloutPlan
from everloop.errors import InvalidDefinition, nearest

WINDOWS = ("expanding", "sliding", "since_onset")


class Trigger(msgspec.Struct, frozen=True):
    """What sets a policy off: an alert of a family that starts firing, or the age of the champion."""

    alert: str = ""
    model_age_days: float = 0.0


def trigger(*, alert: Family | str = "", model_age_days: float = 0.0) -> Trigger:
    """Declare a trigger (``ev.trigger``): one of the two.

    >>> trigger(alert="performance")
    Trigger(alert='performance', model_age_days=0.0)
    """
    families = [str(each) for each in Family]
    if alert and str(alert) not in families:
        raise InvalidDefinition(
            f"there is no family of alerts '{alert}'",
            hint=nearest(str(alert), families) or "one of " + ", ".join(families),
        )
    if bool(alert) == bool(model_age_days) or model_age_days < 0:
        raise InvalidDefinition("a trigger names an alert or an age", hint="ev.trigger(alert='performance')")
    return Trigger(str(alert), float(model_age_days))


class DataWindow(msgspec.Struct, frozen=True):
    """Which data a retraining takes, handed to the pipeline as parameters of these names (empty: not handed
    over).

    expanding: all up to now. sliding: the last `days`. since_onset: from the alert's onset, at least `days`.
    """

    rule: str = "expanding"
    days: float = 0.0
    since: str = ""
    until: str = "until"


class Policy(msgspec.Struct, frozen=True):
    """A declared policy. `pipeline` is what ``everloop run`` takes: ``module_or_file:name``."""

    name: str
    endpoint: str
    model: str
    pipeline: str
    on: tuple[Trigger, ...]
    params: dict[str, Any] = {}
    window: DataWindow = DataWindow()
    artifact: str = "model"
    alias: str = "champion"
    rollout: Plan | None = None
    cooldown_days: float = 14.0
    maximum_age_days: float = 7.0


def policy(
    name: str,
    *,
    endpoint: str,
    model: str,
    pipeline: str,
    on: Trigger | Sequence[Trigger],
    params: Mapping[str, Any] | None = None,
    window: str = "expanding",
    window_days: float = 0.0,
    since_param: str = "",
    until_param: str = "until",
    artifact: str = "model",
    alias: str = "champion",
    rollout: RolloutPlan | Plan | None = None,
    cooldown_days: float = 14.0,
    maximum_age_days: float = 7.0,
) -> Policy:
    """Declare a policy (``ev.policy``). Raises InvalidDefinition.

    pipeline: trains and tracks the candidate; it is run in a process of its own with `params` and the
    window's times. artifact: the path of the model among the run's artifacts. alias: what the registry's
    gates guard; the candidate must pass them before any request reaches it. rollout: how the switch is
    decided; None: the endpoint's declared plan. cooldown_days: no second retraining sooner. maximum_age_days:
    a trigger older than this is dropped (a server that was off does not retrain for last month).

    >>> policy("fresh", endpoint="delay", model="delay", pipeline="flights:train", on=trigger(alert="performance")).window.rule
    'expanding'
    """
    checked_name(name, "policy name")
    checked_name(endpoint, "endpoint name", folders=False)
    checked_name(model, "model name")
    if window not in WINDOWS:
        raise InvalidDefinition(
            f"policy '{name}': there is no data window '{window}'",
            hint=nearest(window, WINDOWS) or "one of " + ", ".join(WINDOWS),
        )
    if window == "sliding" and window_days <= 0:
        raise InvalidDefinition(
            f"policy '{name}': a sliding window needs its length", hint="give window_days=…"
        )
    if ":" not in pipeline:
        raise InvalidDefinition(
            f"policy '{name}': '{pipeline}' names no pipeline", hint="write module_or_file:pipeline"
        )
    triggers = (on,) if isinstance(on, Trigger) else tuple(on)
    if not triggers:
        raise InvalidDefinition(f"policy '{name}' has no trigger", hint="on=ev.trigger(alert='performance')")
    return Policy(
        name=name,
        endpoint=endpoint,
        model=model,
        pipeline=pipeline,
        on=triggers,
        params=dict(params or {}),
        window=DataWindow(window, float(window_days), since_param, until_param),
        artifact=artifact,
        alias=alias,
        rollout=rollout.plan if isinstance(rollout, RolloutPlan) else rollout,
        cooldown_days=float(cooldown_days),
        maximum_age_days=float(maximum_age_days),
    )


class Cause(msgspec.Struct, frozen=True):
    """What set a policy off. `key` names it for good: the same cause never acts twice under one policy."""

    key: str
    what: str
    happened: datetime
    alert: str = ""
    onset: datetime | None = None


class Situation(msgspec.Struct, frozen=True):
    """What a policy reads before it acts."""

    now: datetime
    already_done: bool = False
    in_flight: str = ""
    """The retraining or rollout that is still going on, in words; empty: none."""
    last_started: datetime | None = None
    broken_inputs: tuple[str, ...] = ()
    """Alerts on the inputs that are firing: a broken feed would teach the model the fault."""


class PolicyDecision(msgspec.Struct, frozen=True):
    act: bool
    reason: str


def decide(policy: Policy, cause: Cause, seen: Situation) -> PolicyDecision:
    """Whether a policy acts on a cause.

    >>> from datetime import UTC
    >>> moment = datetime(2013, 6, 1, tzinfo=UTC)
    >>> fresh = Policy("fresh", "delay", "delay", "flights:train", (Trigger("performance"),))
    >>> decide(fresh, Cause("a", "performance fell", moment), Situation(moment)).act
    True
    >>> decide(fresh, Cause("a", "performance fell", moment), Situation(moment, in_flight="a retraining runs")).reason
    'one at a time: a retraining runs'
    """
    if seen.already_done:
        return PolicyDecision(False, "this cause was dealt with before")
    age = seen.now - cause.happened
    if age > timedelta(days=policy.maximum_age_days):
        return PolicyDecision(
            False,
            f"the cause is {age / timedelta(days=1):.1f} days old, more than {policy.maximum_age_days:g}",
        )
    if seen.broken_inputs:
        return PolicyDecision(False, f"the inputs come first: {', '.join(seen.broken_inputs)}")
    if seen.in_flight:
        return PolicyDecision(False, f"one at a time: {seen.in_flight}")
    if seen.last_started is not None:
        since = seen.now - seen.last_started
        if since < timedelta(days=policy.cooldown_days):
            days = since / timedelta(days=1)
            return PolicyDecision(
                False, f"cooldown: the last retraining was {days:.1f} of {policy.cooldown_days:g} days ago"
            )
    return PolicyDecision(True, cause.what)


def parameters(policy: Policy, cause: Cause, now: datetime) -> dict[str, Any]:
    """The pipeline's parameters: the declared ones, and the data window's times as ISO text.

    >>> from datetime import UTC
    >>> moment = datetime(2013, 6, 30, tzinfo=UTC)
    >>> sliding = Policy("p", "e", "m", "a:b", (Trigger("performance"),), {"k": 1}, DataWindow("sliding", 30, "since", "until"))
    >>> parameters(sliding, Cause("a", "", moment), moment)
    {'k': 1, 'until': '2013-06-30T00:00:00+00:00', 'since': '2013-05-31T00:00:00+00:00'}
    """
    given = dict(policy.params)
    window = policy.window
    if window.until:
        given[window.until] = now.isoformat()
    if window.since and window.rule != "expanding":
        since = now - timedelta(days=window.days)
        if window.rule == "since_onset" and cause.onset is not None:
            since = min(since, cause.onset)
        given[window.since] = since.isoformat()
    return given
