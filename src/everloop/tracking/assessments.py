"""What people and judges say of traces: kept as it was said, and as a search asks for it."""

from typing import Any

import sqlalchemy as sa

from everloop.domain.traces import KINDS, Assessment, judgement
from everloop.errors import InvalidInput, NotFound
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.ledger import Reader, Transaction
from everloop.store.schema.traces import assessments, traces

Row = sa.Row[Any]


class Assessments(Room):
    """The part of tracking that keeps what was said of traces."""

    @operation(Permission.WRITE)
    def assess_trace(self, trace_id: str, said: dict[str, Any], assessment_id: str = "") -> Assessment:
        """Keep what was said of a trace, or (with `assessment_id`) say it otherwise: what is not said again stays. One that
        says what it `overrides` takes that one's place, which counts no more."""
        with self.change() as tx:
            existing_trace(tx, trace_id)
            if assessment_id:
                before = _assessment(tx, trace_id, assessment_id)
                made = Assessment(assessment_id, before.created, tx.now, _changed(before.said, said))
            else:
                made = Assessment(f"a-{self.context.ids()}", tx.now, tx.now, said)
                if said.get("overrides"):
                    _count(tx, _assessment(tx, trace_id, str(said["overrides"])), trace_id, valid=False)
            keep(tx, trace_id, made)
            tx.event("trace.assessed", f"trace {trace_id}", {"assessment": made.id, "said": said})
            return made

    @operation(Permission.READ)
    def assessment(self, trace_id: str, assessment_id: str) -> Assessment:
        """One thing that was said of a trace."""
        with self.look() as look:
            existing_trace(look, trace_id)
            return _assessment(look, trace_id, assessment_id)

    @operation(Permission.WRITE)
    def remove_assessment(self, trace_id: str, assessment_id: str) -> None:
        """Take back what was said of a trace. What it overrode counts again."""
        with self.change() as tx:
            gone = _assessment(tx, trace_id, assessment_id)
            if (over := gone.said.get("overrides")) and (row := _row(tx, trace_id, str(over))) is not None:
                _count(tx, _read(row), trace_id, valid=True)
            tx.execute(sa.delete(assessments).where(_named(trace_id, assessment_id)))
            tx.event("trace.assessment_removed", f"trace {trace_id}", {"assessment": assessment_id})


def keep(tx: Transaction, trace_id: str, made: Assessment) -> None:
    """Write an assessment; one with the same identifier is replaced."""
    found = judgement(made.said)
    searched = dict.fromkeys(("kind", "name", "text", "number")) if found is None else found._asdict()
    row = {"id": made.id, "created": made.created, "updated": made.updated, "said": made.said}
    tx.put(assessments, {"trace": trace_id, **row, **searched})


def existing_trace(look: Reader, trace_id: str) -> Row:
    """The row of a trace. Raises NotFound."""
    row = look.first(sa.select(traces).where(traces.c.id == trace_id))
    if row is None:
        raise NotFound(f"Trace with ID '{trace_id}' not found", hint="search for it in its experiment")
    return row


def _changed(before: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """What was said, with what is said now: facts (`metadata`) join those that are there."""
    for kind in KINDS:
        if kind in said and kind not in before:
            was = next((each for each in KINDS if each in before), "other")
            raise InvalidInput(
                f"Cannot update {kind} value on a {was.title()} assessment.", hint="log another assessment"
            )
    facts = {key: {**before.get(key, {}), **said[key]} for key in ("metadata",) if said.get(key)}
    return before | said | facts


def _count(tx: Transaction, assessment: Assessment, trace_id: str, *, valid: bool) -> None:
    """Say whether an assessment counts."""
    said = assessment.said | {"valid": valid}
    keep(tx, trace_id, Assessment(assessment.id, assessment.created, assessment.updated, said))


def _assessment(look: Reader, trace_id: str, assessment_id: str) -> Assessment:
    row = _row(look, trace_id, assessment_id)
    if row is None:
        raise NotFound(f"Assessment with ID '{assessment_id}' not found for trace '{trace_id}'")
    return _read(row)


def _row(look: Reader, trace_id: str, assessment_id: str) -> Row | None:
    return look.first(sa.select(assessments).where(_named(trace_id, assessment_id)))


def _read(row: Row) -> Assessment:
    return Assessment(row.id, row.created, row.updated, row.said)


def _named(trace_id: str, assessment_id: str) -> sa.ColumnElement[bool]:
    return (assessments.c.trace == trace_id) & (assessments.c.id == assessment_id)
