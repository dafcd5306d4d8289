"""Does a model answer elsewhere? Its folder is loaded by a fresh process that shares nothing but the installed packages.

`python -m everloop.tracking.formats.fresh TOLERANCE FOLDER…` loads, answers the stored rows and prints the comparisons as JSON.
A model that kills its process kills that one.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from everloop.domain.signature import Parity
from everloop.engine.forks.programs import Program, run
from everloop.engine.here import environment
from everloop.errors import EverloopError, Failed, Unavailable, from_dict

TIMEOUT = 120.0
"""Seconds a model may take to load and answer its few rows."""

EXACT = 1e-9
"""How far answers may be from those stored with the model for it to count as proven: other numbers of threads add in another
order."""

PROVEN = ".proven"
"""A file in a model's folder: with these package versions, a fresh process on this machine has answered as stored. It says
nothing about another machine, so it is never part of a package."""

_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")


def fresh_parity(folder: str | Path, *, tolerance: float = 0.0, python: str = sys.executable) -> Parity:
    """Load the model in a fresh process, in an empty folder and with a bare environment, and compare its answers with the
    stored ones. Raises what loading raised there, Failed when the process died, Unavailable when it took too long."""
    return fresh_parities([folder], tolerance=tolerance, python=python)[0]


def fresh_parities(
    folders: Sequence[str | Path],
    *,
    tolerance: float = 0.0,
    python: str = sys.executable,
    meanwhile: Callable[[], None] | None = None,
) -> list[Parity]:
    """The same for several models, one after the other in one process: starting it is most of the time. `meanwhile` is called
    while that process works."""
    bare = {name: os.environ[name] for name in _KEPT if name in os.environ}
    named = ", ".join(map(str, folders))
    with tempfile.TemporaryDirectory(prefix="everloop-fresh-") as empty:
        program = Program(
            "everloop.tracking.formats.fresh",
            [str(tolerance), *(str(Path(folder).resolve()) for folder in folders)],
            environment(bare),
            Path(empty),
            purpose="to prove",
            isolated=True,
            python=python,
            packages=needed_packages(folders),
        )
        try:
            ended = run(program, timeout=TIMEOUT, meanwhile=meanwhile)
        except TimeoutError:
            raise Unavailable(
                f"the model in {named} did not answer within {TIMEOUT:g} seconds",
                hint="is the machine very busy?",
            ) from None
    if ended.code not in (0, 2):
        last = ended.err.decode(errors="replace").strip().rpartition("\n")[2]
        raise Failed(f"a fresh process that loaded the model in {named} died ({ended.code}): {last}")
    answer = msgspec.json.decode(ended.out)
    if ended.code == 2:
        raise from_dict(answer)
    return msgspec.convert(answer, list[Parity])


def needed_packages(folders: Sequence[str | Path]) -> set[str]:
    """The installed packages that models need, as their folders say; of a folder that says nothing, none."""
    from everloop.tracking.formats.folder import read_model_file

    found: set[str] = set()
    for folder in folders:
        with suppress(EverloopError):
            found |= read_model_file(folder).packages.keys()
    return found


def keep_proof(folder: Path, parity: Parity) -> None:
    """Remember with the folder that a fresh process of this machine answered as stored, if it did."""
    if parity.rows and not parity.flips and parity.max_abs <= EXACT:
        (folder / PROVEN).write_text(_packages(folder))


def proven(folder: Path) -> bool:
    """Whether a fresh process of this machine has answered as stored, with the package versions that are installed now."""
    try:
        return (folder / PROVEN).read_text() == _packages(folder)
    except FileNotFoundError:
        return False


def carry_proof(source: Path, target: Path) -> None:
    """Let a copy of a model's folder on this machine count as proven when its source does."""
    if proven(source):
        (target / PROVEN).write_text((source / PROVEN).read_text())


def _packages(folder: Path) -> str:
    """The versions, here and now, of the packages that a model needs."""
    from everloop.tracking.formats.folder import read_model_file, versions_of

    return " ".join(map("==".join, versions_of(read_model_file(folder).packages).items()))


def main(arguments: list[str]) -> int:
    from everloop.tracking.formats import load_model

    tolerance, *folders = arguments
    try:
        parities = [load_model(folder).parity(tolerance=float(tolerance)) for folder in folders]
    except EverloopError as error:
        sys.stdout.buffer.write(msgspec.json.encode(error.to_dict()))
        return 2
    sys.stdout.buffer.write(msgspec.json.encode(parities))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
