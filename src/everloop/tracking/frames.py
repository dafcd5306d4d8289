"""Runs and histories as Arrow tables and pandas frames."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from everloop.domain.runs import History, RunRecord
from everloop.errors import MissingExtra
from everloop.tracking.run import Run
from everloop.tracking.showing import runs_html

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_TEXTS = (
    "run_id",
    "experiment",
    "name",
    "status",
    "user",
    "source",
    "version",
    "state",
    "parent",
    "resumed_from",
)
_TIMES = ("start_time", "end_time")


class RunList(list[Run]):
    """Runs that a search found; in a notebook, a table."""

    def _repr_html_(self) -> str:
        return runs_html([run.record for run in self], datetime.now(UTC))

    def to_arrow(self) -> "pa.Table":
        """One row a run: run_id, experiment, name, …, start_time, end_time, then ``params.*``, ``metrics.*``, ``tags.*``."""
        return runs_table([run.record for run in self])

    def to_pandas(self) -> "pd.DataFrame":
        """The same as a frame."""
        try:
            import pandas  # noqa: F401  (asked for here, so that its absence gets a sentence)
        except ModuleNotFoundError:
            raise MissingExtra(
                "pandas is not installed", hint="pip install pandas, or use to_arrow()"
            ) from None
        return self.to_arrow().to_pandas()


def runs_table(found: Sequence[RunRecord]) -> "pa.Table":
    """Runs as an Arrow table."""
    import pyarrow as pa

    columns: dict[str, Any] = {
        name: pa.array([getattr(run, name) for run in found], pa.string()) for name in _TEXTS
    }
    for name in _TIMES:
        columns[name] = pa.array([getattr(run, name) for run in found], pa.timestamp("us", "UTC"))
    for group, kind in (("params", pa.string()), ("metrics", pa.float64()), ("tags", pa.string())):
        for key in sorted({key for run in found for key in getattr(run, group)}):
            columns[f"{group}.{key}"] = pa.array([getattr(run, group).get(key) for run in found], kind)
    return pa.table(columns)


def history_table(history: History) -> "pa.Table":
    """Points of a metric as an Arrow table: step, timestamp, value. The columns are those bytes, not copies."""
    import pyarrow as pa

    def column(kind: "pa.DataType", data: bytes) -> "pa.Array":
        return pa.Array.from_buffers(kind, history.count, [None, pa.py_buffer(data)])

    return pa.table(
        {
            "step": column(pa.int64(), history.steps),
            "timestamp": column(pa.timestamp("us", "UTC"), history.times),
            "value": column(pa.float64(), history.values),
        }
    )
