"""The rows of labelling in the ledger: reading them as values, and the one way an entry gets into the history."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.domain.ids import Ids
from everloop.domain.labels import (
    Answers,
    Asks,
    Entry,
    EntryKind,
    ItemState,
    LabelItem,
    LabelProject,
    Question,
    Suggestion,
)
from everloop.domain.names import shown
from everloop.errors import Conflict, NotFound, nearest
from everloop.stats.regions import iou, matched, overlap
from everloop.store.ledger import Reader, Transaction
from everloop.store.schema.labels import (
    label_entries,
    label_items,
    label_leases,
    label_marks,
    label_projects,
    label_suggestions,
)

LABELLED, SKIPPED, REJECTED = "labelled", "skipped", "rejected"
"""What a mark says."""

MAX_COMMENT = 2000
LONGEST = 86_400.0
"""Seconds: nobody looks at one item for more than a day."""


def project_named(look: Reader, name: str, *, locked: bool = False) -> LabelProject:
    """The project. `locked`: until the transaction ends, nobody else is given an item of it or answers one."""
    query = sa.select(label_projects).where(label_projects.c.name == name.removeprefix("labels:"))
    row = look.first(query.with_for_update() if locked else query)
    if row is None:
        known = [each.name for each in look.all(sa.select(label_projects.c.name))]
        raise NotFound(
            f"no labelling project is called {shown(name)}",
            hint=nearest(name, known, see="everloop label list"),
        )
    return project_of(row)


def open_project(tx: Transaction, name: str) -> LabelProject:
    """The project, kept for this transaction, to write down what somebody says. Raises Conflict when it is closed."""
    found = project_named(tx, name, locked=True)
    if found.closed is not None:
        raise Conflict(
            f"{found.reference} is closed: nothing is said of its items any more",
            hint=f"everloop label reopen {found.typed}",
        )
    return found


def project_of(row: sa.Row[Any]) -> LabelProject:
    fields = {
        str(name): value for name, value in row._mapping.items()
    }  # SQLAlchemy's names are more than strings
    return msgspec.convert(fields, LabelProject)


def item_numbered(look: Reader, project: str, number: int) -> sa.Row[Any]:
    """The row of an item."""
    chosen = (label_items.c.project == project) & (label_items.c.number == number)
    row = look.first(sa.select(label_items).where(chosen))
    if row is None:
        raise NotFound(
            f"{project} has no item {number}", hint=f"see: everloop label queue {shlex.quote(project)}"
        )
    return row


def item_of(row: sa.Row[Any]) -> LabelItem:
    return LabelItem(
        number=row.number,
        key=row.key,
        state=ItemState(row.state),
        labelled=row.labelled,
        skipped=row.skipped,
        differs=row.differs,
        final=row.final,
    )


ENTRIES = (
    sa.select(label_entries, label_items.c.key, label_marks.c.state.label("mark"))
    .select_from(
        label_entries.join(
            label_items,
            (label_items.c.project == label_entries.c.project)
            & (label_items.c.number == label_entries.c.item),
        ).outerjoin(
            label_marks,
            (label_marks.c.project == label_entries.c.project)
            & (label_marks.c.item == label_entries.c.item)
            & (label_marks.c.user == label_entries.c.user)
            & (label_marks.c.entry == label_entries.c.id),
        )
    )
    .order_by(label_entries.c.id)
)
"""Entries with the key of their item, in the order they were made; `mark` is that of one which stands today."""


def entry_of(row: sa.Row[Any]) -> Entry:
    fields = {name: value for name, value in row._mapping.items() if name not in ("project", "mark")}
    return Entry(**fields | {"kind": EntryKind(row.kind), "counts": row.mark == LABELLED})


def entry_named(look: Reader, project: str, entry: str) -> Entry:
    row = look.first(ENTRIES.where(label_entries.c.project == project, label_entries.c.id == entry))
    if row is None:
        raise NotFound(f"{project} has no entry {shown(entry)}", hint="see: everloop label show PROJECT ITEM")
    return entry_of(row)


def suggestions_for(look: Reader, project: str, item: int) -> list[Suggestion]:
    """What models say of one item, by model."""
    query = sa.select(label_suggestions).where(
        label_suggestions.c.project == project, label_suggestions.c.item == item
    )
    return [
        Suggestion(
            item=row.item,
            model=row.model,
            answers=row.answers,
            score=row.score,
            probabilities=row.probabilities,
        )
        for row in look.all(query.order_by(label_suggestions.c.model))
    ]


def entry_row(
    tx: Transaction,
    ids: Ids,
    project: LabelProject,
    item: int,
    kind: EntryKind,
    *,
    user: str = "",
    answers: Answers | None = None,
    replaces: str | None = None,
    comment: str = "",
    seconds: float | None = None,
    origin: str = "api",
    created: datetime | None = None,
) -> dict[str, Any]:
    """An entry of the history as its row."""
    return {
        "id": ids(),
        "project": project.name,
        "item": item,
        "user": user or tx.actor,
        "kind": str(kind),
        "answers": answers or {},
        "replaces": replaces,
        "comment": comment[:MAX_COMMENT],
        "seconds": None
        if seconds is None or not 0 <= seconds < float("inf")
        else float(min(seconds, LONGEST)),
        "guidelines": project.guidelines_version,
        "source": project.source,
        "origin": origin[:50],
        "created": created or tx.now,
    }


def add_entry(tx: Transaction, row: dict[str, Any]) -> str:
    """Add an entry to the history; returns its identifier. What counts today is for the caller to mark."""
    tx.execute(sa.insert(label_entries), row)
    return str(row["id"])


def mark_of(look: Reader, project: str, item: int, user: str) -> sa.Row[Any] | None:
    """What a user says of an item today, if anything."""
    return look.first(
        sa.select(label_marks).where(
            label_marks.c.project == project, label_marks.c.item == item, label_marks.c.user == user
        )
    )


def mark(tx: Transaction, project: str, item: int, user: str, entry: str, state: str) -> None:
    """From now on this entry is what the user says of the item."""
    tx.put(label_marks, {"project": project, "item": item, "user": user, "entry": entry, "state": state})


def unmark(tx: Transaction, project: str, item: int, user: str) -> None:
    """The user says nothing of the item any more."""
    tx.execute(
        sa.delete(label_marks).where(
            label_marks.c.project == project, label_marks.c.item == item, label_marks.c.user == user
        )
    )


def counting(look: Reader, project: str, item: int) -> list[sa.Row[Any]]:
    """The marks on an item with the answers of their entries."""
    query = (
        sa.select(label_marks.c.user, label_marks.c.state, label_entries.c.answers)
        .join(label_entries, label_entries.c.id == label_marks.c.entry)
        .where(label_marks.c.project == project, label_marks.c.item == item)
    )
    return list(look.all(query.order_by(label_marks.c.user)))


def recount(tx: Transaction, project: LabelProject, item: sa.Row[Any], final: str | None = None) -> LabelItem:
    """Bring the item's row in line with its marks; with `final` it is decided. Returns what it says now."""
    said = [(row.state, row.answers) for row in counting(tx, project.name, item.number)]
    row = recounted(project, item, said, final)
    tx.put(label_items, row)
    return LabelItem(
        **{name: row[name] for name in ("number", "key", "labelled", "skipped", "differs", "final")},
        state=ItemState(row["state"]),
    )


def recounted(
    project: LabelProject, item: sa.Row[Any], said: Sequence[tuple[str, Answers]], final: str | None = None
) -> dict[str, Any]:
    """The row of an item of which this is said: the state and the answers of each mark."""
    answers = [each for state, each in said if state == LABELLED]
    state = ItemState.DONE if len(answers) >= project.overlap else ItemState.OPEN
    return {str(name): value for name, value in item._mapping.items()} | {
        "state": str(ItemState.REVIEWED if final else state),
        "labelled": len(answers),
        "skipped": sum(state == SKIPPED for state, _ in said),
        "differs": differ(answers, project.questions),
        "final": final,
    }


def look_again(tx: Transaction, project: str, position: int) -> None:
    """An item that annotators have passed is wanted again: whoever is further down the queue starts there."""
    passed = (label_leases.c.project == project) & (label_leases.c.position >= position)
    tx.execute(sa.update(label_leases).where(passed).values(position=position - 1))


def differ(answers: Sequence[Answers], questions: Iterable[Question]) -> bool:
    """Whether annotators said different things. Boxes and spans are the same when each has its fellow, overlapping by half."""
    if len(answers) < 2:
        return False
    for question in questions:
        first, *rest = [each.get(question.name) for each in answers]
        if question.kind in (Asks.BOXES, Asks.SPANS):
            alike = likeness_of(question.kind)
            for other in rest:
                one, two = first or [], other or []
                if not len(one) == len(two) == len(matched(one, two, alike)):
                    return True
        elif any(other != first for other in rest):
            return True
    return False


def likeness_of(kind: Asks) -> Any:
    """How alike two regions of a kind are; 0 where their labels differ."""

    def boxes(first: dict[str, Any], second: dict[str, Any]) -> float:
        if first["label"] != second["label"]:
            return 0.0
        sides = ("x", "y", "width", "height")
        return iou([first[each] for each in sides], [second[each] for each in sides])

    def spans(first: dict[str, Any], second: dict[str, Any]) -> float:
        if first["label"] != second["label"]:
            return 0.0
        return overlap((first["start"], first["end"]), (second["start"], second["end"]))

    return boxes if kind is Asks.BOXES else spans
