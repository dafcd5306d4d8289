"""A callback for training loops of one's own, as torch has them.

log = ev.TrainingLog(model=model, optimizer=optimizer, every=50)
for epoch in range(10):
    for batch in loader:
        loss = step(batch)
        log.batch(loss=loss)
    log.epoch(val_accuracy=evaluate())
"""

import math
from collections.abc import Callable
from typing import Any

from everloop.errors import Conflict, InvalidInput
from everloop.tracking.autolog.patches import safely
from everloop.tracking.run import Run, active_run


class TrainingLog:
    """Logs batches and epochs of a loop into a run, the open one if none is given. Nothing is imported: of a model it asks for
    `parameters()`, of an optimizer for `param_groups`, and of values for `item()`, which torch's, jax's and numpy's have.

    Values of batches are logged every so many batches (each for itself), and their means over the epoch as ``epoch/…``. The
    generators of random numbers are left alone; a failure in here is a warning.
    """

    def __init__(
        self, run: Run | None = None, *, model: Any = None, optimizer: Any = None, every: int = 1
    ) -> None:
        current = run or active_run()
        if current is None:
            raise Conflict("no run is open", hint="start one: with ev.start_run(): …")
        if every < 1:
            raise InvalidInput(f"every {every} batches is never", hint="1 or more")
        self._run, self._optimizer, self._every = current, optimizer, every
        self._batches = self._epochs = 0
        self._sums: dict[str, tuple[float, int]] = {}
        safely(lambda: self._describe(model), "describing a model")

    def batch(self, **values: Any) -> None:
        """What one batch measured."""
        safely(lambda: self._batch(values), "logging a batch")

    def epoch(self, **values: Any) -> None:
        """An epoch has ended: its own measurements, the means over its batches, and the rates of learning."""
        safely(lambda: self._epoch(values), "logging an epoch")

    def _describe(self, model: Any) -> None:
        params: dict[str, Any] = {}
        if model is not None:
            params["model"] = type(model).__name__
            if callable(getattr(model, "parameters", None)):
                weights = [
                    (math.prod(each.shape), getattr(each, "requires_grad", True))
                    for each in model.parameters()
                ]
                params["model_parameters"] = sum(count for count, _ in weights)
                params["model_trainable_parameters"] = sum(count for count, trained in weights if trained)
        if self._optimizer is not None:
            params["optimizer"] = type(self._optimizer).__name__
            for number, group in enumerate(self._groups()):
                plain = {
                    name: value for name, value in group.items() if isinstance(value, (bool, int, float, str))
                }
                params |= {f"optimizer{number or ''}_{name}": value for name, value in plain.items()}
        if params:
            self._run.log_params(params)

    def _batch(self, values: dict[str, Any]) -> None:
        numbers = {name: _number(value) for name, value in values.items()}
        for name, value in numbers.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + value, count + 1
        if self._batches % self._every == 0:
            self._run.log_metrics(numbers, step=self._batches)
        self._batches += 1

    def _epoch(self, values: dict[str, Any]) -> None:
        numbers = {f"epoch/{name}": total / count for name, (total, count) in self._sums.items()}
        numbers |= {f"epoch/{name}": _number(value) for name, value in values.items()}
        for number, group in enumerate(self._groups()):
            if isinstance(group.get("lr"), (int, float)):
                numbers[f"epoch/learning_rate{number or ''}"] = float(group["lr"])
        self._run.log_metrics(numbers, step=self._epochs)
        self._sums.clear()
        self._epochs += 1

    def _groups(self) -> list[dict[str, Any]]:
        groups: list[dict[str, Any]] = getattr(self._optimizer, "param_groups", None) or []
        return groups


def _number(value: Any) -> float:
    item: Callable[[], Any] | None = getattr(value, "item", None)
    return float(item() if callable(item) else value)
