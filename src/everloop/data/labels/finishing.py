"""Answers that became data: the results of a project by item, the lineage of a version made of them, and augmented versions."""

from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.data.labels.ledger import ENTRIES, LABELLED, SKIPPED, entry_of, item_of, project_named
from everloop.data.labels.suggesting import is_model
from everloop.domain.labels import Entry, EntryKind, LabelItem, Policy
from everloop.domain.references import Kind, Reference
from everloop.errors import InvalidInput, NotFound
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.schema.base import edges
from everloop.store.schema.data import dataset_versions
from everloop.store.schema.labels import label_entries, label_items, label_marks, label_suggestions

BATCH = 2000
AUGMENTED = "data.augmented"


class ItemResult(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an item: the entries that count, the one a reviewer made stand (an annotator's, or a correction), and,
    where they were asked for, the skips."""

    item: LabelItem
    entries: list[Entry]
    final: Entry | None = None
    skips: list[Entry] = []


class Augmentation(msgspec.Struct, frozen=True, kw_only=True):
    """One step by which a version was made from another: what was done, how often, with which seed."""

    name: str
    parameters: dict[str, Any] = {}
    copies: int = 1
    seed: int | None = None


class Augmented(msgspec.Struct, frozen=True, kw_only=True):
    """How a version was made of another one."""

    source: str
    reference: str
    steps: list[Augmentation]


class Finishing(Room):
    """The part of labelling that hands over what was found."""

    name = "labels"

    @operation(Permission.READ)
    def results(
        self, project: str, after: int = -1, limit: int = BATCH, skips: bool = False
    ) -> list[ItemResult]:
        """Items that have an answer (or, with `skips`, were skipped), by number, from number `after` on."""
        with self.look() as look:
            found = project_named(look, project)
            rows = look.all(
                sa.select(label_items)
                .where(
                    label_items.c.project == found.name,
                    label_items.c.number > after,
                    sa.or_(
                        label_items.c.labelled > 0,
                        label_items.c.final.isnot(None),
                        (label_items.c.skipped > 0) & sa.literal(skips),
                    ),
                )
                .order_by(label_items.c.number)
                .limit(max(0, min(limit, BATCH)))
            )
            if not rows:
                return []
            within = label_entries.c.item.between(rows[0].number, rows[-1].number)
            entries = look.all(
                ENTRIES.where(
                    label_entries.c.project == found.name,
                    within,
                    sa.or_(
                        label_marks.c.state.in_([LABELLED, SKIPPED] if skips else [LABELLED]),
                        label_entries.c.kind == str(EntryKind.CORRECTION),
                    ),
                )
            )
        by_item: dict[int, list[Entry]] = {row.number: [] for row in rows}
        for row in entries:
            if row.item in by_item:
                by_item[row.item].append(entry_of(row))
        return [
            ItemResult(
                item=item_of(row),
                entries=[each for each in by_item[row.number] if each.counts],
                final=next((each for each in by_item[row.number] if each.id == row.final), None),
                skips=[each for each in by_item[row.number] if each.kind is EntryKind.SKIP],
            )
            for row in rows
        ]

    @operation(Permission.WRITE)
    def record_labels(self, project: str, reference: str, policy: Policy, rows: int) -> list[str]:
        """Say that a dataset version was made of a project's answers: it comes from the version that was labelled, and from the
        models whose suggestions annotators saw. Returns what it comes from."""
        with self.change() as tx:
            found = project_named(tx, project)
            target = str(Reference.parse(reference, Kind.DATA))
            _require(tx, target)
            models = tx.all(
                sa.select(label_suggestions.c.model)
                .where(label_suggestions.c.project == found.name)
                .distinct()
            )
            origins = [found.source, *(row.model for row in models if is_model(row.model))]
            for origin in origins:
                tx.edge(origin, target, "labelled" if origin == found.source else "suggested")
            tx.edge(found.reference, target, "exported")
            annotators = tx.all(
                sa.select(label_marks.c.user, sa.func.count().label("n"))
                .where(label_marks.c.project == found.name, label_marks.c.state == LABELLED)
                .group_by(label_marks.c.user)
            )
            facts = {
                "project": found.name,
                "policy": policy,
                "rows": rows,
                "annotators": {row.user: row.n for row in annotators},
                "guidelines": found.guidelines_version,
            }
            tx.event("labels.exported", target, facts)
            return origins

    @operation(Permission.WRITE)
    def record_augmentation(self, source: str, reference: str, steps: list[Augmentation]) -> Augmented:
        """Say that a dataset version was made of another one by these steps: lineage that a reader of the rows cannot guess."""
        if not steps or not all(each.name.strip() for each in steps):
            raise InvalidInput(
                "an augmentation has steps, each with a name", hint="such as flip, rotate, noise"
            )
        if any(each.copies < 1 for each in steps):
            raise InvalidInput("a step makes one copy at least")
        origin, target = (str(Reference.parse(each, Kind.DATA)) for each in (source, reference))
        if origin == target:
            raise InvalidInput(f"{origin} cannot be made of itself", hint="name the version it was made from")
        with self.change() as tx:
            for each in (origin, target):
                _require(tx, each)
            tx.edge(origin, target, "augmented")
            tx.event(AUGMENTED, target, {"source": origin, "steps": steps})
        return Augmented(source=origin, reference=target, steps=steps)

    @operation(Permission.READ)
    def augmentations(self, reference: str) -> list[Augmented]:
        """How a version was augmented, if it was."""
        target = str(Reference.parse(reference, Kind.DATA))
        events = self.context.ledger.events(subject=target, actions=[AUGMENTED])
        return [
            Augmented(
                source=str(each.payload["source"]),
                reference=target,
                steps=msgspec.convert(each.payload["steps"], list[Augmentation]),
            )
            for each in events
        ]

    @operation(Permission.READ)
    def made_of(self, project: str) -> list[str]:
        """The dataset versions that were made of a project's answers, newest first."""
        with self.look() as look:
            found = project_named(look, project)
            made = sa.select(edges.c.target).where(
                edges.c.source == found.reference, edges.c.role == "exported"
            )
            return [row.target for row in look.all(made.order_by(edges.c.time.desc(), edges.c.target.desc()))]


def _require(look: Any, reference: str) -> None:
    """Raise unless the version exists, named with its number."""
    wanted = Reference.parse(reference)
    if wanted.version is None:
        raise InvalidInput(f"{reference} names no version", hint=f"write {reference}@v1")
    chosen = (dataset_versions.c.name == wanted.name) & (dataset_versions.c.version == wanted.version)
    if look.first(sa.select(dataset_versions.c.name).where(chosen)) is None:
        raise NotFound(f"there is no {reference}", hint=f"see: everloop data log {wanted.name}")
