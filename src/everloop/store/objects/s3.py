"""A bucket on S3 or on anything that speaks its protocol and honours `If-None-Match`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from everloop.errors import InvalidInput, PermissionDenied, Unavailable
from everloop.store.objects.buckets import Dated, storage_errors
from everloop.store.objects.guards import Guard, MarkerGuard

if TYPE_CHECKING:
    from obstore.store import S3Store


class S3Bucket:
    """Files below a prefix of an S3 bucket.

    Credentials come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN;
    without an endpoint also from the machine's role on AWS. Plain HTTP is spoken only to an endpoint that is
    given as http://.
    """

    def __init__(
        self,
        bucket: str,
        *,
        staging: Path,
        prefix: str = "",
        endpoint: str | None = None,
        region: str | None = None,
    ) -> None:
        self._staging = staging
        self._name = f"s3://{bucket}/{prefix}".rstrip("/") + (f" at {endpoint}" if endpoint else "")
        self._store = self._connect(bucket, prefix, endpoint, region)

    def _connect(self, bucket: str, prefix: str, endpoint: str | None, region: str | None) -> S3Store:
        # Imported here: most workspaces are local, and this takes 30 to 60 ms.
        from obstore.store import S3Store

        if endpoint and not (os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY")):
            # Without them obstore would ask the address of AWS's metadata service, for minutes where there is
            # none.
            raise InvalidInput(
                f"no credentials for {self._name}",
                hint="set the environment variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            )
        return S3Store(
            bucket,
            prefix=prefix or None,
            endpoint=endpoint,
            region=region
            or os.environ.get("AWS_REGION")
            or os.environ.get("AWS_DEFAULT_REGION")
            or "us-east-1",
            client_options={
                "allow_http": bool(endpoint and endpoint.startswith("http://")),
                "connect_timeout": timedelta(seconds=5),
                # A whole pack goes up in one request: half a minute, the default, is too short for a slow line.
                "timeout": timedelta(minutes=5),
            },
            # obstore's own limits are ten tries in three minutes: too long to tell a person that a server is
            # away.
            retry_config={
                "max_retries": 4,
                "retry_timeout": timedelta(seconds=20),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=50),
                    "max_backoff": timedelta(seconds=1),
                    "base": 2,
                },
            },
        )

    @property
    def name(self) -> str:
        return self._name

    @property
    def staging(self) -> Path:
        return self._staging

    def put(self, key: str, data: bytes) -> bool:
        from obstore.exceptions import AlreadyExistsError

        try:
            with self._errors():
                self._store.put(key, data, mode="create")
        except AlreadyExistsError:
            return False
        except FileNotFoundError as error:
            raise self._no_bucket() from error
        return True

    def put_file(self, key: str, staged: Path) -> bool:
        # A pack is at most some 50 MB and goes up in one request: only such a one can be refused when the key
        # exists.
        with storage_errors(str(self._staging)):
            data = staged.read_bytes()
        new = self.put(key, data)
        staged.unlink(missing_ok=True)
        return new

    def get(self, key: str, offset: int, length: int) -> bytes | None:
        size = self.size(key) if length == 0 else None
        if length == 0:
            return None if size is None else b""
        from obstore.exceptions import BaseError

        try:
            with self._errors():
                return bytes(self._store.get_range(key, start=offset, length=length))
        except FileNotFoundError:
            return None
        except (Unavailable, BaseError):
            # A range that starts behind the end is an error to S3; to the store it is a file that was cut
            # short.
            available = self.size(key)
            if available is None:
                return None
            if available >= offset + length:
                raise
            return b"" if available <= offset else self.get(key, offset, available - offset)

    def size(self, key: str) -> int | None:
        try:
            with self._errors():
                return self._store.head(key)["size"]
        except FileNotFoundError:
            return None

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        return ((each.key, each.size) for each in self.dated(prefix))

    def dated(self, prefix: str) -> Iterator[Dated]:
        with self._errors():
            for batch in self._store.list(prefix or None, chunk_size=1000):
                for entry in batch:
                    yield Dated(entry["path"], entry["size"], entry["last_modified"].timestamp())

    def touch(self, key: str) -> None:
        """Files on S3 cannot be made young: a hold that comes too late is refused by the ledger (see the collection's page)."""

    def age(self, key: str, modified: float) -> None:
        """Times on S3 are the server's."""

    def modified(self, key: str) -> float | None:
        try:
            with self._errors():
                return self._store.head(key)["last_modified"].timestamp()
        except FileNotFoundError:
            return None

    def delete(self, key: str) -> None:
        with self._errors(), contextlib.suppress(FileNotFoundError):
            self._store.delete(key)

    @property
    def guard(self) -> Guard:
        return MarkerGuard(self)

    def _no_bucket(self) -> InvalidInput:
        return InvalidInput(
            f"there is no bucket for {self._name}", hint="make the bucket first, or check its name"
        )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Sentences for what obstore raises, but for 'exists' and 'not found', which are answers."""
        from obstore import exceptions

        try:
            yield
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise PermissionDenied(
                f"{self._name} refuses these credentials",
                hint="check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what they may do on this bucket",
            ) from error
        except exceptions.AlreadyExistsError:
            raise
        except exceptions.BaseError as error:
            if "NoSuchBucket" in str(error):
                raise self._no_bucket() from error
            raise Unavailable(
                f"{self._name} does not answer as it should: {str(error).splitlines()[0][:300]}",
                hint="check the address and that the server runs, then try again; the store is whole",
            ) from error
