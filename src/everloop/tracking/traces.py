"""Traces: the operations on what programs did step by step."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.domain.runs import ACTIVE, ArtifactRecord, checked_artifact_path, checked_key, checked_text
from everloop.domain.times import require_zone
from everloop.domain.traces import Assessment, Trace, TracePage, checked_trace_id
from everloop.errors import Conflict, InvalidInput, NotFound
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.store.ledger import Reader, Transaction
from everloop.store.schema.traces import (
    assessments,
    trace_files,
    trace_links,
    trace_spans,
    trace_tags,
    traces,
)
from everloop.tracking import trace_searching, trace_steps, writing
from everloop.tracking.assessments import Assessments, existing_trace, keep

MAX_TAG_KEY = 250
MAX_TEXT = 65_535
_AT_ONCE = 5_000  # SQLite takes 32,766 parameters in one statement

Row = sa.Row[Any]


class Traces(Assessments):
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
                # Postgres reads no JSON with a zero character.
                "facts": {key.replace("\0", ""): text.replace("\0", "") for key, text in trace.facts.items()},
                **{key: checked_text(text, f"the {key}", MAX_TEXT) for key, text in texts.items()},
            }
            tx.put(traces, row)
            _set_tags(tx, trace.id, trace.tags)
            for each in trace.assessments:
                keep(tx, trace.id, each)
            facts = {
                "experiment": group.id,
                "state": trace.state,
                "run": trace.facts.get(trace_searching.RUN),
            }
            tx.event("trace.recorded", _subject(trace.id), facts)
            return _records(tx, [existing_trace(tx, trace.id)])[0]

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
            return _records(look, [existing_trace(look, trace_id)])[0]

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
        for key in tags:
            checked_key(key, "tag")
        with self.change() as tx:
            row = existing_trace(tx, trace_id)
            _set_tags(tx, trace_id, tags)
            for key in remove_tags:
                named = (trace_tags.c.trace == trace_id) & (trace_tags.c.key == key)
                if not tx.execute(sa.delete(trace_tags).where(named)).rowcount:
                    raise NotFound(f"the trace {trace_id} has no tag '{key}'")
            tx.event("trace.tagged", _subject(trace_id), {"tags": tags, "removed": remove_tags})
            return _records(tx, [row])[0]

    @operation(Permission.WRITE)
    def link_traces(self, trace_ids: list[str], run: str = "", prompts: list[str] = []) -> None:  # noqa: B006 (not changed)
        """Say that traces belong to a run, by its whole identifier, or used versions of prompts (``name/version``): a search by
        `run_id` or `prompt` finds them. Identifiers of traces that are not there are passed over."""
        targets = [(trace_searching.TO_RUN, run)] if run else []
        targets += [(trace_searching.TO_PROMPT, checked_text(each, "the prompt", 500)) for each in prompts]
        with self.change() as tx:
            if run:
                writing.existing_run(tx, run)
            here = [each.id for each in tx.all(sa.select(traces.c.id).where(traces.c.id.in_(trace_ids)))]
            rows = [
                {"trace": each, "kind": kind, "target": target} for each in here for kind, target in targets
            ]
            if rows and tx.insert_new(trace_links, rows):
                said = {"run": run, "prompts": prompts, "count": len(here), "first": here[:100]}
                tx.event("trace.linked", _subject(here[0]), {key: each for key, each in said.items() if each})

    @operation(Permission.WRITE)
    def delete_traces(self, experiment: str, trace_ids: list[str]) -> int:
        """Forget traces of an experiment, with what is in their files. Returns how many there were."""
        with self.change() as tx:
            number = writing.find_experiment(tx, experiment).id
            here = traces.c.id.in_(trace_ids) & (traces.c.experiment == number)
            gone = [row.id for row in tx.all(sa.select(traces.c.id).where(here))]
            for table in (trace_tags, trace_files, trace_spans, trace_links, assessments):
                tx.execute(sa.delete(table).where(table.c.trace.in_(gone)))
            tx.execute(sa.delete(traces).where(traces.c.id.in_(gone)))
            for each in gone:
                tx.release(_subject(each))
            if gone:
                tx.event("trace.deleted", f"experiment {number}", {"count": len(gone), "first": gone[:100]})
            return len(gone)

    @operation(Permission.WRITE)
    def add_trace_files(self, trace_id: str, files: list[ArtifactRecord]) -> None:
        """Files of a trace whose bytes are in the object store already. A path that is there is replaced. A search finds what is
        in the file of its steps (`trace_steps`)."""
        steps = self._steps(files)
        with self.change() as tx:
            existing_trace(tx, trace_id)
            absent = self.objects.missing({each.digest for each in files})
            if absent:
                raise NotFound(
                    f"object {min(absent)} is not in the store", hint="store the bytes before naming them"
                )
            for each in files:
                row = {"path": checked_artifact_path(each.path), "digest": each.digest, "size": each.size}
                tx.put(trace_files, {"trace": trace_id, **row})
                tx.hold(each.digest, each.size, _subject(trace_id))
            if steps is not None:
                tx.execute(sa.delete(trace_spans).where(trace_spans.c.trace == trace_id))
                if steps:
                    tx.execute(sa.insert(trace_spans), [{"trace": trace_id, **each} for each in steps])
            tx.event("trace.files", _subject(trace_id), {"paths": [each.path for each in files[:100]]})

    def _steps(self, files: list[ArtifactRecord]) -> list[dict[str, object]] | None:
        """Rows of the steps in files; None where none of them is the file of steps."""
        found = [each for each in files if each.path == trace_steps.FILE]
        if not found:
            return None
        if found[-1].size > trace_steps.FILE_LIMIT or self.objects.missing({found[-1].digest}):
            return []
        steps = trace_steps.steps_in(self.objects.read(found[-1].digest))
        return [{"place": place, **msgspec.structs.asdict(each)} for place, each in enumerate(steps)]

    @operation(Permission.READ)
    def trace_files(self, trace_id: str, path: str = "") -> list[ArtifactRecord]:
        """Files of a trace, all or those at or below `path`."""
        inside = path.rstrip("/") + "/" if path else ""
        with self.look() as look:
            existing_trace(look, trace_id)
            query = sa.select(trace_files).where(trace_files.c.trace == trace_id)
            return [
                ArtifactRecord(row.path, row.digest, row.size)
                for row in look.all(query.order_by(trace_files.c.path))
                if not path or row.path == path or row.path.startswith(inside)
            ]


def _subject(trace_id: str) -> str:
    return f"trace {trace_id}"


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
