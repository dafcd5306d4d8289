"""``python -m everloop.server FOLDER --host H --port P``: what `everloop up` becomes."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import msgspec
import uvicorn

from everloop.errors import EverloopError, Unavailable
from everloop.server.access import is_loopback, refuse_open_door
from everloop.server.app import create_app
from everloop.server.supervisor import Supervisor
from everloop.workspace.local import LocalWorkspace


def main() -> int:
    parser = argparse.ArgumentParser(prog="everloop up")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5050)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    try:
        serve(given.folder, given.host, given.port, as_json=given.json)
    except EverloopError as error:
        if given.json:
            print(msgspec.json.encode({"error": error.to_dict()}).decode())
            return error.exit_code
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def serve(folder: Path, host: str, port: int, *, as_json: bool = False) -> None:
    """Serve the workspace in `folder` until told to stop. Says one line, or JSON, with the address once it answers."""
    with LocalWorkspace(folder) as workspace:
        refuse_open_door(host, workspace.governance)
        listening = listen(host, port)
        address = f"http://{_shown_host(host)}:{listening.getsockname()[1]}"
        app = create_app(workspace, local=is_loopback(host))
        config = uvicorn.Config(
            app, log_level=logging.WARNING, access_log=False, timeout_graceful_shutdown=10
        )
        line = f"Everloop is at {address} (workspace {folder}); Ctrl-C stops it"
        if as_json:
            line = msgspec.json.encode(
                {"url": address, "workspace": str(folder), "pid": os.getpid()}
            ).decode()
        server = AnnouncingServer(config, line)
        supervisor = Supervisor(workspace)
        # uvicorn drains on SIGTERM and then raises it again, which would end this process before its children.
        signal.signal(signal.SIGTERM, _leave)
        supervisor.start()
        try:
            server.run(sockets=[listening])
        finally:
            supervisor.stop()


def _leave(number: int, frame: object) -> None:
    raise SystemExit(0)


class AnnouncingServer(uvicorn.Server):
    """Says its line once it answers, not before."""

    def __init__(self, config: uvicorn.Config, line: str) -> None:
        super().__init__(config)
        self._line = line

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(self._line, flush=True)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, or Unavailable when the port is taken. Bound before anything starts: nothing is half-started."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, asyncio sends small answers at once; else each waits 40 ms for a delayed acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise Unavailable(
            f"cannot listen on {host}:{port}: {error.strerror}",
            hint="stop what listens there, or choose another --port",
        ) from None
    return listening


def _shown_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


if __name__ == "__main__":
    sys.exit(main())
