"""Recorded Python in a process of its own, for callers in whose process a user's code must not run: the server's chores.

    with apart():
        workspace.rollout.advance(endpoint)   # parity of views in Python is computed by children

What goes to the child and comes back are Arrow tables. It is ``python -m everloop.features.apart``: a job on its standard input,
the answer on its standard output; what the user's code prints goes to standard error.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import msgspec
import pyarrow as pa

from everloop.domain.featureviews import FeatureView, OnDemandRecord
from everloop.errors import EverloopError, Failed, InvalidInput

SECONDS = 600.0
"""The longest a child may take."""

_apart: ContextVar[bool] = ContextVar("everloop_features_apart", default=False)

Kind = Literal["rows", "on demand"]


class Job(msgspec.Struct):
    """What a child is to compute: the rows of a view from its datasets' tables, or the features of a view on demand of one."""

    kind: Kind
    declared: bytes
    tables: list[bytes]


class Answer(msgspec.Struct):
    """A table, or what went wrong: message and hint of an error, and whether the input was at fault."""

    table: bytes = b""
    message: str = ""
    hint: str = ""
    invalid: bool = False


@contextmanager
def apart() -> Iterator[None]:
    """Within the block this thread runs no recorded Python itself."""
    token = _apart.set(True)
    try:
        yield
    finally:
        _apart.reset(token)


def is_apart() -> bool:
    """Whether recorded Python has to run elsewhere."""
    return _apart.get()


def computed(kind: Kind, declared: FeatureView | OnDemandRecord, tables: Sequence[pa.Table]) -> pa.Table:
    """What a child makes of these tables. Raises what the code raises, as `functions.call` does."""
    job = Job(kind, msgspec.msgpack.encode(declared), [_packed(each) for each in tables])
    try:
        done = subprocess.run(
            [sys.executable, "-m", "everloop.features.apart"],
            input=msgspec.msgpack.encode(job),
            stdout=subprocess.PIPE,
            timeout=SECONDS,
            check=True,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise Failed(f"feature view '{declared.name}': its code did not come to an end: {error}") from None
    answer = msgspec.msgpack.decode(done.stdout, type=Answer)
    if answer.message:
        raise (InvalidInput if answer.invalid else Failed)(answer.message, hint=answer.hint)
    return _unpacked(answer.table)


def _compute(job: Job) -> pa.Table:
    tables = [_unpacked(each) for each in job.tables]
    if job.kind == "rows":
        from everloop.features.history.rows import transformed

        view = msgspec.msgpack.decode(job.declared, type=FeatureView)
        return transformed(view, dict(zip(view.sources, tables, strict=True)))
    from everloop.features.on_demand.computing import OnDemand

    record = msgspec.msgpack.decode(job.declared, type=OnDemandRecord)
    return OnDemand(record).compute(tables[0])


def _packed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def _unpacked(packed: bytes) -> pa.Table:
    with pa.ipc.open_stream(packed) as reader:
        return reader.read_all()


def main() -> None:
    """Do the job on standard input."""
    # The answer has standard output to itself: what the code prints goes where errors go.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    job = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Job)
    try:
        answer: Any = Answer(table=_packed(_compute(job)))
    except EverloopError as error:
        answer = Answer(message=error.message, hint=error.hint, invalid=isinstance(error, InvalidInput))
    with out:
        out.write(msgspec.msgpack.encode(answer))


if __name__ == "__main__":
    main()
