"""What tracking promises, in this process and behind a server alike."""

from __future__ import annotations

import math
import random
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from everloop.domain.runs import ArtifactRecord, Owner
from everloop.errors import Conflict, InvalidInput, NotFound, Refused, TooLarge
from everloop.tracking import records
from everloop.tracking.tracking import Tracking
from everloop.workspace.workspace import Workspace


@pytest.fixture
def tracking(any_workspace: Workspace) -> Tracking:
    room: Tracking = any_workspace.tracking
    return room


class TestRuns:
    def test_what_was_logged_is_read_back(self, tracking: Tracking) -> None:
        with tracking.start(
            "churn", "first", params={"alpha": 0.5, "model": {"depth": 3}}, tags={"stage": "dev"}
        ) as run:
            run.log_param("seed", 7)
            run.log_metric("rmse", 0.9)
            run.log_metric("rmse", 0.8)
            run.log_metrics({"mae": 0.5, "r2": 0.1})
            run.set_tag("stage", "test")
        found = tracking.open(run.run_id)
        assert (found.name, found.experiment, found.status) == ("first", "churn", "finished")
        assert found.params == {"alpha": "0.5", "model.depth": "3", "seed": "7"}
        assert found.metrics == {"rmse": 0.8, "mae": 0.5, "r2": 0.1}
        assert found.tags == {"stage": "test"}
        assert found.record.end_time is not None
        assert found.record.end_time > found.record.start_time

    def test_a_run_without_a_name_gets_one_and_belongs_to_the_default_experiment(
        self, tracking: Tracking
    ) -> None:
        with tracking.start() as run:
            pass
        adjective, noun, number = run.name.split("-")
        assert adjective.isalpha()
        assert noun.isalpha()
        assert number.isdigit()
        assert (run.experiment, run.record.experiment_id) == ("Default", 0)

    def test_a_failure_is_seen_and_what_was_logged_before_it_is_kept(self, tracking: Tracking) -> None:
        with pytest.raises(ZeroDivisionError), tracking.start(params={"a": 1}) as run:
            run.log_metric("loss", 1.0)
            1 / 0  # noqa: B018
        assert tracking.run(run.run_id).status == "failed"
        assert tracking.run(run.run_id).metrics == {"loss": 1.0}

    def test_ctrl_c_is_an_interruption(self, tracking: Tracking) -> None:
        with pytest.raises(KeyboardInterrupt), tracking.start() as run:
            raise KeyboardInterrupt
        assert tracking.run(run.run_id).status == "interrupted"

    def test_runs_nest(self, tracking: Tracking) -> None:
        with tracking.start("flights", "outer") as outer:
            with tracking.start(name="inner") as inner, tracking.start(name="innermost") as innermost:
                pass
            with tracking.start("elsewhere", "second") as second:
                pass
        assert inner.record.parent == second.record.parent == outer.run_id
        assert innermost.record.parent == inner.run_id
        assert outer.record.parent is None
        assert (
            inner.experiment == innermost.experiment == "flights"
        )  # where its parent is, unless it names another
        assert second.experiment == "elsewhere"
        assert tracking.describe(outer.run_id).children == [inner.run_id, second.run_id]

    def test_asking_twice_with_one_identifier_starts_one_run(self, tracking: Tracking) -> None:
        given = tracking.context.ids()
        first = tracking.create_run(run_id=given, name="once")
        assert tracking.create_run(run_id=given, name="once") == first
        assert len(tracking.search().runs) == 1

    def test_a_run_is_found_by_a_beginning_of_its_identifier_and_by_its_name(
        self, tracking: Tracking
    ) -> None:
        one, two = tracking.create_run(name="one"), tracking.create_run(name="two")
        assert tracking.resolve(one.run_id) == tracking.resolve(f"run:{one.run_id[:31]}") == one.run_id
        assert tracking.resolve("two") == two.run_id
        with pytest.raises(InvalidInput, match="more than one"):
            tracking.resolve(one.run_id[:8])
        with pytest.raises(NotFound, match="there is no run 'three'"):
            tracking.resolve("three")

    def test_a_run_that_ended_takes_no_more_from_its_handle(self, tracking: Tracking) -> None:
        with tracking.start() as run:
            pass
        with pytest.raises(Conflict, match="has ended"):
            run.log_metric("late", 1.0)


class TestParamsAndTags:
    def test_a_parameter_is_written_once(self, tracking: Tracking) -> None:
        with tracking.start(params={"alpha": 1}) as run:
            run.log_params({"alpha": 1})
            with pytest.raises(Conflict, match="the parameter alpha is '1' already, not '2'"):
                run.log_params({"beta": 1, "alpha": 2})
        assert tracking.run(run.run_id).params == {"alpha": "1"}

    def test_a_change_is_made_whole_or_not_at_all(self, tracking: Tracking) -> None:
        run = tracking.create_run(params={"a": "1"})
        with pytest.raises(Conflict):
            tracking.log(run.run_id, params={"b": "2", "a": "3"}, tags={"t": "v"})
        with pytest.raises(NotFound, match="no tag 'u'"):
            tracking.log(run.run_id, tags={"t": "v"}, remove_tags=["u"])
        assert (tracking.run(run.run_id).params, tracking.run(run.run_id).tags) == ({"a": "1"}, {})
        tracking.log(run.run_id, tags={"t": "v"}, name="renamed")
        assert tracking.log(run.run_id, remove_tags=["t"]).tags == {}
        assert tracking.run(run.run_id).name == "renamed"

    def test_keys_and_values_keep_to_the_limits(self, tracking: Tracking) -> None:
        run = tracking.create_run()
        for key in ("", "a=b", "../x", "a//b", "k" * 251, "x,y", "[0]"):
            with pytest.raises(InvalidInput):
                tracking.log(run.run_id, params={key: "1"})
        with pytest.raises(TooLarge):
            tracking.log(run.run_id, params={"a": "x" * 6001})
        with pytest.raises(InvalidInput, match="NUL"):
            tracking.log(run.run_id, tags={"a": "x\0y"})
        tracking.log(
            run.run_id, params={"é/ü b-c.d:e": "x" * 6000, "empty": ""}, tags={"🦊"[:0] + "fox": "🦊 شمال"}
        )
        assert tracking.run(run.run_id).params["empty"] == ""
        assert tracking.run(run.run_id).tags == {"fox": "🦊 شمال"}

    def test_a_long_value_is_cut_with_a_warning_where_it_is_logged(self, tracking: Tracking) -> None:
        with tracking.start() as run, pytest.warns(RuntimeWarning, match="6000 are kept"):
            run.log_param("long", "x" * 7000)
        assert len(tracking.run(run.run_id).params["long"]) == 6000


class TestMetrics:
    def test_nan_and_infinities_are_kept(self, tracking: Tracking) -> None:
        with tracking.start() as run:
            for value in (1.0, math.inf, -math.inf, math.nan):
                run.log_metric("loss", value)
            run.log_metric("up", math.inf)
        found = tracking.run(run.run_id)
        assert math.isnan(found.metrics["loss"])
        assert found.metrics["up"] == math.inf
        assert found.nonfinite == {"loss": "NaN", "up": "Infinity"}
        values = run.history("loss")["value"].to_pylist()
        assert values[:3] == [1.0, math.inf, -math.inf]
        assert math.isnan(values[3])
        (loss, _) = tracking.summaries(run.run_id)
        assert (loss.count, loss.number("min"), loss.number("max")) == (4, -math.inf, math.inf)
        assert math.isnan(loss.number("mean"))
        assert math.isnan(loss.number("last"))

    def test_the_last_value_is_that_of_the_highest_step_not_of_the_last_call(
        self, tracking: Tracking
    ) -> None:
        with tracking.start() as run:
            run.log_metric("m", 5.0, step=9)
            run.flush()
            run.log_metric("m", 7.0, step=-3)
        (summary,) = tracking.summaries(run.run_id)
        assert (summary.last, summary.first, summary.last_step, summary.count) == (5.0, 7.0, 9, 2)
        assert run.history("m")["step"].to_pylist() == [-3, 9]

    def test_a_step_left_out_is_the_one_after_the_largest(self, tracking: Tracking) -> None:
        with tracking.start() as run:
            for step in (0, 10, 4, None):
                run.log_metric("one", 1.0, step=step)
                run.log_metrics({"two": 1.0, "three": 2.0}, step=step)
            run.log_points("three", [1.0, 2.0], steps=[30, 20])
            run.log_metric("three", 1.0)
        told = {key: tracking.history(run_id=run.run_id, key=key) for key in ("one", "two", "three")}
        steps = {key: np.frombuffer(each.steps, "<i8").tolist() for key, each in told.items()}
        assert steps["one"] == steps["two"] == [0, 4, 10, 11]
        assert steps["three"] == [0, 4, 10, 11, 20, 30, 31]

    def test_the_largest_steps_of_64_bits_are_kept_and_one_more_is_refused(self, tracking: Tracking) -> None:
        least, most = -(2**63), 2**63 - 1
        with tracking.start() as run:
            run.log_metric("loss", 1.0, step=least)
            run.log_metric("loss", 2.0, step=most)
            run.log_points("speed", [1.0, 2.0], steps=[most - 1, most])
            for log in (
                lambda: run.log_metric("loss", 3.0, step=most + 1),
                lambda: run.log_metrics({"loss": 3.0}, step=most + 1),
                lambda: run.log_metric("speed", 3.0),
                lambda: run.log_points("speed", [3.0, 4.0]),
            ):
                with pytest.raises(InvalidInput, match=r"of the metric (loss|speed) does not fit in 64 bits"):
                    log()
        assert run.history("loss")["step"].to_pylist() == [least, most]
        assert run.history("speed")["step"].to_pylist() == [most - 1, most]

    def test_a_point_has_its_step_and_time(self, tracking: Tracking) -> None:
        moment = datetime(2026, 5, 1, 12, tzinfo=UTC)
        with tracking.start() as run:
            run.log_metric("m", 1, step=3, timestamp=moment)
            run.log_metric("m", 2)
            with pytest.raises(InvalidInput, match="no time zone"):
                run.log_metric("m", 1, timestamp=moment.replace(tzinfo=None))
            with pytest.raises(InvalidInput, match="not a number"):
                run.log_metric("m", "high")  # type: ignore[arg-type]
        table = run.history("m")
        assert table["step"].to_pylist() == [3, 4]
        assert table["timestamp"][0].as_py() == moment

    def test_many_points_in_one_call(self, tracking: Tracking) -> None:
        with tracking.start() as run:
            run.log_points("walk", np.arange(5) / 2)
            run.log_points("walk", [9.0, 8.0], steps=[5, 7])
            run.log_metric("walk", 1.0)
            with pytest.raises(InvalidInput, match="differ in length"):
                run.log_points("walk", [1.0, 2.0], steps=[1])
        table = run.history("walk")
        assert table["step"].to_pylist() == [0, 1, 2, 3, 4, 5, 7, 8]
        assert table["value"].to_pylist() == [0.0, 0.5, 1.0, 1.5, 2.0, 9.0, 8.0, 1.0]

    def test_an_unknown_metric_has_an_empty_history(self, tracking: Tracking) -> None:
        run = tracking.create_run()
        assert tracking.history(run.run_id, "none").count == 0
        with pytest.raises(NotFound):
            tracking.history("0" * 32, "none")


class TestShipping:
    def shipped(self, *points: float) -> bytes:
        return records.batch(
            [records.encode((0, "m", value, step, step)) for step, value in enumerate(points)]
        )

    def test_a_shipment_sent_twice_arrives_once(self, tracking: Tracking) -> None:
        run = tracking.create_run()
        batch = self.shipped(1.0, 2.0)
        assert tracking.ship(run.run_id, 0, batch).records == 2
        assert tracking.ship(run.run_id, 0, batch).records == 2
        assert tracking.history(run.run_id, "m").count == 2

    def test_one_that_overlaps_brings_only_what_is_new(self, tracking: Tracking) -> None:
        run = tracking.create_run()
        tracking.ship(run.run_id, 0, self.shipped(1.0, 2.0))
        assert tracking.ship(run.run_id, 1, self.shipped(2.0, 3.0)).records == 3
        assert tracking.summaries(run.run_id)[0].count == 3

    def test_a_gap_is_refused(self, tracking: Tracking) -> None:
        run = tracking.create_run()
        with pytest.raises(Conflict, match="records 0 to 4"):
            tracking.ship(run.run_id, 5, self.shipped(1.0))

    @pytest.mark.parametrize(
        "batch",
        [
            b"",
            b"\xc1",
            records.batch([records.encode((0, "m", "high", 0, 0))]),
            records.batch([records.encode((0, "m", 1.0, 2**63, 0))]),
            records.batch([records.encode((77, "m"))]),
            records.batch([records.encode((0, "m"))]),
            records.batch([records.encode((2, "m", b"123", b"", b""))]),
            records.batch([records.encode((0, "../m", 1.0, 0, 0))]),
            records.batch([records.encode((3, {"a": 1}))]),
            records.batch([records.encode((5, "asleep", 0))]),
            records.batch([records.encode([])]),
            records.batch([records.encode((0, ["m"], 1.0, 0, 0))]),
            records.batch([records.encode((1, ["m"], 1.0, 0))]),
        ],
        ids=str,
    )
    def test_nonsense_is_refused_whole(self, tracking: Tracking, batch: bytes) -> None:
        run = tracking.create_run()
        with pytest.raises(InvalidInput):
            tracking.ship(run.run_id, 0, batch)
        assert tracking.summaries(run.run_id) == []

    def test_a_parameter_from_a_journal_that_clashes_keeps_its_first_value(self, tracking: Tracking) -> None:
        run = tracking.create_run(params={"a": "1"})
        answer = tracking.ship(run.run_id, 0, records.batch([records.encode((3, {"a": "2", "b": "3"}))]))
        assert (answer.records, answer.refused) == (1, ["a"])
        assert tracking.run(run.run_id).params == {"a": "1", "b": "3"}


class TestFiles:
    def test_files_texts_tables_and_dicts(self, tracking: Tracking, tmp_path: Path) -> None:
        (tmp_path / "plots" / "deep").mkdir(parents=True)
        (tmp_path / "plots" / "a.txt").write_text("a")
        (tmp_path / "plots" / "deep" / "b ü %.txt").write_bytes(b"")
        with tracking.start() as run:
            run.log_artifact(tmp_path / "plots" / "a.txt")
            run.log_artifacts(tmp_path / "plots", "figures")
            run.log_text("hällo", "notes/read me.txt")
            run.log_dict({"a": [1, None]}, "config.json")
            run.log_table({"x": [1, 2]}, "rows")
        assert [each.path for each in run.artifacts()] == [
            "a.txt",
            "config.json",
            "figures/a.txt",
            "figures/deep/b ü %.txt",
            "notes/read me.txt",
            "rows.parquet",
        ]
        assert [each.path for each in run.artifacts("figures")] == ["figures/a.txt", "figures/deep/b ü %.txt"]
        assert run.read_artifact("notes/read me.txt").decode() == "hällo"
        run.download(tmp_path / "back", "figures")
        assert sorted(each.name for each in (tmp_path / "back").rglob("*.txt")) == ["a.txt", "b ü %.txt"]
        with pytest.raises(NotFound):
            run.read_artifact("figures")

    def test_a_file_logged_again_is_replaced(self, tracking: Tracking) -> None:
        with tracking.start() as run:
            run.log_text("one", "a.txt")
            run.log_text("two", "a.txt")
        assert run.read_artifact("a.txt") == b"two"
        tracking.remove_artifacts(run.run_id, ["a.txt"])
        assert run.artifacts() == []

    @pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a//b", "a/./b", "", "a\\b", "a\0b", "x" * 501])
    def test_a_path_out_of_the_run_is_refused(self, tracking: Tracking, path: str) -> None:
        with tracking.start() as run, pytest.raises(InvalidInput):
            run.log_text("x", path)

    def test_bytes_that_are_not_stored_cannot_be_named(self, tracking: Tracking) -> None:
        run = tracking.create_run()
        with pytest.raises(NotFound, match="not in the store"):
            tracking.add_artifacts(run.run_id, [ArtifactRecord("a.txt", "0" * 64, 1)])

    def test_a_figure_is_drawn_by_its_own_library(self, tracking: Tracking) -> None:
        class Figure:
            def savefig(self, sink: Any, format: str, **_: Any) -> None:
                sink.write(format.encode())

        with tracking.start() as run:
            run.log_figure(Figure(), "roc.svg")
            with pytest.raises(InvalidInput, match="not a figure"):
                run.log_figure(object(), "roc.png")
        assert run.read_artifact("roc.svg") == b"svg"


class TestCheckpoints:
    def test_a_state_comes_back_as_it_was(self, tracking: Tracking) -> None:
        generator = np.random.default_rng(3)
        state = {
            "weights": np.linspace(0, 1, 5),
            "generator": generator.bit_generator.state,
            "python": random.Random(1).getstate(),
            "step": np.float32(0.1),
            "seen": {1, 2},
            7: ("a", [None, True, -0.0]),
            "rows": pa.table({"x": [1, 2]}),
        }
        with tracking.start() as run:
            assert run.restore("nothing") == "nothing"
            saved = run.checkpoint(state, step=4)
            assert saved.format == "plain"
            back = run.restore()
        assert np.array_equal(back.pop("weights"), state.pop("weights"))
        assert type(back["step"]) is np.float32
        assert back == state
        assert tracking.checkpoints(run.run_id) == [saved]

    def test_a_pickle_is_read_by_who_wrote_it_only(
        self, tracking: Tracking, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with tracking.start() as run:
            assert run.checkpoint({"estimator": Owner("a", 1, 2.0)}).format == "pickle"
        assert tracking.open(run.run_id).restore() == {"estimator": Owner("a", 1, 2.0)}
        monkeypatch.setattr("everloop.tracking.run.place", lambda: "elsewhere")
        with pytest.raises(Refused, match="may run any code"):
            tracking.open(run.run_id).restore()
        assert tracking.open(run.run_id).restore(trust=True) == {"estimator": Owner("a", 1, 2.0)}

    def test_a_resumed_run_goes_on_at_the_checkpoint(self, tracking: Tracking) -> None:
        with pytest.raises(ZeroDivisionError), tracking.start("e", "long", params={"lr": 1}) as run:
            for step in range(3):
                run.log_metric("loss", 10.0 - step)
            run.log_text("three", "at.txt")
            run.checkpoint({"step": 3})
            run.log_metric("loss", -1.0)
            run.log_text("four", "later.txt")
            1 / 0  # noqa: B018
        with tracking.start(resume=run.run_id) as again:
            assert again.restore() == {"step": 3}
            again.log_metric("loss", 7.0)
            again.checkpoint({"step": 4})
        assert again.resumed_from == run.run_id
        assert (again.name, again.experiment, again.params) == ("long", "e", {"lr": "1"})
        assert again.history("loss")["value"].to_pylist() == [10.0, 9.0, 8.0, 7.0]
        assert again.history("loss")["step"].to_pylist() == [0, 1, 2, 3]
        assert [each.number for each in tracking.checkpoints(again.run_id)] == [1, 2]
        assert run.history("loss")["value"].to_pylist() == [10.0, 9.0, 8.0, -1.0]
        assert tracking.summaries(again.run_id)[0].mean == 8.5
        assert "later.txt" in [each.path for each in tracking.artifacts(run.run_id)]

    def test_what_runs_or_has_finished_is_not_resumed(self, tracking: Tracking) -> None:
        with tracking.start() as run, pytest.raises(Conflict, match="still running"):
            tracking.start(resume=run.run_id)
        with pytest.raises(Conflict, match="has finished"):
            tracking.start(resume=run.run_id)

    def test_without_a_checkpoint_it_begins_again(self, tracking: Tracking) -> None:
        with pytest.raises(ZeroDivisionError), tracking.start(params={"lr": 1}) as run:
            run.log_metric("loss", 1.0)
            1 / 0  # noqa: B018
        with tracking.start(resume=run.run_id) as again:
            assert again.restore() is None
        assert (again.params, again.metrics) == ({"lr": "1"}, {})


class TestFinding:
    @pytest.fixture
    def three(self, tracking: Tracking) -> list[str]:
        made = []
        for name, model, rmse in (("a", "tree", 0.5), ("b", "linear", 2.0), ("c", "tree", math.nan)):
            with tracking.start("flights", name, params={"model": model, "lr": 0.1 * (len(made) + 1)}) as run:
                run.log_metric("rmse", rmse)
            made.append(run.run_id)
        return made

    def names(self, tracking: Tracking, where: str = "", **given: Any) -> str:
        return "".join(each.name for each in tracking.search(where, **given).runs)

    def test_filters_and_orders(self, tracking: Tracking, three: list[str]) -> None:
        assert self.names(tracking) == "cba"
        assert self.names(tracking, 'metrics.rmse < 1 and params.model = "tree"') == "a"
        assert self.names(tracking, "metrics.rmse < 1 or params.model = 'linear'") == "ba"
        assert self.names(tracking, "params.lr > 0.15", order_by=["params.lr"]) == "bc"
        assert self.names(tracking, order_by=["metrics.rmse"]) == "abc"
        assert self.names(tracking, order_by=["metrics.rmse DESC"]) == "bac"
        assert self.names(tracking, experiment=["flights"], where="not status = 'finished'") == ""

    def test_pages_and_count(self, tracking: Tracking, three: list[str]) -> None:
        first = tracking.search(limit=2, count=True)
        assert (len(first.runs), first.total) == (2, 3)
        second = tracking.search(limit=2, page=first.next_page or "")
        assert [each.name for each in second.runs] == ["a"]
        assert second.next_page is None
        with pytest.raises(InvalidInput, match="token"):
            tracking.search(page="?")

    def test_a_wrong_filter_points_at_the_place(self, tracking: Tracking) -> None:
        with pytest.raises(InvalidInput) as caught:
            tracking.search("metrics.rmse <> 'x'")
        line, caret = caught.value.message.splitlines()[1:]
        assert line[caret.index("^")] == "'"
        with pytest.raises(NotFound, match="no experiment 'flight'") as missing:
            tracking.create_experiment("flights")
            tracking.search(experiment=["flight"])
        assert "flights" in missing.value.hint

    def test_as_a_table(self, tracking: Tracking, three: list[str]) -> None:
        table = tracking.runs(order_by="metrics.rmse", limit=2).to_arrow()
        assert table["params.model"].to_pylist() == ["tree", "linear"]
        assert table["metrics.rmse"].to_pylist() == [0.5, 2.0]
        assert tracking.runs("name = 'zzz'").to_arrow().num_rows == 0

    def test_side_by_side_what_differs_comes_first(self, tracking: Tracking, three: list[str]) -> None:
        found = tracking.compare([three[0], "c"])
        assert [(row.key, row.values, row.differs) for row in found.params] == [
            ("lr", ["0.1", "0.30000000000000004"], True),
            ("model", ["tree", "tree"], False),
        ]
        assert found.metrics[0].values == ["0.5", "nan"]
        with pytest.raises(InvalidInput):
            tracking.compare([three[0]])

    def test_lineage_is_searched(self, tracking: Tracking, three: list[str]) -> None:
        tracking.consumed(three[0], ["data:flights@v3"])
        tracking.consumed(three[1], ["data:flights@v2"])
        tracking.produced(three[2], ["model:delay@v1"])
        assert self.names(tracking, "data = 'flights@v3'") == "a"
        assert self.names(tracking, "data = 'data:flights'") == "ba"
        assert self.names(tracking, "data != 'flights@v3'") == "b"
        assert self.names(tracking, "model = 'delay@v1' or data is null") == "c"
        assert tracking.describe(three[0]).consumed == ["data:flights@v3"]
        assert tracking.describe(three[2]).produced == ["model:delay@v1"]


class TestDeleting:
    def test_deleted_restored_purged(self, tracking: Tracking) -> None:
        with tracking.start(params={"a": 1}) as run:
            run.log_metric("m", 1)
            run.log_text("x", "x.txt")
        tracking.delete_runs([run.run_id[:30]])
        tracking.delete_runs([run.run_id])
        assert tracking.search().runs == []
        assert [each.run_id for each in tracking.search(state="deleted").runs] == [run.run_id]
        with pytest.raises(Conflict, match="'active' state"):
            tracking.log(run.run_id, tags={"a": "b"})
        tracking.restore_runs([run.run_id])
        assert tracking.run(run.run_id).metrics == {"m": 1.0}
        with pytest.raises(Conflict, match="is active"):
            tracking.purge_runs([run.run_id])
        tracking.delete_runs([run.run_id])
        tracking.purge_runs([run.run_id])
        with pytest.raises(NotFound):
            tracking.run(run.run_id)
        assert tracking.search(state="all").runs == []

    def test_an_experiment_takes_its_runs_along(self, tracking: Tracking) -> None:
        first = tracking.create_experiment("e", {"team": "x"})
        run = tracking.create_run(experiment="e")
        assert [each.runs for each in tracking.experiments()] == [0, 1]
        with pytest.raises(Conflict):
            tracking.create_experiment("e")
        tracking.set_experiment_state("e", "deleted")
        assert tracking.run(run.run_id).state == "deleted"
        with pytest.raises(Conflict, match="'active' state"):
            tracking.create_run(experiment=str(first.id))
        again = tracking.create_experiment("e")
        assert again.id != first.id
        with pytest.raises(Conflict, match="taken"):
            tracking.set_experiment_state(first.uuid, "active")
        tracking.rename_experiment(str(again.id), "f")
        tracking.set_experiment_state(first.uuid, "active")
        assert tracking.run(run.run_id).state == "active"
        assert tracking.experiment("e").tags == {"team": "x"}


def test_logging_makes_no_warning(tracking: Tracking) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with tracking.start() as run:
            run.log_points("m", np.array([np.nan, np.inf, -np.inf]))
