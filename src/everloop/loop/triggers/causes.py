"""What an event of the ledger sets off, and what led to it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from everloop.domain.events import Event
from everloop.domain.references import Reference
from everloop.domain.triggers import AlertFires, AliasMoves, NewData, On, PipelineEnds
from everloop.errors import NotFound
from everloop.governance.rooms import Context
from everloop.monitoring.monitoring import Monitoring
from everloop.pipelines.pipelines import Pipelines
from everloop.store.schema.base import edges
from everloop.store.schema.triggers import firings
from everloop.tracking.tracking import Tracking

if TYPE_CHECKING:
    from everloop.store.ledger import Reader

ACTIONS = (
    "data.added",
    "data.received",
    "alert.firing",
    "pipeline.finished",
    "pipeline.failed",
    "pipeline.interrupted",
    "model.alias_set",
)
LONGEST_CHAIN = 20


class Cause(msgspec.Struct, frozen=True):
    """What happened. `key`: names it for good. reference: to what; it goes into the lineage of the run that is started."""

    key: str
    what: str
    time: datetime
    reference: str
    facts: dict[str, Any]


def cause_of(context: Context, on: On, event: Event) -> Cause | None:
    """What an event means to a trigger; None: nothing."""
    match on:
        case NewData(name) if event.action in {"data.added", "data.received"}:
            found = _new_data(name, event)
        case AlertFires() if event.action == "alert.firing":
            found = _alert(context, on, event)
        case PipelineEnds() if event.action.startswith("pipeline."):
            found = _pipeline(context, on, event)
        case AliasMoves() if event.action == "model.alias_set":
            found = _alias(on, event)
        case _:
            return None
    if found is None:
        return None
    what, facts = found
    return Cause(f"{event.subject}#{event.seq}", what, event.time, event.subject, facts)


def leading_to(look: Reader, reference: str) -> list[str]:
    """The triggers without which an event about `reference` would not have come: the one that started the run that made it, the
    one that set that off by its end or its data, and so on. A trigger among them would go round for ever."""
    found: list[str] = []
    for _ in range(LONGEST_CHAIN):
        run = reference if reference.startswith("run:") else _maker(look, reference)
        row = _firing_of(look, run) if run else None
        if row is None:
            return found
        found.append(row.trigger)
        reference = row.facts.get("run") or row.facts.get("data") or row.facts.get("model") or ""
    return found


def _new_data(wanted: str, event: Event) -> tuple[str, dict[str, Any]] | None:
    meant = Reference.parse(event.subject)
    folder = wanted.removesuffix("*") if wanted.endswith("/*") else ""
    if meant.name != wanted and not (folder and meant.name.startswith(folder)):
        return None
    return f"{event.subject} is new", {"data": event.subject, "name": meant.name, "version": meant.version}


def _alert(context: Context, on: AlertFires, event: Event) -> tuple[str, dict[str, Any]] | None:
    family, endpoint = event.payload.get("family"), event.payload.get("endpoint")
    if on.family not in {"any", family} or on.endpoint not in {"", endpoint}:
        return None
    alert = context.room(Monitoring).alert(ref=event.subject)
    if on.monitor and on.monitor not in {each.get("monitor") for each in alert.report.findings}:
        return None
    return f"{event.subject}: {alert.report.what}", {"alert": event.subject, "endpoint": endpoint}


def _pipeline(context: Context, on: PipelineEnds, event: Event) -> tuple[str, dict[str, Any]] | None:
    status = event.action.partition(".")[2]
    if on.status not in {"any", status}:
        return None
    try:
        record = context.room(Pipelines).pipeline_run(run=event.subject)
        part_of = context.room(Tracking).run(event.subject.removeprefix("run:")).parent
    except NotFound:  # purged since
        return None
    if record.pipeline != on.pipeline or part_of:  # a trial of a sweep is no end of the pipeline
        return None
    facts = {"run": event.subject, "pipeline": on.pipeline, "status": status}
    return f"{on.pipeline} {status} ({event.subject})", facts


def _alias(on: AliasMoves, event: Event) -> tuple[str, dict[str, Any]] | None:
    meant = Reference.parse(event.subject)
    if meant.name != on.model or event.payload.get("alias") != on.alias:
        return None
    facts = {"model": event.subject, "alias": on.alias, "version": meant.version}
    return f"{on.model}@{on.alias} is {event.subject} now", facts


def _maker(look: Reader, reference: str) -> str:
    """The run that made something."""
    query = sa.select(edges.c.source).where(edges.c.target == reference, edges.c.role == "produced")
    runs = [row.source for row in look.all(query) if row.source.startswith("run:")]
    return str(runs[0]) if runs else ""


def _firing_of(look: Reader, run: str) -> sa.Row[Any] | None:
    """The firing that started a run, or the whole that the run is a part of."""
    for _ in range(LONGEST_CHAIN):
        identifier = run.removeprefix("run:")
        row = look.first(sa.select(firings.c.trigger, firings.c.facts).where(firings.c.run == identifier))
        if row is not None:
            return row
        above = look.scalar(
            sa.select(edges.c.source).where(edges.c.target == run, edges.c.role == "child").limit(1)
        )
        if above is None:
            return None
        run = str(above)
    return None
