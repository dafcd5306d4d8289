"""Freeing bytes on a shelf: what no note names goes.

There is no ledger that says who needs what, so notes do; and none to take turns by, so the store's guard does: a note is put
while nothing can be removed, and only when all that it names is there; notes are read again each time before something is
removed.
`docs/explanation/collection.md` says more.
"""

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from everloop.data.stores.collecting import GRACE, PATIENCE, between_writers, in_batches
from everloop.data.stores.shelves import Shelf, needed_by_notes
from everloop.domain.datasets import VersionRecord
from everloop.domain.references import Kind, Reference
from everloop.domain.retention import Collected, Retention, Size, surplus
from everloop.errors import Conflict, InvalidInput
from everloop.store.objects.collecting import WORTH

if TYPE_CHECKING:
    from everloop.store.objects import ContentStore
    from everloop.store.objects.collecting import Collection, Plan, Removal


def collect_shelf(
    shelf: Shelf,
    retention: Retention = Retention(),  # noqa: B008 (frozen)
    *,
    now: datetime,
    dry_run: bool = False,
    grace: float = GRACE,
    thorough: bool = False,
    patience: float = PATIENCE,
) -> Collected:
    """Take versions off a shelf that the retention does not keep, then free all objects that nothing on it needs.

    What the arguments mean, `Collecting.collect` of a workspace says. Who uses a version elsewhere is not known on a shelf, so
    nothing stays for being in use. Raises Conflict for the store of a workspace, which must be collected from there; Unavailable
    when writers are at work for longer than `patience` seconds; Corrupted when damage hides what is needed.
    """
    if grace < 0 or (retention.keep_last is not None and retention.keep_last < 0):
        raise InvalidInput("a retention and a grace are not negative")
    store = shelf.objects
    _refuse_workspaces(store)
    going = [each.reference for each in _surplus(shelf, retention, now)]
    if going and not dry_run:
        shelf.take_down(going)
    needed = needed_by_notes(store, without=going)
    candidates = [bytes.fromhex(digest) for digest in sorted(set(store.digests()) - needed)]
    collection, limit = store.collection(), store.now() - grace
    plan = collection.plan(candidates, older_than=limit, worth=0.0 if thorough else WORTH)
    removed = (
        plan.removals
        if dry_run
        else list(_freed(store, collection, plan, limit, time.monotonic() + patience))
    )
    freed = set().union(*(each.objects for each in removed))
    return Collected(
        dry_run=dry_run,
        versions=going,
        freed=Size(len(freed), sum(plan.sizes[digest] for digest in freed)),
        bytes=sum(each.freed for each in removed),
        files=len(removed),
        young=Size(len(plan.young), sum(plan.young.values())),
        left=plan.left,
    )


def _refuse_workspaces(store: "ContentStore") -> None:
    users = store.other_users()
    place = Path(store.name)
    if "://" not in store.name and (
        place.parent.name == ".everloop" or (place.parent / "ledger.db").exists()
    ):
        users.append(f"the workspace {place.parent}")
    if users:
        raise Conflict(
            f"{users[0]} keeps its objects in {store.name}: what it needs is not known here",
            hint="run everloop data gc in that workspace",
        )


def _surplus(shelf: Shelf, retention: Retention, now: datetime) -> list[VersionRecord]:
    if retention.keeps_all:
        return []
    names = [Reference.parse(name, Kind.DATA).name for name in retention.names] or shelf.dataset_names()
    return [
        each
        for name in sorted(set(names))
        for each in surplus([sent.version for sent in shelf.sent(name)], retention, now)
    ]


def _freed(
    store: "ContentStore", collection: "Collection", plan: "Plan", limit: float, deadline: float
) -> Iterator["Removal"]:
    for removals in in_batches(collection, plan, plan.sizes):

        def remove(removals: "list[Removal]" = removals) -> "list[Removal]":
            with store.removing():
                needed = needed_by_notes(store)  # of notes that came meanwhile, too
                dead = {digest: size for digest, size in plan.sizes.items() if digest.hex() not in needed}
                return list(collection.remove(removals, dead, older_than=limit))

        yield from between_writers(remove, deadline, "on the shelf")
