"""Sweeps: a search over the parameters of a pipeline. The space, the trials, and the pure rules by which a winner is found.

space = {
    "rate": ev.space.real(1e-4, 1e-1, log=True),
    "depth": ev.space.whole(2, 9),
    "recipe": ev.space.choice("logistic", "boosting"),
}
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from everloop.domain.names import shown
from everloop.errors import InvalidInput, NotFound, nearest

Scalar = str | int | float | bool | None
Direction = Literal["minimize", "maximize"]
TrialStatus = Literal["running", "finished", "pruned", "failed", "interrupted"]
DIRECTIONS: tuple[Direction, ...] = ("minimize", "maximize")
SAMPLERS = ("tpe", "random", "grid", "cmaes", "nsga2")
PRUNERS = ("none", "median", "halving", "hyperband")


class Real(msgspec.Struct, frozen=True, tag="real"):
    """A number between two others, both included; `log`: drawn evenly in its logarithm; `step`: in multiples from `low`."""

    low: float
    high: float
    log: bool = False
    step: float | None = None


class Whole(msgspec.Struct, frozen=True, tag="whole"):
    """A whole number between two others, both included."""

    low: int
    high: int
    log: bool = False
    step: int = 1


class Choice(msgspec.Struct, frozen=True, tag="choice"):
    """One of a few values that have no order."""

    values: tuple[Scalar, ...]


Dimension = Real | Whole | Choice
Space = dict[str, Dimension]


class Objective(msgspec.Struct, frozen=True):
    """What is looked for: a metric of the run, or what the pipeline returns under that name (the number itself when it returns
    one)."""

    metric: str
    direction: Direction = "minimize"


class Repeat(msgspec.Struct, frozen=True):
    """Each trial is run once for each of these values of one parameter: seeds, or (`folds`) the folds of a cross-validation,
    whose training rows overlap, so that they say less than as many independent repeats.

    >>> Repeat("seed", (0, 1, 2)).overlap, Repeat("fold", (0, 1, 2, 3, 4), folds=True).overlap
    (0.0, 0.25)
    """

    parameter: str
    values: tuple[Scalar, ...]
    folds: bool = False

    @property
    def overlap(self) -> float:
        """Rows tested for each row trained on, which is what the variance over folds is short of; 0 for what is independent."""
        return 1 / (len(self.values) - 1) if self.folds and len(self.values) > 1 else 0.0


class SweepPlan(msgspec.Struct, frozen=True):
    """Everything that decides which trials a sweep makes. The same plan and seed, one trial at a time, make the same trials."""

    source: str
    space: dict[str, Dimension]
    objectives: tuple[Objective, ...]
    params: dict[str, Any] = {}
    sampler: str = "tpe"
    pruner: str = "none"
    seed: int = 0
    repeat: Repeat | None = None


class SweepRecord(msgspec.Struct, frozen=True):
    """A sweep: its tracking run, its plan, how many trials were asked for."""

    run: str
    plan: SweepPlan
    trials: int
    status: str
    started: datetime


class Trial(msgspec.Struct, frozen=True):
    """One point of the space.

    values: of each objective, for each repeat, in the plan's order. reports: (step, value) of the first objective while it ran,
    of the last repeat. runs: the pipeline's runs. known: how many trials were over when it was asked for, and `running` the
    numbers of those that were not: its parameters were chosen on all others before it.
    """

    number: int
    params: dict[str, Scalar]
    status: TrialStatus
    values: tuple[tuple[float, ...], ...] = ()
    reports: tuple[tuple[int, float], ...] = ()
    runs: tuple[str, ...] = ()
    seconds: float = 0.0
    known: int = 0
    error: str = ""
    running: tuple[int, ...] = ()

    @property
    def means(self) -> tuple[float, ...]:
        """The mean of each objective over the repeats."""
        return tuple(math.fsum(each) / len(each) for each in self.values)


class Score(msgspec.Struct, frozen=True):
    """A trial's value of the first objective. `low` and `high`: Student's interval of the mean, None without repeats."""

    value: float
    low: float | None = None
    high: float | None = None


class SweepResult(msgspec.Struct, frozen=True):
    """What a sweep found.

    best: the number of the trial with the best mean of the objective; None with several objectives, where there is a front
    instead: the trials that no other beats in one of them while being at least as good in all. score: the objective of
    the best. scores: of each trial on the front, of each objective. tied: trials that are not surely worse than the best, or
    that may belong to the front, too, by paired intervals over the repeats; None where trials were run once, when nobody can
    say. importance: of each parameter for the (first) objective, adding up to 1; empty with too few trials to say.
    importances: the same for each of several objectives.
    """

    run: str
    status: str
    objectives: tuple[Objective, ...]
    trials: list[Trial]
    best: int | None
    score: Score | None = None
    tied: list[int] | None = None
    front: list[int] = []
    scores: list[list[Score]] = []
    importance: dict[str, float] = {}
    importances: list[dict[str, float]] = []
    seconds: float = 0.0

    @property
    def found(self) -> bool:
        """Whether any trial came to its end with a value."""
        return self.best is not None or bool(self.front)

    def trial(self, number: int | None) -> Trial:
        """A trial by its number. Raises NotFound; also for the `best` of a sweep that has none."""
        for each in self.trials:
            if each.number == number:
                return each
        if number is None and self.front:
            raise NotFound(
                "several objectives have no best trial",
                hint=f"choose from the front: {', '.join(map(str, self.front[:10]))}",
            )
        said = "no trial came to its end" if number is None else f"the sweep has no trial {number}"
        raise NotFound(said, hint=f"it has {len(self.trials)} trials, counted from 0")


# Declaring a space


def real(low: float, high: float, *, log: bool = False, step: float | None = None) -> Real:
    """A number from `low` to `high`.

    >>> real(1e-4, 1e-1, log=True)
    Real(low=0.0001, high=0.1, log=True, step=None)
    """
    dimension = Real(float(low), float(high), log, None if step is None else float(step))
    _checked("real", dimension)
    return dimension


def whole(low: int, high: int, *, log: bool = False, step: int = 1) -> Whole:
    """A whole number from `low` to `high`."""
    dimension = Whole(low, high, log, step)
    _checked("whole", dimension)
    return dimension


def choice(*values: Scalar) -> Choice:
    """One of these values.

    >>> choice("linear", "trees").values
    ('linear', 'trees')
    """
    dimension = Choice(tuple(values))
    _checked("choice", dimension)
    return dimension


def parse_space(text: str, file: str = "the space") -> tuple[Space, tuple[Objective, ...], dict[str, Any]]:
    """A space as TOML: the parameters under ``[space]``, what is looked for under ``[objective]`` (metric and direction; several
    as ``[[objective]]``), and settings of the sweep beside them. Raises InvalidInput that names the key.

    >>> space, wanted, settings = parse_space('''
    ... sampler = "random"
    ... [space]
    ... rate = {low = 1e-4, high = 0.1, log = true}
    ... depth = {low = 2, high = 9}
    ... recipe = ["logistic", "boosting"]
    ... [objective]
    ... metric = "log_loss"
    ... ''')
    >>> space["depth"], space["recipe"].values, wanted[0].direction, settings
    (Whole(low=2, high=9, log=False, step=1), ('logistic', 'boosting'), 'minimize', {'sampler': 'random'})
    """
    try:
        read = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{file} is not TOML: {error}") from None
    given = read.pop("space", None)
    if not isinstance(given, dict) or not given:
        raise InvalidInput(
            f"{file} has no [space]", hint="write [space] and a line such as: rate = {low = 0.01, high = 1.0}"
        )
    space = {name: _dimension(f"{file}: {name}", value) for name, value in given.items()}
    wanted = read.pop("objective", [])
    objectives = tuple(_objective(file, each) for each in (wanted if isinstance(wanted, list) else [wanted]))
    return space, objectives, read


def checked_plan(plan: SweepPlan) -> SweepPlan:
    """The plan, or InvalidInput that says what cannot be done."""
    for name, dimension in plan.space.items():
        _checked(name, dimension)
    if not plan.space:
        raise InvalidInput(
            "the space has no parameters", hint="write at least one: rate = {low = 0.01, high = 1.0}"
        )
    if not plan.objectives:
        raise InvalidInput(
            "nothing says what is looked for", hint="name a metric: --metric log_loss --direction minimize"
        )
    _known("sampler", plan.sampler, SAMPLERS)
    _known("pruner", plan.pruner, PRUNERS)
    for objective in plan.objectives:
        _known("direction", objective.direction, DIRECTIONS)
    both = sorted(plan.space.keys() & plan.params.keys())
    if both:
        raise InvalidInput(
            f"the parameter '{both[0]}' is both fixed and searched", hint="leave one of them out"
        )
    if plan.repeat is not None:
        if plan.repeat.parameter in plan.space or plan.repeat.parameter in plan.params:
            raise InvalidInput(
                f"the parameter '{plan.repeat.parameter}' is repeated and given as well",
                hint="leave one of them out",
            )
        if len(set(plan.repeat.values)) < 2:
            raise InvalidInput(
                "a repeat needs two different values at least", hint="write --repeat seed=0,1,2"
            )
    if len(plan.objectives) > 1 and plan.pruner != "none":
        raise InvalidInput("trials with several objectives cannot be stopped early", hint="use --pruner none")
    if plan.sampler == "grid":
        cells_of(plan.space)
    if plan.sampler == "cmaes" and all(isinstance(each, Choice) for each in plan.space.values()):
        raise InvalidInput(
            "the sampler 'cmaes' needs a parameter that is a number", hint="use the sampler 'tpe'"
        )
    if plan.sampler == "nsga2" and len(plan.objectives) < 2:
        raise InvalidInput("the sampler 'nsga2' is for several objectives", hint="use the sampler 'tpe'")
    return plan


def grid_values(dimension: Dimension) -> tuple[Scalar, ...] | None:
    """The values of a grid along one dimension; None where there is no end of them.

    >>> grid_values(Whole(2, 8, step=3)), grid_values(Real(0.0, 1.0, step=0.5)), grid_values(Real(0.0, 1.0))
    ((2, 5, 8), (0.0, 0.5, 1.0), None)
    """
    match dimension:
        case Choice(values):
            return values
        case Whole(low, high, False, step):
            return tuple(range(low, high + 1, step))
        case Real(low, high, False, step) if step is not None:
            return tuple(low + number * step for number in range(math.floor((high - low) / step + 1e-9) + 1))
    return None


def cells_of(space: Mapping[str, Dimension]) -> int:
    """How many combinations a grid has. Raises InvalidInput where a range has no step.

    >>> cells_of({"depth": Whole(2, 4), "kind": Choice(("a", "b"))})
    6
    """
    found = 1
    for name, each in space.items():
        found *= len(_axis(name, each))
    return found


# Checking


def _axis(name: str, dimension: Dimension) -> tuple[Scalar, ...]:
    values = grid_values(dimension)
    if values is None:
        raise InvalidInput(
            f"the sampler 'grid' needs a step for '{name}'", hint="give step = …, or a list of values"
        )
    return values


def _checked(name: str, dimension: Dimension) -> None:
    problem = ""
    match dimension:
        case Choice(values):
            if len(values) != len({(type(each), each) for each in values}) or not values:
                problem = "needs values, each once"
        case Real(low, high, log, step) | Whole(low, high, log, step):
            if not (math.isfinite(low) and math.isfinite(high)) or low > high:
                problem = f"goes from {low:g} to {high:g}"
            elif log and low <= 0:
                problem = f"starts at {low:g}, which has no logarithm"
            elif step is not None and step <= 0:
                problem = f"has a step of {step:g}"
            elif log and step not in (None, 1):
                problem = "has both log and step"
    if problem:
        raise InvalidInput(
            f"the parameter {shown(name)} {problem}", hint="see: docs/how-to/search-parameters.md"
        )


def _known(what: str, given: str, names: Sequence[str]) -> None:
    if given not in names:
        raise InvalidInput(
            f"there is no {what} '{given}'", hint=nearest(given, names) or f"there are: {', '.join(names)}"
        )


def _dimension(place: str, value: Any) -> Dimension:
    if isinstance(value, list):
        if not all(isinstance(each, str | int | float | bool) for each in value):
            raise InvalidInput(f"{place}: a list holds text, numbers, true or false")
        dimension: Dimension = Choice(tuple(value))
    elif isinstance(value, Mapping):
        unknown = sorted(value.keys() - {"low", "high", "log", "step"})
        if unknown:
            raise InvalidInput(
                f"{place}: '{unknown[0]}' is not known",
                hint=nearest(unknown[0], ["low", "high", "log", "step"]),
            )
        numbers = [value.get(key) for key in ("low", "high", "step") if key in value]
        if len(numbers) < 2 or "low" not in value or "high" not in value:
            raise InvalidInput(f"{place}: low and high are needed", hint="write {low = 0.01, high = 1.0}")
        if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in numbers):
            raise InvalidInput(f"{place}: low, high and step are numbers")
        if not isinstance(value.get("log", False), bool):
            raise InvalidInput(f"{place}: log is true or false")
        integral = all(isinstance(each, int) for each in numbers)
        dimension = (
            Whole(value["low"], value["high"], value.get("log", False), value.get("step", 1))
            if integral
            else real(**value)
        )
    else:
        raise InvalidInput(
            f"{place}: a range or a list is needed", hint="write {low = 0.01, high = 1.0} or [1, 2, 3]"
        )
    _checked(place, dimension)
    return dimension


def _objective(file: str, value: Any) -> Objective:
    try:
        return msgspec.convert(value, Objective)
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"{file}: [objective] {error}", hint='write metric = "log_loss" and direction = "minimize"'
        ) from None
