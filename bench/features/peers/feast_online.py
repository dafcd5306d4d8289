"""Feast's side of bench_online.py: fills its SQLite online store and reads it in process. Prints one JSON object.

python feast_online.py FOLDER ENTITIES CALLS        FOLDER has users.parquet
"""

import json
import os
import random
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

os.environ.update(FEAST_USAGE="False", DO_NOT_TRACK="true")

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FEATURES = [f"f{number}" for number in range(20)]


def percentiles(call, count):
    for _ in range(20):
        call()
    taken = []
    for _ in range(count):
        begun = time.perf_counter_ns()
        call()
        taken.append(time.perf_counter_ns() - begun)
    taken.sort()
    return taken[len(taken) // 2] / 1e3, taken[int(len(taken) * 0.99)] / 1e3


def main(folder, entities, calls):
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
    from feast.types import Float32, Int64

    config = RepoConfig(
        project="bench",
        registry=str(folder / "registry.db"),
        provider="local",
        offline_store={"type": "file"},
        online_store={"type": "sqlite", "path": str(folder / "feast.db")},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    user = Entity(name="user", join_keys=["user_id"])
    source = FileSource(path=str(folder / "users.parquet"), timestamp_field="event_timestamp")
    types = [Float32] * 15 + [Int64] * 5
    view = FeatureView(
        name="users",
        entities=[user],
        ttl=timedelta(days=365),
        schema=[Field(name=name, dtype=kind) for name, kind in zip(FEATURES, types, strict=True)],
        source=source,
    )
    store.apply([user, view])
    begun = time.perf_counter()
    store.materialize(NOW - timedelta(days=91), NOW + timedelta(seconds=1))
    fill = time.perf_counter() - begun
    features = [f"users:{name}" for name in FEATURES]

    def get(count):
        keys = [{"user_id": key} for key in random.sample(range(entities), count)]
        return store.get_online_features(features=features, entity_rows=keys).to_dict()

    found = {
        "1 entity": percentiles(lambda: get(1), calls),
        "100 entities": percentiles(lambda: get(100), max(calls // 10, 10)),
    }
    sys.stdout.write("\n" + json.dumps({"fill": fill, "get": found}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
