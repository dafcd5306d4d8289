"""Which function a key is for.

Functions that reach each other reach the same code, and so do those that one statement names, such as a list of steps. Without
this, two of them that take the same arguments would have one key, and one would get the other's result.
"""

from __future__ import annotations

import functools
import os
import types
from collections.abc import Iterator
from typing import Any

from everloop.domain.canonical import sha256
from everloop.domain.pipelines import ENTRY, Component
from everloop.pipelines.code.memory import Opaque, code_digest, fingerprint, is_wrapper
from everloop.pipelines.code.project import Project


def entry(value: Any, project: Project) -> Component:
    """The component for the function, class or object that a walk began at, of which the walk has read the code.

    Its name tells it from others, where it is the only one of that name; else its own code and what is bound to it do.
    """
    layers = list(_layers(value))
    inner = layers[-1]
    told = [text for each in layers for text in _told(each, project)]
    name = _name(inner, project) if isinstance(inner, types.FunctionType) else project.identity(inner)
    return Component(ENTRY, name, sha256("\n".join(told).encode()))


def _layers(value: Any) -> Iterator[Any]:
    """A function under all that is around it, from the outside in."""
    while True:
        yield value
        if isinstance(value, functools.partial):
            value = value.func
        elif isinstance(value, types.MethodType):
            value = value.__func__
        elif is_wrapper(value):
            value = value.__wrapped__
        else:
            return


def _told(value: Any, project: Project) -> Iterator[str]:
    def content(bound: Any) -> str:
        try:
            return fingerprint(bound, lambda each: _shown(each, project), project.root, project.is_own)[0]
        except Opaque:
            return ""

    if isinstance(value, functools.partial):
        yield content((value.args, value.keywords))
    elif isinstance(value, types.MethodType):
        yield content(value.__self__)
    elif isinstance(value, types.FunctionType):
        if not _is_only_one(value, project):
            yield code_digest(value.__code__)
        if value.__defaults__ or value.__kwdefaults__:
            yield content((value.__defaults__, value.__kwdefaults__))
        for cell in value.__closure__ or ():
            try:
                yield content(cell.cell_contents)
            except ValueError:  # not yet bound
                yield ""


def _shown(value: Any, project: Project) -> str:
    code = getattr(value, "__code__", None)
    return f"{project.identity(value)} {code_digest(code) if code is not None else ''}"


def _is_only_one(function: types.FunctionType, project: Project) -> bool:
    """Whether its file binds the name once, at its top level."""
    code = function.__code__
    module = project.modules.get(project.resolved(code.co_filename))
    return module is not None and len(module.bindings.get(code.co_qualname, ())) == 1


def _name(function: types.FunctionType, project: Project) -> str:
    code = function.__code__
    path = code.co_filename
    if not os.path.isfile(path):
        return f"{path.partition('-')[0]}::{code.co_qualname}"
    return f"{project.label(project.resolved(path))}::{code.co_qualname}"
