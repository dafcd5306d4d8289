"""Experiments and runs as data, and the rules for their keys, values and names."""

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.domain.names import shown
from everloop.domain.repeats import Delta, Repeats
from everloop.domain.run_inputs import LoggedDataset
from everloop.errors import InvalidInput, TooLarge

if TYPE_CHECKING:
    Metrics = dict[str, float]
else:  # JSON has no NaN: it arrives as null, and `RunRecord` puts the number back
    Metrics = dict[str, float | None]

RUNNING, FINISHED, FAILED, KILLED, INTERRUPTED = "running", "finished", "failed", "killed", "interrupted"
STATUSES = (RUNNING, FINISHED, FAILED, KILLED, INTERRUPTED)
"""`killed`: its process is gone without having said goodbye. `interrupted`: a user stopped it, or it runs elsewhere and has
not been heard of for long."""

ACTIVE, DELETED = "active", "deleted"
DEFAULT_EXPERIMENT = "Default"
DEFAULT_EXPERIMENT_ID = 0

MAX_KEY = 250
OF_THE_MACHINE = "system/"
"""How the metrics begin that say what a run's machine did meanwhile. They are shown apart: they are no results."""
NOTE = "mlflow.note.content"
"""The tag that holds a run's note: MLflow's clients and pages know it by this name."""
MAX_PARAM = 6_000
MAX_TAG = 8_000

_KEY = re.compile(r"[/\w.\- :]+\Z")


class Experiment(msgspec.Struct, frozen=True):
    """A named group of runs. `id` is the number that MLflow's clients know it by."""

    id: int
    uuid: str
    name: str
    state: str
    created: datetime
    updated: datetime
    tags: dict[str, str] = {}
    runs: int = 0
    """How many active runs it has."""


class RunRecord(msgspec.Struct, frozen=True):
    """A run with its parameters, tags and the last value of each metric. `metrics` may hold NaN and infinities; since JSON
    cannot, `nonfinite` names them there.

    >>> record = RunRecord(run_id="1", experiment="Default", experiment_id=0, name="x", user="ann", source="train.py",
    ...     version="", status="running", start_time=datetime(2026, 1, 1), metrics={"loss": math.inf})
    >>> again = msgspec.json.decode(msgspec.json.encode(record), type=RunRecord)
    >>> again.metrics, again.nonfinite
    ({'loss': inf}, {'loss': 'Infinity'})
    """

    run_id: str
    experiment: str
    experiment_id: int
    name: str
    user: str
    source: str
    version: str
    status: str
    start_time: datetime
    end_time: datetime | None = None
    state: str = ACTIVE
    parent: str | None = None
    resumed_from: str | None = None
    params: dict[str, str] = {}
    metrics: Metrics = {}
    tags: dict[str, str] = {}
    nonfinite: dict[str, str] = {}

    def __post_init__(self) -> None:
        values = self.metrics.values()
        if None not in values and all(map(math.isfinite, values)):
            return
        for key, value in self.metrics.items():
            if value is None:
                self.metrics[key] = float(self.nonfinite[key])
            elif not math.isfinite(value):
                self.nonfinite[key] = number_text(value)

    @property
    def reference(self) -> str:
        return f"run:{self.run_id}"


class RunPage(msgspec.Struct, frozen=True):
    """One page of a search; `next_page` asks for the one after it, None at the end. `total` counts all that match,
    when that was asked for."""

    runs: list[RunRecord]
    next_page: str | None = None
    total: int | None = None


class MetricSummary(msgspec.Struct, frozen=True):
    """What is known of one metric without reading its points. `first` and `last` are by step, then time; `min`, `max` and
    `mean` leave NaN out. A number JSON cannot write is None and named in `nonfinite` by its field."""

    key: str
    count: int
    last_step: int
    last_time: datetime
    first: float | None
    last: float | None
    min: float | None
    max: float | None
    mean: float | None
    nonfinite: dict[str, str] = {}

    def number(self, field: str) -> float:
        """`first`, `last`, `min`, `max` or `mean` as a float, NaN and infinities included."""
        text = self.nonfinite.get(field)
        return float(text) if text is not None else float(getattr(self, field))


class ArtifactRecord(msgspec.Struct, frozen=True):
    """A file of a run: its path within the run (with ``/``), and where its bytes are."""

    path: str
    digest: str
    size: int


class CheckpointRecord(msgspec.Struct, frozen=True):
    """A saved state of a run. `records` is how many journal records came before it; `format` is ``plain`` or ``pickle``."""

    number: int
    digest: str
    size: int
    format: str
    step: int | None
    records: int
    created: datetime
    user: str
    place: str


class Owner(msgspec.Struct, frozen=True):
    """The process that writes a run: `place` is the machine (and its process namespace), `began` the process's own start."""

    place: str
    pid: int
    began: float


class HeldObject(msgspec.Struct, frozen=True):
    """An object that a run needs kept."""

    digest: str
    size: int


class Captured(msgspec.Struct, frozen=True):
    """What was captured when a run began. `environment` and `code` are digests of stored objects; `holds` are all objects
    these need. `masked` says that the command held a secret, which was left out."""

    source: str = ""
    commit: str = ""
    branch: str = ""
    dirty: bool = False
    environment: str = ""
    code: str = ""
    command: list[str] = []
    interpreter: str = ""
    folder: str = ""
    masked: bool = False
    seeds: dict[str, int] = {}
    holds: list[HeldObject] = []


class RunDetail(msgspec.Struct, frozen=True):
    """Everything the ledger says about one run, but for the points of its metrics."""

    run: RunRecord
    metrics: list[MetricSummary]
    artifacts: list[ArtifactRecord]
    checkpoints: list[CheckpointRecord]
    captured: Captured
    children: list[str]
    consumed: list[str]
    produced: list[str]
    datasets: list[LoggedDataset] = []
    """What it said it used, without keeping it."""


class Shipped(msgspec.Struct, frozen=True):
    """The answer to a shipment: how many records of the run the ledger has now, and parameters it did not take because they
    had another value already."""

    records: int
    refused: list[str] = []


class History(msgspec.Struct, frozen=True):
    """The points of one metric, in order of step and time. `steps` and `times` (microseconds) are little-endian 64-bit
    integers, `values` 64-bit floats: bytes, because JSON would lose NaN and be slow."""

    key: str
    count: int
    steps: bytes
    times: bytes
    values: bytes
    total: int = 0
    """How many points the metric has: more than `count`, when they were thinned for drawing."""


class RunHistory(msgspec.Struct, frozen=True):
    """The points of one metric of one run, where several were asked for at once."""

    run_id: str
    history: History


class OutputPiece(msgspec.Struct, frozen=True):
    """Lines that a run printed one after the other to one stream, ``stdout`` or ``stderr``. `record`: their place in the
    order."""

    record: int
    stream: str
    time: datetime
    text: str


class Difference(msgspec.Struct, frozen=True):
    """One row of a comparison: a value (or None) for each run, in the order asked for."""

    key: str
    values: list[str | None]
    differs: bool


class Comparison(msgspec.Struct, frozen=True):
    """Runs side by side; in each list the rows that differ come first. `groups`: runs that repeat each other; `deltas`: how the
    others' metrics differ from those of the first group."""

    runs: list[RunRecord]
    attributes: list[Difference]
    params: list[Difference]
    metrics: list[Difference]
    tags: list[Difference]
    groups: list[Repeats] = []
    deltas: list[Delta] = []


def artifact_uri(experiment_id: int | str, run_id: str) -> str:
    """Where MLflow's clients find the files of a run: behind the server that told them so.

    >>> artifact_uri(3, "f00d")
    'mlflow-artifacts:/3/f00d/artifacts'
    """
    return f"mlflow-artifacts:/{experiment_id}/{run_id}/artifacts"


def checked_key(key: str, what: str) -> str:
    """Return `key` if it may name a parameter, metric or tag, else raise InvalidInput.

    1 to 250 letters, digits, ``_ - . / :`` and spaces, and a normal path where it has ``/`` (the rule of MLflow, so that keys
    survive the way there and back).

    >>> checked_key("val/loss", "metric")
    'val/loss'
    >>> checked_key("a//b", "metric")
    Traceback (most recent call last):
    everloop.errors.InvalidInput: the metric key 'a//b' is not a normal path
    """
    if not isinstance(key, str) or not key.strip():
        raise InvalidInput(f"a {what} key is text and not blank", hint="name it, such as 'rmse'")
    if len(key) > MAX_KEY:
        raise InvalidInput(
            f"the {what} key {shown(key)} has {len(key)} characters", hint=f"at most {MAX_KEY}"
        )
    if not _KEY.match(key):
        raise InvalidInput(
            f"the {what} key {shown(key)} has a character that is not allowed",
            hint="letters, digits, '_', '-', '.', '/', ':' and spaces are",
        )
    if any(part in {"", ".", ".."} for part in key.split("/")):
        raise InvalidInput(
            f"the {what} key {shown(key)} is not a normal path", hint="no empty, '.' or '..' part"
        )
    return key


def checked_text(value: str, what: str, limit: int) -> str:
    """Return `value` if a ledger can keep it: a text, not too long, no NUL, whole characters."""
    if not isinstance(value, str):
        raise InvalidInput(f"{what} is not a text: {value!r}", hint="give it in quotes")
    if len(value) > limit:
        raise TooLarge(f"{what} has {len(value)} characters", hint=f"at most {limit}; log it as an artifact")
    if "\0" in value:
        raise InvalidInput(f"{what} contains a NUL character", hint="log it as an artifact")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInput(
            f"{what} contains half a character (a lone surrogate)", hint="log it as an artifact"
        ) from None
    return value


def checked_artifact_path(path: str) -> str:
    """Return `path` if it may be the place of a file in a run: relative, with ``/``, without ``.`` and ``..`` parts.

    >>> checked_artifact_path("plots/roc.png")
    'plots/roc.png'
    >>> checked_artifact_path("../x")
    Traceback (most recent call last):
    everloop.errors.InvalidInput: '../x' is not a path within a run
    """
    parts = path.split("/")
    if len(path) > 500 or "\0" in path or "\\" in path or any(part in {"", ".", ".."} for part in parts):
        raise InvalidInput(
            f"{shown(path)} is not a path within a run", hint="give a relative path such as plots/roc.png"
        )
    return checked_text(path, "the artifact path", 500)


def flat_params(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Parameters as text, nested mappings as ``outer.inner``. Raises InvalidInput where two of them have one name.

    >>> flat_params({"alpha": 0.5, "model": {"depth": 3, "kind": None}})
    {'alpha': '0.5', 'model.depth': '3', 'model.kind': 'None'}
    """
    flat: dict[str, str] = {}
    for key, value in params.items():
        inner = (
            flat_params(value, f"{prefix}{key}.")
            if isinstance(value, Mapping)
            else {f"{prefix}{key}": str(value)}
        )
        for name, text in inner.items():
            if flat.setdefault(name, text) != text:
                raise InvalidInput(
                    f"the parameter {name} is given twice, as '{flat[name]}' and '{text}'",
                    hint="rename one of them",
                )
    return flat


def param_number(text: str) -> float | None:
    """The number a parameter's text stands for, so that ``params.alpha > 0.05`` compares numbers; None where it is none.

    >>> param_number("1e-3"), param_number("tree"), param_number("nan"), param_number("1_000")
    (0.001, None, None, None)
    """
    if len(text) > 64 or "_" in text or not text.isascii():
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def number_text(value: float) -> str:
    """How NaN and infinities are written in JSON.

    >>> number_text(math.nan), number_text(-math.inf)
    ('NaN', '-Infinity')
    """
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def metric_text(value: float) -> str:
    """A metric as tables show it: four significant digits or so, no trailing zeros (the rule of MLflow's pages).

    >>> [metric_text(x) for x in (0.0, 0.00012345, 0.296068, 66.443614, 62.2037, 345.67, math.nan)]
    ['0', '1.234e-04', '0.296', '66.44', '62.2', '345.7', 'NaN']
    """
    if not math.isfinite(value):
        return number_text(value)
    size = abs(value)
    if size == 0:
        return "0"
    if size < 0.001 or size >= 1e9:
        return f"{value:.3e}"
    text = f"{value:.{3 if size < 10 else 2 if size < 100 else 1}f}"
    return text.rstrip("0").rstrip(".")


def random_name(entropy: bytes) -> str:
    """A name for a run that was given none, from four bytes of randomness.

    >>> random_name(bytes([0, 0, 0, 0])), random_name(bytes([7, 11, 1, 42]))
    ('able-badger-0', 'brisk-finch-298')
    """
    adjective = _ADJECTIVES[entropy[0] % len(_ADJECTIVES)]
    noun = _NOUNS[entropy[1] % len(_NOUNS)]
    return f"{adjective}-{noun}-{int.from_bytes(entropy[2:4]) % 1000}"


_ADJECTIVES = [
    "able",
    "amber",
    "ample",
    "azure",
    "bold",
    "brave",
    "bright",
    "brisk",
    "calm",
    "candid",
    "clever",
    "crisp",
    "curious",
    "daring",
    "deft",
    "eager",
    "early",
    "fair",
    "fleet",
    "fond",
    "frank",
    "fresh",
    "gentle",
    "glad",
    "golden",
    "grand",
    "hardy",
    "honest",
    "jolly",
    "keen",
    "kind",
    "lively",
    "loyal",
    "lucid",
    "mellow",
    "merry",
    "mighty",
    "modest",
    "neat",
    "nimble",
    "noble",
    "patient",
    "placid",
    "plucky",
    "polite",
    "proud",
    "quick",
    "quiet",
    "rapid",
    "ready",
    "robust",
    "rosy",
    "serene",
    "sharp",
    "silent",
    "sleek",
    "smooth",
    "snug",
    "steady",
    "stout",
    "sunny",
    "swift",
    "tidy",
    "tranquil",
    "upbeat",
    "valiant",
    "vivid",
    "warm",
    "wise",
    "witty",
    "zesty",
]
_NOUNS = [
    "badger",
    "beaver",
    "bison",
    "bobcat",
    "condor",
    "crane",
    "curlew",
    "dingo",
    "dolphin",
    "eagle",
    "egret",
    "finch",
    "falcon",
    "ferret",
    "fox",
    "gannet",
    "gecko",
    "gibbon",
    "grouse",
    "hare",
    "hawk",
    "heron",
    "ibex",
    "ibis",
    "jackal",
    "jay",
    "kestrel",
    "kite",
    "koala",
    "lark",
    "lemur",
    "linnet",
    "lynx",
    "magpie",
    "marten",
    "merlin",
    "mole",
    "moose",
    "newt",
    "ocelot",
    "orca",
    "osprey",
    "otter",
    "owl",
    "panda",
    "parrot",
    "pelican",
    "pika",
    "plover",
    "puffin",
    "quail",
    "rabbit",
    "raven",
    "robin",
    "salmon",
    "seal",
    "shrew",
    "skylark",
    "sparrow",
    "stoat",
    "stork",
    "swallow",
    "swan",
    "swift",
    "tapir",
    "teal",
    "tern",
    "thrush",
    "toucan",
    "trout",
    "turtle",
    "vole",
    "walrus",
    "weasel",
    "whale",
    "wren",
]
