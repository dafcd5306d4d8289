"""Runs as files for other tools: CSV with the columns of the runs table, JSON, Parquet."""

import csv
import io
from collections.abc import Sequence
from typing import Literal

import msgspec

from everloop.domain.runs import RunRecord, metric_text

Format = Literal["csv", "json", "parquet"]

HEAD = ("Date", "User", "Run Name", "Source", "Version")
COMMIT_SHOWN = 6
"""How many digits of a commit the runs table shows."""


class RunsTable(msgspec.Struct, frozen=True):
    """The runs table as texts: Date, User, Run Name, Source, Version, then parameters, then metrics."""

    columns: list[str]
    params: list[str]
    """Which of the columns are parameters."""
    metrics: list[str]
    """Which of the columns are metrics."""
    rows: list[list[str]]


def runs_table(
    found: Sequence[RunRecord], params: Sequence[str] | None = None, metrics: Sequence[str] | None = None
) -> RunsTable:
    """The runs table, with the parameters and metrics named (none named: all there are)."""
    params = sorted({key for run in found for key in run.params}) if params is None else list(params)
    metrics = sorted({key for run in found for key in run.metrics}) if metrics is None else list(metrics)
    rows = [
        [
            f"{run.start_time:%Y-%m-%d %H:%M:%S}",
            run.user,
            run.name,
            run.source,
            run.version[:COMMIT_SHOWN],
            *(run.params.get(key, "") for key in params),
            *(metric_text(run.metrics[key]) if key in run.metrics else "" for key in metrics),
        ]
        for run in found
    ]
    return RunsTable([*HEAD, *params, *metrics], list(params), list(metrics), rows)


def export(found: Sequence[RunRecord], format: Format) -> bytes:
    """A file of runs. CSV has the runs table's columns with numbers in full, and `Run ID`, `Status`, `Experiment`; JSON the
    records; Parquet the columns of `frames.runs_table`."""
    if format == "json":
        return msgspec.json.format(msgspec.json.encode({"runs": list(found)}), indent=2) + b"\n"
    if format == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        from everloop.tracking import frames

        sink = pa.BufferOutputStream()
        pq.write_table(frames.runs_table(found), sink, compression="zstd")
        return bytes(sink.getvalue().to_pybytes())
    table = runs_table(found)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*table.columns, "Run ID", "Status", "Experiment"])
    for run, row in zip(found, table.rows, strict=True):
        whole = [repr(run.metrics[key]) if key in run.metrics else "" for key in table.metrics]
        kept = row[: len(row) - len(whole)] + whole
        writer.writerow([*map(_harmless, kept), run.run_id, run.status, _harmless(run.experiment)])
    return text.getvalue().encode()


def _harmless(cell: str) -> str:
    """A cell that a spreadsheet would take for a formula gets a quote in front; numbers stay numbers."""
    if cell[:1] in "=@\t\r" or (cell[:1] in "+-" and not _is_number(cell)):
        return "'" + cell if cell else cell
    return cell


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
