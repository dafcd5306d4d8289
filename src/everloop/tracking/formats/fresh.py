"""Does a model answer elsewhere? Its folder is loaded by a fresh process that shares nothing but the installed packages.

`python -m everloop.tracking.formats.fresh FOLDER` loads, answers the stored rows and prints the comparison as JSON. A model that
kills its process kills that one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from everloop.domain.signature import Parity
from everloop.errors import EverloopError, Failed, Unavailable, from_dict

TIMEOUT = 120.0
"""Seconds a model may take to load and answer its few rows."""

_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")


def fresh_parity(folder: str | Path, *, tolerance: float = 0.0, python: str = sys.executable) -> Parity:
    """Load the model in a fresh process, in an empty folder and with a bare environment, and compare its answers with the stored
    ones. Raises what loading raised there, Failed when the process died, Unavailable when it took too long."""
    command = [
        python,
        "-I",
        "-m",
        "everloop.tracking.formats.fresh",
        str(Path(folder).resolve()),
        str(tolerance),
    ]
    bare = {name: os.environ[name] for name in _KEPT if name in os.environ} | {"OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(prefix="everloop-fresh-") as empty:
        try:
            done = subprocess.run(
                command, cwd=empty, env=bare, capture_output=True, timeout=TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(
                f"the model in {folder} did not answer within {TIMEOUT:g} seconds",
                hint="is the machine very busy?",
            ) from None
    if done.returncode not in (0, 2):
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise Failed(f"a fresh process that loaded the model in {folder} died ({done.returncode}): {last}")
    answer = msgspec.json.decode(done.stdout)
    if done.returncode == 2:
        raise from_dict(answer)
    return msgspec.convert(answer, Parity)


def main(arguments: list[str]) -> int:
    from everloop.tracking.formats import load_model

    try:
        parity = load_model(arguments[0]).parity(tolerance=float(arguments[1]))
    except EverloopError as error:
        sys.stdout.buffer.write(msgspec.json.encode(error.to_dict()))
        return 2
    sys.stdout.buffer.write(msgspec.json.encode(parity))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
