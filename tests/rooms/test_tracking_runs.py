"""Tracking beside its ledger: killed and silent runs, journals left behind, lineage, points as blocks."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.workspaces import FakeClock

from everloop.client import runs as ev
from everloop.domain.consumption import note
from everloop.domain.runs import Owner, Shipped
from everloop.errors import Conflict, Corrupted, InvalidInput, PermissionDenied, Unavailable
from everloop.governance.identity import Actor, Role, acting_as
from everloop.tracking import checkpoints, places, records
from everloop.tracking.blocks import Points, Summary, decode, encode
from everloop.tracking.exporting import export, runs_table
from everloop.tracking.shipping import journal_folder
from everloop.tracking.tracking import Tracking
from everloop.workspace.local import LocalWorkspace


@pytest.fixture
def tracking(workspace: LocalWorkspace) -> Tracking:
    room: Tracking = workspace.tracking
    return room


def a_process_that_is_gone() -> Owner:
    """The owner that a process had which has ended."""
    code = "from everloop.tracking.places import this_process as p; o = p(); print(o.pid, o.began)"
    pid, began = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    return Owner(places.place(), int(pid), float(began))


class TestLostRuns:
    def test_a_run_whose_process_has_gone_was_killed(self, tracking: Tracking, clock: FakeClock) -> None:
        run = tracking.create_run(owner=a_process_that_is_gone())
        assert tracking.run(run.run_id).status == "killed"
        assert [each.run_id for each in tracking.search("status = 'killed'").runs] == [run.run_id]
        assert tracking.search("status = 'running' or status = 'finished'").runs == []
        assert tracking.settle() == [run.run_id]
        assert tracking.settle() == []
        settled = tracking.run(run.run_id)
        assert (settled.status, settled.end_time) == ("killed", run.start_time)
        assert [each.action for each in tracking.context.ledger.events(subject=run.reference)] == [
            "run.started",
            "run.killed",
        ]

    def test_a_number_used_again_by_another_process_does_not_revive_it(self, tracking: Tracking) -> None:
        here = places.this_process()
        run = tracking.create_run(owner=Owner(here.place, 1, here.began - 1e6))
        assert tracking.run(run.run_id).status == "killed"
        alive = tracking.create_run(owner=here)
        assert tracking.run(alive.run_id).status == "running"

    def test_a_run_elsewhere_is_interrupted_when_it_has_been_silent_for_long(
        self, tracking: Tracking, clock: FakeClock
    ) -> None:
        run = tracking.create_run(owner=Owner("another machine", 1, 0.0))
        foreign = tracking.create_run()
        clock.advance(minutes=8)
        tracking.heartbeat(run.run_id)
        clock.advance(minutes=8)
        assert tracking.run(run.run_id).status == "running"
        clock.advance(minutes=8)
        assert tracking.run(run.run_id).status == "interrupted"
        assert tracking.run(foreign.run_id).status == "running"
        clock.advance(days=1)
        assert tracking.run(foreign.run_id).status == "interrupted"

    def test_a_sign_of_life_after_all_is_heard(self, tracking: Tracking, clock: FakeClock) -> None:
        run = tracking.create_run(owner=Owner("another machine", 1, 0.0))
        clock.advance(hours=1)
        tracking.settle()
        tracking.ship(run.run_id, 0, records.batch([records.encode((records.END, "finished", 0))]))
        assert tracking.run(run.run_id).status == "finished"


class TestJournals:
    def test_what_a_killed_process_left_is_brought_in(
        self, tracking: Tracking, workspace: LocalWorkspace
    ) -> None:
        # Nobody ends it: it must not hear what later tests print.
        run = tracking.start(params={"a": 1}, output=False)
        run.flush()
        for step in range(10):
            run.log_metric("m", step)
        run.set_tag("t", "v")
        assert run._journal is not None
        run._journal.abandon()
        (path,) = journal_folder(workspace.folder).iterdir()
        path.write_bytes(path.read_bytes()[:-3])  # the last record, the tag, is torn
        assert tracking.ship_pending() == [run.run_id]
        found = tracking.run(run.run_id)
        assert (found.metrics, found.tags) == ({"m": 9.0}, {})
        assert tracking.history(run.run_id, "m").count == 10
        assert list(journal_folder(workspace.folder).iterdir()) == []
        run._journal = None

    def test_a_journal_that_is_being_written_is_left_alone(
        self, tracking: Tracking, workspace: LocalWorkspace
    ) -> None:
        with tracking.start() as run:
            run.log_metric("m", 1)
            assert tracking.ship_pending() == []
            assert len(list(journal_folder(workspace.folder).iterdir())) == 1
        assert list(journal_folder(workspace.folder).iterdir()) == []

    def test_training_goes_on_when_the_ledger_is_away(
        self, tracking: Tracking, monkeypatch: pytest.MonkeyPatch, workspace: LocalWorkspace
    ) -> None:
        def away(*_: object) -> Shipped:
            raise Unavailable("the server cannot be reached")

        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            with tracking.start() as run:
                monkeypatch.setattr(tracking, "ship", away)
                for step in range(100):
                    run.log_metric("m", step)
                run.refresh()
                run.log_metric("m", 100)
        assert [str(each.message) for each in warned if "sent later" in str(each.message)] != []
        assert len(warned) == 1
        monkeypatch.undo()
        assert tracking.ship_pending() == [run.run_id]
        assert tracking.run(run.run_id).status == "finished"
        assert tracking.history(run.run_id, "m").count == 101

    def test_a_fork_leaves_its_parents_run_alone(self, tracking: Tracking, workspace: LocalWorkspace) -> None:
        code = """
import os, warnings
warnings.simplefilter("ignore")
import everloop as ev
with ev.start_run(name="parent") as run:
    child = os.fork()
    if child == 0:
        try:
            ev.log_metric("m", -1.0)
        except ev.errors.Conflict as error:
            raise SystemExit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    ev.log_metric("m", 1.0)
"""
        environment = {"EVERLOOP_WORKSPACE": str(workspace.project), "PATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        run = tracking.open("parent")
        assert (run.status, run.metrics) == ("finished", {"m": 1.0})

    def test_many_points_are_sent_in_parts(self, tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("everloop.tracking.shipping.BATCH_BYTES", 100_000)
        monkeypatch.setattr("everloop.tracking.run._POINTS_IN_A_RECORD", 2_000)
        with tracking.start() as run:
            run.log_points("m", np.arange(20_000.0))
        assert run.history("m")["value"].to_pylist() == list(map(float, range(20_000)))

    @pytest.mark.parametrize("error", [Unavailable("away"), PermissionDenied("eve is viewer")])
    def test_whoever_only_looks_is_not_kept_from_it(
        self, tracking: Tracking, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        run = tracking.start(output=False)
        assert run._journal is not None
        run._journal.abandon()
        run._journal = None

        def refuse(*_: object) -> Shipped:
            raise error

        monkeypatch.setattr(tracking, "ship", refuse)
        assert [each.run_id for each in tracking.runs()] == [run.run_id]

    def test_a_deleted_run_keeps_its_journal_until_it_is_restored(
        self, tracking: Tracking, workspace: LocalWorkspace
    ) -> None:
        run = tracking.start(output=False)
        run.log_metric("m", 1)
        assert run._journal is not None
        run._journal.abandon()
        run._journal = None
        tracking.delete_runs([run.run_id])
        assert tracking.ship_pending() == []
        tracking.restore_runs([run.run_id])
        assert tracking.ship_pending() == [run.run_id]
        assert tracking.run(run.run_id).metrics == {"m": 1.0}


class TestLineage:
    def test_what_is_read_within_a_run_went_into_it(self, tracking: Tracking) -> None:
        with tracking.start() as run:
            note("data:flights@v3")
            assert run.use("model:delay@champion") == "model:delay@champion"
            note("data:weather@v1")
        note("data:later@v1")
        assert tracking.describe(run.run_id).consumed == [
            "data:flights@v3",
            "data:weather@v1",
            "model:delay@champion",
        ]
        assert ("data:flights@v3", run.reference, "consumed") in tracking.context.ledger.edges_of(
            run.reference, upward=True
        )

    def test_children_and_resumed_runs_hang_on_their_origin(self, tracking: Tracking) -> None:
        with pytest.raises(ZeroDivisionError), tracking.start() as run, tracking.start() as child:
            1 / 0  # noqa: B018
        with tracking.start(resume=child.run_id) as again:
            pass
        assert again.record.parent == run.run_id
        assert set(tracking.context.ledger.edges_of(run.reference, upward=False)) == {
            (run.reference, child.reference, "child"),
            (run.reference, again.reference, "child"),
            (child.reference, again.reference, "resumed"),
        }


class TestWithoutNamingAWorkspace:
    def test_functions_work_on_the_open_run(self, tracking: Tracking) -> None:
        with ev.start_run("e", params={"a": 1}) as run:
            assert ev.active_run() is run
            ev.log_params({"b": 2})
            ev.log_metrics({"m": 1.0}, step=3)
            with ev.start_run() as child:
                ev.log_metric("m", 2.0)
            ev.log_metric("m", 3.0)
        assert ev.active_run() is None
        assert (run.params, run.metrics) == ({"a": "1", "b": "2"}, {"m": 3.0})
        assert child.metrics == {"m": 2.0}
        assert [each.run_id for each in ev.runs("metrics.m > 2.5")] == [run.run_id]
        with pytest.raises(Conflict, match="no run is open"):
            ev.log_metric("m", 1.0)

    def test_a_run_need_not_be_a_block(self, tracking: Tracking) -> None:
        run = ev.start_run()
        ev.log_metric("m", 1.0)
        ev.end_run("failed")
        assert (run.status, run.metrics, ev.active_run()) == ("failed", {"m": 1.0}, None)
        ev.end_run()

    def test_a_run_open_at_the_end_of_the_process_is_ended(
        self, workspace: LocalWorkspace, tracking: Tracking
    ) -> None:
        for ending, status in (
            ("", "finished"),
            ("1 / 0", "failed"),
            ("raise KeyboardInterrupt", "interrupted"),
        ):
            code = f"import everloop as ev\nev.start_run(name={status!r}).log_metric('m', 1.0)\n{ending}"
            environment = {"EVERLOOP_WORKSPACE": str(workspace.project), "PATH": ""}
            subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
            assert tracking.run(tracking.resolve(status)).status == status


def test_who_may_only_read_cannot_log(tracking: Tracking) -> None:
    run = tracking.create_run()
    with acting_as(Actor("eve", Role.VIEWER)):
        assert tracking.run(run.run_id).run_id == run.run_id
        for attempt in (
            lambda: tracking.create_run(),
            lambda: tracking.ship(run.run_id, 0, b""),
            lambda: tracking.delete_runs([run.run_id]),
        ):
            with pytest.raises(PermissionDenied):
                attempt()
    with acting_as(Actor("ann", Role.ENGINEER)), pytest.raises(PermissionDenied):
        tracking.purge_runs([run.run_id])


def test_the_runs_table_and_its_files(tracking: Tracking, clock: FakeClock) -> None:
    clock.now = datetime(2018, 12, 14, 12, 59, 2, tzinfo=UTC)
    with tracking.start(name="=evil()", params={"alpha": 0.07, "sign": "-x"}) as run:
        run.log_metrics({"rmse": 78.734501, "r2": 0.0627, "loss": -1.5})
    found = [tracking.run(run.run_id)]
    table = runs_table(found)
    assert table.columns[:6] == ["Date", "User", "Run Name", "Source", "Version", "alpha"]
    assert table.rows[0][0].startswith("2018-12-14 12:59:02")
    assert table.rows[0][5:] == ["0.07", "-x", "-1.5", "0.063", "78.73"]
    lines = export(found, "csv").decode().splitlines()
    assert lines[0] == "Date,User,Run Name,Source,Version,alpha,sign,loss,r2,rmse,Run ID,Status,Experiment"
    assert "'=evil()" in lines[1]
    assert "0.07,'-x,-1.5,0.0627,78.734501," in lines[1]
    assert runs_table(found, params=[], metrics=["rmse"]).columns[5:] == ["rmse"]


integers = st.integers(-(2**63), 2**63 - 1)
small = st.integers(-(10**15), 10**15)
floats = st.floats(allow_nan=True, allow_infinity=True)
points = st.lists(
    st.tuples(st.one_of(st.integers(0, 5), integers), st.one_of(small, st.integers(0, 3)), floats), min_size=1
)


def columns(rows: list[tuple[int, int, float]]) -> Points:
    return Points.of([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


@given(points)
def test_a_block_gives_back_its_points_bit_for_bit(rows: list[tuple[int, int, float]]) -> None:
    before = columns(rows)
    after = decode(encode(before))
    assert np.array_equal(after.steps, before.steps)
    assert np.array_equal(after.times, before.times)
    assert after.values.tobytes() == before.values.tobytes()


@given(st.integers(-(2**40), 2**40), st.integers(-1000, 1000), st.integers(2, 50))
def test_a_stride_takes_no_room(first: int, distance: int, count: int) -> None:
    steps = [first + distance * number for number in range(count)]
    block = encode(Points.of(steps, list(range(count)), [0.0] * count))
    assert len(block) < 8 * count + 50
    assert decode(block).steps.tolist() == steps


def test_a_block_that_is_cut_is_noticed() -> None:
    block = encode(Points.of([5, 1, 9], [1, 2, 4], [1.0, 2.0, 3.0]))
    for end in range(len(block)):
        with pytest.raises(Corrupted):
            decode(block[:end])


@given(points, st.integers(0, 100))
def test_shipments_of_any_size_give_one_summary(rows: list[tuple[int, int, float]], cut: int) -> None:
    whole = Summary.of(columns(rows))
    cut %= len(rows)
    if cut:
        parts = Summary.of(columns(rows[:cut])).merged(Summary.of(columns(rows[cut:])))
        for field in (
            "count",
            "numbers",
            "first_step",
            "first_time",
            "last_step",
            "last_time",
            "last",
            "min",
            "max",
        ):
            assert repr(getattr(parts, field)).replace("-0.0", "0.0") == repr(getattr(whole, field)).replace(
                "-0.0", "0.0"
            )
        if math.isfinite(whole.mean) and abs(whole.mean) < 1e290:
            assert math.isclose(
                parts.mean, whole.mean, rel_tol=1e-9, abs_tol=1e-9 * max(abs(whole.min), abs(whole.max))
            )


plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(
            st.one_of(st.text(max_size=3), st.integers(), st.tuples(st.integers())), inner, max_size=3
        ),
        st.frozensets(st.integers(), max_size=3),
    ),
    max_leaves=8,
)


@given(plain)
def test_plain_states_come_back_with_their_types(state: object) -> None:
    data, format = checkpoints.save(state)
    back = checkpoints.load(data, format)
    assert format == "plain"
    assert repr(back) == repr(state) or back == state
    assert type(back) is type(state)


def test_a_subclass_is_not_flattened() -> None:
    class Weights(dict[str, int]):
        pass

    data, format = checkpoints.save([timedelta(1)])
    assert format == "pickle"
    assert checkpoints.load(data, format) == [timedelta(1)]
    with pytest.raises(Exception, match="cannot be saved"):
        checkpoints.save(Weights(a=1))


def test_workspace_folder_holds_no_journal_after_a_run(
    tracking: Tracking, workspace: LocalWorkspace, tmp_path: Path
) -> None:
    with tracking.start():
        pass
    assert workspace.governance.verify().ok


def test_what_is_of_the_wrong_kind_is_said_so_and_logs_nothing(workspace: LocalWorkspace) -> None:
    tracking: Tracking = workspace.tracking
    anything: Any = object()
    with tracking.start() as run:
        for call in (
            lambda: run.log_metrics([1.0]),  # type: ignore[arg-type]
            lambda: run.log_params("alpha"),  # type: ignore[arg-type]
            lambda: run.set_tags(["owner"]),  # type: ignore[arg-type]
            lambda: run.log_params({"a.b": 1, "a": {"b": 2}}),
            lambda: run.log_metric("loss", 1.0, step=1.5),  # type: ignore[arg-type]
            lambda: run.log_metric("loss", 1.0, timestamp=5),  # type: ignore[arg-type]
            lambda: run.log_points("loss", ["a"]),  # type: ignore[list-item]
            lambda: run.log_points("loss", [1.0, 2.0], steps=[0.5, 1.5]),  # type: ignore[list-item]
            lambda: run.log_dict({"a": anything}, "a.json"),
            lambda: tracking.start(name=anything),
            lambda: tracking.start(experiment=anything),
        ):
            with pytest.raises(InvalidInput):
                call()
        run.log_metric("loss", 1.0, step=3.0)  # type: ignore[arg-type]
    record = tracking.run(run.run_id)
    assert (record.params, record.tags, record.metrics) == ({}, {}, {"loss": 1.0})
    assert run.history("loss")["step"].to_pylist() == [3]
    assert not run.artifacts()
    assert len(tracking.search().runs) == 1
