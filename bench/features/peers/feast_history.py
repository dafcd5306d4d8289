"""Feast's side of bench_history.py: the same join by its DuckDB offline store. Prints one JSON object.

python feast_history.py FOLDER        FOLDER has rows.parquet and asked.parquet
"""

import json
import os
import resource
import sys
import time
from datetime import timedelta
from pathlib import Path

os.environ.update(FEAST_USAGE="False", DO_NOT_TRACK="true")

FEATURES = [f"f{number}" for number in range(20)]


def main(folder):
    import pandas as pd
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
    from feast.types import Float64

    store = FeatureStore(
        config=RepoConfig(
            project="bench",
            registry=str(folder / "registry.db"),
            provider="local",
            offline_store={"type": "duckdb"},
            online_store={"type": "sqlite", "path": str(folder / "feast.db")},
            entity_key_serialization_version=3,
        )
    )
    source = FileSource(
        path=str(folder / "rows.parquet"),
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
    )
    user = Entity(name="user", join_keys=["user_id"])
    view = FeatureView(
        name="users",
        entities=[user],
        ttl=timedelta(days=90),
        schema=[Field(name=name, dtype=Float64) for name in FEATURES],
        source=source,
    )
    store.apply([user, view])
    asked = pd.read_parquet(folder / "asked.parquet").rename(columns={"at": "event_timestamp"})
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    job = store.get_historical_features(entity_df=asked, features=[f"users:{name}" for name in FEATURES])
    found = job.to_arrow()
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    told = {
        "wall": time.perf_counter() - begun,
        "cpu": used,
        "mb": after.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10),
        "rows": found.num_rows,
    }
    sys.stdout.write("\n" + json.dumps(told) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
