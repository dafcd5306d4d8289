"""Who asks, and from where: tokens, the host a browser thinks it talks to, and the page a request comes from."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable
from ipaddress import ip_address
from time import monotonic
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from everloop.errors import InvalidInput, PermissionDenied, Unauthenticated
from everloop.governance.audit import Governance
from everloop.governance.identity import Actor, local_user

COOKIE = "everloop_token"
LOCAL_NAMES = frozenset({"localhost", "testserver"})


def is_loopback(host: str) -> bool:
    """Whether an address is reachable from this machine only.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("::1")
    (True, True, False, True)
    """
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_open_door(host: str, governance: Governance) -> None:
    """A server that others can reach must ask who they are."""
    if not is_loopback(host) and not governance.has_tokens():
        raise InvalidInput(
            f"the server would be open to everyone who can reach {host}",
            hint="make a token first: everloop token create NAME --role owner",
        )


class Doorkeeper:
    """Decides in whose name a request is done. Without tokens, a server on the loopback address works for its own user."""

    def __init__(
        self, governance: Governance, *, hosts: frozenset[str] = frozenset(), local: bool = True
    ) -> None:
        self._governance = governance
        self._hosts = hosts
        self._local = local
        self._recognised: dict[str, Actor] = {}

    def actor(self, request: HTTPConnection) -> Actor:
        """The actor of a request, or Unauthenticated."""
        secret = _secret(request)
        if secret:
            return self._governance.recognise(secret)
        if self._governance.has_tokens():
            raise Unauthenticated(
                "this server asks for a token", hint="set EVERLOOP_TOKEN, or sign in at /login"
            )
        return local_user()

    def check_origin(self, request: HTTPConnection, method: str) -> None:
        """Keep other web sites out: a foreign Host is a rebound name, a foreign Origin a page that rides on this browser."""
        host = _name(request.headers.get("host", ""))
        if self._local and host and not (is_loopback(host) or host in LOCAL_NAMES or host in self._hosts):
            raise PermissionDenied(
                f"this server does not answer to the name '{host}'", hint="use 127.0.0.1 or localhost"
            )
        origin = request.headers.get("origin")
        if (
            method not in ("GET", "HEAD", "OPTIONS")
            and origin
            and urlsplit(origin).netloc != request.headers.get("host")
        ):
            raise PermissionDenied(f"a page of {origin} may not change anything here")


def _secret(request: HTTPConnection) -> str:
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and value:
        return value.strip()
    if kind.lower() == "basic" and value:  # clients of MLflow: any user name, the token as the password
        return _password(value)
    return request.cookies.get(COOKIE, "")


def _password(credentials: str) -> str:
    """The password of Basic credentials; what is none opens nothing."""
    try:
        _, _, password = b64decode(credentials.encode()).decode().partition(":")
    except (binascii.Error, UnicodeError):
        raise Unauthenticated(
            "the credentials cannot be read", hint="send the token as the password"
        ) from None
    return password or " "


def _name(host: str) -> str:
    """The host without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


ActorOf = Callable[[HTTPConnection], Actor]


class Recognised:
    """Who asks, asked of the ledger once a second for each set of credentials: a script that logs in a loop, or a model that asks
    for features, shows the same ones thousands of times. So this learns of a token that was made or revoked a second late."""

    SECONDS = 1.0

    def __init__(self, recognise: ActorOf, time: Callable[[], float] = monotonic) -> None:
        self._recognise, self._time = recognise, time
        self._known: dict[tuple[str, str], tuple[Actor, float]] = {}

    def of(self, request: HTTPConnection) -> Actor:
        """The actor of a request, or Unauthenticated."""
        shown = (request.headers.get("authorization", ""), request.headers.get("cookie", ""))
        now = self._time()
        known = self._known.get(shown)
        if known is not None and now < known[1]:
            return known[0]
        actor = self._recognise(request)
        if len(self._known) > 1_000:
            self._known.clear()
        self._known[shown] = (actor, now + self.SECONDS)
        return actor
