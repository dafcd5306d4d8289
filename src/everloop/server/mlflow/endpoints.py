"""How a module declares its endpoints.

    endpoints = Endpoints("2.0/mlflow")

    class GetThing(Asked, frozen=True):
        thing_id: str

    @endpoints.get("things/get")
    def get_thing(workspace: Workspace, asked: GetThing) -> ThingAnswer: ...

The type of `asked` says what a request holds; parameters of the path (``things/{thing_id}``) are fields of it too. The function
runs in a thread, in the name of whoever asks, and calls operations of `workspace`'s rooms. `stream` takes a coroutine over the
plain request instead, for bytes of any length.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar, get_type_hints

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from everloop.server.mlflow.faults import INVALID_PARAMETER_VALUE
from everloop.workspace.workspace import Workspace

F = TypeVar("F", bound=Callable[..., Any])
Stream = Callable[[Workspace, Request, dict[str, str]], Awaitable[Response]]


class Endpoint(NamedTuple):
    """One method of one path. Either `answer` with the type of its request, or `stream`."""

    asked: type[msgspec.Struct] = msgspec.Struct
    answer: Callable[[Workspace, Any], msgspec.Struct | None] | None = None
    stream: Stream | None = None
    conflict: str = INVALID_PARAMETER_VALUE
    """The error code of a Conflict here."""


class Endpoints:
    """The endpoints of one module, all below `base`, such as ``2.0/mlflow``."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.table: dict[tuple[str, str], Endpoint] = {}

    def get(self, path: str, *, conflict: str = INVALID_PARAMETER_VALUE) -> Callable[[F], F]:
        return self._method("GET", path, conflict)

    def post(self, path: str, *, conflict: str = INVALID_PARAMETER_VALUE) -> Callable[[F], F]:
        return self._method("POST", path, conflict)

    def put(self, path: str, *, conflict: str = INVALID_PARAMETER_VALUE) -> Callable[[F], F]:
        return self._method("PUT", path, conflict)

    def patch(self, path: str, *, conflict: str = INVALID_PARAMETER_VALUE) -> Callable[[F], F]:
        return self._method("PATCH", path, conflict)

    def delete(self, path: str, *, conflict: str = INVALID_PARAMETER_VALUE) -> Callable[[F], F]:
        return self._method("DELETE", path, conflict)

    def stream(self, method: str, path: str) -> Callable[[Stream], Stream]:
        def declare(function: Stream) -> Stream:
            self.table[method, f"{self.base}/{path}".lstrip("/")] = Endpoint(stream=function)
            return function

        return declare

    def _method(self, method: str, path: str, conflict: str) -> Callable[[F], F]:
        def declare(function: F) -> F:
            asked = get_type_hints(function)["asked"]
            self.table[method, f"{self.base}/{path}"] = Endpoint(asked, function, conflict=conflict)
            return function

        return declare


class Found(NamedTuple):
    """The methods of a path, and what its parameters are."""

    methods: dict[str, Endpoint]
    parameters: dict[str, str]


class Table:
    """All endpoints by path.

    >>> endpoints = Endpoints("2.0/mlflow")
    >>> @endpoints.stream("GET", "things/{thing_id}/{rest:path}")
    ... async def get(workspace, request, parameters): ...
    >>> found = Table([endpoints]).find("2.0/mlflow/things/7/a/b")
    >>> sorted(found.methods), found.parameters
    (['GET'], {'thing_id': '7', 'rest': 'a/b'})
    """

    def __init__(self, modules: list[Endpoints]) -> None:
        self._plain: dict[str, dict[str, Endpoint]] = {}
        patterns: dict[str, dict[str, Endpoint]] = {}
        for module in modules:
            for (method, path), endpoint in module.table.items():
                into = patterns if "{" in path else self._plain
                into.setdefault(path, {})[method] = endpoint
        # What is spelled out comes before what a parameter would take, a segment before a whole path.
        ranked = sorted(patterns, key=lambda path: (":path}" in path, path.count("{"), path))
        self._patterns = [(_pattern(path), patterns[path]) for path in ranked]

    def find(self, path: str) -> Found | None:
        """What is at `path`, without the slash it begins with."""
        methods = self._plain.get(path)
        if methods is not None:
            return Found(methods, {})
        for pattern, methods in self._patterns:
            match = pattern.fullmatch(path)
            if match is not None:
                return Found(methods, match.groupdict())
        return None

    def addresses(self) -> list[str]:
        """Every plain path, for the hint of a wrong one."""
        return list(self._plain)


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)(:path)?\}", path)
    text = ""
    for number in range(0, len(parts) - 1, 3):
        name, whole = parts[number + 1], parts[number + 2]
        text += re.escape(parts[number]) + f"(?P<{name}>{'.*' if whole else '[^/]+'})"
    return re.compile(text + re.escape(parts[-1]), re.DOTALL)
