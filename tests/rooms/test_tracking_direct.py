"""What clients of other protocols ask of tracking: calls that no journal numbers, datasets as they are described, experiments
found by filters. On SQLite and on Postgres."""

import math
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from tests.support.workspaces import FakeClock

from everloop.domain.direct import RunFacts
from everloop.domain.run_inputs import LoggedDataset
from everloop.errors import Conflict, InvalidInput, NotFound, TooLarge
from everloop.store.schema.tracking import metric_blocks
from everloop.tracking import records
from everloop.tracking.tracking import Tracking
from everloop.workspace.local import LocalWorkspace


@pytest.fixture(params=["sqlite", "postgres"])
def tracking(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Tracking]:
    project = tmp_path / "project"
    project.mkdir()
    if request.param == "postgres":
        (project / "everloop.toml").write_text(f'ledger = "{request.getfixturevalue("ledger_url")}"\n')
    with LocalWorkspace(project, clock=clock) as workspace:
        yield workspace.tracking


def points(key: str, *given: tuple[int, int, float]) -> bytes:
    """Records of points (step, time, value)."""
    return records.batch(
        [records.encode((records.POINT, key, value, step, time)) for step, time, value in given]
    )


def history(tracking: Tracking, run: str, key: str) -> list[tuple[int, int, float]]:
    found = tracking.history(run, key)
    columns = (
        np.frombuffer(found.steps, "<i8"),
        np.frombuffer(found.times, "<i8"),
        np.frombuffer(found.values, "<f8"),
    )
    return list(zip(*(column.tolist() for column in columns), strict=True))


class TestRecording:
    def test_calls_add_up(self, tracking: Tracking) -> None:
        run = tracking.create_run().run_id
        tracking.record(run, points("loss", (0, 10, 3.0)))
        tracking.record(run, points("loss", (1, 20, 2.0), (2, 30, math.nan)))
        tracking.record(run, points("other", (0, 10, math.inf)))
        assert [each[:2] for each in history(tracking, run, "loss")] == [(0, 10), (1, 20), (2, 30)]
        last = {each.key: each for each in tracking.last_points([run])[run]}
        assert math.isnan(last["loss"].number)
        assert (last["loss"].step, last["loss"].time) == (2, 30)
        assert last["other"].number == math.inf
        (loss, _) = tracking.summaries(run)
        assert (loss.count, loss.min, loss.max) == (3, 2.0, 3.0)

    def test_the_last_point_again_is_no_new_point(self, tracking: Tracking) -> None:
        run = tracking.create_run().run_id
        for step, value in ((0, 1.0), (0, 1.0), (1, math.nan), (1, math.nan)):
            tracking.record(run, points("m", (step, 10, value)))
        assert len(history(tracking, run, "m")) == 2

    def test_once_leaves_out_what_is_there(self, tracking: Tracking) -> None:
        run = tracking.create_run().run_id
        tracking.record(run, points("m", (0, 10, 1.0), (1, 20, math.nan)))
        tracking.record(run, points("m", (0, 10, 1.0), (1, 20, math.nan), (2, 30, 3.0)), once=True)
        tracking.record(run, points("m", (0, 10, 1.0)), once=True)
        assert [step for step, _, _ in history(tracking, run, "m")] == [0, 1, 2]

    def test_all_or_nothing(self, tracking: Tracking) -> None:
        run = tracking.create_run(params={"alpha": "1"}).run_id
        both = records.batch(
            [
                records.encode((records.POINT, "m", 1.0, 0, 0)),
                records.encode((records.PARAMS, {"alpha": "2"})),
            ]
        )
        with pytest.raises(Conflict, match="Changing param values is not allowed"):
            tracking.record(run, both, RunFacts(name="renamed"))
        assert history(tracking, run, "m") == []
        assert tracking.run(run).name != "renamed"
        with pytest.raises(NotFound, match="no tag 'gone'"):
            tracking.record(run, points("m", (0, 0, 1.0)), remove_tags=["gone"])
        assert history(tracking, run, "m") == []

    def test_what_cannot_be_recorded(self, tracking: Tracking) -> None:
        run = tracking.create_run().run_id
        for wrong in (b"x", records.batch([records.encode((99, "m"))]), points("a//b", (0, 0, 1.0))):
            with pytest.raises(InvalidInput):
                tracking.record(run, wrong)
        with pytest.raises(InvalidInput, match="end of a run"):
            tracking.record(run, records.batch([records.encode((records.END, "finished", 0))]))
        with pytest.raises(NotFound):
            tracking.record("0" * 32, points("m", (0, 0, 1.0)))
        tracking.delete_runs([run])
        with pytest.raises(Conflict, match="must be in the 'active' state"):
            tracking.record(run, points("m", (0, 0, 1.0)))

    def test_a_run_gets_a_parent_later(self, tracking: Tracking) -> None:
        parent, child = tracking.create_run().run_id, tracking.create_run().run_id
        tracking.record(child, facts=RunFacts(parent=parent, user="ann"))
        assert (tracking.run(child).parent, tracking.run(child).user) == (parent, "ann")
        assert tracking.describe(parent).children == [child]
        with pytest.raises(InvalidInput, match="own parent"):
            tracking.record(child, facts=RunFacts(parent=child))

    def test_an_ended_run_goes_on(self, tracking: Tracking, clock: FakeClock) -> None:
        run = tracking.create_run().run_id
        end = clock.now + timedelta(hours=1)
        ended = tracking.amend_run(run, "finished", end)
        assert (ended.status, ended.end_time) == ("finished", end)
        again = tracking.amend_run(run, "running", name="anew")
        assert (again.status, again.end_time, again.name) == ("running", None, "anew")
        with pytest.raises(InvalidInput, match="cannot be 'paused'"):
            tracking.amend_run(run, "paused")


class TestDatasets:
    def test_one_description_for_all_runs_of_an_experiment(self, tracking: Tracking) -> None:
        first, second = (tracking.create_run(experiment="churn").run_id for _ in range(2))
        given = LoggedDataset("flights", "abc", "local", "{}", "columns", "100 rows", "train", {"a": "1"})
        tracking.log_datasets(first, [given])
        tracking.log_datasets(first, [LoggedDataset("flights", "abc", schema="other", context="eval")])
        tracking.log_datasets(second, [LoggedDataset("flights", "abc", schema="other", context="eval")])
        found = tracking.datasets_of([first, second])
        assert found[first] == [given]
        assert [(each.schema, each.context) for each in found[second]] == [("columns", "eval")]
        matching = tracking.search("datasets.name = 'flights' and datasets.context = 'eval'")
        assert [each.run_id for each in matching.runs] == [second]

    def test_they_go_with_a_purged_run(self, tracking: Tracking) -> None:
        run = tracking.create_run().run_id
        tracking.log_datasets(run, [LoggedDataset("flights", "abc")])
        tracking.delete_runs([run])
        tracking.purge_runs([run])
        assert tracking.datasets_of([run]) == {}

    @pytest.mark.parametrize(
        "wrong",
        [
            LoggedDataset("", "abc"), LoggedDataset("x", ""), LoggedDataset("x" * 501, "abc"), LoggedDataset("x", "d" * 37),
            LoggedDataset("x", "abc", source="s" * 65_536), LoggedDataset("x\0", "abc"),
            LoggedDataset("x", "abc", tags={"k": "v" * 501}),
        ],
    )  # fmt: skip
    def test_limits(self, tracking: Tracking, wrong: LoggedDataset) -> None:
        run = tracking.create_run().run_id
        with pytest.raises((InvalidInput, TooLarge)):
            tracking.log_datasets(run, [wrong])
        assert tracking.datasets_of([run]) == {}

    def test_no_more_than_a_thousand(self, tracking: Tracking) -> None:
        run = tracking.create_run().run_id
        tracking.log_datasets(run, [LoggedDataset(f"d{number}", "abc") for number in range(1000)])
        with pytest.raises(InvalidInput, match="too many"):
            tracking.log_datasets(run, [LoggedDataset(f"d{number}", "abc") for number in range(1001)])
        assert len(tracking.datasets_of([run])[run]) == 1000


class TestExperiments:
    def test_found_by_filters_in_pages(self, tracking: Tracking) -> None:
        for number in range(7):
            tracking.create_experiment(f"flights {number}", {"parity": "even" if number % 2 == 0 else "odd"})
        names, page = [], ""
        while True:
            found = tracking.search_experiments(
                "name like 'flights%'", order_by=["name desc"], limit=3, page=page
            )
            names += [each.name for each in found.experiments]
            if found.next_page is None:
                break
            page = found.next_page
        assert names == [f"flights {number}" for number in reversed(range(7))]
        odd = tracking.search_experiments("tags.parity = 'odd'", order_by=["experiment_id"])
        assert [each.name[-1] for each in odd.experiments] == ["1", "3", "5"]
        assert odd.experiments[0].tags == {"parity": "odd"}

    def test_known_by_number_and_by_name(self, tracking: Tracking) -> None:
        made = tracking.create_experiment("7")
        assert tracking.experiment_by_name("7").id == made.id
        assert tracking.experiment_by_number(made.id).name == "7"
        with pytest.raises(NotFound):
            tracking.experiment_by_number(7)
        with pytest.raises(NotFound):
            tracking.experiment_by_name(str(made.id))
        tracking.set_experiment_state("7", "deleted")
        assert tracking.experiment_by_name("7").state == "deleted"
        again = tracking.create_experiment("7")
        assert tracking.experiment_by_name("7").id == again.id

    def test_tags_are_taken_away(self, tracking: Tracking) -> None:
        made = tracking.create_experiment("one", {"a": "1", "b": "2"})
        tracking.untag_experiment(made.uuid, ["a"])
        assert tracking.experiment("one").tags == {"b": "2"}
        with pytest.raises(NotFound, match="no tag 'a'"):
            tracking.untag_experiment(made.uuid, ["a"])


def test_many_small_blocks_become_few(tracking: Tracking) -> None:
    """Gathering changes nothing that can be read: not the points, not what ties, not what the journal of a run brought."""
    run = tracking.create_run().run_id
    tracking.ship(run, 0, points("m", (1_000, 5, -1.0)))
    expected = [(1_000, 5, -1.0)]
    for step in range(600):
        both = [(0, step, "m"), (step, step, "n")] if step % 3 else [(0, step, "m")]
        tracking.record(run, points(both[0][2], (both[0][0], 7, float(both[0][1]))))
        expected.append((0, 7, float(step)))
        if len(both) > 1:
            tracking.record(run, points("n", (step, step, 0.5)))
    assert history(tracking, run, "m") == [*expected[1:], expected[0]]
    assert [step for step, _, _ in history(tracking, run, "n")] == [step for step in range(600) if step % 3]
    (summary, _) = tracking.summaries(run)
    assert (summary.count, summary.last) == (601, -1.0)
    with tracking.look() as look:
        blocks = look.all(
            sa.select(metric_blocks.c.count).where(metric_blocks.c.key == "m", metric_blocks.c.run == run)
        )
    assert len(blocks) < 270
    assert max(row.count for row in blocks) > 200
