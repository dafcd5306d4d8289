"""A Feast repository comes over: its files as datasets, its views, services and on-demand views as definitions that answer."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.cli.main import main
from everloop.domain.durations import duration
from everloop.errors import Conflict, InvalidInput, NotFound
from everloop.exchange.feast.bringing import FeastReport, bring_in_feast
from everloop.exchange.feast.reading import read_config, read_repository
from everloop.exchange.feast.writing import Names, length
from everloop.workspace.local import LocalWorkspace

NOON = datetime(2026, 1, 1, 12)  # noqa: DTZ001  (Feast's files hold times without a zone, which it reads as UTC)

CONFIG = """
project: driver_project
registry: data/registry.db
provider: local
online_store:
    type: sqlite
    path: data/online_store.db
"""

# As `feast init` writes it (0.67), with a few sources more that cannot come along.
REPOSITORY = '''
from datetime import timedelta

import pandas as pd

from feast import Entity, FeatureService, FeatureView, Field, FileSource, KafkaSource, Project, PushSource, RequestSource
from feast import BigQuerySource
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Float32, Float64, Int64, String

project = Project(name="driver_project", description="A project for driver statistics")
driver = Entity(name="driver", join_keys=["driver_id"])

driver_stats_source = FileSource(
    name="driver_hourly_stats_source",
    path="data/driver_stats.parquet",
    timestamp_field="event_timestamp",
    created_timestamp_column="created",
)

driver_stats_fv = FeatureView(
    name="driver_hourly_stats",
    entities=[driver],
    ttl=timedelta(days=1),
    schema=[
        Field(name="conv_rate", dtype=Float32),
        Field(name="acc_rate", dtype=Float32, description="Acceptance rate"),
        Field(name="avg_daily_trips", dtype=Int64),
        Field(name="not_there", dtype=Int64),
    ],
    online=True,
    source=driver_stats_source,
    tags={"team": "driver_performance"},
)

input_request = RequestSource(
    name="vals_to_add",
    schema=[Field(name="val_to_add", dtype=Int64), Field(name="val_to_add_2", dtype=Int64)],
)

@on_demand_feature_view(
    sources=[driver_stats_fv[["conv_rate"]], input_request],
    schema=[Field(name="conv_rate_plus_val1", dtype=Float64), Field(name="conv_rate_plus_val2", dtype=Float64)],
    mode="python",
)
def transformed_conv_rate(inputs: dict) -> dict:
    """Adds."""
    return {
        "conv_rate_plus_val1": [a + b for a, b in zip(inputs["conv_rate"], inputs["val_to_add"])],
        "conv_rate_plus_val2": [a + b for a, b in zip(inputs["conv_rate"], inputs["val_to_add_2"])],
    }

driver_activity_v1 = FeatureService(
    name="driver_activity_v1",
    features=[driver_stats_fv[["conv_rate"]], transformed_conv_rate],
    logging_config=LoggingConfig(destination=FileLoggingDestination(path="data")),
)
driver_activity_v2 = FeatureService(name="driver_activity_v2", features=[driver_stats_fv])

driver_stats_push_source = PushSource(name="driver_stats_push_source", batch_source=driver_stats_source)
driver_stats_fresh_fv = FeatureView(
    name="driver_hourly_stats_fresh",
    entities=[driver],
    schema=[Field(name="conv_rate", dtype=Float32)],
    source=driver_stats_push_source,
)

warehouse = FeatureView(
    name="warehouse", entities=[driver], source=BigQuerySource(name="bq", table="a.b", timestamp_field="t"),
)
stream = FeatureView(
    name="stream", entities=[driver], source=KafkaSource(name="kafka", topic="t", timestamp_field="t"),
)
everyone = FeatureView(name="everyone", entities=[], source=driver_stats_source)
lost = FeatureView(
    name="lost", entities=[driver], source=FileSource(name="gone", path="data/gone.parquet", timestamp_field="t"),
)
'''


def hourly(*rows: tuple[int, int, float, int]) -> pa.Table:
    """driver, hour, rate, and at which hour the row was created."""
    return pa.table(
        {
            "event_timestamp": pa.array(
                [NOON + timedelta(hours=h) for _, h, _, _ in rows], pa.timestamp("us")
            ),
            "driver_id": pa.array([driver for driver, *_ in rows], pa.int64()),
            "conv_rate": pa.array([rate for _, _, rate, _ in rows], pa.float32()),
            "acc_rate": pa.array([rate / 2 for _, _, rate, _ in rows], pa.float32()),
            "avg_daily_trips": pa.array([h for _, h, _, _ in rows], pa.int32()),
            "created": pa.array([NOON + timedelta(hours=c) for *_, c in rows], pa.timestamp("us")),
        }
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "my_project" / "feature_repo"
    (folder / "data").mkdir(parents=True)
    (folder / "feature_store.yaml").write_text(CONFIG)
    (folder / "example_repo.py").write_text(REPOSITORY)
    (folder / "broken.py").write_text("import feast\n\nraise RuntimeError('no warehouse here')\n")
    (folder / "scratch.py").write_text("raise SystemExit('never run')\n")
    (folder / ".feastignore").write_text("# left alone\nscratch.py\n")
    # Two rows of driver 1001 at one moment: the one created last stands first.
    table = hourly(
        (1001, 0, 0.9, 50), (1001, 0, 0.1, 40), (1002, 0, 0.2, 40), (1001, 3, 0.3, 40), (1002, 9, 0.4, 40)
    )
    pq.write_table(table, folder / "data" / "driver_stats.parquet")
    return folder


def bring(workspace: LocalWorkspace, path: Path) -> FeastReport:
    config = read_config(path)
    return bring_in_feast(workspace, config, read_repository(config))


def skipped(report: FeastReport) -> dict[str, str]:
    return {f"{each.kind} {each.name}": each.reason for each in report.skipped}


def test_what_comes_over_and_what_is_left(workspace: LocalWorkspace, repository: Path) -> None:
    report = bring(workspace, repository)
    assert report.imported == {
        "datasets": 1,
        "feature_views": 2,
        "feature_lists": 2,
        "entities": 1,
        "on_demand_views": 1,
    }
    left = skipped(report)
    assert "RuntimeError: no warehouse here, line 3" in left.pop("file broken.py")
    assert "has no column 'not_there'" in left.pop("feature driver_hourly_stats:not_there")
    assert "BigQuerySource" in left.pop("feature view warehouse")
    assert "KafkaSource" in left.pop("feature view stream")
    assert "no entity" in left.pop("feature view everyone")
    assert "gone.parquet is not there" in left.pop("feature view lost")
    assert left == {}
    assert {(each.kind, each.name) for each in report.changed} == {
        ("dataset", "driver_hourly_stats_source"),
        ("feature service", "driver_activity_v1"),
        ("feature view", "driver_hourly_stats_fresh"),
    }
    view = workspace.features.view("driver_hourly_stats").view
    assert (view.entity.keys, view.ttl, view.sources) == (
        ("driver_id",),
        timedelta(days=1),
        ("driver_hourly_stats_source",),
    )
    assert [each.name for each in view.features] == ["conv_rate", "acc_rate", "avg_daily_trips"]
    assert workspace.features.feature_list("driver_activity_v2").features == ("driver_hourly_stats@v1",)


def test_history_keeps_every_row(workspace: LocalWorkspace, repository: Path) -> None:
    """Where Feast's own file store drops rows that have only later features."""
    bring(workspace, repository)
    hours = [(1001, 0), (1001, 2), (1002, 30), (1002, -1), (7, 0), (1001, 2)]
    frame = pa.table(
        {
            "driver_id": [driver for driver, _ in hours],
            "at": pa.array(
                [(NOON + timedelta(hours=h)).replace(tzinfo=UTC) for _, h in hours], pa.timestamp("us", "UTC")
            ),
        }
    )
    answer = workspace.features.history(frame, ["driver_hourly_stats:conv_rate"], time="at")
    rates = [None if each is None else round(each, 3) for each in answer["conv_rate"].to_pylist()]
    assert rates == [0.9, 0.9, 0.4, None, None, 0.9]
    assert workspace.data.version("driver_hourly_stats_source").rows == 5


def test_online_and_pushed(workspace: LocalWorkspace, repository: Path) -> None:
    bring(workspace, repository)
    until = (NOON + timedelta(hours=4)).replace(tzinfo=UTC)
    workspace.features.materialize(until=until)
    answer = workspace.features.look_up_list("driver_activity_v2", [{"driver_id": 1001}], time=until)
    assert answer.columns()["avg_daily_trips"] == [3]
    # The file holds times without a zone, and so does the push.
    row = hourly((1001, 40, 0.75, 40))
    assert (
        workspace.features.push("driver_hourly_stats_fresh", row).waiting == 1
    )  # the test's clock is before
    assert workspace.data.version("driver_hourly_stats_source").rows == 6


def test_on_demand_code_is_carried(workspace: LocalWorkspace, repository: Path) -> None:
    from everloop.features.on_demand.computing import OnDemand

    bring(workspace, repository)
    record = workspace.features.on_demand("transformed_conv_rate")
    given = pa.table({"conv_rate": [0.5, 1.0], "val_to_add": [1, 2], "val_to_add_2": [10, 20]})
    assert OnDemand(record).compute(given).to_pydict() == {
        "conv_rate_plus_val1": [1.5, 3.0],
        "conv_rate_plus_val2": [10.5, 21.0],
    }


def test_pandas_code_is_carried(workspace: LocalWorkspace, repository: Path) -> None:
    pytest.importorskip("pandas")
    from everloop.features.on_demand.computing import OnDemand

    python = REPOSITORY.replace('mode="python"', 'mode="pandas"').replace(
        "(inputs: dict) -> dict", "(inputs: pd.DataFrame) -> pd.DataFrame"
    )
    start, end = python.index('    """Adds."""'), python.index("driver_activity_v1 =")
    body = (
        "    df = pd.DataFrame()\n"
        '    df["conv_rate_plus_val1"] = inputs["conv_rate"] + inputs["val_to_add"]\n'
        '    df["conv_rate_plus_val2"] = inputs["conv_rate"] + inputs["val_to_add_2"]\n'
        "    return df\n\n"
    )
    (repository / "example_repo.py").write_text(python[:start] + body + python[end:])
    report = bring(workspace, repository)
    assert report.imported["on_demand_views"] == 1, skipped(report)
    record = workspace.features.on_demand("transformed_conv_rate")
    given = pa.table({"conv_rate": [0.5, 1.0], "val_to_add": [1, 2], "val_to_add_2": [10, 20]})
    assert OnDemand(record).compute(given).to_pydict()["conv_rate_plus_val2"] == [10.5, 21.0]


def test_doing_it_twice_changes_nothing(workspace: LocalWorkspace, repository: Path) -> None:
    first = bring(workspace, repository)
    events = workspace.ledger.head()
    second = bring(workspace, repository)
    assert second.imported == dict.fromkeys(first.imported, 0) | {"entities": 1}
    assert second.present["feature_views"] == 2
    assert workspace.data.version("driver_hourly_stats_source").version == 1
    assert workspace.ledger.head() == events


def test_a_definitions_file_of_the_users_is_not_overwritten(
    workspace: LocalWorkspace, repository: Path
) -> None:
    workspace.project.mkdir(exist_ok=True)
    (workspace.project / "feast_features.py").write_text("mine = 1\n")
    with pytest.raises(Conflict, match="says something else"):
        bring(workspace, repository)
    assert workspace.data.datasets() == []


def test_the_users_files_do_not_run_here(workspace: LocalWorkspace, repository: Path) -> None:
    (repository / "nosy.py").write_text(
        "import os, sys\nsys.stdout.write('{}')\nos.environ['NOSY'] = '1'\nprint('hello')\n"
    )
    bring(workspace, repository)
    import os
    import sys

    assert "NOSY" not in os.environ
    assert "nosy" not in sys.modules
    assert "feast" not in sys.modules


def test_what_is_no_repository_is_said(workspace: LocalWorkspace, repository: Path, tmp_path: Path) -> None:
    assert read_config(repository.parent).folder == repository  # where `feast init` was called
    with pytest.raises(NotFound, match="no folder"):
        read_config(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match="is not a Feast repository"):
        read_config(tmp_path)
    (repository / "feature_store.yaml").write_text("project: [")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_config(repository)


def test_the_command(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run: Callable[..., Any] = main
    assert run(["import", "feast", str(repository), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["imported"]["feature_views"] == 2
    assert len(report["skipped"]) == 6
    assert Path(report["definitions"][0]).name == "feast_features.py"
    assert run(["import", "feast", str(tmp_path / "nowhere"), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "not_found"


@given(st.lists(st.text(max_size=8), max_size=8))
def test_every_name_is_a_variable_of_its_own(given_names: list[str]) -> None:
    names = Names()
    made = [names.of(each, "view") for each in given_names]
    assert all(each.isidentifier() for each in made)
    assert len(set(made)) == len(made)


@given(st.timedeltas(timedelta(microseconds=1), timedelta(days=9999)))
def test_lengths_are_read_as_they_are_written(given_length: timedelta) -> None:
    assert abs(duration(length(given_length.total_seconds())) - given_length) < timedelta(milliseconds=1)
