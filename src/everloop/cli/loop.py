"""`retrain` and `loop`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from everloop.cli.frame import answer_no, command, emit, facts, say, table, workspace
from everloop.cli.instants import Instant
from everloop.loop.records import Status

if TYPE_CHECKING:
    from everloop.loop.records import Retraining


@command()
@click.argument("model")
@click.option("--because", default="", help="The alert that is the reason: alert:ID.")
@click.option("--policy", default="", help="Which policy says how, where the model has several.")
@click.option("--time", "time", type=Instant(), help="When this happens, if not now.")
def retrain(model: str, because: str, policy: str, time: datetime | None) -> None:
    """Train MODEL again, gate the candidate, begin its rollout. Exit code 1: a gate refused it, or the
    training failed."""
    found = workspace(write=True)
    say(f"training {model} in a process of its own")
    done = found.loop.retrain(model, because=because, policy=policy, now=time)
    emit(done, _told)
    if done.status is not Status.ROLLING_OUT:
        answer_no()


@click.group()
def loop() -> None:
    """Policies: what sets off a retraining, and what came of it."""


@command("policies")
def policies() -> None:
    """The declared policies."""
    found = workspace().loop.policies()
    rows = [
        (
            each.name,
            each.endpoint,
            each.model,
            ", ".join(_trigger(one) for one in each.on),
            each.pipeline,
            each.cooldown_days,
        )
        for each in found
    ]
    columns = ["policy", "endpoint", "model", "on", "pipeline", "cooldown days"]
    empty = "no policies yet; declare one, ev.policy(…), then: everloop monitors apply"
    emit({"policies": found}, lambda _: table(columns, rows, right=["cooldown days"], empty=empty))


@command("tick")
@click.option("--now", type=Instant(), help="The moment to act at, if not now.")
def tick(now: datetime | None) -> None:
    """Decide on what has happened since the last tick, and do what is due."""
    found = workspace(write=True)
    done = found.loop.tick(now or found.clock())
    emit({"retrainings": done}, lambda _: _list(done) if done else "nothing was due")


@command("history")
@click.argument("model", default="")
def history(model: str) -> None:
    """Retrainings, newest first."""
    found = workspace().loop.retrainings(model=model)
    emit({"retrainings": found}, lambda _: _list(found))


for _each in (policies, tick, history):
    loop.add_command(_each)


def _trigger(trigger: Any) -> str:
    return f"alert on {trigger.alert}" if trigger.alert else f"older than {trigger.model_age_days:g} days"


def _list(found: list[Retraining]) -> Any:
    rows = [
        (each.requested, each.model, each.status, each.because, each.candidate or "", each.message)
        for each in found
    ]
    return table(
        ["requested", "model", "status", "because", "candidate", ""], rows, empty="no model was retrained yet"
    )


def _told(done: Retraining) -> Any:
    pairs: list[tuple[str, object]] = [
        ("status", f"{done.status}: {done.message}"),
        ("because", done.because),
        ("run", done.run or ""),
        ("candidate", done.candidate or ""),
        ("rollout", done.rollout or ""),
    ]
    pairs += [
        (f"gate {gate.name}", f"{'passed' if gate.passed else 'refused'}: {gate.reason}")
        for gate in done.gates
    ]
    return facts(pairs)
