"""Putting a prediction server together and running it until it is told to stop."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import socket
import sys
import threading
import time
from pathlib import Path

import uvicorn

from everloop.domain.ids import system_ids
from everloop.domain.times import Clock, system_clock
from everloop.errors import EverloopError, Unavailable
from everloop.serving.server.answering import Answerer
from everloop.serving.server.app import PredictionApp
from everloop.serving.server.logbook import Logbook
from everloop.serving.server.metrics import Figures
from everloop.serving.server.shadow import ShadowQueue
from everloop.serving.server.watch import Watch
from everloop.serving.snapshot import Running, log_folder, write_running

PARENT_LOOK_SECONDS = 1.0


def build_app(folder: Path, key: str, clock: Clock = system_clock) -> PredictionApp:
    """Load what the folder's deployment names and make the application. key: what control calls bring along. Raises what is
    wrong with the deployment."""
    watch = Watch(folder)
    logbook = Logbook(log_folder(folder), system_ids(clock))
    figures, shadows = Figures(watch.lineup.deployment.endpoint), ShadowQueue()
    return PredictionApp(watch, Answerer(logbook, figures, shadows, clock), logbook, figures, shadows, key)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises Unavailable when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is said, because asyncio turns off Nagle's delay (40 ms a reply) only where it sees it.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise Unavailable(
            f"cannot listen on {host}:{port}: {error.strerror}", hint="choose another with --port"
        ) from None
    return listening


def main() -> int:
    """Read the command line and serve. Returns the exit code; a user's mistake is one sentence on standard error."""
    parser = argparse.ArgumentParser(
        prog="everloop.serving.server", description="Serve what an endpoint's folder holds."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--parent", type=int, default=None, help="End when this process, which started it, has ended."
    )
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    key = secrets.token_urlsafe(32)
    try:
        listening = bind(given.host, given.port)
        app = build_app(given.folder, key)
    except EverloopError as error:
        print(f"{error.message}{f' ({error.hint})' if error.hint else ''}", file=sys.stderr)
        return error.exit_code
    host, port = listening.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    server = uvicorn.Server(
        uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_keep_alive=75, timeout_graceful_shutdown=25
        )
    )
    if given.parent is not None:
        threading.Thread(
            target=_end_with, args=(given.parent, server), name="parent-watch", daemon=True
        ).start()
    listening.listen(1024)
    write_running(given.folder, Running(os.getpid(), url, system_clock().timestamp(), key))
    try:
        server.run(sockets=[listening])
    finally:
        (given.folder / "server.json").unlink(missing_ok=True)
    return 0


def _end_with(parent: int, server: uvicorn.Server) -> None:
    """A killed parent cannot stop its children: they look for themselves, as the system gives orphans another parent."""
    while os.getppid() == parent:
        time.sleep(PARENT_LOOK_SECONDS)
    server.should_exit = True
