"""Who acts, and what their role permits."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from functools import cache

import msgspec

from everloop.errors import PermissionDenied


class Role(StrEnum):
    """What a person or a service may do: each role may do all that the ones before it may."""

    VIEWER = "viewer"
    ENGINEER = "engineer"
    OWNER = "owner"


class Permission(StrEnum):
    """What an operation asks of its caller."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


_DEEDS = {
    Permission.READ: "read",
    Permission.WRITE: "write",
    Permission.ADMIN: "do what only owners may",
}
_GRANTS = {
    Role.VIEWER: {Permission.READ},
    Role.ENGINEER: {Permission.READ, Permission.WRITE},
    Role.OWNER: {Permission.READ, Permission.WRITE, Permission.ADMIN},
}


class Actor(msgspec.Struct, frozen=True):
    """Who does it: written on every event as ``user``."""

    user: str
    role: Role = Role.OWNER


_acting: ContextVar[Actor | None] = ContextVar("everloop_actor", default=None)


def current_actor() -> Actor:
    """Who acts in this thread or task: the one the server recognised, else the operating system's user."""
    return _acting.get() or local_user()


@contextmanager
def acting_as(actor: Actor) -> Iterator[None]:
    """Within the block, operations are done in the name of `actor`."""
    token = _acting.set(actor)
    try:
        yield
    finally:
        _acting.reset(token)


@cache
def local_user() -> Actor:
    """The operating system's user, who owns what is in their own folder."""
    try:
        return Actor(getpass.getuser())
    except (KeyError, OSError):  # a container may run under a number that has no name
        return Actor(f"uid{os.getuid()}")


def permits(role: Role, permission: Permission) -> bool:
    """Whether a role may do what asks for `permission`.

    >>> permits(Role.VIEWER, Permission.READ), permits(Role.VIEWER, Permission.WRITE)
    (True, False)
    """
    return permission in _GRANTS[role]


def authorize(permission: Permission, what: str) -> None:
    """Raise PermissionDenied unless the current actor may do `what`."""
    actor = current_actor()
    if not permits(actor.role, permission):
        raise PermissionDenied(
            f"{actor.user} is {actor.role} and may not {_DEEDS[permission]}: {what}",
            hint="ask an owner for another role",
        )
