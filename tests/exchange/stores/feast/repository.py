"""A Feast repository: what drivers did, with a day to live and ties; and who they are, which stays true until it changes."""

from datetime import timedelta

from feast import Entity, FeatureView, Field, FileSource
from feast.types import Float64, Int64, String

driver = Entity(name="driver", join_keys=["driver_id"])

stats = FeatureView(
    name="stats",
    entities=[driver],
    ttl=timedelta(days=1),
    schema=[Field(name="rate", dtype=Float64), Field(name="trips", dtype=Int64)],
    source=FileSource(
        name="stats_source",
        path="data/stats.parquet",
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
    ),
)
people = FeatureView(
    name="people",
    entities=[driver],
    ttl=timedelta(0),
    schema=[Field(name="city", dtype=String)],
    source=FileSource(name="people_source", path="data/people.parquet", timestamp_field="event_timestamp"),
)
