"""Runs the examples in the documents: `python` blocks, and `$ everloop …` lines of `console` blocks.

A document is one session in a folder of its own: names and files made by a block are there in the next ones.
What cannot run in a test (a server that stays up) is a `text` block, or follows `<!--- skip: next -->`.
"""

import os
import shlex
import subprocess
import sys
import tempfile
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE
from pathlib import Path

from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser


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
