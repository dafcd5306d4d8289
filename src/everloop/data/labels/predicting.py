"""What a model answers to the items of a project, as a table of predictions such as `Labels.suggest` takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from everloop.domain.labels import Question
from everloop.domain.signature import Signature, Task
from everloop.errors import InvalidInput, nearest

if TYPE_CHECKING:
    import pyarrow as pa

    from everloop.data.dataset import Dataset


class Model(Protocol):
    """A model that can be asked, such as a registered version: ``ev.model("tone@champion")``."""

    @property
    def reference(self) -> str: ...

    @property
    def signature(self) -> Signature: ...

    def predict(self, table: Any) -> dict[str, Any]: ...


def is_model(source: object) -> bool:
    """Whether a source of predictions is a model, which has to be asked for them."""
    return callable(getattr(source, "predict", None)) and hasattr(source, "signature")


def predicted(model: Model, dataset: Dataset, question: Question, *, chances: bool) -> pa.Table:
    """A row for each row of the version: with `chances` and a model that tells them, the probability of each choice in ``p_…``,
    else ``prediction`` and, where it is known, its ``score``.

    Raises InvalidInput when the model is no classifier, knows a class that is no choice, or takes a column that is not there.
    """
    import numpy as np
    import pyarrow as pa

    signature = model.signature
    classes = [str(each) for each in signature.classes]
    if signature.task is not Task.CLASSIFICATION:
        raise InvalidInput(
            f"{model.reference} answers with numbers, and '{question.name}' asks for a class",
            hint="choose a classifier",
        )
    unknown = [each for each in classes if each not in question.choices]
    if unknown:
        raise InvalidInput(
            f"{model.reference} knows the class '{unknown[0]}', which is no choice of '{question.name}'",
            hint=nearest(unknown[0], question.choices) or f"its choices are {', '.join(question.choices)}",
        )
    if dataset.rows is None:
        raise InvalidInput(
            f"{dataset.reference} is no table, and a model takes rows", hint="bring a table in"
        )
    answer = model.predict(dataset.to_arrow(list(signature.names)))
    labels = pa.array([str(each) for each in answer["label"].tolist()], pa.string())
    shares = _shares(answer, classes)
    if shares is None:
        return pa.table({"prediction": labels})
    if not chances:
        best = np.max(np.stack(list(shares.values())), axis=0)
        return pa.table({"prediction": labels, "score": best})
    nothing = np.zeros(len(labels))
    return pa.table({f"p_{each}": shares.get(each, nothing) for each in question.choices})


def _shares(answer: dict[str, Any], classes: list[str]) -> dict[str, Any] | None:
    """The probability of each class, (rows,); None from a model that tells none."""
    if "probability" in answer:  # of the second of two
        second = answer["probability"]
        return {classes[0]: 1 - second, classes[1]: second}
    if "probability_0" in answer:
        return {each: answer[f"probability_{place}"] for place, each in enumerate(classes)}
    return None
