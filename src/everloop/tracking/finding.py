"""Operations that look at many runs at once: groups, saved views, what differs between two."""

from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from everloop.domain.repeats import Grouping
from everloop.domain.runs import checked_text
from everloop.domain.search import parse_filter, parse_order
from everloop.domain.views import RunView, State
from everloop.errors import InvalidInput, NotFound, nearest
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.ledger import Reader
from everloop.store.schema.tracking import run_views
from everloop.tracking import grouping

if TYPE_CHECKING:
    from everloop.domain.differences import RunDifference


class Finding(Room):
    """Operations about many runs."""

    name = "tracking"

    def diff(self, run_a: str, run_b: str) -> "RunDifference":
        """What differs from one run to another: code, data, environment, parameters, metrics. Runs as in `resolve`; files that
        were committed are read from the project's repository, where it has the commits."""
        from everloop.tracking.differences import difference
        from everloop.tracking.tracking import Tracking

        room = self.context.room(Tracking)
        one, other = room.describe(run_a), room.describe(run_b)
        return difference(one, other, self.objects, self.context.project)

    @operation(Permission.READ)
    def group_runs(
        self,
        by: list[str],
        where: str = "",
        experiment: list[str] = [],  # noqa: B006 (not changed)
        state: State = "active",
        metrics: list[str] = [],  # noqa: B006
        order_by: str = "",
    ) -> Grouping:
        """Runs that match, grouped by parameters, tags or attributes (``params.model``, ``status``), with the mean of each metric
        and its 95 % interval over the runs of a group.

        `metrics`: which; none: those most runs have. `order_by`: a metric to rank groups by, ascending unless ``desc`` stands
        behind it; groups that are not surely worse than the first are its ties.
        """
        if not by:
            raise InvalidInput("nothing to group by is named", hint="name a parameter, such as params.model")
        with self.look() as look:
            return grouping.group(look, self.context.clock(), by, where, experiment, state, metrics, order_by)

    @operation(Permission.WRITE)
    def save_view(
        self,
        name: str,
        where: str = "",
        experiment: list[str] = [],  # noqa: B006 (not changed)
        state: State = "active",
        columns: list[str] = [],  # noqa: B006
        order_by: list[str] = [],  # noqa: B006
        group_by: list[str] = [],  # noqa: B006
        description: str = "",
        nested: bool = False,
        widths: dict[str, int] = {},  # noqa: B006
    ) -> RunView:
        """Keep a way to look at runs under a name; one of that name is replaced. It must be readable now.

        `nested` and `widths` (pixels of columns, by name) are for the page: how its table stands.
        """
        if not name.strip():
            raise InvalidInput("the name of a view is blank", hint="name it, such as 'good ones'")
        checked_text(name, "the name of a view", 250)
        if not name.isprintable():
            raise InvalidInput(
                f"the name of a view {name!r} has characters that cannot be shown",
                hint="write it on one line",
            )
        checked_text(description, "the description of a view", 5_000)
        for column in widths:
            checked_text(column, "the name of a column", 300)
        parse_filter(where)
        for each in (*order_by, *group_by):
            parse_order(each)
        with self.change() as tx:
            view = RunView(
                name,
                where,
                experiment,
                state,
                columns,
                order_by,
                group_by,
                description,
                tx.actor,
                tx.now,
                nested,
                widths,
            )
            tx.put(run_views, {"name": name, "view": view, "user": tx.actor, "updated": tx.now})
            tx.event("view.saved", f"view {name}", view)
            return view

    @operation(Permission.READ)
    def views(self) -> list[RunView]:
        """All saved views, by name."""
        with self.look() as look:
            return [
                msgspec.convert(row.view, RunView)
                for row in look.all(sa.select(run_views.c.view).order_by(run_views.c.name))
            ]

    @operation(Permission.READ)
    def view(self, name: str) -> RunView:
        """One saved view."""
        with self.look() as look:
            return _view(look, name)

    @operation(Permission.WRITE)
    def delete_view(self, name: str) -> RunView:
        """Forget a saved view; returns what it was."""
        with self.change() as tx:
            found = _view(tx, name)
            tx.execute(sa.delete(run_views).where(run_views.c.name == name))
            tx.event("view.deleted", f"view {name}", found)
            return found


def _view(look: Reader, name: str) -> RunView:
    found = look.scalar(sa.select(run_views.c.view).where(run_views.c.name == name))
    if found is None:
        known = [row.name for row in look.all(sa.select(run_views.c.name))]
        raise NotFound(f"there is no view '{name}'", hint=nearest(name, known, see="everloop runs views"))
    return msgspec.convert(found, RunView)
