"""`features.history()` beside what Feast itself answered for the same repository and rows (see `stores/feast/README.md`)."""

import json
import runpy
import shutil
from datetime import UTC
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from everloop.exchange.feast.bringing import bring_in_feast
from everloop.exchange.feast.reading import read_config, read_repository
from everloop.workspace.local import LocalWorkspace

STORED = Path(__file__).parent / "stores" / "feast"
FEATURES = ("rate", "trips", "city")
ANSWERED: dict[str, Any] = json.loads((STORED / "answered.json").read_text())
Answer = dict[int, tuple[Any, ...]]


def of_feast(store: str) -> Answer:
    return {row["number"]: tuple(row[name] for name in FEATURES) for row in ANSWERED[store]}


@pytest.fixture
def ours(workspace: LocalWorkspace, tmp_path: Path) -> Answer:
    rows = runpy.run_path(str(STORED / "rows.py"))
    moment = rows["moment"]
    repository = tmp_path / "feature_repo"
    (repository / "data").mkdir(parents=True)
    shutil.copy(STORED / "repository.py", repository)
    (repository / "feature_store.yaml").write_text(
        "project: drivers\nregistry: registry.db\nprovider: local\n"
    )
    driver, event, created, rate, trips = zip(*rows["STATS"], strict=True)
    stats = {"driver_id": driver, "event_timestamp": [moment(at) for at in event]}
    stats |= {"created": [moment(at) for at in created], "rate": rate, "trips": trips}
    pq.write_table(pa.table(stats), repository / "data" / "stats.parquet")
    driver, event, city = zip(*rows["PEOPLE"], strict=True)
    people = {"driver_id": driver, "event_timestamp": [moment(at) for at in event], "city": city}
    pq.write_table(pa.table(people), repository / "data" / "people.parquet")
    config = read_config(repository)
    bring_in_feast(workspace, config, read_repository(config))
    asked = pa.table(
        {
            "driver_id": [driver for driver, _ in rows["ASKED"]],
            "at": [moment(at).replace(tzinfo=UTC) for _, at in rows["ASKED"]],
        }
    )
    found = workspace.features.history(asked, ["stats:rate", "stats:trips", "people:city"], time="at")
    assert found.select(["driver_id", "at"]).equals(asked)
    return {at: tuple(row[name] for name in FEATURES) for at, row in enumerate(found.to_pylist())}


def test_every_row_is_what_the_duckdb_store_of_feast_answers(ours: Answer) -> None:
    assert ours == of_feast("duckdb")


def test_the_file_store_of_feast_leaves_rows_out_and_is_of_two_minds_about_ties(ours: Answer) -> None:
    """By design: rows of which one view knows nothing, or nothing young enough, come back; of rows of one moment the one written
    last counts, whatever is asked about."""
    theirs = of_feast("file")
    unknown = {at for at, answer in ours.items() if answer[0] is None and answer[1] is None}
    nobody, missing, twice = 17, 11, 4
    """A driver that is in no file (that row it keeps), a first feature that was written as missing, a row that is asked twice."""
    assert ours.keys() - theirs.keys() == (unknown - {nobody}) | {missing, twice}
    tied = {at for at in theirs if theirs[at] != ours[at]}
    assert {at: (theirs[at][0], ours[at][0]) for at in tied} == {
        2: (0.20, 0.25),
        5: (0.20, 0.25),
        18: (0.20, 0.25),
        20: (0.45, 0.50),
    }
