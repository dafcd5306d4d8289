"""Ask Feast about `rows.py` by its file store and its DuckDB store, and keep what it answers in `answered.json`.

python make.py          in an environment with feast[duckdb]
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
FEATURES = ["stats:rate", "stats:trips", "people:city"]
os.environ.update(FEAST_USAGE="False", DO_NOT_TRACK="true")
sys.path.insert(0, str(HERE))


def asked_of(kind: str, folder: Path) -> list[dict[str, object]]:
    import pandas as pd
    import repository
    import rows
    from feast import FeatureStore, RepoConfig

    (folder / "data").mkdir()
    stats = [
        (driver, rows.moment(at), rows.moment(made), rate, trips)
        for driver, at, made, rate, trips in rows.STATS
    ]
    columns = ["driver_id", "event_timestamp", "created", "rate", "trips"]
    frame = pd.DataFrame(stats, columns=columns).astype({"trips": "Int64"})
    frame.to_parquet(folder / "data" / "stats.parquet")
    people = [(driver, rows.moment(at), city) for driver, at, city in rows.PEOPLE]
    pd.DataFrame(people, columns=["driver_id", "event_timestamp", "city"]).to_parquet(
        folder / "data" / "people.parquet"
    )
    store = FeatureStore(
        config=RepoConfig(
            project="drivers",
            registry=str(folder / "registry.db"),
            provider="local",
            offline_store={"type": kind},
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            entity_key_serialization_version=3,
        ),
        repo_path=None,
    )
    os.chdir(folder)
    store.apply([repository.driver, repository.stats, repository.people])
    asked = pd.DataFrame(
        [(number, driver, rows.moment(at)) for number, (driver, at) in enumerate(rows.ASKED)],
        columns=["number", "driver_id", "event_timestamp"],
    )
    asked["event_timestamp"] = asked["event_timestamp"].dt.tz_localize("UTC")
    answer = store.get_historical_features(entity_df=asked, features=FEATURES).to_df()
    names = ["number", *(each.partition(":")[2] for each in FEATURES)]
    found = answer[names].astype(object).where(answer[names].notna(), None)
    return sorted(found.to_dict("records"), key=lambda row: row["number"])


def main() -> None:
    import feast

    answers: dict[str, object] = {"feast": feast.__version__}
    for kind in ("file", "duckdb"):
        folder = Path(tempfile.mkdtemp())
        try:
            answers[kind] = asked_of(kind, folder)
        finally:
            os.chdir(HERE)
            shutil.rmtree(folder)
    (HERE / "answered.json").write_text(json.dumps(answers, indent=1) + "\n")


if __name__ == "__main__":
    main()
