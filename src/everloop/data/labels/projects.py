"""Projects: what is asked, about which version's items, by which guidelines, and how far it is."""

import statistics
from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.data.labels.ledger import (
    ENTRIES,
    LABELLED,
    REJECTED,
    SKIPPED,
    entry_of,
    item_numbered,
    item_of,
    project_named,
    project_of,
)
from everloop.domain.labels import (
    AnnotatorCount,
    Answers,
    Asks,
    Entry,
    ItemState,
    LabelItem,
    LabelProject,
    NewItem,
    Order,
    Progress,
    Question,
    Shown,
    check_spans,
    checked_answers,
    checked_questions,
    one_of,
)
from everloop.domain.names import checked_name, shown
from everloop.domain.references import Kind, Reference
from everloop.errors import Conflict, Corrupted, InvalidInput, NotFound, nearest
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.ledger import Reader
from everloop.store.schema.base import objects_held
from everloop.store.schema.labels import (
    label_contents,
    label_entries,
    label_items,
    label_marks,
    label_projects,
)

MOST_OVERLAP = 100
MAX_GUIDELINES = 100_000
LONGEST_LEASE = 7 * 86_400

_ITEMS = msgspec.json.Decoder(list[NewItem])


class NewProject(msgspec.Struct, frozen=True, kw_only=True):
    """A project to be recorded, once its items' contents are stored: `pages` are objects, each a list of items as JSON."""

    name: str
    source: str
    key: str
    shown: list[Shown]
    questions: list[Question]
    pages: list[str]
    overlap: int = 1
    lease_seconds: int = 600
    guidelines: str = ""


class Projects(Room):
    """The part of labelling that keeps projects and says how far they are."""

    name = "labels"

    @operation(Permission.READ)
    def projects(self) -> list[LabelProject]:
        """All labelling projects by name."""
        with self.look() as look:
            return [
                project_of(row) for row in look.all(sa.select(label_projects).order_by(label_projects.c.name))
            ]

    @operation(Permission.READ)
    def project(self, project: str) -> LabelProject:
        """One project."""
        with self.look() as look:
            return project_named(look, project)

    @operation(Permission.WRITE)
    def record_project(self, new: NewProject) -> LabelProject:
        """Record a project whose items' contents are in the object store."""
        checked_name(new.name, "project name")
        questions = checked_questions(new.questions)
        if not 1 <= new.overlap <= MOST_OVERLAP:
            raise InvalidInput(f"an item needs 1 to {MOST_OVERLAP} annotators, not {new.overlap}")
        if not 1 <= new.lease_seconds <= LONGEST_LEASE:
            raise InvalidInput("an item is kept for an annotator for a second at least, and a week at most")
        pages = [self._items(digest) for digest in new.pages]
        keys = [item.key for page in pages for item in page]
        _check_keys(keys, new.key)
        with self.change() as tx:
            if (
                tx.first(sa.select(label_projects.c.name).where(label_projects.c.name == new.name))
                is not None
            ):
                raise Conflict(f"there is a project '{new.name}' already", hint="choose another name")
            row = {
                "name": new.name,
                "source": new.source,
                "key": new.key,
                "shown": new.shown,
                "questions": questions,
                "overlap": new.overlap,
                "lease_seconds": new.lease_seconds,
                "order": str(Order.GIVEN),
                "guidelines": _guidelines(new.guidelines),
                "guidelines_version": 1,
                "items": len(keys),
                "created": tx.now,
                "user": tx.actor,
            }
            tx.execute(sa.insert(label_projects), row)
            first, contents = 0, []
            for digest, page in zip(new.pages, pages, strict=True):
                contents.append({"project": new.name, "first": first, "digest": digest})
                first += len(page)
            tx.execute(sa.insert(label_contents), contents)
            tx.execute(sa.insert(label_items), [_item_row(new.name, at, key) for at, key in enumerate(keys)])
            reference = str(Reference(Kind.LABELS, new.name))
            sizes = {digest: self.objects.stat(digest).size for digest in new.pages}
            for page in pages:
                sizes |= {
                    picture["digest"]: picture["size"] for item in page for picture in pictures(item.content)
                }
            tx.insert_new(
                objects_held,
                [{"digest": digest, "holder": reference, "size": size} for digest, size in sizes.items()],
            )
            tx.edge(new.source, reference, "labelled")
            facts = {"source": new.source, "items": len(keys), "overlap": new.overlap}
            tx.event("labels.created", reference, facts | {"questions": [each.name for each in questions]})
            return project_named(tx, new.name)

    @operation(Permission.WRITE)
    def write_guidelines(self, project: str, text: str) -> LabelProject:
        """Give a project other guidelines, in Markdown. Entries say by which ones they were made; the event keeps the text."""
        with self.change() as tx:
            found = project_named(tx, project, locked=True)
            if _guidelines(text) == found.guidelines:
                return found
            number = found.guidelines_version + 1
            changed = sa.update(label_projects).where(label_projects.c.name == found.name)
            tx.execute(changed.values(guidelines=_guidelines(text), guidelines_version=number))
            tx.event(
                "labels.guidelines_written", found.reference, {"version": number, "text": _guidelines(text)}
            )
            return project_named(tx, found.name)

    @operation(Permission.READ)
    def progress(self, project: str) -> Progress:
        """How far a project is, and who did what."""
        with self.look() as look:
            found = project_named(look, project)
            by_state = look.all(
                sa.select(
                    label_items.c.state,
                    sa.func.count().label("n"),
                    sa.func.sum(label_items.c.labelled).label("a"),
                )
                .where(label_items.c.project == found.name)
                .group_by(label_items.c.state)
            )
            differs = look.scalar(
                sa.select(sa.func.count()).where(
                    label_items.c.project == found.name, label_items.c.differs.is_(True)
                )
            )
            marks = look.all(
                sa.select(label_marks.c.user, label_marks.c.state, sa.func.count().label("n"))
                .where(label_marks.c.project == found.name)
                .group_by(label_marks.c.user, label_marks.c.state)
            )
            users = sorted({row.user for row in marks})
            seconds = {user: self._seconds(look, found.name, user) for user in users}
        counts = {(row.user, row.state): row.n for row in marks}
        states = {row.state: row.n for row in by_state}
        return Progress(
            items=found.items,
            open=states.get("open", 0),
            done=states.get("done", 0),
            reviewed=states.get("reviewed", 0),
            answers=sum(int(row.a or 0) for row in by_state),
            differs=int(differs or 0),
            annotators=[
                AnnotatorCount(
                    user=user,
                    labelled=counts.get((user, LABELLED), 0),
                    skipped=counts.get((user, SKIPPED), 0),
                    rejected=counts.get((user, REJECTED), 0),
                    seconds=seconds[user],
                )
                for user in users
            ],
        )

    @operation(Permission.READ)
    def count(self, project: str, state: str = "open") -> int:
        """How many items are in a state: quicker than all of `progress`, for who asks after every answer."""
        wanted = str(one_of(ItemState, state, "state"))
        with self.look() as look:
            found = project_named(look, project)
            chosen = (label_items.c.project == found.name) & (label_items.c.state == wanted)
            return int(look.scalar(sa.select(sa.func.count()).where(chosen)) or 0)

    @operation(Permission.READ)
    def item(self, project: str, key: str) -> LabelItem:
        """An item by its key, or by ``#`` and its number."""
        with self.look() as look:
            found = project_named(look, project)
            if key.startswith("#") and key[1:].isdecimal() and len(key) < 12:
                return item_of(item_numbered(look, found.name, int(key[1:])))
            chosen = (label_items.c.project == found.name) & (label_items.c.key == key)
            row = look.first(sa.select(label_items).where(chosen))
            if row is None:
                some = look.all(
                    sa.select(label_items.c.key).where(label_items.c.project == found.name).limit(1000)
                )
                hint = nearest(key, [each.key for each in some], see=f"everloop label queue {found.typed}")
                raise NotFound(f"{found.name} has no item {shown(key)}", hint=hint)
            return item_of(row)

    @operation(Permission.READ)
    def items(
        self,
        project: str,
        state: str = "",
        differs: bool | None = None,
        after: int = -1,
        limit: int = 50,
    ) -> list[LabelItem]:
        """Items in the order of the queue, from place `after` on (as `place` tells); of one state, or those whose annotators
        differ (or do not)."""
        with self.look() as look:
            found = project_named(look, project)
            query = sa.select(label_items).where(
                label_items.c.project == found.name, label_items.c.position > after
            )
            if state:
                query = query.where(label_items.c.state == str(one_of(ItemState, state, "state")))
            if differs is not None:
                query = query.where(label_items.c.differs.is_(differs))
            rows = look.all(query.order_by(label_items.c.position).limit(max(0, min(limit, 10_000))))
            return [item_of(row) for row in rows]

    @operation(Permission.READ)
    def place(self, project: str, item: int) -> int:
        """The place of an item in the queue."""
        with self.look() as look:
            return int(item_numbered(look, project_named(look, project).name, item).position)

    @operation(Permission.READ)
    def content(self, project: str, item: int) -> dict[str, Any]:
        """What annotators see of an item, by column. A picture is an object with its path, digest, size, width and height."""
        with self.look() as look:
            found = project_named(look, project)
            item_numbered(look, found.name, item)
            return self._content(look, found.name, item)

    @operation(Permission.READ)
    def history(self, project: str, item: int) -> list[Entry]:
        """All that was ever said of an item, oldest first."""
        with self.look() as look:
            found = project_named(look, project)
            item_numbered(look, found.name, item)
            chosen = (label_entries.c.project == found.name) & (label_entries.c.item == item)
            return [entry_of(row) for row in look.all(ENTRIES.where(chosen))]

    def _content(self, look: Reader, project: str, item: int) -> dict[str, Any]:
        page = look.first(
            sa.select(label_contents)
            .where(label_contents.c.project == project, label_contents.c.first <= item)
            .order_by(label_contents.c.first.desc())
            .limit(1)
        )
        assert page is not None
        return self._items(page.digest)[item - page.first].content

    def checked(self, look: Reader, project: LabelProject, item: int, answers: Answers) -> Answers:
        """Answers about an item, in the form they are kept in. Its content is read only where spans have to lie in it."""
        given = checked_answers(project.questions, answers)
        if any(each.kind is Asks.SPANS for each in project.questions):
            check_spans(project.questions, given, self._content(look, project.name, item))
        return given

    def _items(self, digest: str) -> list[NewItem]:
        try:
            return _ITEMS.decode(self.objects.read(digest))
        except msgspec.MsgspecError as error:
            raise Corrupted(f"the items in {digest[:12]} cannot be read: {error}") from None

    def _seconds(self, look: Reader, project: str, user: str) -> float | None:
        """The median time of a user's newest thousand answers."""
        rows = look.all(
            sa.select(label_entries.c.seconds)
            .where(
                label_entries.c.project == project,
                label_entries.c.user == user,
                label_entries.c.seconds.isnot(None),
            )
            .order_by(label_entries.c.id.desc())
            .limit(1000)
        )
        return statistics.median(row.seconds for row in rows) if rows else None


def pictures(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The pictures among an item's columns."""
    return [each for each in content.values() if isinstance(each, dict) and "digest" in each]


def _item_row(project: str, number: int, key: str) -> dict[str, Any]:
    return {
        "project": project,
        "number": number,
        "key": key,
        "position": number,
        "state": str(ItemState.OPEN),
        "labelled": 0,
        "skipped": 0,
        "differs": False,
        "final": None,
    }


def _check_keys(keys: list[str], column: str) -> None:
    if not keys:
        raise InvalidInput(
            "there is nothing to label: the version has no items", hint="choose another version"
        )
    if len(set(keys)) < len(keys):
        seen: set[str] = set()
        twice = next(key for key in keys if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InvalidInput(
            f"two items are called {shown(twice)}: {shown(column)} does not name an item",
            hint="choose another --key",
        )


def _guidelines(text: str) -> str:
    if len(text) > MAX_GUIDELINES:
        raise InvalidInput(f"guidelines have {MAX_GUIDELINES:,} characters at most")
    return text.strip()
