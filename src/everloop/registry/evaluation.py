"""Several models on the same rows: scores, losses of each row, and differences in blocks of rows that depend on each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from everloop.domain.consumption import note
from everloop.domain.gates import ADDITIVE, HIGHER_IS_BETTER, Evaluation, MetricEvidence, SliceEvidence
from everloop.domain.names import shown
from everloop.domain.signature import Task
from everloop.errors import EverloopError, InvalidInput, NotFound, nearest
from everloop.registry.scoring import better_elsewhere, scores_of
from everloop.stats.blocks import block_means, jackknife
from everloop.stats.intervals import Interval, mean_of_blocks
from everloop.stats.metrics import auc, log_losses
from everloop.tracking.formats.columns import Columns, columns_of

if TYPE_CHECKING:
    from everloop.domain.models import ModelVersionRecord
    from everloop.registry.registry import Registry
    from everloop.registry.version import ModelVersion

Floats = NDArray[np.float64]

BLOCKS_WITHOUT_A_COLUMN = 20
"""Without a block column, the table is cut into so many runs of rows as they stand: neighbours depend on each other most."""

FEWEST_BLOCK_ROWS = 10


class Rows:
    """The table models are compared on: inputs, truth and blocks. Scores are computed once a model, and best for all models at
    once: `ask` them first."""

    def __init__(self, columns: Columns, label: str, block: str = "") -> None:
        self.columns = columns
        for name in filter(None, (label, block)):
            if name not in columns:
                raise InvalidInput(
                    f"the rows to compare on have no column {shown(name)}",
                    hint=nearest(name, columns) or f"they have: {', '.join(list(columns)[:20])}",
                )
        self.truth = _truth(columns[label], label)
        self.label = label
        self.blocks = _blocks(columns[block]) if block else _runs_of_rows(len(self.truth))
        self._scores: dict[str, Floats | EverloopError] = {}

    def __len__(self) -> int:
        return len(self.truth)

    def ask(self, models: Sequence[ModelVersion]) -> None:
        """Let models answer the rows, in one process where that is another one. What a model cannot do is said when its scores
        are asked for."""
        folders: dict[str, Path] = {}
        for model in models:
            if model.reference not in self._scores:
                try:
                    folders[model.reference] = _scorable(model).folder()
                except EverloopError as error:
                    self._scores[model.reference] = error
        if not folders:
            return
        asked = [model for model in models if model.reference in folders]
        if better_elsewhere(list(folders.values())):
            wanted = {name for model in asked for name in model.signature.names}
            given = {name: column for name, column in self.columns.items() if name in wanted}
            for model in asked:
                note(model.reference)
            self._scores |= scores_of(folders, given)
            return
        for model in asked:
            inputs = {name: self.columns[name] for name in model.signature.names if name in self.columns}
            try:
                self._scores[model.reference] = model.predict(inputs)[str(model.signature.score)]
            except EverloopError as error:
                self._scores[model.reference] = error

    def scores(self, model: ModelVersion) -> Floats:
        """The model's score of each row (see `Signature.score`)."""
        self.ask([model])
        found = self._scores[model.reference]
        if isinstance(found, EverloopError):
            raise found
        return found

    def metric(self, name: str, model: ModelVersion) -> float | None:
        """One metric of one model over all rows."""
        scores = self.scores(model)
        if name == "auc":
            return auc(self.truth, scores)
        mean = float(self.losses("mse" if name == "rmse" else name, model).mean())
        return float(np.sqrt(mean)) if name == "rmse" else mean

    def losses(self, name: str, model: ModelVersion) -> Floats:
        """An additive metric of each row; `accuracy` is 1 where the decision was right."""
        scores = self.scores(model)
        match name:
            case "log_loss":
                return log_losses(self.truth, scores)
            case "brier" | "mse":
                return (scores - self.truth) ** 2
            case "mae":
                return np.abs(scores - self.truth)
            case "accuracy":
                return ((scores > 0.5) == (self.truth == 1)).astype(np.float64)
        raise InvalidInput(
            f"{name} is not the mean of something of each row", hint=f"{', '.join(sorted(ADDITIVE))} are"
        )

    def compare(self, name: str, candidate: ModelVersion, other: ModelVersion) -> MetricEvidence:
        """How much better the candidate is, with an interval over blocks that counts each block the same."""
        first, second = self.metric(name, candidate), self.metric(name, other)
        sign = 1.0 if HIGHER_IS_BETTER[name] else -1.0
        gain = None if first is None or second is None else sign * (first - second)
        interval, blocks = self._interval(name, candidate, other, sign)
        low, high = (None, None) if interval is None else (interval.low, interval.high)
        return MetricEvidence(name, first, second, gain, low, high, len(self), blocks)

    def slices(
        self, name: str, by: Sequence[str], candidate: ModelVersion, other: ModelVersion, min_rows: int
    ) -> list[SliceEvidence]:
        """The same for every value of the columns `by` with enough rows."""
        sign = 1.0 if HIGHER_IS_BETTER[name] else -1.0
        mine, theirs = self.losses(name, candidate), self.losses(name, other)
        found = []
        for column in by:
            if column not in self.columns:
                raise InvalidInput(
                    f"the rows to compare on have no column {shown(column)}",
                    hint=nearest(column, self.columns),
                )
            values = np.asarray([str(value) for value in self.columns[column].tolist()])
            for value in np.unique(values):
                chosen = values == value
                rows = int(chosen.sum())
                if rows < min_rows:
                    continue
                gains = sign * (mine[chosen] - theirs[chosen])
                interval = mean_of_blocks(block_means(self.blocks[chosen], gains).means)
                ends = (None, None) if interval is None else (interval.low, interval.high)
                averages = float(mine[chosen].mean()), float(theirs[chosen].mean())
                found.append(SliceEvidence(column, str(value), rows, *averages, float(gains.mean()), *ends))
        return found

    def _interval(
        self, name: str, candidate: ModelVersion, other: ModelVersion, sign: float
    ) -> tuple[Interval | None, int]:
        if name == "auc":  # no mean of rows: each block is left out once
            mine, theirs = self.scores(candidate), self.scores(other)

            def gain(rows: NDArray[np.bool_]) -> float | None:
                first, second = auc(self.truth[rows], mine[rows]), auc(self.truth[rows], theirs[rows])
                return None if first is None or second is None else first - second

            return jackknife(self.blocks, gain), len(np.unique(self.blocks))
        additive = "mse" if name == "rmse" else name
        differences = sign * (self.losses(additive, candidate) - self.losses(additive, other))
        gains = np.asarray(block_means(self.blocks, differences).at_least(FEWEST_BLOCK_ROWS).means)
        return (mean_of_blocks(gains) if gains.size else None), int(gains.size)


def _scorable(model: ModelVersion) -> ModelVersion:
    if model.signature.score is None:
        raise InvalidInput(
            f"{model.reference} gives labels only, which cannot be compared",
            hint="gates need probabilities or numbers",
        )
    return model


def rows_for(
    registry: Registry, record: ModelVersionRecord, declared: Evaluation | None, given: Any = None
) -> Rows:
    """The rows to compare a version on: a table given, else what is declared. Raises NotFound or InvalidInput."""
    if declared is None:
        raise InvalidInput(
            "nothing says which rows models are compared on", hint="give evaluation=ev.gate.evaluation(…)"
        )
    table = given
    if table is None and declared.data:
        from everloop.data.data import Data

        table = registry.context.room(Data).dataset(declared.data).to_arrow()
    elif table is None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from everloop.tracking.tracking import Tracking

        files = registry.context.room(Tracking).artifacts(record.run, declared.artifact)
        if len(files) != 1:
            raise NotFound(
                f"run {record.run} has no file {shown(declared.artifact)} to compare models on",
                hint="log it there: run.log_table(rows, 'evaluation.parquet')",
            )
        table = pq.read_table(pa.BufferReader(registry.objects.read(files[0].digest)))
    return Rows(columns_of(table), declared.label, declared.block)


def metrics_of(task: Task) -> tuple[str, ...]:
    """The metrics that say most of a task, the deciding one first."""
    return ("log_loss", "auc", "brier") if task is Task.CLASSIFICATION else ("rmse", "mae")


def _truth(column: NDArray[Any], label: str) -> Floats:
    if column.dtype.kind not in "fib":
        raise InvalidInput(
            f"the truth in column {shown(label)} is not numbers",
            hint="give 0 and 1, or the numbers to predict",
        )
    truth = column.astype(np.float64)
    missing = int(np.isnan(truth).sum())
    if missing:
        raise InvalidInput(
            f"the truth in column {shown(label)} is missing in {missing} rows", hint="leave those rows out"
        )
    if not len(truth):
        raise InvalidInput("there are no rows to compare models on", hint="give some")
    return truth


def _blocks(column: NDArray[Any]) -> NDArray[Any]:
    if column.dtype.kind == "M":
        return column.astype("datetime64[D]").astype(np.int64)
    return np.asarray([str(value) for value in column.tolist()])


def _runs_of_rows(rows: int) -> NDArray[np.int64]:
    return np.arange(rows) * min(BLOCKS_WITHOUT_A_COLUMN, rows) // max(rows, 1)
