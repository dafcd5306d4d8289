"""One step: decode its arguments, call its function, store its result. In the driver's process or in a worker's, alike."""

from __future__ import annotations

import platform
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import msgspec

from everloop.domain.consumption import collecting
from everloop.domain.pipelines import Component, StoredValue, key_of
from everloop.engine.contract import begun, here
from everloop.errors import Conflict, InvalidDefinition, InvalidInput
from everloop.governance.definitions import load
from everloop.governance.rooms import Context
from everloop.pipelines.code.closure import Closure, Closures
from everloop.pipelines.datasets import lifted_datasets, lowered_dataset
from everloop.pipelines.idempotency import effects_under
from everloop.pipelines.keys import within
from everloop.pipelines.kinds.surroundings import working_in
from everloop.pipelines.opened_files import watched
from everloop.pipelines.patience import patient
from everloop.pipelines.rebuild import opened
from everloop.pipelines.secrets import given, refuse_secrets_in
from everloop.pipelines.steps import Step, StepOptions, conducted_by, declared_steps
from everloop.pipelines.tracked import StepRun, tracked
from everloop.pipelines.values.checking import check_arguments, check_returned
from everloop.pipelines.values.encoding import decode, encode

FUNCTION = f"{__name__}:execute"


class StepTask(msgspec.Struct, frozen=True):
    """What a worker is told.

    location: of the workspace. module: where the step is defined, a dotted name or a file; qualname: its function there.
    path: the driver's import path. code: the digest of the closure that the key was made from, and `constants` the digests of
    the values in it.
    """

    location: str
    root: str
    module: str
    qualname: str
    name: str
    path: list[str]
    arguments: StoredValue
    seed: int | None
    run: StepRun | None
    code: str
    constants: dict[str, str]
    secrets: dict[str, str] = {}
    idempotency: str = ""


class StepAnswer(msgspec.Struct, frozen=True):
    """What a worker answers: the result, the references that were read on the way, and how long the function took."""

    value: StoredValue
    seen: list[str]
    seconds: float


_here: dict[str, tuple[Context, dict[tuple[str, str], Step[..., Any]]]] = {}


@contextmanager
def served_here(context: Context, steps: dict[tuple[str, str], Step[..., Any]]) -> Iterator[None]:
    """Within the block, steps of this workspace that run in this process use this context, and these steps as they are."""
    before = _here.get(context.location)
    _here[context.location] = (context, steps)
    try:
        yield
    finally:
        if before is None:
            del _here[context.location]
        else:
            _here[context.location] = before


def execute(payload: bytes) -> bytes:
    """Run a `StepTask`; returns a `StepAnswer`. What the step raises goes through."""
    task = msgspec.msgpack.decode(payload, type=StepTask)
    local = _here.get(task.location)
    context = local[0] if local is not None else _connected(task.location)
    step = local[1].get((task.module, task.qualname)) if local is not None else None
    if step is None:
        step = _found_before(task) or find_step(task)
    objects = patient(context.objects)
    arguments = decode(task.arguments, objects, lifted_datasets(context))
    bound = step.signature.bind_partial()
    bound.arguments.update({name: arguments[name] for name in step.signature.parameters if name in arguments})
    with (
        conducted_by(None),
        working_in(context),
        given(task.secrets),
        effects_under(task.idempotency),
        tracked(context, task.run),
        collecting() as seen,
        _seeded(task.seed),
        watched(Path(here(task.root))) as files,
    ):
        check_arguments(step.name, step.function, bound.arguments)
        begun()
        start = time.perf_counter()
        value = step.function(*bound.args, **bound.kwargs)
        seconds = time.perf_counter() - start
        check_returned(step.name, step.function, value)
        refuse_secrets_in(value, task.secrets, f"what {step.name} returned")
        seen.update(dict.fromkeys(files.references()))
        stored = encode(value, objects, f"what {step.name} returned", lowered_dataset)
    return msgspec.msgpack.encode(StepAnswer(stored, list(seen), seconds))


_found: dict[tuple[str, ...], tuple[ModuleType, Step[..., Any]]] = {}
"""The steps found so far by all that `find_step` looks at, and the module each was found in."""


def _place(task: StepTask) -> tuple[str, ...]:
    return (task.root, task.module, task.qualname, task.code, *task.path)


def _found_before(task: StepTask) -> Step[..., Any] | None:
    """The step of the last such task, unless another project's module has taken the place of its own meanwhile."""
    module, step = _found.get(_place(task), (None, None))
    return step if module is not None and sys.modules.get(module.__name__) is module else None


def find_step(task: StepTask) -> Step[..., Any]:
    """Import the module of a step and find it; its code must be the code its key was made from."""
    root = here(task.root)
    sys.path[:] = [*sys.path, *(each for each in map(here, task.path) if each not in sys.path)]
    module = load(here(task.module), Path(root))
    named = [
        each for each in vars(module).values() if isinstance(each, Step) and each.qualname == task.qualname
    ]
    if named:
        step = _of_that_code(task, _closures(root, here(task.module)).get(task.qualname, ())) or named[0]
        _found[_place(task)] = (module, step)
        return step
    function = vars(module).get(task.qualname)
    if isinstance(function, FunctionType):  # made a step elsewhere: ``clean = ev.step(nodes.clean)``
        step, closure = _made_elsewhere(function, root)
        if task.code not in {"", code_seen(step, closure.components)}:
            raise _other_code(task, closure)
        return step
    raise InvalidDefinition(
        f"{task.module} has no step {task.qualname} in a worker process", hint="define it at the top level"
    )


def _of_that_code(task: StepTask, steps: Sequence[tuple[Step[..., Any], Closure]]) -> Step[..., Any] | None:
    """Of the steps that have one name, as lambdas do, the one whose code is meant; None where that cannot be told."""
    if not task.code or not steps:
        return None
    for step, closure in steps:
        if task.code == code_seen(step, closure.components):
            return step
    raise _other_code(task, steps[-1][1])


def code_seen(step: Step[..., Any], components: tuple[Component, ...]) -> str:
    """The digest of the code that driver and worker must agree on. What is installed may differ where the step asks for it."""
    return key_of(components if step.options.environment is None else within(components))


def _other_code(task: StepTask, found: Closure) -> Conflict:
    for each in found.components:
        if each.kind == "value" and task.constants.get(each.name, each.digest) != each.digest:
            file, _, name = each.name.partition("::")
            return Conflict(
                f"step {task.name}: {name} of {file} is not the same in a worker process as where the pipeline was started",
                hint="it was changed after import, or differs at each import (a clock, a random number): pass it as an argument",
            )
    return Conflict(
        f"the code of step {task.name} is not the same in a worker process as where the pipeline was started",
        hint="a file was edited meanwhile: run it again",
    )


@cache
def _made_elsewhere(function: FunctionType, root: str) -> tuple[Step[..., Any], Closure]:
    """A step of a function that its own module does not call one, with its closure when it is first asked for."""
    return Step(function, function.__name__, StepOptions()), Closures(Path(root)).of(function)


@cache
def _closures(root: str, module: str) -> dict[str, list[tuple[Step[..., Any], Closure]]]:
    """All steps of a module by their names, with their closures, taken when it has just been imported: later, steps may have
    changed what it holds."""
    closures = Closures(Path(root))
    name = load(module, Path(root)).__name__
    found: dict[str, list[tuple[Step[..., Any], Closure]]] = {}
    for each in declared_steps():
        if each.module == name:
            found.setdefault(each.qualname, []).append((each, closures.of(each.function)))
    return found


@cache
def _connected(location: str) -> Context:
    if "://" not in location and not Path(location, ".everloop").is_dir():
        raise InvalidInput(
            f"the workspace {location} cannot be reached from {platform.node()}, where the step runs",
            hint="keep it in a folder that all machines share, or use a server: everloop up",
        )
    return opened(location)


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Random numbers begin at `seed`; afterwards they go on as before."""
    if seed is None:
        yield
        return
    import numpy as np

    before, before_numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(before_numpy)
