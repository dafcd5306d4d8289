"""The queue under load: many people at once on either database, and many items."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from everloop.domain.labels import Asks, Order, Question
from everloop.governance.identity import Actor, Role, acting_as
from everloop.workspace.local import LocalWorkspace

TONE = Question(name="tone", kind=Asks.SINGLE, choices=("good", "bad"))
PEOPLE = 5
ITEMS = 20


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_people_at_once_never_get_one_item_twice(
    database: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    ledger = request.getfixturevalue("ledger_url") if database == "postgres" else ""
    (tmp_path / "everloop.toml").write_text(f'ledger = "{ledger}"\n')
    taken: dict[str, list[int]] = {}
    failures: list[BaseException] = []
    with LocalWorkspace(tmp_path) as workspace:
        workspace.data.add(pa.table({"text": [f"t{at}" for at in range(ITEMS)]}), "texts")
        workspace.labels.create("tone", "texts", [TONE], text="text")
        ready = threading.Barrier(PEOPLE)

        def work(name: str) -> None:
            try:
                with acting_as(Actor(name, Role.ENGINEER)):
                    ready.wait(30)
                    while (given := workspace.labels.next_item("tone")).item is not None:
                        taken.setdefault(name, []).append(given.item.number)
                        workspace.labels.annotate("tone", given.item.number, {"tone": "good"})
            except BaseException as error:
                failures.append(error)
                raise

        threads = [threading.Thread(target=work, args=(f"person{at}",)) for at in range(PEOPLE)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(90)
        assert failures == []
        assert sorted(item for items in taken.values() for item in items) == list(range(ITEMS))
        progress = workspace.labels.progress("tone")
        assert (progress.done, progress.answers) == (ITEMS, ITEMS)
        # What else asks the ledger in its own way, on both databases.
        with acting_as(Actor("rex", Role.ENGINEER)):
            item = workspace.labels.next_review("tone")
            assert item is not None
            entry = next(each for each in workspace.labels.history("tone", item.number) if each.counts)
            workspace.labels.reject("tone", entry.id, "again")
            assert workspace.labels.next_item("tone").item.number == item.number
            workspace.labels.undo("tone") if taken.get("rex") else workspace.labels.skip("tone", item.number)
        workspace.labels.arrange("tone", Order.RANDOM, seed=2)
        assert len(workspace.labels.results("tone", skips=True)) == ITEMS
        assert workspace.labels.export("tone", "out").rows == ITEMS - 1
        assert workspace.governance.verify().ok


def test_the_next_of_many_items_is_found_by_index(workspace: LocalWorkspace) -> None:
    """However many were answered before: the database is asked how it looks for the next one."""
    workspace.data.add(pa.table({"text": ["a", "b", "c"]}), "texts")
    workspace.labels.create("tone", "texts", [TONE], text="text")
    asked: list[tuple[str, Any]] = []
    engine = workspace.ledger._engine
    sa.event.listen(
        engine,
        "before_cursor_execute",
        lambda _, __, statement, values, *rest: asked.append((statement, values)),
    )
    workspace.labels.next_item("tone")
    statement, values = next(each for each in asked if "ORDER BY label_items.position" in each[0])
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
    plan = " | ".join(row[-1] for row in rows)
    assert "label_items USING INDEX ix_label_items_project_state_position" in plan
    assert "TEMP B-TREE" not in plan, plan
    assert "SCAN" not in plan, plan


def test_whoever_has_passed_items_does_not_look_at_them_again(workspace: LocalWorkspace) -> None:
    workspace.data.add(pa.table({"text": [f"t{at}" for at in range(6)]}), "texts")
    workspace.labels.create("tone", "texts", [TONE], text="text", overlap=2)
    seen = []
    with acting_as(Actor("ana", Role.ENGINEER)):
        for _ in range(6):
            given = workspace.labels.next_item("tone")
            seen.append(given.item.number)
            workspace.labels.annotate("tone", given.item.number, {"tone": "good"})
        assert seen == [0, 1, 2, 3, 4, 5]
        assert workspace.labels.next_item("tone").item is None
        workspace.labels.undo("tone")
        assert workspace.labels.next_item("tone").item.number == 5
