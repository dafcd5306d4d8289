"""Estimators between steps: stored with skops as `everloop.tracking.formats` does it, compared by what they mean."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any


def is_model(value: Any) -> bool:
    """Whether a value is a scikit-learn estimator, asked without importing scikit-learn."""
    if "sklearn.base" not in sys.modules:
        return False
    return isinstance(value, sys.modules["sklearn.base"].BaseEstimator)


def dump(model: Any) -> tuple[bytes, str]:
    """The skops file and the digest of the model's content. Raises InvalidInput for parts that skops does not know as safe."""
    from everloop.tracking.formats import canonical_digest, estimators

    with tempfile.TemporaryDirectory(prefix="everloop-") as folder:
        estimators.dump(model, Path(folder))
        return (Path(folder) / estimators.FILE).read_bytes(), canonical_digest(folder)


def load(data: bytes) -> Any:
    """The estimator of `dump`."""
    from everloop.tracking.formats import estimators

    with tempfile.TemporaryDirectory(prefix="everloop-") as folder:
        (Path(folder) / estimators.FILE).write_bytes(data)
        return estimators.load(Path(folder))
