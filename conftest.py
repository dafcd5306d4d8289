"""Where tests and examples write; and runs the examples in the documents: `python` blocks, and `$ everloop …` lines of
`console` blocks.

A document is one session in a folder of its own: names and files made by a block are there in the next ones.
What cannot run in a test (a server that stays up) is a `text` block, or follows `<!--- skip: next -->`.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE
from pathlib import Path

import psutil
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

MEMORY = Path("/dev/shm")
PLENTY = 6 * 1024**3


def write_to_memory() -> None:
    """Temporary folders of tests, and of the processes they start, lie in memory where there is plenty.

    Else most of what many tests wait for is a disk that must be sure of each write (`fsync`: 4 ms, in memory none). What they
    prove is the same: a process that is killed leaves what it wrote to the kernel on either. TMPDIR, if set, is obeyed.
    """
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK):
        return
    if min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available) >= PLENTY:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


write_to_memory()
# Threads of numerical libraries spin while they wait for each other, which on cores that other tests use costs more than twice
# the time. Tests that are about them say how many they want; so does Everloop to the processes it starts.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")


def run_console(example: Example) -> str | None:
    """Runs the `$ everloop …` lines of a block; returns what went wrong, or None."""
    for line in example.parsed.splitlines():
        if not line.startswith("$ everloop "):
            continue
        command = [sys.executable, "-m", "everloop", *shlex.split(line, comments=True)[2:]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        if done.returncode:
            return f"{line}\nexited with {done.returncode}\n{done.stdout}{done.stderr}"
    return None


def enter_folder(namespace: dict[str, object]) -> None:
    folder = tempfile.TemporaryDirectory(prefix="everloop-docs-")
    namespace["_session"] = (folder, Path.cwd(), os.environ.pop("EVERLOOP_WORKSPACE", None))
    os.chdir(folder.name)


def leave_folder(namespace: dict[str, object]) -> None:
    folder, before, workspace = namespace["_session"]  # type: ignore[misc]
    os.chdir(before)
    if workspace is not None:
        os.environ["EVERLOOP_WORKSPACE"] = workspace
    folder.cleanup()


pytest_collect_file = Sybil(
    parsers=[
        SkipParser(),
        PythonCodeBlockParser(doctest_optionflags=ELLIPSIS | NORMALIZE_WHITESPACE),
        CodeBlockParser(language="console", evaluator=run_console),
    ],
    patterns=["*.md"],
    excludes=["CHANGELOG.md"],
    setup=enter_folder,
    teardown=leave_folder,
).pytest()
