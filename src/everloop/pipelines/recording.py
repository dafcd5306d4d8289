"""What operations of pipelines change, in bulk: a fan-out of thousands is a handful of statements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa

from everloop.domain.canonical import digest_of
from everloop.domain.pipelines import CachedResult, Claim, FinishedStep, StepRecord
from everloop.domain.runs import RUNNING, Owner
from everloop.pipelines.opened_files import is_file
from everloop.store.ledger import Transaction, insert_for
from everloop.store.schema.pipelines import pipeline_steps, step_claims, step_code, step_keys, step_results
from everloop.tracking.places import is_alive, place

LEASE = timedelta(seconds=60)
"""How long a claim holds without a sign of life from its owner; the driver renews it far sooner."""


def record(tx: Transaction, run: str, finished: Sequence[FinishedStep]) -> None:
    """Steps of a run with their results, what they hold, and where it came from."""
    tx.put(pipeline_steps, [_step_row(tx, run, each) for each in finished])
    computed = [
        each for each in finished if each.record.status == "executed" and each.record.value is not None
    ]
    results = {
        (row["key"], row["reads_digest"]): row for row in (_result_row(tx, run, each) for each in computed)
    }
    tx.put(step_results, list(results.values()))
    _forget_incomplete(tx, computed)
    keyed = {each.record.key: each for each in finished if each.parts is not None}
    tx.insert_new(step_code, list(_code_rows(keyed.values()).values()))
    tx.insert_new(step_keys, [_key_row(tx, each) for each in keyed.values()])
    if computed:
        tx.execute(
            sa.delete(step_claims).where(step_claims.c.key.in_([each.record.key for each in computed]))
        )
    for digest, size, holder in dict.fromkeys(_holds(run, finished)):
        tx.hold(digest, size, holder)
    for source, target, role in dict.fromkeys(_edges(run, finished)):
        tx.edge(source, target, role)


def _forget_incomplete(tx: Transaction, computed: Sequence[FinishedStep]) -> None:
    """Drop results whose step read more when it was computed anew, and all the same besides: what else it had read was not seen
    then, so that such a result would be served whatever that says now."""
    told = {
        each.record.key: {(read.asked, read.found) for read in each.reads} for each in computed if each.reads
    }
    if not told:
        return
    query = sa.select(step_results.c.key, step_results.c.reads_digest, step_results.c.reads)
    for row in tx.all(query.where(step_results.c.key.in_(told))):
        if {(read["asked"], read["found"]) for read in row.reads} < told[str(row.key)]:
            one = (step_results.c.key == row.key) & (step_results.c.reads_digest == row.reads_digest)
            tx.execute(sa.delete(step_results).where(one))


def put_at_work(tx: Transaction, run: str, steps: Sequence[StepRecord]) -> None:
    """Steps that are at work, as rows that their records take the place of."""
    tx.put(pipeline_steps, [_step_row(tx, run, FinishedStep(each)) for each in steps])


def forget_at_work(tx: Transaction, runs: Sequence[str]) -> None:
    """These runs are over: what was at work in them has come to nothing."""
    left = pipeline_steps.c.run.in_(runs) & (pipeline_steps.c.status == RUNNING)
    if tx.first(sa.select(pipeline_steps.c.run).where(left).limit(1)) is not None:
        tx.execute(sa.delete(pipeline_steps).where(left))


def claims(
    tx: Transaction,
    keys: Sequence[str],
    owner: str,
    process: Owner,
    children: Sequence[str],
    done: Mapping[str, CachedResult],
) -> list[Claim]:
    """Give each key to `owner`, unless it is done or somebody who lives has it."""
    rows = {
        key: {
            "key": key,
            "owner": owner,
            "place": process.place,
            "pid": process.pid,
            "began": process.began,
            "until": tx.now + LEASE,
            "run": child or None,
        }
        for key, child in zip(keys, children, strict=True)
        if key not in done
    }
    # Most keys are nobody's: those are had with one statement, and only what others hold is looked at.
    new = _inserted(tx, list(rows.values()))
    query = sa.select(step_claims).where(step_claims.c.key.in_(rows.keys() - new)).with_for_update()
    others = {row.key: row for row in tx.all(query)} if len(new) < len(rows) else {}
    answers = []
    taken = []
    for key in keys:
        if key in done:
            answers.append(Claim(False, result=done[key]))
            continue
        if key in new:
            answers.append(Claim(True))
            continue
        held = others.get(key)
        if held is None:  # given back at this very moment: who asked asks again
            answers.append(Claim(False))
        elif held.owner and held.owner != owner and _lives(held, tx):
            answers.append(Claim(False, owner=held.owner))
        else:
            taken.append(rows[key])
            if held.owner and held.owner != owner:
                tx.event("step.taken_over", f"run:{owner}", {"key": key, "from": held.owner})
            answers.append(Claim(True, run=held.run))
    tx.put(step_claims, taken)
    return answers


def _inserted(tx: Transaction, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Insert claims on keys that nobody has; returns these keys."""
    if not rows:
        return set()
    return {row.key for row in tx.execute(_claiming(tx.dialect), rows).returned}


@cache
def _claiming(dialect: str) -> sa.Insert:
    insert: sa.Insert = insert_for(dialect)(step_claims).on_conflict_do_nothing()
    return insert.returning(step_claims.c.key)


def _lives(held: sa.Row[Any], tx: Transaction) -> bool:
    """Whether who holds a claim is still there: asked of the machine where it is ours, else of the lease."""
    if held.place == place() and held.pid:
        return is_alive(Owner(held.place, held.pid, held.began))
    return bool(held.until > tx.now)


def _step_row(tx: Transaction, run: str, each: FinishedStep) -> dict[str, Any]:
    step = each.record
    return {
        "run": run,
        "position": step.position,
        "name": step.name,
        "step": step.step,
        "status": step.status,
        "seconds": step.seconds,
        "reason": step.reason,
        "key": step.key,
        "child": step.run,
        "value": step.value,
        "error": step.error,
        "log": step.log,
        "attempts": step.attempts,
        "inputs": step.inputs,
        "time": tx.now,
    }


def _result_row(tx: Transaction, run: str, each: FinishedStep) -> dict[str, Any]:
    step = each.record
    return {
        "key": step.key,
        "reads_digest": digest_of(each.reads),
        "step": step.step,
        "value": step.value,
        "reads": each.reads,
        "run": step.run or run,
        "seconds": step.seconds,
        "time": tx.now,
    }


def _code_rows(finished: Any) -> dict[str, dict[str, Any]]:
    return {
        each.parts.code: {
            "code": each.parts.code,
            "components": each.parts.code_components,
            "notes": each.parts.notes,
        }
        for each in finished
    }


def _key_row(tx: Transaction, each: FinishedStep) -> dict[str, Any]:
    assert each.parts is not None
    other = each.parts.other_components
    return {
        "key": each.record.key,
        "step": each.record.step,
        "code": each.parts.code,
        "components": other,
        "time": tx.now,
    }


def _holds(run: str, finished: Sequence[FinishedStep]) -> list[tuple[str, int, str]]:
    found = []
    for each in finished:
        holder = f"run:{each.record.run or run}"
        if each.log_size is not None and each.record.log:
            found.append((each.record.log, each.log_size, holder))
        if each.record.status == "executed" and each.record.value is not None:
            found += [(digest, size, holder) for digest, size in each.record.value.objects]
    return found


def _edges(run: str, finished: Sequence[FinishedStep]) -> list[tuple[str, str, str]]:
    whole = f"run:{run}"
    found = []
    for each in finished:
        own = f"run:{each.record.run}" if each.record.run else whole
        found += [
            (reference, target, "consumed")
            for reference in each.consumed
            if not is_file(reference)
            for target in (whole, own)
        ]
        if (
            own != whole
        ):  # a step that goes on from an older run's checkpoint is a part of this run all the same
            found.append(
                (whole, own, "child") if each.record.status == "executed" else (own, whole, "reused")
            )
    return found
