"""Traces: the operations on what programs did step by step."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from everloop.domain.runs import ACTIVE, ArtifactRecord, checked_artifact_path, checked_text
from everloop.domain.times import require_zone
from everloop.domain.traces import Assessment, Trace, TracePage, checked_trace_id
from everloop.errors import Conflict, InvalidInput, NotFound
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.ledger import Reader, Transaction
from everloop.store.schema.traces import assessments, trace_files, trace_tags, traces
from everloop.tracking import trace_searching, writing

MAX_TAG_KEY = 250
MAX_TEXT = 65_535
_AT_ONCE = 5_000  # SQLite takes 32,766 parameters in one statement

Row = sa.Row[Any]


class Traces(Room):
    """The part of tracking that keeps traces."""

    @operation(Permission.WRITE)
    def record_trace(self, trace: Trace) -> Trace:
        """Keep a trace; one that is there already is replaced, with tags added."""
        checked_trace_id(trace.id)
        require_zone(trace.time, "the time of the trace")
        with self.change() as tx:
            group = writing.find_experiment(tx, str(trace.experiment_id))
            if group.state != ACTIVE:
                raise Conflict(
                    f"experiment '{group.name}' is deleted: it must be in the 'active' state",
                    hint="restore it, or name another",
                )
            texts = {"request": trace.request, "response": trace.response, "request_id": trace.request_id}
            row = {
                "id": trace.id,
                "experiment": group.id,
                "time": trace.time,
                "duration": trace.duration,
                "state": checked_text(trace.state, "the state of the trace", 32),
                "user": tx.actor,
                "facts": trace.facts,
                **{key: checked_text(text, f"the {key}", MAX_TEXT) for key, text in texts.items()},
            }
            tx.put(traces, row)
            _set_tags(tx, trace.id, trace.tags)
            for each in trace.assessments:
                tx.put(assessments, {"trace": trace.id, **_columns(each)})
            facts = {
                "experiment": group.id,
                "state": trace.state,
                "run": trace.facts.get(trace_searching.RUN),
            }
            tx.event("trace.recorded", _subject(trace.id), facts)
            return _records(tx, [_existing(tx, trace.id)])[0]

    @operation(Permission.READ)
    def traces(self, trace_ids: list[str]) -> list[Trace]:
        """Traces by their identifiers; those that are not there are left out."""
        with self.look() as look:
            rows: list[Row] = []
            for start in range(0, len(trace_ids), _AT_ONCE):
                some = traces.c.id.in_(trace_ids[start : start + _AT_ONCE])
                rows += look.all(sa.select(traces).where(some))
            return _records(look, rows)

    @operation(Permission.READ)
    def trace(self, trace_id: str) -> Trace:
        """One trace with its tags and what was said of it."""
        with self.look() as look:
            return _records(look, [_existing(look, trace_id)])[0]

    @operation(Permission.READ)
    def search_traces(
        self,
        experiment: list[str],
        where: str = "",
        order_by: list[str] = [],  # noqa: B006 (not changed)
        limit: int = 100,
        page: str = "",
    ) -> TracePage:
        """Traces of experiments that match a filter (see `everloop.domain.search`), newest first unless `order_by` says
        otherwise. `page`: `next_page` of the page before."""
        with self.look() as look:
            rows, following = trace_searching.search(look, experiment, where, order_by, limit, page)
            return TracePage(_records(look, rows), following)

    @operation(Permission.WRITE)
    def tag_trace(
        self,
        trace_id: str,
        tags: dict[str, str] = {},  # noqa: B006 (not changed)
        remove_tags: list[str] = [],  # noqa: B006
    ) -> Trace:
        """Set and remove tags of a trace."""
        with self.change() as tx:
            row = _existing(tx, trace_id)
            _set_tags(tx, trace_id, tags)
            for key in remove_tags:
                named = (trace_tags.c.trace == trace_id) & (trace_tags.c.key == key)
                if not tx.execute(sa.delete(trace_tags).where(named)).rowcount:
                    raise NotFound(f"the trace {trace_id} has no tag '{key}'")
            tx.event("trace.tagged", _subject(trace_id), {"tags": tags, "removed": remove_tags})
            return _records(tx, [row])[0]

    @operation(Permission.WRITE)
    def assess_trace(self, trace_id: str, said: dict[str, Any], assessment_id: str = "") -> Assessment:
        """Keep what was said of a trace, or (with `assessment_id`) say it otherwise: what is not said again stays."""
        with self.change() as tx:
            _existing(tx, trace_id)
            made = Assessment(assessment_id or f"a-{self.context.ids()}", tx.now, tx.now, said)
            if assessment_id:
                before = _assessment(tx, trace_id, assessment_id)
                made = Assessment(assessment_id, before.created, tx.now, before.said | said)
            tx.put(assessments, {"trace": trace_id, **_columns(made)})
            tx.event("trace.assessed", _subject(trace_id), {"assessment": made.id, "said": said})
            return made

    @operation(Permission.READ)
    def assessment(self, trace_id: str, assessment_id: str) -> Assessment:
        """One thing that was said of a trace."""
        with self.look() as look:
            return _assessment(look, trace_id, assessment_id)

    @operation(Permission.WRITE)
    def remove_assessment(self, trace_id: str, assessment_id: str) -> None:
        """Take back what was said of a trace."""
        with self.change() as tx:
            _assessment(tx, trace_id, assessment_id)
            named = (assessments.c.trace == trace_id) & (assessments.c.id == assessment_id)
            tx.execute(sa.delete(assessments).where(named))
            tx.event("trace.assessment_removed", _subject(trace_id), {"assessment": assessment_id})

    @operation(Permission.WRITE)
    def delete_traces(self, experiment: str, trace_ids: list[str]) -> int:
        """Forget traces of an experiment, with what is in their files. Returns how many there were."""
        with self.change() as tx:
            number = writing.find_experiment(tx, experiment).id
            here = traces.c.id.in_(trace_ids) & (traces.c.experiment == number)
            gone = [row.id for row in tx.all(sa.select(traces.c.id).where(here))]
            for table in (trace_tags, trace_files, assessments):
                tx.execute(sa.delete(table).where(table.c.trace.in_(gone)))
            tx.execute(sa.delete(traces).where(traces.c.id.in_(gone)))
            for each in gone:
                tx.release(_subject(each))
            if gone:
                tx.event("trace.deleted", f"experiment {number}", {"count": len(gone), "first": gone[:100]})
            return len(gone)

    @operation(Permission.WRITE)
    def add_trace_files(self, trace_id: str, files: list[ArtifactRecord]) -> None:
        """Files of a trace whose bytes are in the object store already. A path that is there is replaced."""
        with self.change() as tx:
            _existing(tx, trace_id)
            absent = self.objects.missing({each.digest for each in files})
            if absent:
                raise NotFound(
                    f"object {min(absent)} is not in the store", hint="store the bytes before naming them"
                )
            for each in files:
                row = {"path": checked_artifact_path(each.path), "digest": each.digest, "size": each.size}
                tx.put(trace_files, {"trace": trace_id, **row})
                tx.hold(each.digest, each.size, _subject(trace_id))
            tx.event("trace.files", _subject(trace_id), {"paths": [each.path for each in files[:100]]})

    @operation(Permission.READ)
    def trace_files(self, trace_id: str, path: str = "") -> list[ArtifactRecord]:
        """Files of a trace, all or those at or below `path`."""
        inside = path.rstrip("/") + "/" if path else ""
        with self.look() as look:
            _existing(look, trace_id)
            query = sa.select(trace_files).where(trace_files.c.trace == trace_id)
            return [
                ArtifactRecord(row.path, row.digest, row.size)
                for row in look.all(query.order_by(trace_files.c.path))
                if not path or row.path == path or row.path.startswith(inside)
            ]


def _subject(trace_id: str) -> str:
    return f"trace {trace_id}"


def _columns(said: Assessment) -> dict[str, Any]:
    return {"id": said.id, "created": said.created, "updated": said.updated, "said": said.said}


def _existing(look: Reader, trace_id: str) -> Row:
    row = look.first(sa.select(traces).where(traces.c.id == trace_id))
    if row is None:
        raise NotFound(f"Trace with ID '{trace_id}' not found", hint="search for it in its experiment")
    return row


def _assessment(look: Reader, trace_id: str, assessment_id: str) -> Assessment:
    named = (assessments.c.trace == trace_id) & (assessments.c.id == assessment_id)
    row = look.first(sa.select(assessments).where(named))
    if row is None:
        raise NotFound(f"the trace {trace_id} has no assessment {assessment_id}")
    return Assessment(row.id, row.created, row.updated, row.said)


def _set_tags(tx: Transaction, trace_id: str, tags: dict[str, str]) -> None:
    for key, value in tags.items():
        if not key.strip():
            raise InvalidInput("a tag key is blank", hint="name it")
        checked_text(key, "the tag key", MAX_TAG_KEY)
        tx.put(
            trace_tags,
            {"trace": trace_id, "key": key, "value": checked_text(value, f"the tag {key}", MAX_TEXT)},
        )


def _records(look: Reader, rows: Sequence[Row]) -> list[Trace]:
    ids = [row.id for row in rows]
    tags = _tags(look, ids)
    said: dict[str, list[Assessment]] = defaultdict(list)
    for start in range(0, len(ids), _AT_ONCE):
        query = sa.select(assessments).where(assessments.c.trace.in_(ids[start : start + _AT_ONCE]))
        for row in look.all(query.order_by(assessments.c.created, assessments.c.id)):
            said[row.trace].append(Assessment(row.id, row.created, row.updated, row.said))
    return [
        Trace(
            row.id,
            row.experiment,
            row.time,
            row.state,
            row.user,
            row.duration,
            row.request_id,
            row.request,
            row.response,
            row.facts,
            tags.get(row.id, {}),
            said.get(row.id, []),
        )
        for row in rows
    ]


def _tags(look: Reader, ids: Sequence[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for start in range(0, len(ids), _AT_ONCE):
        query = sa.select(trace_tags).where(trace_tags.c.trace.in_(ids[start : start + _AT_ONCE]))
        for row in look.all(query.order_by(trace_tags.c.key)):
            found[row.trace][row.key] = row.value
    return found
