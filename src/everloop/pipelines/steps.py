"""Steps and pipelines: plain functions. Inside a running pipeline a step's call returns a reference to the result to come.

    @ev.step
    def load(month: int) -> pa.Table: ...

    @ev.step(retries=2, timeout=600)
    def fit(table: pa.Table, recipe: str): ...

    @ev.pipeline
    def train(recipe: str = "boosting"):
        tables = load.map([1, 2, 3])
        return fit(tables, recipe)

Outside a pipeline they are what they look like: ``fit(load(1), "boosting")`` calls the functions.

A step's stored result is used while its code, arguments and seed are the same, and what it reads through Everloop is. Files
opened by path, environment variables, the clock and the network cannot be seen: pass them in as arguments, or declare
``cache=False``.
"""

from __future__ import annotations

import functools
import inspect
import traceback
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, ParamSpec, Protocol, TypedDict, TypeVar, Unpack, cast, overload

import msgspec

from everloop.domain.durations import Duration, duration
from everloop.domain.names import checked_name
from everloop.engine.limits import bytes_of
from everloop.errors import InvalidDefinition, InvalidInput
from everloop.pipelines.code.memory import unwrapped
from everloop.pipelines.environments.declared import Environment

P = ParamSpec("P")
T = TypeVar("T")

_TOO_OFTEN = 20
"""Calls of a pipeline within each other when the stack is full: it is the pipeline that does not end."""


class StepOptions(msgspec.Struct, frozen=True):
    """How a step is run. None of it but the seed is part of what the step's result depends on.

    cache: whether an earlier result may be used; keep: seconds after which it may not any more, None: for ever.
    retries: how often it is tried again after a failure; wait: seconds before the first retry, doubled for each further one.
    timeout: seconds after which it is stopped. seed: of `random`, numpy and torch when the step begins.
    cpus: processors it uses: so many threads are given to its libraries. memory: bytes it may take, None: as many as there are.
    secrets: names of what it is given besides its arguments, and what is stored nowhere. environment: packages of its own.
    pool: the pool of the workspace that it takes a place in. priority: of steps that could begin, the highest comes first.
    """

    cache: bool = True
    keep: float | None = None
    retries: int = 0
    wait: float = 0.0
    timeout: float | None = None
    seed: int | None = None
    cpus: int = 1
    memory: int | None = None
    secrets: tuple[str, ...] = ()
    pool: str = ""
    priority: int = 0
    environment: Environment | None = None


class StepSettings(TypedDict, total=False):
    """`StepOptions` as people write them. `cache`: False, or how long a result may be used (``"7d"``); `resources`:
    ``{"cpus": 2, "memory": "4GB"}``; `secrets`: names, whose values `everloop.secret` gives within the step. `wait` and `timeout`
    are seconds or lengths of time (``"10min"``)."""

    cache: bool | Duration
    retries: int
    wait: float | Duration
    timeout: float | Duration | None
    seed: int | None
    resources: Mapping[str, int | str] | None
    secrets: Sequence[str]
    pool: str
    priority: int
    environment: Environment | None


class Conductor(Protocol):
    """What turns calls into references while a pipeline runs."""

    def call(self, step: Step[..., Any], arguments: inspect.BoundArguments) -> Result: ...

    def fan_out(
        self, step: Step[..., Any], sequences: tuple[Any, ...], constants: dict[str, Any]
    ) -> Mapped: ...

    def value(self, reference: Result | Mapped) -> Any: ...

    def length(self, reference: Result | Mapped) -> int: ...


_conductor: ContextVar[Conductor | None] = ContextVar("everloop_conductor", default=None)


@contextmanager
def conducted_by(conductor: Conductor | None) -> Iterator[None]:
    """Within the block, calls of steps become references of `conductor`; with None they are ordinary calls."""
    token = _conductor.set(conductor)
    try:
        yield
    finally:
        _conductor.reset(token)


class Step(Generic[P, T]):
    """A function whose results are kept. Made by `step`."""

    def __init__(self, function: Callable[P, T], name: str, options: StepOptions) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self._name = checked_name(name, "step name")
        self.options = options
        declare(self)

    @property
    def name(self) -> str:
        """What people call it."""
        return self._name

    @property
    def module(self) -> str:
        """The module it is declared in."""
        return self.function.__module__

    @property
    def qualname(self) -> str:
        """What names it in its module; with ``<locals>`` when it is not at the top level."""
        return self.function.__qualname__

    @property
    def found_as(self) -> Step[..., Any]:
        """The step that a worker process finds under its module and name: itself, but for steps that no module holds."""
        return self

    @property
    def file(self) -> str:
        """The file it is declared in, empty when it is in none."""
        code = getattr(self.function, "__code__", None)
        return "" if code is None else str(code.co_filename)

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        return inspect.signature(self.function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        conductor = _conductor.get()
        if conductor is None:
            return self.function(*args, **kwargs)
        return cast(T, conductor.call(self, self.bind(args, kwargs)))

    def map(self, *sequences: Any, **constants: Any) -> Any:
        """One call for each element: positional arguments are sequences of equal length (or references to them), keyword
        arguments are the same for all. Returns a list; inside a pipeline a reference to one."""
        if not sequences:
            raise InvalidInput(
                f"{self.name}.map() needs a sequence", hint=f"{self.name}.map([1, 2, 3], other=…)"
            )
        conductor = _conductor.get()
        if conductor is None:
            return [self.function(*each, **constants) for each in zip(*sequences, strict=True)]
        return conductor.fan_out(self, sequences, constants)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        """The arguments by name. Raises InvalidInput for a call that does not fit the function."""
        try:
            return self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidInput(
                f"step {self.name}: {error}", hint=f"it is {self.name}{self.signature}"
            ) from None

    def __repr__(self) -> str:
        return f"<step {self.name}>"


_declared: list[Step[..., Any]] = []
declared_secrets: set[str] = set()
"""The names of all secrets that some step of this process declares."""


def declare(step: Step[..., Any]) -> None:
    """Let a step be among `declared_steps`."""
    _declared.append(step)
    declared_secrets.update(step.options.secrets)


def declared_steps() -> list[Step[..., Any]]:
    """Every step that this process has defined."""
    return list(_declared)


class Pipeline(Generic[P, T]):
    """A function that calls steps. Made by `pipeline`; run it with ``workspace.pipelines.run(it, params)``."""

    def __init__(self, function: Callable[P, T], name: str) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = checked_name(name, "pipeline name")

    @property
    def signature(self) -> inspect.Signature:
        return inspect.signature(self.function)

    @property
    def source(self) -> str:
        """``FILE:NAME`` with the file it was defined in, empty when it was not defined in a file's top level."""
        code = unwrapped(self.function).__code__
        if not Path(code.co_filename).is_file() or "." in code.co_qualname:
            return ""
        return f"{code.co_filename}:{self.function.__name__}"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return self.function(*args, **kwargs)
        except RecursionError as error:
            code = unwrapped(self.function).__code__
            own = sum(frame.f_code is code for frame, _ in traceback.walk_tb(error.__traceback__))
            if own < _TOO_OFTEN:
                raise
            raise InvalidInput(
                f"pipeline {self.name} calls itself without end",
                hint="let it end on some condition, or use a loop",
            ) from None

    @property
    def takes_others(self) -> bool:
        """Whether it also takes parameters that it does not declare."""
        return False

    def arguments(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters, defaults included. Raises InvalidInput that names the wrong or missing one."""
        from everloop.errors import nearest

        known = self.signature.parameters
        for name in params:
            if name not in known:
                hint = nearest(name, known) or (
                    f"its parameters are {', '.join(known)}" if known else "it has no parameters"
                )
                raise InvalidInput(f"pipeline {self.name} has no parameter '{name}'", hint=hint)
        try:
            bound = self.signature.bind(**params)
        except TypeError as error:
            raise InvalidInput(
                f"pipeline {self.name}: {error}", hint="give it with --param NAME=VALUE"
            ) from None
        bound.apply_defaults()
        return dict(bound.arguments)

    def __repr__(self) -> str:
        return f"<pipeline {self.name}>"


class Result:
    """A reference to what a step will return, or to an element of it.

    Pass it to other steps, index it (``result["train"]``), unpack it, or ask for its `value` now, which runs what it needs.
    """

    def __init__(
        self,
        conductor: Conductor,
        node: int,
        path: tuple[Any, ...] = (),
        label: str = "",
        length: int | None = None,
    ) -> None:
        self._conductor = conductor
        self.node = node
        self.path = path
        self.label = label
        self._length = length

    def value(self) -> Any:
        """The value itself: the pipeline waits for it. Raises Failed when the step failed."""
        return self._conductor.value(self)

    def __getitem__(self, key: Any) -> Result:
        return Result(self._conductor, self.node, (*self.path, key), f"{self.label}[{key!r}]")

    def __iter__(self) -> Iterator[Result]:
        count = self._length if self._length is not None else self._conductor.length(self)
        return iter([self[number] for number in range(count)])

    def __len__(self) -> int:
        return self._conductor.length(self)

    def __bool__(self) -> bool:
        return bool(self.value())

    def __repr__(self) -> str:
        return f"<result of {self.label}>"


class Mapped:
    """A reference to the list of results of `Step.map`."""

    def __init__(self, conductor: Conductor, node: int, label: str) -> None:
        self._conductor = conductor
        self.node = node
        self.label = label

    def value(self) -> list[Any]:
        """The list of values: the pipeline waits for all of them."""
        found: list[Any] = self._conductor.value(self)
        return found

    def __len__(self) -> int:
        return self._conductor.length(self)

    def __getitem__(self, number: int) -> Result:
        return Result(self._conductor, self.node, (number,), f"{self.label}[{number}]")

    def __iter__(self) -> Iterator[Result]:
        return iter([self[number] for number in range(len(self))])

    def __repr__(self) -> str:
        return f"<results of {self.label}>"


@overload
def step(function: Callable[P, T], /) -> Step[P, T]: ...


@overload
def step(*, name: str = "", **settings: Unpack[StepSettings]) -> Callable[[Callable[P, T]], Step[P, T]]: ...


def step(
    function: Callable[P, T] | None = None, /, *, name: str = "", **settings: Unpack[StepSettings]
) -> Any:
    """Declare a step: ``@step`` or ``@step(retries=2, wait="5s")``; the settings are those of `StepSettings`.

    >>> @step(seed=0)
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> double(4), double.options.seed
    (8, 0)
    """

    def declared(function: Callable[P, T]) -> Step[P, T]:
        if (
            not callable(function)
            or inspect.iscoroutinefunction(function)
            or inspect.isgeneratorfunction(function)
        ):
            raise InvalidDefinition(
                f"{getattr(function, '__qualname__', repr(function))} cannot be a step",
                hint="a step is a plain function that returns its result; it may call others, as in asyncio.run(…)",
            )
        called = name or function.__name__
        return Step(function, called, step_options(called, settings))

    return declared if function is None else declared(function)


def step_options(name: str, settings: StepSettings) -> StepOptions:
    """The options that a declaration asks for. Raises InvalidDefinition that names the step and the wrong one."""
    cache, retries = settings.get("cache", True), settings.get("retries", 0)
    timeout, secrets = settings.get("timeout"), settings.get("secrets", ())
    pool, priority = settings.get("pool", ""), settings.get("priority", 0)
    wanted = dict(settings.get("resources") or {})
    cpus, memory = wanted.pop("cpus", 1), wanted.pop("memory", None)
    problems = [
        (
            bool(wanted),
            f"the resource '{next(iter(wanted), '')}' is not known",
            "resources are: cpus, memory",
        ),
        (type(cpus) is not int or cpus < 1, f"{cpus!r} cpus cannot be had", "give a whole number from 1"),
        (
            type(retries) is not int or retries < 0,
            f"retries={retries!r} is not a number of times",
            "give 0, 1, 2, …",
        ),
        (type(priority) is not int, f"priority={priority!r} is not a whole number", "give 0, 5, -1, …"),
        (
            isinstance(secrets, str)
            or not all(isinstance(each, str) and each.isidentifier() for each in secrets),
            f"secrets={secrets!r} are no names",
            'write secrets=["DB_PASSWORD"]',
        ),
        (
            not isinstance(settings.get("environment"), Environment | None),
            "its environment is none",
            'write environment=ev.environment(["xgboost==3.2.0"])',
        ),
    ]
    for wrong, message, hint in problems:
        if wrong:
            raise InvalidDefinition(f"step {name}: {message}", hint=hint)
    try:
        return StepOptions(
            cache=cache is not False,
            keep=None if isinstance(cache, bool) else duration(cache).total_seconds(),
            retries=retries,
            wait=_seconds("wait", settings.get("wait", 0)),
            timeout=None if timeout is None else _seconds("timeout", timeout, above_zero=True),
            seed=settings.get("seed"),
            cpus=int(cpus),
            memory=None if memory is None else bytes_of(memory),
            secrets=tuple(secrets),
            environment=settings.get("environment"),
            pool=checked_name(pool, "name of a pool") if pool else "",
            priority=priority,
        )
    except InvalidInput as error:
        raise InvalidDefinition(f"step {name}: {error}", hint=error.hint) from None


def _seconds(option: str, given: object, *, above_zero: bool = False) -> float:
    """A length of time as seconds, which is also how it may be given.

    >>> _seconds("timeout", "2min"), _seconds("wait", 0.5)
    (120.0, 0.5)
    """
    if isinstance(given, str | timedelta):
        seconds = duration(given).total_seconds()
    else:
        seconds = given if isinstance(given, int | float) and not isinstance(given, bool) else -1.0
    if not seconds >= 0 or (above_zero and not seconds) or seconds == float("inf"):
        raise InvalidInput(
            f"{option}={given!r} is not a length of time",
            hint=f"give seconds{' above 0' if above_zero else ''}, or a text such as 90s or 2h",
        )
    return seconds


@overload
def pipeline(function: Callable[P, T], /) -> Pipeline[P, T]: ...


@overload
def pipeline(*, name: str = "") -> Callable[[Callable[P, T]], Pipeline[P, T]]: ...


def pipeline(function: Callable[P, T] | None = None, /, *, name: str = "") -> Any:
    """Declare a pipeline: ``@pipeline`` or ``@pipeline(name="train")``."""

    def declared(function: Callable[P, T]) -> Pipeline[P, T]:
        if not callable(function):
            raise InvalidDefinition(
                f"{function!r} cannot be a pipeline", hint="a pipeline is a plain function that calls steps"
            )
        return Pipeline(function, name or function.__name__)

    return declared if function is None else declared(function)


def declared_length(function: Callable[..., Any]) -> int | None:
    """How many elements a function says it returns: 2 for ``-> tuple[int, str]``; None when it does not say.

    >>> def split(x) -> tuple[int, str]: ...
    >>> declared_length(split)
    2
    """
    annotation = getattr(function, "__annotations__", {}).get("return")
    if isinstance(annotation, str):
        try:
            annotation = typing.get_type_hints(function).get("return")
        except (NameError, TypeError, AttributeError):
            return None
    inner = typing.get_args(annotation)
    return len(inner) if typing.get_origin(annotation) is tuple and Ellipsis not in inner else None
