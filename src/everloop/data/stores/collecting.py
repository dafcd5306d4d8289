"""Freeing bytes that nothing needs: retention of versions, and the collection of objects.

How it never races an add is explained in `docs/explanation/collection.md`; the store's part is `store/objects/collecting.py`.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from everloop.data import records
from everloop.data.stores.shelves import needed_by_notes
from everloop.domain.datasets import VersionRecord
from everloop.domain.references import Kind, Reference
from everloop.domain.retention import Collected, Pin, Retention, Size, split_surplus, surplus
from everloop.errors import Conflict, InvalidInput, NotFound, Unavailable
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.objects.collecting import WORTH
from everloop.store.schema import complete
from everloop.store.schema.base import CHAINED, edges, objects_freed, objects_held
from everloop.store.schema.data import dataset_pins, dataset_versions
from everloop.store.schema.labels import label_projects
from everloop.store.schema.pipelines import pipeline_runs, pipeline_steps, step_results
from everloop.store.schema.tracking import runs

if TYPE_CHECKING:
    from everloop.store.ledger import Reader, Transaction
    from everloop.store.objects import ContentStore
    from everloop.store.objects.collecting import Collection, Plan, Removal

GRACE = 3600.0
"""Seconds that a file of the object store is left alone after somebody wrote it or relied on it."""
PATIENCE = 60.0
"""Seconds to wait for writers that are at work in the object store."""

_FILES_AT_ONCE = 200  # removed in one transaction, which others wait for
_DIGESTS_AT_ONCE = 5_000  # SQLite takes 32,766 parameters in one statement
T = TypeVar("T")

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SUBJECT = "store:objects"


class Collecting(Room):
    """Operations that free bytes, and that keep them from being freed."""

    name = "data"

    @operation(Permission.ADMIN)
    def collect(
        self,
        retention: Retention = Retention(),  # noqa: B008 (frozen)
        dry_run: bool = False,
        grace: float = GRACE,
        thorough: bool = False,
        patience: float = PATIENCE,
    ) -> Collected:
        """Take away versions that the retention does not keep, then free all objects that nothing needs.

        Objects stored or stored again within the last `grace` seconds stay. Dead bytes in a pack stay until they are a
        quarter of it; none do when the collection is `thorough`. With `dry_run` nothing changes. Raises Unavailable
        when writers are at work for longer than `patience` seconds, having freed what it could; Conflict when another ledger
        keeps its objects in the same store; Corrupted when damage hides what is needed.
        """
        if grace < 0 or (retention.keep_last is not None and retention.keep_last < 0):
            raise InvalidInput("a retention and a grace are not negative")
        self._refuse_other_ledgers()
        going, pinned, used = self._surplus(retention)
        if going and not dry_run:
            with self.change() as tx:
                for each in going:
                    take_away(tx, each, by="retention")
        plan, mentioned, collection, limit = self._planned(
            {each.reference for each in going} if dry_run else set(), grace, thorough
        )
        removed = plan.removals
        if removed and not dry_run:
            removed = list(self._free(collection, plan, limit, patience))
        freed = set().union(*(each.objects for each in removed))
        return Collected(
            dry_run=dry_run,
            versions=[each.reference for each in going],
            in_use=used,
            pinned=pinned,
            freed=Size(len(freed), sum(plan.sizes[digest] for digest in freed)),
            bytes=sum(each.freed for each in removed),
            files=len(removed),
            young=Size(len(plan.young), sum(plan.young.values())),
            mentioned=Size(len(mentioned), sum(mentioned.values())),
            left=plan.left,
        )

    @operation(Permission.WRITE)
    def pin(self, reference: str, reason: str = "") -> Pin:
        """Keep a version whatever a retention says. Raises NotFound for one that was removed."""
        with self.change() as tx:
            found = records.version(tx, Reference.parse(reference, Kind.DATA))
            if found.removed is not None:
                raise NotFound(f"{found.reference} was removed", hint=f"see: everloop data log {found.name}")
            pin = Pin(found.reference, reason, tx.now, tx.actor)
            row = {"name": found.name, "version": found.version, "reason": reason, "time": tx.now}
            tx.put(dataset_pins, row | {"user": tx.actor})
            tx.event("data.pinned", found.reference, {"reason": reason})
        return pin

    @operation(Permission.WRITE)
    def unpin(self, reference: str) -> bool:
        """Leave a version to the retention again; False when it was not pinned."""
        with self.change() as tx:
            found = records.version(tx, Reference.parse(reference, Kind.DATA))
            was = tx.execute(sa.delete(dataset_pins).where(_is(dataset_pins, found))).rowcount > 0
            if was:
                tx.event("data.unpinned", found.reference)
        return was

    @operation(Permission.READ)
    def pins(self) -> list[Pin]:
        """The pinned versions, by name and number."""
        with self.look() as look:
            rows = look.all(sa.select(dataset_pins).order_by(dataset_pins.c.name, dataset_pins.c.version))
        return [
            Pin(str(Reference(Kind.DATA, row.name, row.version)), row.reason, row.time, row.user)
            for row in rows
        ]

    def gc(
        self,
        retention: Retention = Retention(),  # noqa: B008 (frozen)
        *,
        dry_run: bool = False,
        grace: float = GRACE,
        thorough: bool = False,
    ) -> Collected:
        """`collect`, and what went is taken from this machine's cache of files too."""
        from everloop.data.tables.file_cache import FileCache

        done = self.collect(retention, dry_run=dry_run, grace=grace, thorough=thorough)
        if not dry_run:
            FileCache(self.context.folder, self.objects).forget(self.objects.missing)
        return done

    # What goes

    def _surplus(self, retention: Retention) -> tuple[list[VersionRecord], list[str], list[str]]:
        if retention.keeps_all:
            return [], [], []
        names = {Reference.parse(name, Kind.DATA).name for name in retention.names}
        by_name: dict[str, list[VersionRecord]] = {}
        with self.look() as look:
            for row in look.all(records.present()):
                by_name.setdefault(row.name, []).append(records.record(row))
            if unknown := names - by_name.keys():
                raise records.unknown(look, min(unknown))
            # That more was appended to a version is no use of it: the next one has its files.
            used = look.all(
                sa.select(edges.c.source)
                .where(edges.c.role != "appended")
                .union(sa.select(label_projects.c.source))
            )
        pinned = {pin.reference for pin in self.pins()}
        now = self.context.clock()
        found = [
            each
            for name, versions in sorted(by_name.items())
            if not names or name in names
            for each in surplus(versions, retention, now)
        ]
        return split_surplus(found, pinned, {row.source for row in used})

    def _planned(
        self, released: set[str], grace: float, thorough: bool
    ) -> tuple["Plan", dict[str, int], "Collection", float]:
        """What would go if the holders `released` needed nothing any more; the objects that are kept only because the ledger
        mentions them; the collection, and the time of the youngest file that may go."""
        store = self._store()
        limit = store.now() - grace
        held = needed_by_notes(store)
        with self.look() as look:
            for row in look.execute(sa.select(objects_held.c.digest, objects_held.c.holder)):
                if row.holder not in released:
                    held.add(row.digest)
            candidates = {digest for digest in store.digests() if digest not in held}
            mentioned = _mentioned(look, candidates, released)
        collection = store.collection()
        unneeded = [bytes.fromhex(digest) for digest in sorted(candidates - mentioned)]
        plan = collection.plan(unneeded, older_than=limit, worth=0.0 if thorough else WORTH)
        return plan, {digest: store.stat(digest).size for digest in mentioned}, collection, limit

    # Freeing

    def _free(
        self, collection: "Collection", plan: "Plan", limit: float, patience: float
    ) -> Iterator["Removal"]:
        marked = self._mark(plan)
        deadline = time.monotonic() + patience
        for removals in in_batches(collection, plan, marked):
            yield from self._remove(collection, removals, marked, limit, deadline)

    def _mark(self, plan: "Plan") -> dict[bytes, int]:
        """Note what is freed, unless it is held by now. From here on, who holds one of these makes sure that it is stored."""
        marked: dict[bytes, int] = {}
        with self.change() as tx:
            tx.lock(objects_held)
            tx.execute(sa.delete(step_results).where(step_results.c.run.not_in(sa.select(runs.c.id))))
            for digests in _batches(sorted(plan.sizes), _DIGESTS_AT_ONCE):
                among = objects_held.c.digest.in_([digest.hex() for digest in digests])
                held = {row.digest for row in tx.all(sa.select(objects_held.c.digest).where(among))}
                free = {digest: plan.sizes[digest] for digest in digests if digest.hex() not in held}
                rows = [{"digest": d.hex(), "size": size, "time": tx.now} for d, size in free.items()]
                tx.put(objects_freed, rows)
                marked |= free
            tx.event("objects.freed", _SUBJECT, {"objects": len(marked), "bytes": sum(marked.values())})
        return marked

    def _remove(
        self,
        collection: "Collection",
        removals: "Iterable[Removal]",
        marked: Mapping[bytes, int],
        limit: float,
        deadline: float,
    ) -> list["Removal"]:
        """Remove files while nobody can hold an object and no writer is at work."""

        def remove() -> list["Removal"]:
            with self.change() as tx:
                tx.lock(objects_held)
                dead = _still_marked(tx, marked)
                with self._store().removing():
                    return list(collection.remove(removals, dead, older_than=limit))

        return between_writers(remove, deadline, "in the object store")

    def _refuse_other_ledgers(self) -> None:
        others = self._store().other_users()
        if others:
            raise Conflict(
                f"{others[0]} keeps its objects in this store too: what it needs is not known here",
                hint="give each workspace a store of its own; if that one is gone, remove its file below users/ in the store",
            )

    def _store(self) -> "ContentStore":
        from everloop.store.objects import ContentStore

        store = self.objects
        assert isinstance(store, ContentStore)  # an operation runs where the ledger and the objects are
        return store


def in_batches(
    collection: "Collection", plan: "Plan", freed: Mapping[bytes, int]
) -> Iterator[list["Removal"]]:
    """What a plan removes, in batches for one turn each. A file that holds live objects too is rewritten just before."""
    yield from _batches([each for each in plan.removals if not each.rewritten], _FILES_AT_ONCE)
    for each in plan.removals:
        if each.rewritten:
            collection.rewrite(each, freed)
            yield [each]


def between_writers(remove: Callable[[], T], deadline: float, where: str) -> T:
    """Do what cannot be done while writers are at work as soon as none is. Raises Unavailable after the deadline, a
    time of the monotonic clock."""
    from everloop.store.objects.guards import Busy

    while True:
        try:
            return remove()
        except Busy:
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"writers are at work {where}, so not everything could be freed",
                    hint="run it again when they have finished",
                ) from None
            time.sleep(0.05)


def require_unpinned(tx: "Transaction", versions: Iterable[VersionRecord]) -> None:
    """Raises Conflict when one of these versions is pinned."""
    for version in versions:
        pin = tx.first(sa.select(dataset_pins).where(_is(dataset_pins, version)))
        if pin is not None:
            why = f": {pin.reason}" if pin.reason else ""
            raise Conflict(
                f"{version.reference} is pinned{why}",
                hint=f"everloop data unpin {version.name}@v{version.version}",
            )


def take_away(tx: "Transaction", version: VersionRecord, *, forced: bool = False, by: str = "") -> None:
    """Remove a version: what is known of it stays, and it holds nothing any more."""
    tx.execute(sa.update(dataset_versions).where(_is(dataset_versions, version)).values(removed=tx.now))
    tx.execute(sa.delete(dataset_pins).where(_is(dataset_pins, version)))
    tx.release(version.reference)
    tx.event(
        "data.removed",
        version.reference,
        {"digest": version.digest, "forced": forced} | ({"by": by} if by else {}),
    )


def _is(table: sa.Table, version: VersionRecord) -> sa.ColumnElement[bool]:
    return (table.c.name == version.name) & (table.c.version == version.version)


def _still_marked(tx: "Transaction", marked: Mapping[bytes, int]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for digests in _batches(marked, _DIGESTS_AT_ONCE):
        among = objects_freed.c.digest.in_([digest.hex() for digest in digests])
        for row in tx.all(sa.select(objects_freed.c.digest).where(among)):
            digest = bytes.fromhex(row.digest)
            found[digest] = marked[digest]
    return found


def _mentioned(look: "Reader", candidates: set[str], released: set[str]) -> set[str]:
    """Candidates whose digest stands in a row of the ledger's state. Nothing should be needed that is not held; should a room
    forget to hold something, this keeps it all the same."""
    found: set[str] = set()
    for table in complete().sorted_tables:
        texts = [column for column in table.columns if isinstance(column.type, sa.String | sa.TypeDecorator)]
        texts = [column for column in texts if _may_hold_digest(column)]
        if table.name in CHAINED or table in (objects_held, objects_freed) or not texts or not candidates:
            continue
        query = sa.select(*(sa.type_coerce(column, sa.Text) for column in texts))
        if table is dataset_versions:
            query = query.where(dataset_versions.c.removed.is_(None))
            references = [Reference.parse(each) for each in released]
            for each in references:
                query = query.where(
                    sa.not_(
                        (dataset_versions.c.name == each.name) & (dataset_versions.c.version == each.version)
                    )
                )
        elif table in (
            pipeline_runs,
            pipeline_steps,
            step_results,
        ):  # what is left of purged runs keeps nothing
            query = query.where(table.c.run.in_(sa.select(runs.c.id)))
        for row in look.execute(query.execution_options(yield_per=5_000)):
            for text in row:
                if text is not None and len(text) >= 64:
                    found |= candidates.intersection(_DIGEST.findall(text))
    return found


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch


def _may_hold_digest(column: sa.Column[Any]) -> bool:
    kind = column.type.impl if isinstance(column.type, sa.TypeDecorator) else column.type
    return isinstance(kind, sa.String) and (kind.length is None or kind.length >= 64)
