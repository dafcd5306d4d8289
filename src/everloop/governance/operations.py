"""An operation is written once, as a typed method of a room. All other forms of it come from that definition.

    class Tracking(Room):
        name = "tracking"

        @operation(Permission.WRITE)
        def rename_run(self, run_id: str, new_name: str) -> RunRecord:
            '''Give a run another name.'''

is at once: the local call ``ws.tracking.rename_run(...)`` with its permission check, the endpoint
``POST /api/v1/tracking/rename_run`` (the server walks `operations_of`), its entry in the OpenAPI document, and the method of
the remote room that `everloop.client` makes. Parameters and results are types that msgspec can encode and check.

A room's other methods run where the caller is. They may use the room's operations, other rooms and the object store, which are
there locally and remotely alike, but not the ledger.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar

import msgspec

from everloop.governance.identity import Permission, authorize

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""Databases keep 64 bits: a longer number is refused at the door rather than failing in the cellar."""


class Operation:
    """What is known of one operation: its room, name, permission, documentation, and the types of its request and response."""

    def __init__(self, function: Callable[..., Any], permission: Permission) -> None:
        self.function = function
        self.permission = permission
        self.name = function.__name__

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """Its parameters, `self` among them."""
        return inspect.signature(self.function)

    @functools.cached_property
    def doc(self) -> str:
        """What it does, in words."""
        return inspect.getdoc(self.function) or ""

    @functools.cached_property
    def _hints(self) -> dict[str, Any]:
        return typing.get_type_hints(self.function, include_extras=True)

    @functools.cached_property
    def request(self) -> type[msgspec.Struct]:
        """A Struct whose fields are the parameters: what an HTTP body is checked against."""
        fields: list[Any] = []
        for parameter in list(self.signature.parameters.values())[1:]:
            kind = Int64 if self._hints[parameter.name] is int else self._hints[parameter.name]
            if parameter.default is inspect.Parameter.empty:
                fields.append((parameter.name, kind))
            else:
                fields.append((parameter.name, kind, parameter.default))
        title = "".join(part.title() for part in self.name.split("_")) + "Request"
        return msgspec.defstruct(
            title, fields, kw_only=True, forbid_unknown_fields=True, module=self.function.__module__
        )

    @property
    def response(self) -> Any:
        """The type of the result."""
        return self._hints.get("return", None)

    def bind(self, room: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name."""
        bound = self.signature.bind(room, *args, **kwargs)
        return dict(list(bound.arguments.items())[1:])


def operation(
    permission: Permission,
) -> Callable[[Callable[Concatenate[R, P], T]], Callable[Concatenate[R, P], T]]:
    """Mark a method of a room as an operation that asks for `permission`."""

    def mark(function: Callable[Concatenate[R, P], T]) -> Callable[Concatenate[R, P], T]:
        described = Operation(function, permission)

        @functools.wraps(function)
        def call(self: R, *args: P.args, **kwargs: P.kwargs) -> T:
            authorize(permission, f"{getattr(self, 'name', '')}.{described.name}")
            return function(self, *args, **kwargs)

        call.__operation__ = described  # type: ignore[attr-defined]
        return call

    return mark


def operations_of(room: type) -> dict[str, Operation]:
    """The operations of a room's class by name, sorted."""
    found = {}
    for name, member in inspect.getmembers(room, inspect.isfunction):
        described = getattr(member, "__operation__", None)
        if described is not None:
            found[name] = described
    return found
