"""Errors as MLflow's clients know them: an error code, and the HTTP status it travels under.

The code steers the client; the status decides whether it tries again: 408, 429, 500, 502, 503 and 504 are retried up to seven
times over minutes. So what a user did wrong is never answered with one of these.
"""

from everloop.errors import (
    Conflict,
    EverloopError,
    NotFound,
    PermissionDenied,
    StorageError,
    Unauthenticated,
    Unavailable,
)

INVALID_PARAMETER_VALUE = "INVALID_PARAMETER_VALUE"
RESOURCE_ALREADY_EXISTS = "RESOURCE_ALREADY_EXISTS"
RESOURCE_DOES_NOT_EXIST = "RESOURCE_DOES_NOT_EXIST"
ENDPOINT_NOT_FOUND = "ENDPOINT_NOT_FOUND"
PERMISSION_DENIED = "PERMISSION_DENIED"
UNAUTHENTICATED = "UNAUTHENTICATED"
TEMPORARILY_UNAVAILABLE = "TEMPORARILY_UNAVAILABLE"
INTERNAL_ERROR = "INTERNAL_ERROR"

STATUS = {
    INVALID_PARAMETER_VALUE: 400,
    RESOURCE_ALREADY_EXISTS: 400,
    UNAUTHENTICATED: 401,
    PERMISSION_DENIED: 403,
    RESOURCE_DOES_NOT_EXIST: 404,
    ENDPOINT_NOT_FOUND: 404,
    INTERNAL_ERROR: 500,
    TEMPORARILY_UNAVAILABLE: 503,
}
"""Error code -> HTTP status."""

_CODES: list[tuple[type[EverloopError], str]] = [
    (NotFound, RESOURCE_DOES_NOT_EXIST),
    (Unauthenticated, UNAUTHENTICATED),
    (PermissionDenied, PERMISSION_DENIED),
    (Unavailable, TEMPORARILY_UNAVAILABLE),
    (StorageError, INTERNAL_ERROR),
]


class WireError(Exception):
    """An answer that is an error, where none of ours says it: a message of the protocol that cannot be understood, or a code
    that the protocol asks for in this very place."""

    def __init__(self, code: str, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or STATUS[code]


def invalid(message: str) -> WireError:
    """What was sent cannot be used."""
    return WireError(INVALID_PARAMETER_VALUE, message)


def missing(message: str) -> WireError:
    """What was asked for is not there."""
    return WireError(RESOURCE_DOES_NOT_EXIST, message)


def as_wire_error(error: EverloopError, conflict: str = INVALID_PARAMETER_VALUE) -> WireError:
    """One of our errors for a client of MLflow. `conflict`: the code of a Conflict, which depends on the endpoint.

    >>> found = as_wire_error(NotFound("there is no run abc", hint="see: everloop runs list"))
    >>> found.code, found.status, found.message
    ('RESOURCE_DOES_NOT_EXIST', 404, 'there is no run abc (see: everloop runs list)')
    """
    code = next((code for kind, code in _CODES if isinstance(error, kind)), INVALID_PARAMETER_VALUE)
    if isinstance(error, Conflict):
        code = conflict
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    # A full disk is not worth seven tries: it goes out under our own status, 507, which the client does not retry.
    return WireError(code, message, error.status if isinstance(error, StorageError) else 0)
