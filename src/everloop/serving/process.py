"""A prediction server as a child process: started, asked, stopped."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from everloop.domain.deployments import CONTROL_HEADER
from everloop.engine.forks.asking import passed_on
from everloop.errors import InvalidInput, Unavailable
from everloop.serving.snapshot import read_running

START_SECONDS = 120.0
STOP_SECONDS = 30.0
LOG = "server.log"
"""What the server says on standard error, in its endpoint's folder: of the last start only."""


class PredictionServer:
    """A running server of an endpoint. Also a context manager; leaving it stops the server."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], url: str) -> None:
        self._folder = folder
        self._process = process
        self.url = url

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def wait(self) -> int:
        """Until the server ends; returns its exit code."""
        return self._process.wait()

    def stop(self) -> None:
        """Let requests under way and shadow arms end, then the process. Stopping twice is no error."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def __enter__(self) -> PredictionServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(folder: Path, *, host: str = "127.0.0.1", port: int = 0) -> PredictionServer:
    """Start a server on an endpoint's folder and wait until it answers; it ends with this process. Raises what it complains
    about (a port in use, a model that cannot be loaded); Unavailable when one runs there already."""
    there = read_running(folder)
    if there is not None and answers(there.url):
        raise Unavailable(
            f"endpoint '{folder.name}' is served already at {there.url}", hint="stop that server first"
        )
    command = [
        sys.executable,
        "-m",
        "everloop.serving.server",
        str(folder),
        "--host",
        host,
        "--port",
        str(port),
    ]
    command += ["--parent", str(os.getpid())]
    log = (
        folder / LOG
    )  # a file, not a pipe: nobody reads a pipe once the server runs, and a full one stops it
    with log.open("wb") as complaints:
        process = subprocess.Popen(command, stderr=complaints, cwd=folder, env=_environment())
    try:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                last = log.read_text(errors="replace").strip().rpartition("\n")[2]
                raise (Unavailable if "cannot listen" in last else InvalidInput)(
                    last or f"the prediction server ended with {process.returncode}",
                    hint="see: everloop doctor",
                )
            running = read_running(folder)
            if running is not None and running.pid == process.pid and answers(running.url):
                return PredictionServer(folder, process, running.url)
            time.sleep(0.02)
        raise Unavailable(
            f"the prediction server did not answer within {START_SECONDS:g} seconds",
            hint="is the machine very busy?",
        )
    except BaseException:
        process.kill()
        process.wait()
        raise


def answers(url: str) -> bool:
    """Whether a server answers at this address."""
    try:
        return _client().get(f"{url}/health", timeout=2.0).status_code == 200
    except httpx.HTTPError:
        return False


@functools.cache
def _client() -> httpx.Client:
    """Talks to servers of this machine: no proxy, and no certificates, whose loading takes longer than the call."""
    return httpx.Client(verify=False, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))


def control(folder: Path, what: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """Ask the endpoint's running server for ``reload`` or ``settle``; None when none runs. Raises
    InvalidInput when it says no.
    """
    running = read_running(folder)
    if running is None:
        return None
    try:
        answer = _client().post(
            f"{running.url}/control/{what}",
            json=body or {},
            headers={CONTROL_HEADER: running.key},
            timeout=180.0,
        )
    except httpx.HTTPError:
        return None
    said: dict[str, Any] = answer.json()
    if answer.status_code != 200:
        raise InvalidInput(said["message"], hint=said.get("hint", ""))
    return said


def _environment() -> dict[str, str]:
    """The child's environment: one thread a model, and no workspace, which it does not need."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EVERLOOP_")}
    return kept | passed_on() | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
