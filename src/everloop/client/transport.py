"""Talking to an Everloop server: one place for addresses, tokens, retries and errors."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from urllib.request import getproxies

import httpx
import msgspec

from everloop import errors

TOKEN = "EVERLOOP_TOKEN"
RETRIED = (502, 503, 504)
METHOD_NOT_ALLOWED = 405
NOT_OFFERED = ("there is nothing at /", "there is no operation ")
"""How a server begins to say that it does not have an address."""
ATTEMPTS = 3


class NotOffered(errors.Unavailable):
    """The server has no such address: it is older than this client."""


class Transport:
    """A connection pool to one server. `pause` is how it waits between attempts."""

    def __init__(
        self,
        url: str,
        *,
        environment: Mapping[str, str] = os.environ,
        client: httpx.Client | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        token = environment.get(TOKEN, "")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        timeout = httpx.Timeout(60.0, connect=5.0)
        self._client = client or httpx.Client(
            base_url=self.url, timeout=timeout, verify=_certificates(self.url)
        )
        self._client.headers.update(headers)
        self._pause = pause

    def post(self, path: str, body: bytes) -> bytes:
        """Call an operation. A server that is away is tried again a little later: operations either happened or did not, and
        those that must not happen twice carry their own key."""
        for attempt in range(ATTEMPTS):
            try:
                answer = self._client.post(path, content=body, headers={"Content-Type": "application/json"})
            except httpx.ConnectError as error:
                if attempt + 1 == ATTEMPTS:
                    raise self._away(error) from error
            except httpx.HTTPError as error:
                raise self._away(error) from error
            else:
                if answer.status_code not in RETRIED or attempt + 1 == ATTEMPTS:
                    return self._content(answer)
            self._pause(0.1 * 4**attempt)
        raise AssertionError("the last attempt returns or raises")

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> bytes:
        try:
            return self._content(self._client.get(path, headers=headers))
        except httpx.HTTPError as error:
            raise self._away(error) from error

    def put(self, path: str, body: Iterable[bytes] | bytes) -> bytes:
        try:
            return self._content(self._client.put(path, content=body))
        except httpx.HTTPError as error:
            raise self._away(error) from error

    @contextmanager
    def stream(self, path: str, body: bytes | None = None) -> Iterator[Iterator[bytes]]:
        """What a path answers, piece by piece; it is asked with POST when there is a body."""
        try:
            with self._client.stream("GET" if body is None else "POST", path, content=body) as answer:
                if answer.status_code != 200:
                    answer.read()
                    self._content(answer)
                yield answer.iter_bytes()
        except httpx.HTTPError as error:
            raise self._away(error) from error

    def close(self) -> None:
        self._client.close()

    def _content(self, answer: httpx.Response) -> bytes:
        if answer.is_success:
            return answer.content
        try:
            body = msgspec.json.decode(answer.content)["error"]
            known = errors.from_dict(body)
            if answer.status_code == METHOD_NOT_ALLOWED or known.message.startswith(NOT_OFFERED):
                known = NotOffered(
                    f"the server {self.url} does not offer {answer.url.path}",
                    hint="it runs an older version of Everloop than this client: upgrade it",
                )
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
            known = errors.Unavailable(
                f"{self.url} answered {answer.status_code}, and not as an Everloop server does",
                hint="check the address",
            )
        raise known

    def _away(self, error: httpx.HTTPError) -> errors.Unavailable:
        what = (
            "cannot be reached"
            if isinstance(error, httpx.ConnectError)
            else f"broke off ({type(error).__name__})"
        )
        return errors.Unavailable(f"the server {self.url} {what}", hint="start it with: everloop up")


def _certificates(url: str) -> ssl.SSLContext | bool:
    """Whom to trust: by default everybody that httpx does. Reading those takes longer than a whole command, so over plain HTTP,
    which shows no certificate, nobody is trusted."""
    plain = url.startswith("http://") and not getproxies()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else True
