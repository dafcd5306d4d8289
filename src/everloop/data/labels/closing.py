"""Closing a project: from then on nothing is said of its items, while what was said can be looked at and exported."""

import msgspec
import sqlalchemy as sa

from everloop.data.labels.ledger import project_named
from everloop.domain.labels import LabelProject
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.schema.labels import label_projects


class Closing(Room):
    """The part of labelling that ends a project, and begins it again."""

    name = "labels"

    @operation(Permission.WRITE)
    def close(self, project: str, because: str = "") -> LabelProject:
        """Take no more answers, skips and reviews: they raise Conflict. Closing a closed project changes nothing."""
        with self.change() as tx:
            found = project_named(tx, project, locked=True)
            if found.closed is not None:
                return found
            own = label_projects.c.name == found.name
            tx.execute(sa.update(label_projects).where(own).values(closed=tx.now))
            tx.event("labels.closed", found.reference, {"because": because.strip()[:500]})
            return msgspec.structs.replace(found, closed=tx.now)

    @operation(Permission.WRITE)
    def reopen(self, project: str, because: str = "") -> LabelProject:
        """Take answers again, from where the queue was left. Reopening an open project changes nothing."""
        with self.change() as tx:
            found = project_named(tx, project, locked=True)
            if found.closed is None:
                return found
            own = label_projects.c.name == found.name
            tx.execute(sa.update(label_projects).where(own).values(closed=None))
            tx.event("labels.reopened", found.reference, {"because": because.strip()[:500]})
            return msgspec.structs.replace(found, closed=None)
