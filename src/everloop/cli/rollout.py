"""`rollout` and `rollback`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from everloop.cli.frame import answer_no, command, emit, facts, table, workspace
from everloop.cli.instants import Instant
from everloop.domain.rollouts import State, Strategy
from everloop.errors import InvalidInput

if TYPE_CHECKING:
    from rich.console import Group

    from everloop.rollout.records import RolloutRecord

TIME = click.option("--time", "time", type=Instant(), help="When this happens, if not now.")


@click.group()
def rollout() -> None:
    """Switch models on evidence."""


@command("start")
@click.argument("endpoint")
@click.argument("model")
@click.option(
    "--strategy",
    type=click.Choice([str(each) for each in Strategy]),
    help="The endpoint's plan decides otherwise.",
)
@click.option(
    "--transform",
    "transforms",
    multiple=True,
    metavar="COLUMN=EXPRESSION",
    help="What serving makes of a column.",
)
@TIME
def start(
    endpoint: str, model: str, strategy: str | None, transforms: tuple[str, ...], time: datetime | None
) -> None:
    """Begin to move ENDPOINT to MODEL. It answers nobody before its state allows it."""
    pairs = [text.partition("=") for text in transforms]
    if any(not sign for _, sign, _ in pairs):
        raise InvalidInput(
            "a transform is COLUMN=EXPRESSION", hint="for example --transform 'temp=(temp - 32) * 5 / 9'"
        )
    transform = {name.strip(): expression.strip() for name, _, expression in pairs}
    begun = workspace(write=True).rollout.start(
        endpoint, model, strategy=strategy or "", transform=transform, time=time
    )
    _emit(begun)


@command("advance")
@click.argument("endpoint")
@click.option("--until", type=Instant(), help="Read what has come up to then; now otherwise.")
def advance(endpoint: str, until: datetime | None) -> None:
    """Read what has come, decide, and do it. Exit code 1: the candidate was stopped or rolled back."""
    record = workspace(write=True).rollout.advance(endpoint, until)
    _emit(record)
    if record.state in {State.STOPPED, State.ROLLED_BACK}:
        answer_no()


@command("status")
@click.argument("endpoint")
def status(endpoint: str) -> None:
    """The newest rollout of ENDPOINT, and every decision with the numbers it read."""
    room = workspace().rollout
    record = room.status(endpoint=endpoint)
    decisions = room.decisions(rollout=record.rollout_id)
    emit(answer(record) | {"decisions": decisions}, lambda _: _status(record, decisions))


@command("promote")
@click.argument("endpoint")
@click.option("--because", default="", help="Why.")
@TIME
def promote(endpoint: str, because: str, time: datetime | None) -> None:
    """Let the candidate take over now, by your word. The gates are asked; the evidence is not."""
    _emit(workspace(write=True).rollout.promote(endpoint, because=because, time=time))


@command("abort")
@click.argument("endpoint")
@click.option("--because", default="", help="Why.")
@TIME
def abort(endpoint: str, because: str, time: datetime | None) -> None:
    """End the rollout; the champion answers all requests again."""
    _emit(workspace(write=True).rollout.abort(endpoint, because=because, time=time))


@command()
@click.argument("endpoint")
@click.option("--because", default="", help="Why.")
@TIME
def rollback(endpoint: str, because: str, time: datetime | None) -> None:
    """Go back at once: out of an open rollout, else to the model that answered before the last promotion."""
    done = workspace(write=True).rollout.rollback(endpoint, because=because, time=time)
    emit(done, lambda _: done.sentence)


for _each in (start, advance, status, promote, abort):
    rollout.add_command(_each)


def answer(record: RolloutRecord) -> dict[str, Any]:
    """What `--json` prints of a rollout: all but the inner state of its evidence."""
    kept = {
        name: getattr(record, name)
        for name in record.__struct_fields__
        if name not in {"progress", "before", "plan"}
    }
    return kept | {"rollout": record.reference, "strategy": record.plan.strategy}


def _emit(record: RolloutRecord) -> None:
    emit(answer(record), lambda _: _told(record))


def _told(record: RolloutRecord) -> Any:
    seen = record.evidence
    pairs: list[tuple[str, object]] = [
        ("rollout", record.rollout_id),
        ("endpoint", record.endpoint),
        ("state", f"{record.state}, {record.verdict}: {record.reason}"),
        ("weights", ", ".join(f"{model} {weight:.0%}" for model, weight in record.weights.items())),
        (
            "evidence",
            f"gain e={seen.e_gain:.2f}, harm e={seen.e_harm:.2f}, errors e={seen.e_errors:.2f}, {seen.blocks} days",
        ),
    ]
    if seen.gain is not None and seen.gain_low is not None and seen.gain_high is not None:
        pairs.append(("gain a row", f"{seen.gain:.4f} ({seen.gain_low:.4f} to {seen.gain_high:.4f})"))
    if record.seconds is not None:
        pairs.append(("last switch took", f"{record.seconds:.3f} s"))
    return facts(pairs)


def _status(record: RolloutRecord, decisions: list[Any]) -> Group:
    from rich.console import Group

    rows = [
        (each.number, each.time, each.state, each.verdict, f"{each.weight:.0%}", each.reason)
        for each in decisions
    ]
    return Group(
        _told(record), table(["", "time", "state", "verdict", "weight", "why"], rows, right=["weight"])
    )
