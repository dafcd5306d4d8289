"""Facts about code that outlive the process: never those of another content, and nothing lost when they are."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.pipelines.code import closure, kept, looks
from everloop.pipelines.code import project as texts
from everloop.pipelines.code.closure import Closures

TRAIN = """
import shapes
from rates import RATES, known

LIMIT = {limit}

@known
def fit(x):
    return shapes.Circle().area(x) * RATES["low"] + LIMIT

def unused(x):
    return {unused}
"""
SHAPES = """
class Shape:
    made = []
    def __init_subclass__(cls):
        Shape.made.append({made})

class Circle(Shape):
    def area(self, x):
        return x * {factor}
"""
RATES = """
RATES = {{}}
RATES["low"] = {low}

def known(function):
    RATES["{key}"] = function.__name__
    return function
"""
TEXTS = {"train.py": TRAIN, "shapes.py": SHAPES, "rates.py": RATES}
NAMES = ("limit", "unused", "made", "factor", "low", "key")
digit = st.integers(0, 9)
Values = dict[str, int]

AGO = 1_700_000_000_000_000_000


def write(folder: Path, values: Values) -> None:
    """Files of the same names, sizes and times, whatever the values."""
    for name, text in TEXTS.items():
        path = folder / name
        path.write_text(text.format(**values))
        os.utime(path, ns=(AGO, AGO))


def forget() -> None:
    """What a new process does not know."""
    for name in TEXTS:
        sys.modules.pop(Path(name).stem, None)
    texts._modules.clear()
    closure._remembered.clear()
    importlib.invalidate_caches()


def key(folder: Path) -> str:
    forget()
    return Closures(folder).of(importlib.import_module("train").fit).digest


@contextmanager
def importing(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = before
        forget()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / kept.WORKSPACE).mkdir()
    write(tmp_path, dict.fromkeys(NAMES, 1))
    with importing(tmp_path):
        yield tmp_path


@settings(max_examples=12)
@given(st.lists(st.fixed_dictionaries(dict.fromkeys(NAMES, digit)), min_size=2, max_size=5))
def test_keys_are_those_of_the_content_whatever_was_kept_of_contents_before(
    tmp_path_factory: pytest.TempPathFactory, edits: list[Values]
) -> None:
    folder = tmp_path_factory.mktemp("edited")
    with importing(folder):
        keys = {}
        for values in edits:
            write(folder, values)
            (folder / kept.WORKSPACE).mkdir(exist_ok=True)
            with_facts = key(folder)
            (folder / kept.WORKSPACE).rename(folder / "aside")
            assert key(folder) == with_facts
            (folder / "aside").rename(folder / kept.WORKSPACE)
            behaviour = tuple(values[name] for name in NAMES if name != "unused")
            assert keys.setdefault(behaviour, with_facts) == with_facts
        assert len(set(keys.values())) == len(keys)


SCRIPT = """
import ast, sys
from pathlib import Path
parsed, parse = [], ast.parse
ast.parse = lambda text, *args, **kwargs: parsed.append(text) or parse(text, *args, **kwargs)
root = Path(sys.argv[1])
sys.path.insert(0, str(root))
sys.dont_write_bytecode = True
import train
from everloop.pipelines.code.closure import Closures
print(Closures(root).of(train.fit).digest, len(parsed))
"""


def in_a_process(folder: Path) -> tuple[str, int]:
    """The key, and how many files were parsed for it."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)], capture_output=True, text=True, check=True, timeout=60
    )
    digest, parsed = done.stdout.split()
    return digest, int(parsed)


def test_another_process_parses_what_changed_and_nothing_else(project: Path) -> None:
    first = in_a_process(project)
    assert first[1] == 3
    assert in_a_process(project) == (first[0], 0)
    write(project, dict.fromkeys(NAMES, 1) | {"factor": 2})  # the same size and the same time
    edited = in_a_process(project)
    assert edited[1] == 1
    assert edited[0] != first[0]
    write(project, dict.fromkeys(NAMES, 1))
    assert in_a_process(project) == (first[0], 0)


@pytest.mark.parametrize("damage", ["cut", "changed", "of another version", "empty"])
def test_facts_that_are_damaged_or_of_another_version_count_for_nothing(
    project: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = key(project)
    file = project / kept.WORKSPACE / kept.FILE
    whole = file.read_bytes()
    if damage == "cut":
        file.write_bytes(whole[: len(whole) // 2])
    elif damage == "changed":
        at = len(whole) - 40
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    elif damage == "of another version":
        file.write_bytes(bytes(32) + whole[32:])
    else:
        file.write_bytes(b"")
    parsed = []
    parse = ast.parse
    monkeypatch.setattr(
        ast, "parse", lambda text, *args, **more: parsed.append(text) or parse(text, *args, **more)
    )
    assert key(project) == expected
    assert len(parsed) == 3
    assert key(project) == expected
    assert len(parsed) == 3  # whole again


def test_a_project_without_a_workspace_or_with_one_that_cannot_be_written_has_keys_too(project: Path) -> None:
    expected = key(project)
    (project / kept.WORKSPACE / kept.FILE).unlink()
    (project / kept.WORKSPACE / kept.FILE).mkdir()  # where the file would be
    assert key(project) == expected
    assert [each.name for each in (project / kept.WORKSPACE).iterdir()] == [kept.FILE]
    (project / kept.WORKSPACE / kept.FILE).rmdir()
    (project / kept.WORKSPACE).rmdir()
    assert key(project) == expected
    assert not (project / kept.WORKSPACE).exists()


def test_a_file_that_was_just_written_is_not_known_by_its_look(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = 1")
    _, seen = looks.read(str(file))
    assert looks.still(str(file), seen, seen.look) is not None
    file.write_text("x = 2")
    assert looks.still(str(file), seen, seen.look) is None  # even if nothing of its look had changed
