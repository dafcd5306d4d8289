"""A table of runs as CSV: one row a run. Written by hand, by `runs export`, by MLflow's pages or by `mlflow.search_runs`."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from everloop.domain.adoption import AdoptedExperiment, AdoptedRun, derived_id, run_identifier
from everloop.domain.runs import FINISHED, STATUSES, Captured
from everloop.domain.times import micros
from everloop.errors import InvalidInput, NotFound, nearest
from everloop.exchange.mlflow import conventions
from everloop.exchange.points import metric_columns
from everloop.exchange.source import Head, RunsOnly, Skipped

ATTRIBUTES = {
    "run_id": "run_id", "run id": "run_id", "name": "name", "run name": "name", "run_name": "name", "user": "user",
    "user_id": "user", "status": "status", "date": "start", "start time": "start", "start_time": "start",
    "end time": "end", "end_time": "end", "source": "source", "source name": "source", "version": "version",
    "experiment": "experiment",
}  # fmt: skip
"""What columns of these names say of a run, in any case."""
PASSED_OVER = {"duration", "source type", "artifact_uri", "experiment_id"}
KINDS = ("params", "metrics", "tags")
_FORMULA = "=@\t\r+-"


class Row(msgspec.Struct, frozen=True):
    """A row by what its cells are; `number` is the line it begins on."""

    number: int
    attributes: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]


class CsvFile(RunsOnly):
    """A `Source` over a CSV file. `experiment`: of rows that name none; else the file's name.

    A column ``params.x``, ``metrics.x`` or ``tags.x`` is what it says; of the others those in `params` and `metrics` are these,
    and the rest are metrics where they hold numbers only, else parameters.
    """

    def __init__(
        self, path: Path, experiment: str = "", *, params: Collection[str] = (), metrics: Collection[str] = ()
    ) -> None:
        super().__init__(f"csv {path}")
        self._experiment = experiment or path.stem
        cells = self._cells(path)
        header = [name.strip() for _, row in cells[:1] for name in row]
        doubled = [name for name, count in Counter(header).items() if count > 1 and name]
        if not any(header) or doubled:
            said = f"two columns called '{doubled[0]}'" if doubled else "no header"
            raise InvalidInput(
                f"{path} has {said}", hint="the first line names the columns, each by a name of its own"
            )
        for name in (*params, *metrics):
            if name not in header:
                raise InvalidInput(
                    f"{path} has no column '{name}'", hint=nearest(name, header) or ", ".join(header)
                )
        kinds = [_kind(name, at, cells[1:], params, metrics) for at, name in enumerate(header)]
        self._written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        self._rows = dict(self._identified([_row(number, row, kinds) for number, row in cells[1:]]))

    def _cells(self, path: Path) -> list[tuple[int, list[str]]]:
        """The lines with their numbers; those with too many or too few cells are left out and named."""
        found: list[tuple[int, list[str]]] = []
        try:
            with path.open(newline="", encoding="utf-8-sig") as opened:
                first = opened.readline()
                opened.seek(0)
                delimiter = max(",;\t", key=first.count)
                reader = csv.reader(opened, delimiter=delimiter, strict=True)
                for row in reader:
                    if not row:
                        continue
                    if found and len(row) != len(found[0][1]):
                        reason = f"it has {len(row)} cells, not {len(found[0][1])}"
                        self.skipped.append(Skipped("row", f"line {reader.line_num}", reason))
                        continue
                    found.append((reader.line_num, [_cell(each) for each in row]))
        except FileNotFoundError:
            raise NotFound(f"there is no file {path}", hint="name a CSV file") from None
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InvalidInput(
                f"{path} cannot be read as CSV: {error}", hint="save it as CSV in UTF-8"
            ) from None
        return found

    def _identified(self, rows: list[Row]) -> Iterator[tuple[str, Row]]:
        """Rows by identifier. A row without one gets it from what it says, so that it is known again."""
        seen: Counter[str] = Counter()
        for row in rows:
            given = row.attributes.get("run_id", "")
            if not given:
                said = msgspec.json.encode(msgspec.structs.replace(row, number=0)).decode()
                seen[said] += 1
                given = derived_id("csv run", self._experiment, said, str(seen[said]))
            elif seen[given]:
                self.skipped.append(
                    Skipped("row", f"line {row.number}", f"run {given} is in the file already")
                )
                continue
            seen[given] += 1
            yield given, row

    def experiments(self) -> dict[str, AdoptedExperiment]:
        names = dict.fromkeys(self._experiment_of(row) for row in self._rows.values())
        return {name: AdoptedExperiment(derived_id("csv experiment", name), name) for name in names}

    def heads(self) -> Sequence[Head]:
        return [
            Head(run_identifier(given), given, self._experiment_of(row), _status(row))
            for given, row in self._rows.items()
        ]

    def read(self, heads: Sequence[Head]) -> Iterator[AdoptedRun]:
        for head in heads:
            row = self._rows[head.given]
            start = self._moment(row, "start") or self._written
            series = {key: [(0, micros(start), value)] for key, value in row.metrics.items()}
            yield AdoptedRun(
                head.run_id,
                head.experiment,
                row.attributes.get("name", ""),
                row.attributes.get("user", ""),
                head.status,
                start,
                self._moment(row, "end"),
                captured=Captured(
                    source=row.attributes.get("source", ""), commit=row.attributes.get("version", "")[:64]
                ),
                params=row.params,
                tags=row.tags,
                metrics=metric_columns(series),
            )

    def _experiment_of(self, row: Row) -> str:
        return row.attributes.get("experiment") or self._experiment

    def _moment(self, row: Row, name: str) -> datetime | None:
        text = row.attributes.get(name, "")
        if not text:
            return None
        if text.isdigit():
            return conventions.moment(text)
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            self.skipped.append(
                Skipped("time", f"line {row.number}", f"'{text[:40]}' is no time such as 2026-01-31 12:00:00")
            )
            return None
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _kind(
    name: str,
    at: int,
    rows: Sequence[tuple[int, list[str]]],
    params: Collection[str],
    metrics: Collection[str],
) -> tuple[str, str]:
    """What a column is, and the key its cells go by; blank for one that is passed over."""
    head, dot, rest = name.partition(".")
    if dot and head in KINDS and rest:
        return head, rest
    if name in params:
        return "params", name
    if name in metrics:
        return "metrics", name
    if name.lower() in ATTRIBUTES:
        return "attributes", ATTRIBUTES[name.lower()]
    if not name or name.lower() in PASSED_OVER:
        return "", name
    cells = [row[at] for _, row in rows if row[at].strip()]
    return ("metrics" if cells and all(_number(cell) is not None for cell in cells) else "params"), name


def _row(number: int, cells: list[str], kinds: list[tuple[str, str]]) -> Row:
    found: dict[str, dict[str, str]] = {"attributes": {}, "params": {}, "metrics": {}, "tags": {}, "": {}}
    for cell, (kind, key) in zip(cells, kinds, strict=True):
        if cell.strip():
            found[kind][key] = cell
    numbers = {key: value for key, cell in found["metrics"].items() if (value := _number(cell)) is not None}
    return Row(number, found["attributes"], found["params"], numbers, found["tags"])


def _status(row: Row) -> str:
    word = row.attributes.get("status", "").lower()
    return word if word in STATUSES else FINISHED


def _number(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _cell(cell: str) -> str:
    """A cell without the quote that `runs export` puts before what a spreadsheet would take for a formula."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] and cell[1] in _FORMULA else cell
