"""What a ledger promises, held against every backend."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import sqlalchemy as sa

from everloop.domain.events import GENESIS, event_digest, seal_digest
from everloop.domain.ids import system_ids
from everloop.domain.times import system_clock
from everloop.errors import StorageError, Unavailable
from everloop.store.ledger import Ledger, Transaction, open_ledger
from everloop.store.ledger.ledger import SEAL_EVERY
from everloop.store.schema.base import cursors, edges, events, metadata, tokens
from everloop.store.schema.tracking import experiments

WRITER = """
import sys
from everloop.domain.ids import system_ids
from everloop.domain.times import system_clock
from everloop.store.ledger import open_ledger
ledger = open_ledger(sys.argv[1], clock=system_clock, ids=system_ids(system_clock))
for number in range(int(sys.argv[3])):
    with ledger.transaction(sys.argv[2]) as tx:
        tx.edge(f"data:{sys.argv[2]}@v{number + 1}", "run:all", "consumed")
        tx.event("test.happened", f"run:{sys.argv[2]}", {"number": number})
"""


def opened(url: str) -> Ledger:
    return open_ledger(url, clock=system_clock, ids=system_ids(system_clock))


class LedgerContract:
    """Subclasses give `url`, the address of a new, empty ledger."""

    @pytest.fixture
    def ledger(self, url: str) -> Iterator[Ledger]:
        ledger = opened(url)
        yield ledger
        ledger.close()

    def test_state_and_event_come_together(self, ledger: Ledger) -> None:
        with ledger.transaction("ann") as tx:
            tx.edge("data:a@v1", "run:b", "consumed")
            tx.event("run.used", "run:b", {"what": "data:a@v1", "ä": [1.5, None]})
        (event,) = ledger.events()
        assert (event.seq, event.actor, event.action, event.subject) == (1, "ann", "run.used", "run:b")
        assert event.payload == {"what": "data:a@v1", "ä": [1.5, None]}
        assert ledger.edges_of("run:b", upward=True) == [("data:a@v1", "run:b", "consumed")]

    def test_nothing_of_a_failed_transaction_stays(self, ledger: Ledger) -> None:
        with pytest.raises(ZeroDivisionError), ledger.transaction("ann") as tx:
            tx.edge("data:a@v1", "run:b", "consumed")
            tx.event("run.used", "run:b")
            raise ZeroDivisionError
        assert ledger.events() == []
        assert ledger.head() == 0
        with ledger.read() as look:
            assert look.all(sa.select(edges)) == []

    def test_events_are_chained_and_sealed(self, ledger: Ledger) -> None:
        count = SEAL_EVERY * 2 + 3
        for _ in range(0, count, 103):
            with ledger.transaction("ann") as tx:
                for number in range(min(103, count - ledger.head())):
                    tx.event("test.happened", "run:b", {"number": number})
        found = ledger.events(limit=10_000)
        assert [event.seq for event in found] == list(range(1, count + 1))
        previous = GENESIS
        with ledger.read() as look:
            for row in look.all(sa.select(events).order_by(events.c.seq)):
                fields = (row.seq, row.id, row.time, row.actor, row.action, row.subject, row.payload.encode())
                assert row.previous == previous
                assert row.digest == event_digest(previous, *fields)
                previous = row.digest
        digests = [event.digest for event in found]
        seals = ledger.seals()
        assert [(seal.first, seal.last) for seal in seals] == [
            (1, SEAL_EVERY),
            (SEAL_EVERY + 1, SEAL_EVERY * 2),
        ]
        assert seals[1].digest == seal_digest(seals[0].digest, digests[SEAL_EVERY : SEAL_EVERY * 2])

    def test_events_are_found_by_room_action_and_subject(self, ledger: Ledger) -> None:
        with ledger.transaction("ann") as tx:
            tx.event("run.started", "run:1")
            tx.event("run.ended", "run:1")
            tx.event("running.late", "run:2")
        assert [event.action for event in ledger.events(actions=["run.*"])] == ["run.started", "run.ended"]
        assert [event.seq for event in ledger.events(subject="run:1", newest_first=True)] == [2, 1]
        assert [event.seq for event in ledger.events(after=1, limit=1)] == [2]

    def test_a_consumer_goes_on_where_it_stopped(self, ledger: Ledger) -> None:
        with ledger.transaction("ann") as tx:
            for number in range(5):
                tx.event("test.happened", f"run:{number}")
        seen: list[str] = []

        def fail_at_the_third(tx: Transaction, event: object) -> None:
            if len(seen) == 2:
                raise ZeroDivisionError
            seen.append(event.subject)  # type: ignore[attr-defined]
            tx.event("test.handled", event.subject)  # type: ignore[attr-defined]

        with pytest.raises(ZeroDivisionError):
            ledger.consume("watcher", fail_at_the_third, actor="loop", actions=["test.happened"])
        assert ledger.cursor("watcher") == 2
        ledger.consume(
            "watcher", lambda tx, event: seen.append(event.subject), actor="loop", actions=["test.happened"]
        )
        assert seen == [f"run:{number}" for number in range(5)]
        assert [event.subject for event in ledger.events(actions=["test.handled"])] == ["run:0", "run:1"]

    def test_lineage_is_walked_both_ways_and_through_circles(self, ledger: Ledger) -> None:
        pairs = [
            ("data:a@v1", "run:1"),
            ("run:1", "model:m@v1"),
            ("model:m@v1", "run:2"),
            ("run:2", "data:a@v1"),
        ]
        with ledger.transaction("ann") as tx:
            for source, target in [*pairs, ("data:other@v1", "run:9"), *pairs]:
                tx.edge(source, target, "consumed")
        assert {(s, t) for s, t, _ in ledger.edges_of("model:m@v1", upward=True)} == set(pairs)
        assert [t for _, t, _ in ledger.edges_of("data:other@v1", upward=False)] == ["run:9"]

    def test_a_row_that_is_there_is_not_new(self, ledger: Ledger) -> None:
        with ledger.transaction("ann") as tx:
            row = {"uuid": "1" * 32, "name": "x", "state": "active", "created": tx.now, "updated": tx.now}
            assert tx.insert_new(experiments, [row, row | {"uuid": "2" * 32}]) == 1
            assert tx.insert_new(cursors, {"consumer": "a", "seq": 1}) == 1
            assert tx.insert_new(cursors, [{"consumer": "a", "seq": 2}, {"consumer": "b", "seq": 2}]) == 1

    def test_eight_processes_write_at_once(self, ledger: Ledger, url: str) -> None:
        each = 250
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, url, f"writer{number}", str(each)])
            for number in range(8)
        ]
        assert [writer.wait(110) for writer in writers] == [0] * 8
        found = ledger.events(limit=10_000)
        assert [event.seq for event in found] == list(range(1, 8 * each + 1))
        assert all(before.digest == after.previous for before, after in pairwise(found))
        for number in range(8):
            own = [event.payload["number"] for event in found if event.actor == f"writer{number}"]
            assert own == list(range(each))
        assert len(ledger.edges_of("run:all", upward=True)) == 8 * each

    def test_many_processes_may_make_the_same_ledger(self, url: str) -> None:
        writers = [subprocess.Popen([sys.executable, "-c", WRITER, url, f"writer{n}", "1"]) for n in range(6)]
        assert [writer.wait(60) for writer in writers] == [0] * 6
        ledger = opened(url)
        assert ledger.head() == 6
        ledger.close()

    def test_a_newer_ledger_is_refused(self, ledger: Ledger, url: str) -> None:
        with ledger.transaction("ann") as tx:
            tx.execute(sa.text("update alembic_version set version_num = '9999'"))
        with pytest.raises(StorageError, match="newer than this Everloop"):
            opened(url)

    def test_migrations_make_the_same_tables_as_the_schema(self, ledger: Ledger, url: str) -> None:
        """Every column, index and key of a migrated ledger is one the schema declares, and the other way round."""
        from alembic.autogenerate import compare_metadata
        from alembic.runtime.migration import MigrationContext

        with ledger.transaction("ann") as tx:
            for table in reversed(metadata.sorted_tables):
                table.drop(tx._connection)
            tx.execute(sa.text("drop table alembic_version"))
        engine = sa.create_engine(url)
        from everloop.store.ledger.versions import _migrate

        _migrate(engine, "base")
        with engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        engine.dispose()


class TestSqlite(LedgerContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'ledger.db'}"

    def test_a_locked_ledger_is_said(self, url: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("everloop.store.ledger.engines.BUSY_SECONDS", 0.05)
        other = opened(url)
        with ledger.transaction("ann"), pytest.raises(Unavailable, match="locked"), other.transaction("bob"):
            pass
        other.close()

    def test_a_read_only_ledger_is_said(self, url: str, ledger: Ledger) -> None:
        with pytest.raises(StorageError, match="read-only"), ledger.transaction("ann") as tx:
            tx.execute(sa.text("pragma query_only = 1"))
            tx.execute(sa.delete(tokens))
        with ledger.read() as look:
            look.execute(sa.text("pragma query_only = 0"))

    def test_a_file_that_is_no_ledger_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "ledger.db").write_bytes(b"not a database at all" * 100)
        with pytest.raises(StorageError, match="damaged"):
            opened(f"sqlite:///{tmp_path / 'ledger.db'}")


class TestPostgres(LedgerContract):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url
