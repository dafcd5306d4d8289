"""The ledger's tables: `base` holds what all share, the other modules one room each. Importing this package loads them all."""

from everloop.store.schema import (
    base,
    comments,
    data,
    feature_records,
    features,
    labels,
    logged_models,
    loop,
    monitoring,
    pipelines,
    registry,
    rollout,
    serving,
    sweeps,
    traces,
    tracking,
    triggers,
)
from everloop.store.schema.base import metadata

__all__ = [
    "base",
    "comments",
    "data",
    "feature_records",
    "features",
    "labels",
    "logged_models",
    "loop",
    "metadata",
    "monitoring",
    "pipelines",
    "registry",
    "rollout",
    "serving",
    "sweeps",
    "traces",
    "tracking",
    "triggers",
]
