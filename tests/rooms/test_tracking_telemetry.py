"""What runs say while they run: output, the machine's measurements, curves thinned for drawing, pictures, tables, notebooks."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import struct
import sys
import threading
import types
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from everloop.errors import InvalidInput, NotFound, TooLarge
from everloop.tracking import output
from everloop.tracking.blocks import Points, thinned
from everloop.tracking.machine import Machine, interval
from everloop.tracking.pictures import png
from everloop.tracking.secrets import is_secret
from everloop.tracking.tracking import Tracking
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.workspace import Workspace


@pytest.fixture
def tracking(workspace: LocalWorkspace) -> Tracking:
    room: Tracking = workspace.tracking
    return room


class TestOutput:
    @pytest.fixture(autouse=True)
    def nobody_else_listens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A run that another test left open would keep the streams wrapped."""
        monkeypatch.setattr(output, "_open", [])
        monkeypatch.setattr(output, "_taps", [])

    def test_what_is_printed_is_kept_and_still_seen(
        self, tracking: Tracking, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = sys.stdout.write
        with tracking.start() as run:
            print("hello", end="")
            print(" world")
            print("careful", file=sys.stderr)
            print("unfinished", end="")
        print("not of the run")
        assert sys.stdout.write == before
        assert run.output() == "hello world\ncareful\nunfinished\n"
        assert [each.stream for each in tracking.output(run.run_id)] == ["stdout", "stderr", "stdout"]
        seen = capsys.readouterr()
        assert seen.out == "hello world\nunfinishednot of the run\n"
        assert seen.err.endswith("careful\n")

    def test_a_handler_that_was_there_before_is_heard(self, tracking: Tracking) -> None:
        log = logging.getLogger("everloop-test")
        handler = logging.StreamHandler(sys.stderr)
        log.addHandler(handler)
        try:
            with tracking.start() as run:
                log.warning("from the log")
        finally:
            log.removeHandler(handler)
        assert run.output() == "from the log\n"

    def test_a_progress_bar_is_kept_as_it_ended(self, tracking: Tracking) -> None:
        with tracking.start() as run:
            for percent in range(0, 101, 10):
                sys.stderr.write(f"\r{percent} %")
            sys.stderr.write("\n")
            print("windows\r\nline")
        assert run.output() == "100 %\nwindows\nline\n"

    def test_why_a_run_failed_is_kept(self, tracking: Tracking) -> None:
        run = tracking.start()
        with pytest.raises(ZeroDivisionError), run:
            1 / 0  # noqa: B018
        assert "ZeroDivisionError: division by zero" in run.output()

    def test_secrets_are_masked(self, tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MY_API_TOKEN", "s3cr3t-value")
        with tracking.start() as run:
            print("using s3cr3t-value and AKIAIOSFODNN7EXAMPLE at https://ann:pw@host/x")
        assert run.output() == "using *** and *** at https://***@host/x\n"

    def test_characters_that_a_ledger_cannot_keep(self, tracking: Tracking) -> None:
        with tracking.start() as run:
            print("nul \0, emoji 🦊, שלום")
        assert run.output() == "nul \ufffd, emoji 🦊, שלום\n"

    def test_only_so_much_is_kept(self, tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(output, "MOST_BYTES", 100)
        with tracking.start() as run:
            for number in range(1000):
                print(f"line {number}")
        lines = run.output().splitlines()
        assert lines[0] == "line 0"
        assert "more is not" in lines[-1]
        assert len(lines) < 30

    def test_each_thread_prints_into_its_run(self, tracking: Tracking) -> None:
        runs = {}
        barrier = threading.Barrier(2)

        def work(name: str) -> None:
            with tracking.start(name=name) as run:
                barrier.wait()
                print(f"from {name}")
                barrier.wait()
            runs[name] = run

        threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert {name: run.output() for name, run in runs.items()} == {"a": "from a\n", "b": "from b\n"}

    def test_a_stream_that_somebody_else_replaced_meanwhile(self, tracking: Tracking) -> None:
        real = sys.stdout
        with tracking.start() as run:
            print("one")
            with contextlib.redirect_stdout(io.StringIO()):
                print("elsewhere")
            print("two")
        assert sys.stdout is real
        assert run.output() == "one\ntwo\n"

    def test_it_can_be_left_out(self, tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
        with tracking.start(output=False) as run:
            print("x")
        assert run.output() == ""
        monkeypatch.setenv("EVERLOOP_OUTPUT", "off")
        with tracking.start() as run:
            print("x")
        assert run.output() == ""

    def test_pages_of_it(self, tracking: Tracking) -> None:
        with tracking.start() as run:
            for number in range(5):
                print(number)
                print(number, file=sys.stderr)
        first = tracking.output(run.run_id, limit=3)
        rest = tracking.output(run.run_id, after=first[-1].record)
        assert "".join(each.text for each in first + rest) == run.output()
        with pytest.raises(InvalidInput):
            tracking.output(run.run_id, limit=0)


class TestMachine:
    def test_nothing_before_the_first_interval_is_over(self, tmp_path: Path) -> None:
        said: list[dict[str, float]] = []
        time = [0.0]
        machine = Machine(said.append, 10.0, folder=tmp_path, timer=lambda: time[0])
        for time[0] in (0.0, 9.9):
            machine.measure()
        assert said == []
        for time[0] in (10.0, 11.0, 25.0):
            machine.measure()
        assert len(said) == 2
        assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes",
                "system/disk_available_megabytes", "system/network_receive_megabytes"} <= set(said[0])  # fmt: skip
        assert all(math.isfinite(value) for value in said[0].values())
        assert 0 <= said[0]["system/system_memory_usage_percentage"] <= 100

    def test_the_setting(self) -> None:
        assert [interval({"EVERLOOP_SYSTEM_METRICS": given}) for given in ("", "on", "2.5", "0", "off", "-1")] == [
            15.0, 15.0, 2.5, 0.0, 0.0, 0.0
        ]  # fmt: skip

    def test_a_run_measures_while_it_is_open(
        self, tracking: Tracking, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("everloop.tracking.shipping.SHIP_SECONDS", 0.001)
        measured = threading.Event()
        before = Machine._measured
        calls: list[None] = []

        def measure(self: Machine) -> dict[str, float]:
            calls.append(None)
            if len(calls) == 2:  # the first has been logged by now
                measured.set()
            return before(self)

        monkeypatch.setattr(Machine, "_measured", measure)
        monkeypatch.setenv("EVERLOOP_SYSTEM_METRICS", "0.000001")
        with tracking.start() as run:
            assert measured.wait(10)
        assert "system/cpu_utilization_percentage" in run.metrics
        with tracking.start(machine=False) as run:
            pass
        assert run.metrics == {}


class TestCurves:
    def test_thinned_for_drawing(self, any_workspace: Workspace) -> None:
        tracking = any_workspace.tracking
        values = np.sin(np.arange(10_000) / 500)
        values[7_777] = 99.0
        values[3_333] = math.nan
        with tracking.start() as run:
            run.log_points("wave", values)
            run.log_points("short", [1.0, 2.0, 3.0])
        few = run.history("wave", points=100)
        assert few.num_rows <= 100
        kept = few["value"].to_pylist()
        assert 99.0 in kept
        assert min(kept) == np.nanmin(values)
        assert few["step"].to_pylist()[0] == 0
        assert few["step"].to_pylist()[-1] == 9_999
        assert tracking.history(run.run_id, "wave", 100).total == 10_000
        assert run.history("wave").num_rows == 10_000
        assert run.history("nothing", points=100).num_rows == 0
        with pytest.raises(InvalidInput):
            run.history("wave", points=3)

    def test_many_at_once(self, any_workspace: Workspace) -> None:
        tracking = any_workspace.tracking
        ids = []
        for number in range(3):
            with tracking.start() as run:
                run.log_metrics({"a": number, "b": -number})
                run.log_points("c", np.arange(5_000.0))
            ids.append(run.run_id)
        found = tracking.histories(ids[::-1], ["c", "a", "missing"], points=50)
        assert [(each.run_id, each.history.key) for each in found] == [
            (run_id, key) for run_id in ids[::-1] for key in ("c", "a")
        ]
        assert {each.history.count for each in found if each.history.key == "c"} == {24}
        assert all(each.history.total == 5_000 for each in found if each.history.key == "c")
        with pytest.raises(NotFound):
            tracking.histories(["0" * 32], ["a"])
        with pytest.raises(InvalidInput, match="too many"):
            tracking.histories(ids, [str(number) for number in range(4_000)])

    @pytest.mark.parametrize(("status", "blocks"), [("finished", 1), ("failed", 20)])
    def test_blocks_of_a_finished_run_are_joined(
        self, tracking: Tracking, workspace: LocalWorkspace, status: str, blocks: int
    ) -> None:
        run = tracking.start()
        for step in (5, 3, 3, *range(17)):
            run.log_metric("m", step, step=step)
            run.log_metric("once", 1.0) if step == 16 else None
            run.flush()
        before = run.history("m")
        run.finish(status)
        with workspace.ledger.read() as look:
            count = look.scalar(sa.text("select count(*) from metric_blocks where key = 'm'"))
        assert count == blocks
        assert run.history("m").equals(before)
        assert tracking.summaries(run.run_id)[0].count == before.num_rows
        assert run.history("once").num_rows == 1

    @given(
        st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=300), st.integers(4, 60)
    )
    def test_what_is_kept_of_a_curve(self, values: list[float], most: int) -> None:
        points = Points.of(range(len(values)), range(len(values)), values)
        kept = thinned(points, most)
        assert len(kept) <= max(most, 0)
        steps = kept.steps.tolist()
        assert steps == sorted(set(steps))
        assert repr([values[step] for step in steps]) == repr(kept.values.tolist())
        assert (steps[0], steps[-1]) == (0, len(values) - 1)
        known = [value for value in values if not math.isnan(value)]
        if known:
            left = [value for value in kept.values.tolist() if not math.isnan(value)]
            assert (min(left), max(left)) == (min(known), max(known))


def decoded(content: bytes) -> np.ndarray[Any, Any]:
    """The pixels of a PNG file whose rows are not filtered."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        data = content[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", content, at + 8 + length)[0] == zlib.crc32(kind + data)
        chunks[kind] = data
        at += 12 + length
    width, height, depth, colour = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    channels = {0: 1, 4: 2, 2: 3, 6: 4}[colour]
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + width * channels)
    assert depth == 8
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, channels)


class TestPictures:
    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    def test_pixels_come_back(self, channels: int) -> None:
        picture = np.random.default_rng(0).integers(0, 256, (7, 5, channels), np.uint8)
        assert np.array_equal(decoded(png(picture)), picture)
        assert np.array_equal(decoded(png(picture.astype(np.int64))), picture)

    def test_floats_and_booleans(self) -> None:
        assert decoded(png([[0.0, 0.5, 1.0]]))[0, :, 0].tolist() == [0, 128, 255]
        assert decoded(png(np.array([[True, False]])))[0, :, 0].tolist() == [255, 0]

    @pytest.mark.parametrize(
        "wrong",
        [np.zeros(3), np.zeros((2, 2, 5)), np.full((2, 2), 256), np.full((2, 2), math.nan), [[-0.5]], [[]]],
    )
    def test_what_is_no_picture(self, wrong: Any) -> None:
        with pytest.raises(InvalidInput):
            png(wrong)

    def test_in_a_run(self, any_workspace: Workspace) -> None:
        with any_workspace.tracking.start() as run:
            run.log_image(np.zeros((2, 2)), "black.png")
            for _ in range(2):
                run.log_image(np.ones((2, 2)), key="white")
            run.log_image(np.ones((2, 2)), key="white", step=100)
            with pytest.raises(InvalidInput):
                run.log_image(np.ones((2, 2)))
        assert [each.path for each in run.artifacts()] == [
            "black.png",
            "images/white/00000000.png",
            "images/white/00000001.png",
            "images/white/00000100.png",
        ]


class TestTables:
    @pytest.mark.parametrize("ending", ["parquet", "json"])
    def test_rows_can_be_added(self, any_workspace: Workspace, ending: str) -> None:
        from everloop.tracking.tables import read

        with any_workspace.tracking.start() as run:
            run.log_table({"a": [1, 2]}, f"t.{ending}", append=True)
            run.log_table({"a": [3], "b": ["x"]}, f"t.{ending}", append=True)
            found = read(run.read_artifact(f"t.{ending}"), f"t.{ending}").to_pylist()
            assert found == [{"a": 1, "b": None}, {"a": 2, "b": None}, {"a": 3, "b": "x"}]
            run.log_table({"a": [9]}, f"t.{ending}")
            assert read(run.read_artifact(f"t.{ending}"), f"t.{ending}").to_pylist() == [{"a": 9}]
            with pytest.raises(InvalidInput, match="do not fit"):
                run.log_table({"a": [["x"]]}, f"t.{ending}", append=True)

    def test_what_is_no_table(self, tracking: Tracking) -> None:
        with tracking.start() as run:
            for wrong in (3, {"a": [1], "b": [1, 2]}, "abc"):
                with pytest.raises(InvalidInput):
                    run.log_table(wrong, "t")
            run.log_text("no table", "u.parquet")
            with pytest.raises(InvalidInput, match="not a table"):
                run.log_table(pa.table({"a": [1]}), "u.parquet", append=True)


class TestLimits:
    """What is too long is cut with a warning or refused; nothing is lost without a word."""

    def test_long_values(self, any_workspace: Workspace) -> None:
        with any_workspace.tracking.start() as run:
            with pytest.warns(RuntimeWarning, match="6000 are kept"):
                run.log_params({"long": "x" * 7_000})
            with pytest.warns(RuntimeWarning, match="8000 are kept"):
                run.set_tag("long", "y" * 9_000)
            run.log_params({"fits": "x" * 6_000})
        assert (len(run.params["long"]), len(run.params["fits"]), len(run.tags["long"])) == (
            6_000,
            6_000,
            8_000,
        )
        with (
            pytest.warns(RuntimeWarning, match="6000 are kept"),
            any_workspace.tracking.start(params={"long": "x" * 7_000}) as run,
        ):
            pass
        assert len(run.params["long"]) == 6_000

    @pytest.mark.parametrize("key", ["", " ", "a" * 251, "a//b", "../x", "a=b", "x\0", 3])
    def test_keys_that_are_none(self, any_workspace: Workspace, key: Any) -> None:
        with any_workspace.tracking.start() as run:
            for log in (
                lambda: run.log_metric(key, 1.0),
                lambda: run.log_metrics({key: 1.0}),
                lambda: run.log_params({key: 1} if isinstance(key, str) else {"": key}),
                lambda: run.set_tags({key: 1}),
            ):
                with pytest.raises((InvalidInput, TooLarge)):
                    log()
            run.log_metric("a" * 250, 1.0)
        assert run.metrics == {"a" * 250: 1.0}

    @pytest.mark.parametrize("name", ["emoji 🦊", "שלום עולם", "日本語/値", "Ångström"])
    def test_names_in_any_script(self, any_workspace: Workspace, name: str) -> None:
        key = name.replace("🦊", "fox")
        with any_workspace.tracking.start(name, name=name, tags={"t": name}) as run:
            run.log_metric(key, 1.0)
            run.log_params({key: name})
            run.log_text(name, f"{name}.txt")
        again = any_workspace.tracking.open(run.run_id)
        assert (again.experiment, again.name, again.tags["t"]) == (name, name, name)
        assert (again.metrics, again.params) == ({key: 1.0}, {key: name})
        assert again.read_artifact(f"{name}.txt").decode() == name

    def test_numbers_that_are_none(self, any_workspace: Workspace) -> None:
        with any_workspace.tracking.start() as run:
            for given, kept in (("nan", math.nan), ("-inf", -math.inf), (np.float32(0.5), 0.5), (True, 1.0)):
                run.log_metric("m", given)
                assert repr(run.history("m")["value"].to_pylist()[-1]) == repr(kept)
            for wrong in ("abc", None, [1], 1j):
                with pytest.raises(InvalidInput, match="not a number"):
                    run.log_metric("m", wrong)
            for step in ("x", 2**63, -(2**63) - 1):
                with pytest.raises(InvalidInput):
                    run.log_metric("m", 1.0, step=step)  # type: ignore[arg-type]

    def test_parameters_and_tags_that_are_secrets(self, any_workspace: Workspace) -> None:
        with any_workspace.tracking.start() as run:
            with pytest.warns(RuntimeWarning, match="api_key"):
                run.log_params({"api_key": "s3cr3t", "key": "origin", "max_tokens": 5})
            with pytest.warns(RuntimeWarning, match="the tag db_password"):
                run.set_tags({"db_password": "s3cr3t", "stage": "dev"})
        assert run.params == {"api_key": "***", "key": "origin", "max_tokens": "5"}
        tags = any_workspace.tracking.run(run.run_id).tags
        assert (tags["db_password"], tags["stage"]) == ("***", "dev")

    def test_patterns_of_ones_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert not is_secret("door_pin")
        monkeypatch.setenv("EVERLOOP_SECRETS", "*_pin, license")
        assert is_secret("door_PIN")
        assert is_secret("license")
        assert not is_secret("licenses")


class TestNotebook:
    def test_a_run_is_a_table_and_escapes_what_users_wrote(self, tracking: Tracking) -> None:
        with tracking.start(name="<b>x</b>", params={"alpha": "<i>"}) as run:
            run.log_metric("loss", 0.123456)
            run.flush()
            shown = run._repr_html_()
        assert "&lt;b&gt;x&lt;/b&gt;" in shown
        assert "&lt;i&gt;" in shown
        assert "0.123" in shown
        assert "running" in shown
        assert "finished" in run._repr_html_()

    def test_runs_are_a_table_of_what_differs(self, tracking: Tracking) -> None:
        for alpha in (1, 2):
            with tracking.start(params={"alpha": alpha, "same": "x"}) as run:
                run.log_metrics({"rmse": alpha, "system/cpu": 1.0})
        shown = tracking.runs()._repr_html_()
        assert "<th>alpha</th>" in shown
        assert "<th>rmse</th>" in shown
        assert "same" not in shown
        assert "system/" not in shown

    def test_it_follows_the_run(self, tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
        shown: list[str] = []

        class Handle:
            def update(self, html: str) -> None:
                shown.append(html)

        def display(html: str, **_: Any) -> Handle:
            shown.append(html)
            return Handle()

        package = types.ModuleType("IPython")
        module = types.ModuleType("IPython.display")
        module.HTML, module.display = str, display  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "IPython", package)
        monkeypatch.setitem(sys.modules, "IPython.display", module)
        with tracking.start() as run:
            run.show()
            run.log_metric("m", 0.25)
        assert "running" in shown[0]
        assert "finished" in shown[-1]
        assert "0.25" in shown[-1]

    def test_outside_a_notebook(self, tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "IPython.display", None)
        with tracking.start() as run, pytest.raises(InvalidInput, match="no notebook"):
            run.show()
