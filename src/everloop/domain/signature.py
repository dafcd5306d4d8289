"""What a model takes and gives, and what the file beside a saved model says of it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

FORMAT = 1
"""The version of the model folder's format. A newer one is refused, an older one must stay readable."""


class Type(StrEnum):
    """The type of one column, named as MLflow names them. Rows of a column have this type or, where allowed,
    nothing.
    """

    DOUBLE = "double"
    LONG = "long"
    BOOLEAN = "boolean"
    STRING = "string"
    DATETIME = "datetime"


class Task(StrEnum):
    """What a model is asked to do."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"


class Field(msgspec.Struct, frozen=True):
    """One column. `nullable`: a row may lack it (None; NaN for numbers). `categories`: the values of a
    categorical column in the order the model knows them, None for any other column."""

    name: str
    type: Type
    nullable: bool = False
    categories: tuple[str, ...] | None = None


class Signature(msgspec.Struct, frozen=True):
    """The columns a model takes, in its order, and those it gives. `classes` are the labels of a classifier
    in its order.

    The outputs are, by task: ``prediction`` (regression); ``probability`` (of the second class) and ``label``
    (two classes with probabilities); ``label`` and ``probability_0``, ``probability_1``, … (more classes);
    ``label`` (no probabilities).
    """

    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    task: Task
    classes: tuple[str | int | float | bool, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs, in the model's order.

        >>> Signature((Field("a", Type.DOUBLE),), (Field("prediction", Type.DOUBLE),), Task.REGRESSION).names
        ('a',)
        """
        return tuple(field.name for field in self.inputs)

    @property
    def score(self) -> str | None:
        """The output that is one number a row and says most: what is judged, watched and compared. None for
        labels alone.

        >>> label, p = Field("label", Type.LONG), Field("probability", Type.DOUBLE)
        >>> Signature((), (p, label), Task.CLASSIFICATION, (0, 1)).score
        'probability'
        >>> Signature((), (label,), Task.CLASSIFICATION, (0, 1)).score is None
        True
        """
        first = self.outputs[0].name
        return first if first in {"probability", "prediction"} else None


class Layout(StrEnum):
    """The shape in which rows are handed to a model: found by trial when it is saved, cheapest first."""

    MATRIX = "matrix"
    """One array of float64, shape (rows, inputs)."""
    OBJECTS = "objects"
    """One array of Python objects, shape (rows, inputs): text beside numbers."""
    FRAME = "frame"
    """A pandas data frame with named columns."""


class StoredFile(msgspec.Struct, frozen=True):
    """One file of a model folder: SHA-256 of its bytes, and their number."""

    digest: str
    size: int


class ModelFile(msgspec.Struct, frozen=True):
    """What `model.json` says: how to load the model, how to call it, and how to tell that it answers as it
    did.

    content: the canonical digest: equal for equal models, whatever process wrote them.
    features: references of the feature views whose values the inputs are.
    packages: the libraries the model needs, with the versions that wrote it.
    labels_from_probabilities: the label is the class of the highest probability, so one call gives both.
    probe_rows, reference_rows: rows in `probe.json` (inputs and the model's answers) and in
        `reference.parquet` (a sample of what the model was trained on, with its answers); 0 when there was no
        example.
    """

    flavour: str
    kind: str
    signature: Signature
    content: str
    layout: Layout = Layout.MATRIX
    labels_from_probabilities: bool = True
    features: tuple[str, ...] = ()
    python: str = ""
    packages: dict[str, str] = {}
    files: dict[str, StoredFile] = {}
    probe_rows: int = 0
    reference_rows: int = 0
    format: int = FORMAT


class Parity(msgspec.Struct, frozen=True):
    """How far two sets of answers on the same rows are apart.

    max_abs: the largest difference of a number; flips: rows whose label differs; tolerance: what max_abs may
        be.
    """

    rows: int
    max_abs: float
    flips: int
    tolerance: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the answers count as the same.

        >>> Parity(64, 0.0, 0).passed, Parity(64, 1e-3, 0, tolerance=1e-9).passed, Parity(64, 0.0, 1).passed
        (True, False, False)
        """
        return self.max_abs <= self.tolerance and self.flips == 0
