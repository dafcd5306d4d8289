"""What a ledger promises, held against every backend."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import msgspec
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.examples import fewer

from everloop.domain.events import GENESIS, event_digest, seal_digest
from everloop.domain.ids import system_ids
from everloop.domain.times import system_clock
from everloop.errors import StorageError, Unavailable
from everloop.governance.chain import walk
from everloop.store.ledger import Ledger, Transaction, open_ledger, versions
from everloop.store.ledger.engines import begin_write, make_engine
from everloop.store.ledger.lineage import lineage
from everloop.store.ledger.state import carried_over, doubtful_rows
from everloop.store.ledger.transaction import SEAL_EVERY
from everloop.store.schema.base import changes, cursors, edges, events, metadata, tokens
from everloop.store.schema.data import dataset_checks
from everloop.store.schema.tracking import (
    experiment_tags,
    experiments,
    metric_blocks,
    run_metrics,
    run_tags,
    runs,
)

WRITER = """
import sys
from everloop.domain.ids import system_ids
from everloop.domain.times import system_clock
from everloop.store.ledger import open_ledger
print("ready", flush=True)
sys.stdin.readline()
ledger = open_ledger(sys.argv[1], clock=system_clock, ids=system_ids(system_clock))
for number in range(int(sys.argv[3])):
    with ledger.transaction(sys.argv[2]) as tx:
        tx.edge(f"data:{sys.argv[2]}@v{number + 1}", "run:all", "consumed")
        tx.event("test.happened", f"run:{sys.argv[2]}", {"number": number})
"""


def write_at_once(url: str, writers: int, each: int) -> None:
    """So many processes, which begin when the last of them is ready, so that they do get into each other's way."""
    with ExitStack() as stack:
        started = []
        for number in range(writers):
            command = [sys.executable, "-c", WRITER, url, f"writer{number}", str(each)]
            writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            started.append(stack.enter_context(writer))
        assert [writer.stdout and writer.stdout.readline() for writer in started] == [b"ready\n"] * writers
        for writer in started:
            assert writer.stdin
            writer.stdin.close()
        assert [writer.wait(110) for writer in started] == [0] * writers


def opened(url: str) -> Ledger:
    return open_ledger(url, clock=system_clock, ids=system_ids(system_clock))


def places(ledger: Ledger) -> list[str]:
    """Where a walk over the chain and the state finds something wrong."""
    with ledger.snapshot() as look:
        chained = [fault.place for fault in walk(look).faults]
    return chained + [place for place, _ in ledger.state_faults()[1]]


def by_hand(url: str, *statements: str) -> None:
    """What somebody does to the database without Everloop."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def a_run(tx: Transaction, identifier: str) -> None:
    """A row of `runs`."""
    texts = dict.fromkeys(["name", "user", "source", "version", "status", "state", "place"], "text")
    numbers = {"experiment": 0, "records": 0, "pid": 1, "process_began": 1.5}
    times = {"start_time": tx.now, "heartbeat": tx.now}
    tx.execute(sa.insert(runs), {"id": identifier, **texts, **numbers, **times, "captured": {"seeds": [1]}})


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
NUMBERS = st.one_of(
    st.none(), st.integers(-(2**53), 2**53), st.floats(allow_nan=True), st.sampled_from([-0.0, 0, 5, 5.0])
)


SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
"""Examples of one backend go on in one ledger, on purpose; the same test runs for each backend."""


@st.composite
def writes(draw: st.DrawFn) -> tuple[str, Any]:
    """One statement that a room might make: its kind, and what it is made with."""
    kind = draw(
        st.sampled_from(
            [
                "edges",
                "hold",
                "release",
                "put",
                "put many",
                "insert",
                "update",
                "delete",
                "copy",
                "purge",
                "check",
                "experiment",
                "remove experiment",
            ]
        )
    )
    key = st.sampled_from("abcdef")
    rows = draw(st.lists(st.tuples(key, TEXTS, NUMBERS), min_size=1, max_size=5))
    return kind, rows


def write(tx: Transaction, kind: str, rows: list[tuple[str, str, float | None]]) -> None:
    (key, text, number), listed = rows[0], {each[0]: each for each in rows}
    metric = {"run": "r" + key, "count": 1, "numbers": 1, "first_step": 0, "last_step": 3}
    metric |= {"first_time": tx.now, "last_time": tx.now}
    with_values = [
        metric | {"key": k, "first": n, "last": n, "min": 1, "max": 2.5, "mean": n} for k, _, n in rows
    ]
    if kind == "edges":
        tx.insert_new(edges, [{"source": t, "target": k, "role": "made", "time": tx.now} for k, t, _ in rows])
    elif kind == "hold":
        tx.hold(key * 64, 7, f"run:{text}")
    elif kind == "release":
        tx.release(f"run:{text}")
    elif kind == "put":
        tx.put(cursors, {"consumer": key, "seq": len(text)})
    elif kind == "check":
        row = {"id": f"{tx.now:%f}{key}", "reference": key, "suite": key, "passed": bool(len(text) % 2)}
        row |= {"report": {text: number if number == number else None}, "time": tx.now, "user": text}
        tx.insert_new(dataset_checks, row)
    elif kind == "experiment":
        row = {"uuid": key, "name": key, "state": "active", "created": tx.now, "updated": tx.now}
        if tx.insert_new(experiments, row):
            number_ = tx.scalar(sa.select(experiments.c.id).where(experiments.c.uuid == key))
            tags = [{"experiment": number_, "key": k, "value": t} for k, t, _ in listed.values()]
            tx.execute(sa.insert(experiment_tags), tags)
    elif kind == "remove experiment":  # its tags go with it: ON DELETE CASCADE
        tx.execute(sa.delete(experiments).where(experiments.c.uuid == key))
    elif kind == "update":
        few = sa.update(runs).where(runs.c.id < "r" + key)
        tx.execute(few.values(name=text, process_began=runs.c.records + len(text)))
    elif kind == "purge":
        tx.execute(sa.delete(runs).where(runs.c.id == "r" + key))
    else:
        if tx.first(sa.select(runs.c.id).where(runs.c.id == "r" + key)) is None:
            a_run(tx, "r" + key)
        if kind == "put many":
            tx.put(run_metrics, with_values)
        elif kind == "insert":
            tx.execute(sa.delete(metric_blocks).where(metric_blocks.c.run == "r" + key))
            points = [
                {"run": "r" + key, "key": k, "record": 1, "count": 1, "points": t.encode()}
                for k, t, _ in listed.values()
            ]
            tx.execute(sa.insert(metric_blocks), points)
        elif kind == "copy":
            tx.execute(sa.delete(run_tags).where(run_tags.c.run == "r" + key))
            same = sa.select(run_metrics.c.run, run_metrics.c.key, sa.literal(text), sa.literal("x"))
            of_run = same.where(run_metrics.c.run == "r" + key)
            tx.execute(sa.insert(run_tags).from_select(["run", "key", "value", "head"], of_run))
        elif kind == "delete":
            tx.execute(sa.delete(run_metrics).where(run_metrics.c.run == "r" + key, run_metrics.c.last > 0))


def ordered_by_key(url: str) -> set[str]:
    """The tables that SQLite keeps in the order of their primary key."""
    if not url.startswith("sqlite:"):
        return set()
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as ledger:
        found = ledger.execute("select name from sqlite_master where sql like '%without rowid%'").fetchall()
    assert found
    return {name for (name,) in found}


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
                assert row.digest == event_digest(previous, *fields, row.state)
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

    @pytest.mark.parametrize("most", [3, 100])
    def test_lineage_of_any_graph_is_that_of_walking_it_by_hand(self, ledger: Ledger, most: int) -> None:
        choose = random.Random(most)
        names = [f"{kind}:{number}" for kind in ("data", "run", "model", "endpoint") for number in range(6)]
        pairs = {(choose.choice(names), choose.choice(names)) for _ in range(30)}
        with ledger.transaction("ann") as tx:
            for source, target in pairs:
                tx.edge(source, target, "went")
        for start in names:
            for upward in (True, False):
                with ledger.read() as look:
                    found = lineage(look, [start], upward=upward, most=most)
                by_hand: set[tuple[str, str]] = set()
                waiting, seen = [start], {start}
                while waiting:
                    here = waiting.pop()
                    beside = {each for each in pairs if each[1 if upward else 0] == here}
                    by_hand |= beside
                    new = {each[0 if upward else 1] for each in beside} - seen
                    seen |= new
                    waiting += new
                told = {(source, target) for source, target, _ in found.edges}
                assert told <= by_hand
                if not found.more:
                    assert told == by_hand

    def test_a_hub_gives_its_newest_runs_and_all_that_any_of_them_made(self, ledger: Ledger) -> None:
        with ledger.transaction("ann") as tx:
            for number in range(30):
                tx.edge("data:hub@v1", f"run:{number:032x}", "consumed")
                tx.edge(f"run:{number:032x}", f"run:f{number:031x}", "child")
            tx.edge(f"run:{0:032x}", "data:made@v1", "produced")  # by a run itself
            tx.edge(f"run:f{1:031x}", "model:made@v1", "produced")  # by a step
            tx.edge("model:made@v1", "endpoint:made", "deployed")
            tx.edge("run:" + "a" * 32, "model:other@v1", "produced")
        with ledger.read() as look:
            found = lineage(look, ["data:hub@v1"], upward=False, most=5)
        targets = {target for _, target, _ in found.edges}
        assert {f"run:{number:032x}" for number in range(25, 30)} <= targets
        assert {"data:made@v1", "model:made@v1", "endpoint:made"} <= targets
        assert "model:other@v1" not in targets
        assert found.more == {"run": 25}
        assert len([each for each in targets if each.startswith("run:")]) == 5

    def test_a_row_that_is_there_is_not_new(self, ledger: Ledger) -> None:
        with ledger.transaction("ann") as tx:
            row = {"uuid": "1" * 32, "name": "x", "state": "active", "created": tx.now, "updated": tx.now}
            assert tx.insert_new(experiments, [row, row | {"uuid": "2" * 32}]) == 1
            assert tx.insert_new(cursors, {"consumer": "a", "seq": 1}) == 1
            assert tx.insert_new(cursors, [{"consumer": "a", "seq": 2}, {"consumer": "b", "seq": 2}]) == 1

    def test_thousands_of_rows_at_once_are_all_known(self, ledger: Ledger) -> None:
        with ledger.transaction("ann") as tx:
            rows = [{"consumer": f"c{number}", "seq": number} for number in range(1100)]
            assert tx.insert_new(cursors, rows[:1]) == 1  # one is there already
            assert tx.insert_new(cursors, rows) == 1099
        assert ledger.state_faults()[1] == []

    @pytest.mark.parametrize("writers", [3, pytest.param(8, marks=pytest.mark.slow)])  # 7 s on Postgres
    def test_processes_write_at_once(self, ledger: Ledger, url: str, writers: int) -> None:
        each = 60
        write_at_once(url, writers, each)
        found = ledger.events(limit=10_000)
        assert [event.seq for event in found] == list(range(1, writers * each + 1))
        assert all(before.digest == after.previous for before, after in pairwise(found))
        for number in range(writers):
            own = [event.payload["number"] for event in found if event.actor == f"writer{number}"]
            assert own == list(range(each))
        assert len(ledger.edges_of("run:all", upward=True)) == writers * each

    def test_many_processes_may_make_the_same_ledger(self, url: str) -> None:
        write_at_once(url, 3, 1)
        ledger = opened(url)
        assert ledger.head() == 3
        ledger.close()

    def test_a_newer_ledger_is_refused(self, ledger: Ledger, url: str) -> None:
        with ledger.transaction("ann") as tx:
            tx.execute(sa.text("update alembic_version set version_num = '9999'"))
        with pytest.raises(StorageError, match="newer than this Everloop"):
            opened(url)

    @settings(fewer(0.4), suppress_health_check=SHARED)
    @given(
        st.lists(
            st.tuples(st.lists(writes(), max_size=4), st.sampled_from(["event", "none", "failure"])),
            max_size=6,
        )
    )
    def test_whatever_a_transaction_writes_is_sound(self, ledger: Ledger, transactions: Any) -> None:
        for statements, ending in transactions:
            try:
                with ledger.transaction("ann") as tx:
                    for kind, rows in statements:
                        write(tx, kind, rows)
                    if ending == "event":
                        tx.event("test.happened", "run:b")
                        tx.event("test.ended", "run:b")
                    elif ending == "failure":
                        raise ZeroDivisionError
            except ZeroDivisionError:
                pass
        assert places(ledger) == []

    @pytest.mark.parametrize(
        ("statement", "place"),
        [
            ("update run_tags set value = 'gold' where key = 'b'", "run_tags run=ra, key=b"),
            ("update runs set process_began = process_began + 1e-9", "runs id=ra"),
            ("update cursors set seq = seq + 1", "cursors consumer=loop"),
            ("delete from edges where role = 'made'", "edges source=data:a@v1, target=run:ra, role=made"),
            ("insert into cursors (consumer, seq) values ('mine', 1)", "cursors consumer=mine"),
            ("update cursors set consumer = 'mine'", "cursors consumer=mine"),
            ("update cursors set consumer = 'mine'", "cursors consumer=loop"),
            ("delete from experiments", "experiments id=0"),
        ],
    )
    def test_a_row_written_by_hand_is_named(
        self, ledger: Ledger, url: str, statement: str, place: str
    ) -> None:
        with ledger.transaction("ann") as tx:
            a_run(tx, "ra")
            tx.put(run_tags, [{"run": "ra", "key": key, "value": "lead", "head": "lead"} for key in "abc"])
            tx.edge("data:a@v1", "run:ra", "made")
            tx.advance("loop", 7)
            tx.event("run.created", "run:ra")
        assert places(ledger) == []
        if "experiments" in statement:
            with ledger.transaction("ann") as tx:
                tx.execute(sa.delete(runs))
        by_hand(url, statement)
        assert place in places(ledger)

    def test_the_event_that_wrote_a_row_is_said(self, ledger: Ledger, url: str) -> None:
        for number in range(3):
            with ledger.transaction("ann") as tx:
                tx.advance(f"loop {number}", 7)
                tx.event("test.happened", "run:b")
        by_hand(url, "update cursors set seq = 8 where consumer = 'loop 1'")
        assert ledger.state_faults()[1] == [
            ("cursors consumer=loop 1", "was changed after it was written (event 2)")
        ]

    def test_who_edits_a_row_with_its_digest_has_to_rewrite_the_chain(self, ledger: Ledger, url: str) -> None:
        with ledger.transaction("ann") as tx:
            tx.advance("loop", 7)
            tx.event("test.happened", "run:b")
        with ledger.transaction("eve") as tx:  # a forger knows how digests are made
            tx.advance("loop", 8)
            (row,) = [tx.changes.take()["cursors"]]
            forged = sa.update(changes).where(changes.c.table == "cursors")
            tx.execute(forged.values(rows=msgspec.msgpack.encode(row)))
        assert ledger.state_faults()[1] == []
        assert places(ledger) == ["event 1"]

    def test_what_waits_for_an_event_is_bound_by_the_next(self, ledger: Ledger, url: str) -> None:
        for seq in (3, 4, 5):
            with ledger.transaction("ann") as tx:
                tx.advance("loop", seq)
        by_hand(url, "update cursors set seq = 4")
        assert places(ledger) == ["cursors consumer=loop"]
        by_hand(url, "update cursors set seq = 5")
        with ledger.transaction("ann") as tx:
            tx.event("test.happened", "run:b")
        assert places(ledger) == []
        with ledger.read() as look:
            assert look.scalar(sa.select(sa.func.count()).select_from(changes).where(changes.c.event == 1))
        by_hand(url, "delete from changes")
        assert places(ledger)[0] == "event 1"

    def test_a_ledger_from_before_is_bound_when_it_is_opened(self, ledger: Ledger, url: str) -> None:
        self._take_back_to(ledger, url, "0008")
        by_hand(url, "insert into cursors (consumer, seq) values ('loop', 7)")
        again = opened(url)
        (event,) = again.events()
        assert (event.action, event.payload["from"], event.payload["doubtful"]) == (
            "ledger.migrated",
            "0008",
            0,
        )
        assert places(again) == []
        by_hand(url, "update cursors set seq = 8")
        assert places(again) == ["cursors consumer=loop"]
        again.close()

    def test_labelling_of_before_stands_in_the_lineage(self, ledger: Ledger, url: str) -> None:
        self._take_back_to(ledger, url, "0018")
        told = [
            ("labels.created", "labels:tone", '{"source":"data:reviews@v1","items":3}'),
            ("labels.suggested", "labels:tone", '{"model":"model:m@v1","items":2}'),
            ("labels.suggested", "labels:tone", '{"model":"model:m@v1","items":1}'),
            ("labels.suggested", "labels:tone", '{"model":"by hand","items":3}'),
            ("labels.exported", "data:labelled@v1", '{"project":"tone","rows":3}'),
        ]
        columns = "seq, id, time, actor, action, subject, payload, previous, digest"
        by_hand(
            url,
            *(
                f"insert into events ({columns}) values ({at}, '{at}', {at}, 'ann', '{action}', '{subject}', '{payload}', '', '')"
                for at, (action, subject, payload) in enumerate(
                    told, start=100
                )  # a new ledger has none, and counts from 1
            ),
        )
        again = opened(url)
        assert set(again.edges_of("labels:tone", upward=True)) == {
            ("data:reviews@v1", "labels:tone", "labelled"),
            ("model:m@v1", "labels:tone", "suggested"),
        }
        assert set(again.edges_of("labels:tone", upward=False)) == {
            ("labels:tone", "data:labelled@v1", "exported")
        }
        again.close()

    def test_a_migration_does_not_make_an_edited_row_right(self, ledger: Ledger, url: str) -> None:
        with ledger.transaction("ann") as tx:
            tx.put(
                cursors,
                [{"consumer": name, "seq": 1} for name in ("edited", "migrated", "deleted", "dropped")],
            )
            tx.event("test.happened", "run:b")
        by_hand(
            url,
            "update cursors set seq = 2 where consumer = 'edited'",
            "insert into cursors (consumer, seq) values ('inserted', 1)",
            "delete from cursors where consumer = 'deleted'",
        )
        faults = sorted(places(ledger))
        engine = make_engine(url)
        with engine.connect() as connection:
            begin_write(connection)
            doubtful = doubtful_rows(connection)
            connection.execute(sa.update(cursors).where(cursors.c.consumer == "migrated").values(seq=9))
            connection.execute(sa.delete(cursors).where(cursors.c.consumer == "dropped"))
            tx = Transaction(connection, "everloop", system_clock, system_ids(system_clock))
            versions.bind(tx, carried_over(connection, doubtful))
            connection.commit()
        engine.dispose()
        assert (
            sorted(places(ledger))
            == faults
            == [f"cursors consumer={name}" for name in ("deleted", "edited", "inserted")]
        )

    def _take_back_to(self, ledger: Ledger, url: str, revision: str) -> None:
        """Make the ledger one that an earlier Everloop made."""
        with ledger.transaction("ann") as tx:
            for table in reversed(metadata.sorted_tables):
                table.drop(tx._connection)
            tx.execute(sa.text("drop table alembic_version"))
        config = alembic.config.Config()
        config.set_main_option("script_location", str(Path(versions.__file__).parent.parent / "migrations"))
        engine = make_engine(url)
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            alembic.command.upgrade(config, revision)
        engine.dispose()

    def test_migrations_make_the_same_tables_as_the_schema(self, ledger: Ledger, url: str) -> None:
        """Every column, index and key of a migrated ledger is one the schema declares, and the other way round."""
        ordered = ordered_by_key(url)
        with ledger.transaction("ann") as tx:
            for table in reversed(metadata.sorted_tables):
                table.drop(tx._connection)
            tx.execute(sa.text("drop table alembic_version"))
        engine = sa.create_engine(url)
        versions.migrate(engine, "base", system_clock, system_ids(system_clock))
        with engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        engine.dispose()
        assert ordered_by_key(url) == ordered


class TestSqlite(LedgerContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'ledger.db'}"

    def test_a_migrated_ledger_is_copied_with_what_its_log_holds(
        self, url: str, ledger: Ledger, tmp_path: Path
    ) -> None:
        self._take_back_to(ledger, url, "0008")
        by_hand(url, "insert into cursors (consumer, seq) values ('loop', 7)")  # `ledger` holds the log open
        opened(url).close()
        with closing(sqlite3.connect(tmp_path / "ledger.db.0008.backup")) as copy:
            assert copy.execute("select consumer, seq from cursors").fetchall() == [("loop", 7)]

    def test_an_index_or_trigger_by_hand_is_named(self, url: str, ledger: Ledger) -> None:
        by_hand(
            url,
            "drop index ix_edges_target_source",
            "create trigger mine after insert on runs begin select 1; end",
        )
        assert places(ledger) == ["sqlite_master name=mine", "sqlite_master name=ix_edges_target_source"]

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
    def url(self, request: pytest.FixtureRequest) -> str:
        """An empty database, or a copy of one with a new ledger for a test that begins with a ledger: to make one is the most of
        what most of them would do."""
        made = "ledger" in request.fixturenames
        return str(request.getfixturevalue("ledger_url" if made else "postgres_url"))
