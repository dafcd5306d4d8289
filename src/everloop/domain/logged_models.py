"""Logged models as data: models as runs log them, before anyone registers them."""

import math
import re
from datetime import datetime
from enum import StrEnum

import msgspec

from everloop.domain.ids import is_id
from everloop.domain.names import shown
from everloop.domain.runs import ACTIVE, MAX_KEY, Metrics, checked_text, number_text
from everloop.errors import InvalidInput

MAX_MODEL_KEY = MAX_KEY
MAX_MODEL_VALUE = 100_000

_NOT_IN_NAME = re.compile(r"[/:.%\"']")


class LoggedModelStatus(StrEnum):
    """Where the upload of a logged model stands."""

    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"


class MeasuredPoint(msgspec.Struct, frozen=True):
    """One point of a metric that was measured on a model, perhaps on a dataset. `nonfinite` spells a number JSON cannot write.

    >>> MeasuredPoint.of("rmse", math.nan, 0, datetime(2026, 1, 1), "m-1").number
    nan
    """

    key: str
    value: float | None
    step: int
    time: datetime
    model_id: str
    run_id: str = ""
    dataset: str = ""
    dataset_digest: str = ""
    nonfinite: str = ""

    @classmethod
    def of(
        cls,
        key: str,
        value: float,
        step: int,
        time: datetime,
        model_id: str,
        run_id: str = "",
        dataset: str = "",
        dataset_digest: str = "",
    ) -> "MeasuredPoint":
        """A point from a number that may be NaN or infinite."""
        spelled = "" if math.isfinite(value) else number_text(value)
        return cls(
            key, None if spelled else value, step, time, model_id, run_id, dataset, dataset_digest, spelled
        )

    @property
    def number(self) -> float:
        """The value as a float, NaN and infinities included."""
        return float(self.nonfinite) if self.value is None else self.value


class LoggedModel(msgspec.Struct, frozen=True):
    """A model that a run logged: its files may be loaded by identifier, and registered.

    kind: the flavour or type its author gave, such as ``sklearn``. source_run: the run that logged it; None for a model that was
    made elsewhere. measured: the points that were logged for this model, by key, time and step.
    """

    model_id: str
    experiment_id: int
    name: str
    kind: str
    status: LoggedModelStatus
    created: datetime
    updated: datetime
    user: str
    status_message: str = ""
    source_run: str | None = None
    state: str = ACTIVE
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    measured: list[MeasuredPoint] = []

    @property
    def metrics(self) -> "Metrics":
        """The last value of each metric, whatever the dataset."""
        return {each.key: each.number for each in self.measured}


class LoggedModelPage(msgspec.Struct, frozen=True):
    """One page of a search; `next_page` asks for the one after it, None at the end."""

    models: list[LoggedModel]
    next_page: str | None = None


class ModelDataset(msgspec.Struct, frozen=True):
    """Restricts the metrics of a search to those measured on this dataset; without a digest, on any version of it."""

    name: str
    digest: str = ""


class LoggedModelOrder(msgspec.Struct, frozen=True):
    """What logged models are sorted by: an attribute or ``metrics.KEY``, where given as measured on a dataset."""

    field: str
    descending: bool = False
    dataset: ModelDataset | None = None


class RunModel(msgspec.Struct, frozen=True):
    """A logged model that a run used, or that came out of it at a step."""

    run_id: str
    model_id: str
    role: str
    step: int = 0


INPUT, OUTPUT = "input", "output"


def is_model_id(text: str) -> bool:
    """Whether `text` may name a logged model.

    >>> is_model_id("m-" + "0" * 32), is_model_id("0" * 32)
    (True, False)
    """
    return text.startswith("m-") and is_id(text[2:])


def logged_name(folder: str) -> str:
    """The name of the logged model that a run keeps in this folder, where not every character is allowed.

    >>> logged_name("model"), logged_name("models/v1.2")
    ('model', 'models-v1-2')
    """
    return _NOT_IN_NAME.sub("-", folder)


def checked_logged_name(name: str) -> str:
    """Return `name` if it may name a logged model, else raise InvalidInput (the rule of MLflow).

    >>> checked_logged_name("elastic net")
    'elastic net'
    >>> checked_logged_name("a/b")
    Traceback (most recent call last):
    everloop.errors.InvalidInput: the name of a logged model 'a/b' has a character that is not allowed
    """
    if not name.strip():
        raise InvalidInput("the name of a logged model is blank", hint="name it, such as 'model'")
    if _NOT_IN_NAME.search(name):
        raise InvalidInput(
            f"the name of a logged model {shown(name)} has a character that is not allowed",
            hint="'/', ':', '.', '%' and quotes are not",
        )
    return checked_text(name, "the name of a logged model", 500)
