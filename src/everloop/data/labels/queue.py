"""The queue: which item an annotator is given next, what they say of it, and taking that back."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.data.labels.ledger import (
    ENTRIES,
    LABELLED,
    REJECTED,
    SKIPPED,
    add_entry,
    entry_named,
    entry_of,
    entry_row,
    item_numbered,
    item_of,
    look_again,
    mark,
    mark_of,
    open_project,
    project_named,
    recount,
    recounted,
    suggestions_for,
    unmark,
)
from everloop.data.labels.projects import Projects
from everloop.domain.ids import Ids
from everloop.domain.labels import (
    Answers,
    Assignment,
    Entry,
    EntryKind,
    ItemState,
    LabelProject,
)
from everloop.errors import Conflict, InvalidInput, NotFound
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.store.ledger import Transaction
from everloop.store.schema.labels import label_entries, label_items, label_leases, label_marks

AT_ONCE = 500
"""Items that one question to the ledger names."""


class NewEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody said elsewhere: an answer, or a skip. created: when; None is now."""

    item: int
    user: str
    answers: Answers = {}
    skipped: bool = False
    comment: str = ""
    seconds: float | None = None
    created: datetime | None = None


class Recorded(msgspec.Struct, frozen=True):
    """How many entries were added, and how many said what was said already."""

    added: int
    known: int


class Queue(Projects):
    """The part of labelling that hands out items and takes answers."""

    name = "labels"

    @operation(Permission.WRITE)
    def next_item(self, project: str) -> Assignment:
        """The next item for whoever asks, kept for them for a while. Asked again, they are given the same one until it is
        answered or skipped. Nobody is given an item they have answered or skipped, nor one with enough annotators, counting
        those who have it before them just now. A closed project has no next item."""
        with self.change() as tx:
            found = project_named(tx, project, locked=True)
            if found.closed is not None:
                return Assignment(item=None)
            lease = tx.first(
                sa.select(label_leases).where(
                    label_leases.c.project == found.name, label_leases.c.user == tx.actor
                )
            )
            after = lease.position if lease is not None else -1
            row = self._kept(tx, found, lease) if lease is not None and lease.until > tx.now else None
            row = row or self._first(tx, found, after) or (self._first(tx, found, -1) if after >= 0 else None)
            if row is None:
                return Assignment(item=None, elsewhere=self._elsewhere(tx, found.name))
            until = tx.now + timedelta(seconds=found.lease_seconds)
            # No event: that somebody looked at an item for a while is not worth remembering.
            _keep(tx, found.name, tx.actor, row.number, until, row.position)
            return self._assigned(tx, found, row, until)

    @operation(Permission.WRITE)
    def take(self, project: str, item: int) -> Assignment:
        """An item of one's own choice, kept for whoever asks: to look at it, or to answer it anew."""
        with self.change() as tx:
            found = project_named(tx, project, locked=True)
            row = item_numbered(tx, found.name, item)
            until = tx.now + timedelta(seconds=found.lease_seconds)
            lease = tx.first(
                sa.select(label_leases).where(
                    label_leases.c.project == found.name, label_leases.c.user == tx.actor
                )
            )
            _keep(tx, found.name, tx.actor, item, until, lease.position if lease is not None else -1)
            return self._assigned(tx, found, row, until)

    @operation(Permission.WRITE)
    def annotate(
        self, project: str, item: int, answers: Answers, seconds: float | None = None, origin: str = "api"
    ) -> Entry:
        """Say what an item is. A second answer by the same annotator takes the place of their first; both are kept."""
        with self.change() as tx:
            found, row = self._answerable(tx, project, item)
            given = self.checked(tx, found, item, answers)
            entry = self._say(tx, found, row, EntryKind.LABEL, answers=given, seconds=seconds, origin=origin)
            tx.event("labels.annotated", found.reference, {"item": row.key, "entry": entry})
            return entry_named(tx, found.name, entry)

    @operation(Permission.WRITE)
    def skip(self, project: str, item: int, comment: str = "", origin: str = "api") -> Entry:
        """Leave an item to others: it is not offered to this annotator again."""
        because = comment.strip()
        with self.change() as tx:
            found, row = self._answerable(tx, project, item)
            entry = self._say(tx, found, row, EntryKind.SKIP, comment=because, origin=origin)
            tx.event(
                "labels.skipped", found.reference, {"item": row.key, "entry": entry, "comment": because[:200]}
            )
            return entry_named(tx, found.name, entry)

    @operation(Permission.WRITE)
    def undo(self, project: str, origin: str = "api") -> Entry:
        """Take back one's last answer or skip: what was said before counts again. The item is offered next. Once more goes one
        further back. Raises Conflict where a reviewer has decided since."""
        with self.change() as tx:
            found = open_project(tx, project)
            last = self._last(tx, found.name)
            if last is None:
                raise NotFound(
                    "there is nothing of yours to take back", hint="only your own entries can be undone"
                )
            item = item_numbered(tx, found.name, last.item)
            if item.state == ItemState.REVIEWED:
                raise Conflict(f"{item.key} was reviewed since", hint="ask the reviewer")
            entry = add_entry(
                tx,
                entry_row(
                    tx, self.context.ids, found, last.item, EntryKind.UNDO, replaces=last.id, origin=origin
                ),
            )
            before = self._standing(tx, found.name, last.replaces)
            if before is None:
                unmark(tx, found.name, last.item, tx.actor)
            else:
                state = LABELLED if before.kind == EntryKind.LABEL else SKIPPED
                mark(tx, found.name, last.item, tx.actor, before.id, state)
            recount(tx, found, item)
            look_again(tx, found.name, item.position)
            until = tx.now + timedelta(seconds=found.lease_seconds)
            _keep(tx, found.name, tx.actor, last.item, until, item.position - 1)
            tx.event("labels.undone", found.reference, {"item": item.key, "entry": entry, "undone": last.id})
            return entry_named(tx, found.name, entry)

    @operation(Permission.WRITE)
    def record_entries(self, project: str, entries: list[NewEntry], origin: str) -> Recorded:
        """Add what people said elsewhere, in their names; the event says who brought it. What an annotator says already is not
        added twice; items that were reviewed stay as they are. All of it, or nothing where one answer does not fit."""
        for each in entries:
            if not each.user.strip() or len(each.user) > 250:
                raise InvalidInput("an annotator has a name of 1 to 250 characters")
        with self.change() as tx:
            found = open_project(tx, project)
            bulk = Bulk(tx, found, sorted({each.item for each in entries}))
            added = sum(bulk.take(self, each, self.context.ids, origin) for each in entries)
            if added:
                bulk.write()
                users = sorted({each.user for each in entries})
                tx.event(
                    "labels.imported",
                    found.reference,
                    {"origin": origin, "added": added, "users": users[:100]},
                )
            return Recorded(added, len(entries) - added)

    def _answerable(self, tx: Transaction, project: str, item: int) -> tuple[LabelProject, sa.Row[Any]]:
        found = open_project(tx, project)
        row = item_numbered(tx, found.name, item)
        if row.state == ItemState.REVIEWED:
            raise Conflict(f"{row.key} was reviewed: its answer stands", hint="a review can be made anew")
        return found, row

    def _say(
        self,
        tx: Transaction,
        project: LabelProject,
        item: sa.Row[Any],
        kind: EntryKind,
        *,
        answers: Answers | None = None,
        comment: str = "",
        seconds: float | None = None,
        origin: str,
    ) -> str:
        """Whoever asks says this of the item from now on, whatever they said before."""
        before = mark_of(tx, project.name, item.number, tx.actor)
        row = entry_row(
            tx,
            self.context.ids,
            project,
            item.number,
            kind,
            answers=answers,
            replaces=None if before is None else before.entry,
            comment=comment,
            seconds=seconds,
            origin=origin,
        )
        entry = add_entry(tx, row)
        mark(tx, project.name, item.number, tx.actor, entry, LABELLED if kind is EntryKind.LABEL else SKIPPED)
        recount(tx, project, item)
        _let_go(tx, project.name, item.number)
        return entry

    def _kept(self, tx: Transaction, project: LabelProject, lease: sa.Row[Any]) -> sa.Row[Any] | None:
        """The item that whoever asks has before them, while it still wants their answer."""
        row = item_numbered(tx, project.name, lease.item)
        said = mark_of(tx, project.name, row.number, tx.actor)
        wanted = row.state == ItemState.OPEN and (said is None or said.state == REJECTED)
        return row if wanted else None

    def _first(self, tx: Transaction, project: LabelProject, after: int) -> sa.Row[Any] | None:
        """The first open item beyond a place of the queue: found by index, however many were answered before it."""
        others = (
            sa.select(sa.func.count())
            .select_from(label_leases)
            .where(
                label_leases.c.project == project.name,
                label_leases.c.item == label_items.c.number,
                label_leases.c.user != tx.actor,
                label_leases.c.until > tx.now,
            )
            .scalar_subquery()
        )
        own = (
            sa.select(label_marks.c.entry)
            .where(
                label_marks.c.project == project.name,
                label_marks.c.item == label_items.c.number,
                label_marks.c.user == tx.actor,
                label_marks.c.state != REJECTED,
            )
            .exists()
        )
        query = (
            sa.select(label_items)
            .where(
                label_items.c.project == project.name,
                label_items.c.state == str(ItemState.OPEN),
                label_items.c.position > after,
                ~own,
                label_items.c.labelled + others < project.overlap,
            )
            .order_by(label_items.c.position)
            .limit(1)
        )
        return tx.first(query)

    def _elsewhere(self, tx: Transaction, project: str) -> int:
        return int(
            tx.scalar(
                sa.select(sa.func.count())
                .select_from(label_leases)
                .where(
                    label_leases.c.project == project,
                    label_leases.c.user != tx.actor,
                    label_leases.c.until > tx.now,
                )
            )
        )

    def _assigned(
        self, tx: Transaction, project: LabelProject, row: sa.Row[Any], until: datetime
    ) -> Assignment:
        said = mark_of(tx, project.name, row.number, tx.actor)
        return Assignment(
            item=item_of(row),
            content=self._content(tx, project.name, row.number),
            suggestions=suggestions_for(tx, project.name, row.number),
            rejected=self._rejection(tx, said.entry) if said is not None and said.state == REJECTED else "",
            until=until,
        )

    def _rejection(self, tx: Transaction, entry: str) -> str:
        """Why a reviewer sent an answer back."""
        row = tx.first(
            sa.select(label_entries.c.comment, label_entries.c.user)
            .where(label_entries.c.replaces == entry, label_entries.c.kind == str(EntryKind.REJECT))
            .order_by(label_entries.c.id.desc())
        )
        return "" if row is None else f"{row.user}: {row.comment or 'sent back without a word'}"

    def _last(self, tx: Transaction, project: str) -> Entry | None:
        """The newest answer or skip of whoever asks that was not taken back."""
        later = label_entries.alias()
        undone = sa.select(later.c.id).where(
            later.c.replaces == label_entries.c.id, later.c.kind == str(EntryKind.UNDO)
        )
        row = tx.first(
            ENTRIES.where(
                label_entries.c.project == project,
                label_entries.c.user == tx.actor,
                label_entries.c.kind.in_([str(EntryKind.LABEL), str(EntryKind.SKIP)]),
                ~undone.exists(),
            )
            .order_by(None)
            .order_by(label_entries.c.id.desc())
            .limit(1)
        )
        return None if row is None else entry_of(row)

    def _standing(self, tx: Transaction, project: str, entry: str | None) -> Entry | None:
        """An entry, unless a reviewer sent it back."""
        if entry is None:
            return None
        sent_back = tx.first(
            sa.select(label_entries.c.id).where(
                label_entries.c.replaces == entry, label_entries.c.kind == str(EntryKind.REJECT)
            )
        )
        return None if sent_back is not None else entry_named(tx, project, entry)


class Bulk:
    """Many entries at once: what their items stand at is read once, and written once."""

    def __init__(self, tx: Transaction, project: LabelProject, items: list[int]) -> None:
        self._tx, self._project = tx, project
        self._items: dict[int, sa.Row[Any]] = {}
        self._said: dict[int, dict[str, tuple[str, str, Answers]]] = {item: {} for item in items}
        self._entries: list[dict[str, Any]] = []
        self._marks: dict[tuple[int, str], dict[str, Any]] = {}
        for first in range(0, len(items), AT_ONCE):
            part = items[first : first + AT_ONCE]
            chosen = (label_items.c.project == project.name) & label_items.c.number.in_(part)
            self._items |= {row.number: row for row in tx.all(sa.select(label_items).where(chosen))}
            marks = (
                sa.select(label_marks.c.item, label_marks.c.user, label_marks.c.state, label_marks.c.entry)
                .add_columns(label_entries.c.answers)
                .join(label_entries, label_entries.c.id == label_marks.c.entry)
                .where(label_marks.c.project == project.name, label_marks.c.item.in_(part))
            )
            for row in tx.all(marks):
                self._said[row.item][row.user] = (row.state, row.entry, row.answers)
        for item in items:
            if item not in self._items:
                item_numbered(tx, project.name, item)  # raises, with its hint

    def take(self, room: Projects, new: NewEntry, ids: Ids, origin: str) -> bool:
        """Add an entry, unless its annotator says the same already or a reviewer has decided."""
        answers = {} if new.skipped else room.checked(self._tx, self._project, new.item, new.answers)
        state = SKIPPED if new.skipped else LABELLED
        said = self._said[new.item]
        before = said.get(new.user)
        same = before is not None and before[0] == state and before[2] == answers
        if same or self._items[new.item].state == ItemState.REVIEWED:
            return False
        row = entry_row(
            self._tx,
            ids,
            self._project,
            new.item,
            EntryKind.SKIP if new.skipped else EntryKind.LABEL,
            user=new.user,
            answers=answers,
            replaces=None if before is None else before[1],
            comment=new.comment,
            seconds=new.seconds,
            origin=origin,
            created=new.created,
        )
        self._entries.append(row)
        said[new.user] = (state, row["id"], answers)
        self._marks[new.item, new.user] = {
            "project": self._project.name,
            "item": new.item,
            "user": new.user,
            "entry": row["id"],
            "state": state,
        }
        return True

    def write(self) -> None:
        self._tx.execute(sa.insert(label_entries), self._entries)
        self._tx.put(label_marks, list(self._marks.values()))
        touched = {item for item, _ in self._marks}
        rows = [
            recounted(
                self._project, self._items[item], [(each[0], each[2]) for each in self._said[item].values()]
            )
            for item in sorted(touched)
        ]
        self._tx.put(label_items, rows)


def _keep(tx: Transaction, project: str, user: str, item: int, until: datetime, position: int) -> None:
    row = {"project": project, "user": user, "item": item, "until": until, "position": position}
    tx.put(label_leases, row)


def _let_go(tx: Transaction, project: str, item: int) -> None:
    """The item is no longer before whoever answered it; their place in the queue stays."""
    own = (
        (label_leases.c.project == project)
        & (label_leases.c.user == tx.actor)
        & (label_leases.c.item == item)
    )
    tx.execute(sa.update(label_leases).where(own).values(until=tx.now))
