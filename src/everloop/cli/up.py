"""The command `up`: becomes the server's process, so that Ctrl-C reaches it directly."""

from __future__ import annotations

import os
import sys

import click

from everloop.cli.frame import as_json, command
from everloop.errors import InvalidInput
from everloop.workspace.locations import locate


@command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on; others than loopback ask for a token.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=5050,
    show_default=True,
    help="The port; 0 takes a free one.",
)
def up(host: str, port: int) -> None:
    """Start the server: API, pages, scheduler, loop. Ctrl-C drains and stops."""
    found = locate()
    if found.folder is None:
        raise InvalidInput(
            f"{found.url} is a server already", hint="unset EVERLOOP_WORKSPACE, or name a folder in it"
        )
    sys.stdout.flush()
    program = [
        sys.executable,
        "-m",
        "everloop.server",
        str(found.folder),
        "--host",
        host,
        "--port",
        str(port),
        *(["--json"] if as_json() else []),
    ]
    os.execv(sys.executable, program)
