"""What the values of a view's features are like: sketches of them as they were known at the view's own moments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from everloop.data.profiles.profiling import profile_batches
from everloop.data.profiles.summaries import column_profile
from everloop.domain.profiles import ColumnProfile

if TYPE_CHECKING:
    from everloop.features.history.reader import FeatureReader

_KNOWN = "known at"  # no key or feature can be called so


def column_profiles(reader: FeatureReader, reference: str, at_most: int) -> tuple[int, list[ColumnProfile]]:
    """A profile of each feature, over the moments at which the view's rows became known: all of them, or `at_most`, evenly."""
    timeline = reader.timeline(reference)
    codes, moments = timeline.moments()
    if len(codes) > at_most:
        chosen = np.linspace(0, len(codes) - 1, at_most).astype(np.int64)
        codes, moments = codes[chosen], moments[chosen]
    frame = timeline.known_keys().take(pa.array(codes))
    frame = frame.append_column(_KNOWN, pa.array(moments).cast(pa.timestamp("us", "UTC")))
    values = reader.history(frame, time=_KNOWN).select(reader.columns)
    sketch = profile_batches(values.schema, values.to_batches())
    profiles = [
        column_profile(name, str(values.schema.field(name).type), sketch.columns[name])
        for name in reader.columns
    ]
    return values.num_rows, profiles
