"""Comments on runs: everybody who may write may say something, and change or take back what they said themselves."""

import sqlalchemy as sa

from everloop.domain.comments import MAX_COMMENT, Comment
from everloop.domain.runs import checked_text
from everloop.errors import InvalidInput, NotFound, PermissionDenied
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.ledger import Transaction
from everloop.store.schema.comments import run_comments
from everloop.tracking import reading, writing


class Commenting(Room):
    """The part of tracking that keeps what people say about runs."""

    name = "tracking"

    @operation(Permission.READ)
    def comments(self, run_id: str) -> list[Comment]:
        """Comments on a run, oldest first. `run_id` as in `resolve`."""
        with self.look() as look:
            query = sa.select(run_comments).where(run_comments.c.run == reading.resolve(look, run_id))
            return [_comment(row) for row in look.all(query.order_by(run_comments.c.id))]

    @operation(Permission.WRITE)
    def comment(self, run_id: str, text: str) -> Comment:
        """Say something about a run, in Markdown. `run_id` as in `resolve`."""
        said = _checked(text)
        with self.change() as tx:
            run = str(writing.existing_run(tx, reading.resolve(tx, run_id)).id)
            row = {"id": self.context.ids(), "run": run, "user": tx.actor, "text": said, "created": tx.now}
            tx.execute(sa.insert(run_comments), row | {"edited": None})
            tx.event("run.commented", f"run:{run}", {"comment": row["id"], "text": said[:500]})
            return Comment(str(row["id"]), run, tx.actor, said, tx.now)

    @operation(Permission.WRITE)
    def edit_comment(self, comment: str, text: str) -> Comment:
        """Write a comment of one's own anew."""
        said = _checked(text)
        with self.change() as tx:
            found = _own(tx, comment)
            changed = sa.update(run_comments).where(run_comments.c.id == comment)
            tx.execute(changed.values(text=said, edited=tx.now))
            tx.event("run.comment_edited", f"run:{found.run_id}", {"comment": comment, "text": said[:500]})
            return Comment(comment, found.run_id, found.user, said, found.created, tx.now)

    @operation(Permission.WRITE)
    def delete_comment(self, comment: str) -> None:
        """Take a comment of one's own back; the chain of events keeps that there was one."""
        with self.change() as tx:
            found = _own(tx, comment)
            tx.execute(sa.delete(run_comments).where(run_comments.c.id == comment))
            tx.event("run.comment_deleted", f"run:{found.run_id}", {"comment": comment})


def _own(tx: Transaction, comment: str) -> Comment:
    row = tx.first(sa.select(run_comments).where(run_comments.c.id == comment))
    if row is None:
        raise NotFound(f"there is no comment '{comment}'", hint="it may have been deleted")
    if row.user != tx.actor:
        raise PermissionDenied(f"the comment is {row.user}'s", hint="answer with one of your own")
    return _comment(row)


def _comment(row: sa.Row[tuple[object, ...]]) -> Comment:
    return Comment(row.id, row.run, row.user, row.text, row.created, row.edited)


def _checked(text: str) -> str:
    if not text.strip():
        raise InvalidInput("a comment that says nothing", hint="write something")
    return checked_text(text.strip(), "the comment", MAX_COMMENT)
