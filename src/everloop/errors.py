"""Every error a user can meet, drawn once.

    EverloopError
    ├── InvalidInput            what was given cannot be used                      exit 2   HTTP 400
    │   ├── InvalidReference    a reference that does not follow the grammar
    │   ├── InvalidDefinition   a definition file that cannot be imported or read
    │   └── TooLarge            more than a limit allows                                    HTTP 413
    ├── NotFound                nothing has that name or identifier                         HTTP 404
    ├── Conflict                it exists already, or changed meanwhile                     HTTP 409
    ├── Unauthenticated         the server does not know who asks                           HTTP 401
    ├── PermissionDenied        the server knows, and says no                               HTTP 403
    ├── MissingExtra            an optional package is not installed                        HTTP 400
    ├── Refused                 a rule said no: a gate, a check, a policy          exit 1   HTTP 422
    ├── Failed                  user code ran and failed                           exit 1   HTTP 422
    ├── Unavailable             locked, away, port taken: try again                         HTTP 503
    └── StorageError            the store cannot do it (disk full, read-only)               HTTP 507
        └── Corrupted           stored bytes do not match their digest

A message says what is wrong in one sentence; the hint says what to do instead. Both are shown to people as they are, so they
name things as the user named them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class EverloopError(Exception):
    """Base of all errors meant for users.

    >>> error = NotFound("no run is called 'abc'", hint="list them with: everloop runs list")
    >>> str(error), error.hint, error.code, error.exit_code
    ("no run is called 'abc'", 'list them with: everloop runs list', 'not_found', 2)
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 400
    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled by class, message and hint: an error must survive the way out of a worker process."""
        return _rebuild, (type(self), self.message, self.hint)

    def to_dict(self) -> dict[str, str]:
        """The shape that `--json` prints and the HTTP API answers under ``error``."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


def _rebuild(kind: type[EverloopError], message: str, hint: str) -> EverloopError:
    return kind(message, hint=hint)


class InvalidInput(EverloopError):
    code = "invalid_input"


class InvalidReference(InvalidInput):
    code = "invalid_reference"


class InvalidDefinition(InvalidInput):
    code = "invalid_definition"


class TooLarge(InvalidInput):
    code = "too_large"
    status = 413


class NotFound(EverloopError):
    code = "not_found"
    status = 404


class Conflict(EverloopError):
    code = "conflict"
    status = 409


class Unauthenticated(EverloopError):
    code = "unauthenticated"
    status = 401


class PermissionDenied(EverloopError):
    code = "permission_denied"
    status = 403


class MissingExtra(EverloopError):
    code = "missing_extra"


class Refused(EverloopError):
    code = "refused"
    status = 422
    exit_code = 1


class Failed(EverloopError):
    code = "failed"
    status = 422
    exit_code = 1


class Unavailable(EverloopError):
    code = "unavailable"
    status = 503


class StorageError(EverloopError):
    code = "storage_error"
    status = 507


class Corrupted(StorageError):
    code = "corrupted"


def nearest(name: str, known: Iterable[str], *, see: str = "") -> str:
    """The hint for a wrong name: the nearest known ones, or where to look.

    >>> nearest("fligths", ["flights", "weather"])
    "did you mean 'flights'?"
    >>> nearest("zzz", ["flights"], see="everloop data list")
    'see: everloop data list'
    """
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(f"'{each}'" for each in close) + "?"
    return f"see: {see}" if see else ""


def from_dict(body: dict[str, str]) -> EverloopError:
    """The error that `to_dict` wrote; an unknown code becomes the base class.

    >>> from_dict({"code": "conflict", "message": "taken", "hint": ""})
    Conflict('taken')
    """
    kind = _BY_CODE.get(body.get("code", ""), EverloopError)
    return kind(body.get("message", "unknown error"), hint=body.get("hint", ""))


def _tree(kind: type[EverloopError]) -> dict[str, type[EverloopError]]:
    found = {kind.code: kind}
    for child in kind.__subclasses__():
        found |= _tree(child)
    return found


_BY_CODE = _tree(EverloopError)
