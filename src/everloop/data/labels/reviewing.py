"""Reviews: a second person accepts an answer, sends it back, or writes the right one."""

import sqlalchemy as sa

from everloop.data.labels.ledger import (
    REJECTED,
    add_entry,
    entry_named,
    entry_row,
    item_numbered,
    item_of,
    look_again,
    mark,
    open_project,
    project_named,
    recount,
)
from everloop.data.labels.projects import Projects
from everloop.domain.labels import Answers, Entry, EntryKind, ItemState, LabelItem
from everloop.errors import Conflict, InvalidInput, PermissionDenied
from everloop.governance.identity import Permission, current_actor
from everloop.governance.operations import operation
from everloop.store.schema.labels import label_items, label_marks


class Reviewing(Projects):
    """The part of labelling that checks answers."""

    name = "labels"

    @operation(Permission.READ)
    def next_review(self, project: str, after: int = -1, differs: bool | None = None) -> LabelItem | None:
        """The next item with enough answers that somebody else than whoever asks gave, beyond place `after` of the queue; with
        `differs`, one whose annotators differ (or do not). None when there is none."""
        with self.look() as look:
            found = project_named(look, project)
            others = sa.select(label_marks.c.entry).where(
                label_marks.c.project == found.name,
                label_marks.c.item == label_items.c.number,
                label_marks.c.user != current_actor().user,
                label_marks.c.state == "labelled",
            )
            query = sa.select(label_items).where(
                label_items.c.project == found.name,
                label_items.c.state == str(ItemState.DONE),
                label_items.c.position > after,
                others.exists(),
            )
            if differs is not None:
                query = query.where(label_items.c.differs.is_(differs))
            row = look.first(query.order_by(label_items.c.position).limit(1))
            return None if row is None else item_of(row)

    @operation(Permission.WRITE)
    def accept(self, project: str, entry: str, comment: str = "") -> Entry:
        """The answer is right: it stands, whatever others said."""
        return self._review(project, entry, EntryKind.ACCEPT, comment)

    @operation(Permission.WRITE)
    def reject(self, project: str, entry: str, comment: str) -> Entry:
        """Send an answer back with the reason: it counts no more, and its annotator is given the item again."""
        if not comment.strip():
            raise InvalidInput("an answer is sent back with a reason", hint="say what is wrong with it")
        return self._review(project, entry, EntryKind.REJECT, comment)

    @operation(Permission.WRITE)
    def correct(self, project: str, entry: str, answers: Answers, comment: str = "") -> Entry:
        """Write the right answer: it stands. The annotator's own stays what they said, and counts in agreement."""
        return self._review(project, entry, EntryKind.CORRECTION, comment, answers)

    def _review(
        self, project: str, entry: str, kind: EntryKind, comment: str, answers: Answers | None = None
    ) -> Entry:
        with self.change() as tx:
            found = open_project(tx, project)
            about = entry_named(tx, found.name, entry)
            item = item_numbered(tx, found.name, about.item)
            if about.user == tx.actor:
                raise PermissionDenied("nobody reviews their own answer", hint="ask somebody else")
            if not about.counts:
                raise Conflict(
                    f"{about.user} says something else of {about.key} now", hint="review what counts today"
                )
            given = {} if answers is None else self.checked(tx, found, about.item, answers)
            said = add_entry(
                tx,
                entry_row(
                    tx,
                    self.context.ids,
                    found,
                    about.item,
                    kind,
                    answers=given,
                    replaces=about.id,
                    comment=comment.strip(),
                ),
            )
            if kind is EntryKind.REJECT:
                mark(tx, found.name, about.item, about.user, about.id, REJECTED)
                recount(tx, found, item)
                look_again(tx, found.name, item.position)
            else:
                recount(tx, found, item, final=said if kind is EntryKind.CORRECTION else about.id)
            words = {
                EntryKind.ACCEPT: "labels.accepted",
                EntryKind.REJECT: "labels.rejected",
                EntryKind.CORRECTION: "labels.corrected",
            }
            facts = {"item": about.key, "entry": about.id, "annotator": about.user, "comment": comment[:200]}
            tx.event(words[kind], found.reference, facts)
            return entry_named(tx, found.name, said)
