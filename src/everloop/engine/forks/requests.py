"""What is said between those who want a process and the fork server: one connection a process.

The asker sends a `Request` with the descriptors of its standard streams and of other open files. The server answers with an
`Answer`, and, when the process has ended, with a second one. An asker that closes its connection before has the process killed;
so it is, too, when the asker dies.
"""

from __future__ import annotations

import os
import socket

import msgspec

STREAMS = 3
"""Standard input, output and error come with a request."""
FILES = 8
"""So many other open files may."""


class Request(msgspec.Struct, frozen=True, array_like=True):
    """A process to begin, as ``python -m module arguments…`` would; without a module only the libraries are to be loaded."""

    module: str
    arguments: list[str]
    environment: dict[str, str]
    folder: str
    isolated: bool
    """As ``python -I`` would: its folder is not searched for modules."""
    libraries: list[str]
    """Modules to load before anything is forked, here and for all who ask later."""
    files: list[int] = []
    """The numbers that the files which come after the streams have in the process."""
    session: bool = False
    """Whether it begins a session of its own: it can be killed with all it started, and Ctrl-C does not reach it."""


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """`refused` says why no process was begun, `pid` which one was; `code` is how it ended, as in `subprocess`: a negative number
    is a signal."""

    refused: str = ""
    code: int | None = None
    pid: int = 0


def send(connection: socket.socket, message: Request | Answer, descriptors: list[int] | None = None) -> None:
    """Say something. Raises OSError when nobody listens any more."""
    body = msgspec.msgpack.encode(message)
    head = len(body).to_bytes(4, "big")
    if descriptors:
        socket.send_fds(connection, [head], descriptors)
        connection.sendall(body)
    else:
        connection.sendall(head + body)


def receive_request(connection: socket.socket) -> tuple[Request, list[int]] | None:
    """The request of a connection, with its descriptors, which are the caller's to close. None when the asker has gone or
    speaks otherwise. Raises OSError when the connection breaks. What is no request leaves no descriptor open."""
    head, descriptors, _, _ = socket.recv_fds(connection, 4, STREAMS + FILES)
    try:
        body = b"" if len(head) < 4 else _exactly(connection, int.from_bytes(head, "big"))
        return msgspec.msgpack.decode(body, type=Request), descriptors
    except (msgspec.DecodeError, OSError) as error:
        for each in descriptors:
            os.close(each)
        if isinstance(error, OSError):
            raise
        return None


def receive_answer(connection: socket.socket) -> Answer | None:
    """The next answer. None when the server has gone. Raises TimeoutError when the connection has a limit and it is over."""
    head = _exactly(connection, 4)
    if len(head) < 4:
        return None
    return msgspec.msgpack.decode(_exactly(connection, int.from_bytes(head, "big")), type=Answer)


def _exactly(connection: socket.socket, size: int) -> bytes:
    got = bytearray()
    while len(got) < size:
        part = connection.recv(size - len(got))
        if not part:
            break
        got += part
    return bytes(got)
