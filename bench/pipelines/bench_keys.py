"""What the key of a step costs in a project of many modules: the first ever, the first in a process when another has read the
project before, again when nothing changed, of a further step in the same run, after one edit.

    python bench/pipelines/bench_keys.py [--modules 500] [--reached 500 50 5] [--repeat 3]

The project is made for it: each module of 100 lines has a constant, a table, a class and nine functions, and imports two
others; the step reaches as many modules as asked for, the others lie beside. Each figure is CPU time of the process in
milliseconds, the least of the rounds, each in a fresh process. Goals: 100 ms for the first key in a process, 1 ms again; looking
at 500 files takes that alone on most machines.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

FUNCTION = '''
def part{number}_{index}(x, y={index}):
    """Docs."""
    total = 0
    for item in range(x):
        if item % 2:
            total += item * {index}
        else:
            total -= y
    return [total for _ in range(3)]
'''


def main() -> None:
    reader = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    reader.add_argument("--modules", type=int, default=500)
    reader.add_argument("--reached", type=int, nargs="*", default=[500, 50, 5])
    reader.add_argument("--repeat", type=int, default=3)
    reader.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    given = reader.parse_args()
    if given.measure:
        print(json.dumps(measured(Path(given.measure[0]), int(given.measure[1]))))
        return
    heads = ("first ever", "first", "again", "further", "one edit")
    print(f"{'reached':>8} {'lines':>8} " + " ".join(f"{each:>10}" for each in heads) + "   CPU ms")
    for reached in given.reached:
        with tempfile.TemporaryDirectory() as name:
            made(Path(name), given.modules, reached)
            command = [sys.executable, __file__, "--measure", name, str(reached)]
            never = least(command, given.repeat)
            (Path(name) / ".everloop").mkdir()
            least(command, 1)
            lines, *rest = least(command, given.repeat)
        print(f"{reached:>8} {int(lines):>8,} " + " ".join(f"{each:>10.2f}" for each in (never[1], *rest)))


def least(command: list[str], rounds: int) -> list[float]:
    """The least of each figure, each round in a process of its own."""
    found = [
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(rounds)
    ]
    return [min(each) for each in zip(*found, strict=True)]


def made(root: Path, modules: int, reached: int) -> None:
    """Write the project: module i imports 2i+1 and 2i+2, as far as the step is to reach."""
    (root / "app").mkdir()
    (root / "app/__init__.py").write_text("")
    for number in range(modules):
        next_ones = [each for each in (2 * number + 1, 2 * number + 2) if number < reached and each < reached]
        lines = [
            '"""A module."""',
            "import json",
            "import math",
            *(f"from app import m{each}" for each in next_ones),
        ]
        lines += [f"LIMIT = {number}", f'TABLE = {{"a": {number}, "b": [1, 2]}}']
        lines += [FUNCTION.format(number=number, index=index) for index in range(8)]
        lines += [
            f"class Thing{number}:",
            "    rate = LIMIT",
            "    def go(self, x):",
            "        return x * self.rate",
        ]
        calls = "".join(f" + m{each}.main{each}(x)" for each in next_ones)
        lines += [
            f"def main{number}(x):",
            f"    return LIMIT + Thing{number}().go(x) + len(part{number}_0(3)){calls}",
        ]
        (root / f"app/m{number}.py").write_text("\n".join(lines) + "\n")


def measured(root: Path, reached: int) -> list[float]:
    """Lines reached, then CPU milliseconds of the first key, the key again, that of a further step that reaches the same modules,
    and the key after an edit of one file."""
    from everloop.pipelines.code.closure import Closures

    sys.path.insert(0, str(root))
    module = importlib.import_module("app.m0")
    step, further = module.main0, FunctionType(module.main0.__code__, vars(module), "main0")
    lines = sum(len((root / f"app/m{each}.py").read_text().splitlines()) for each in range(reached))

    def key() -> object:
        return Closures(root).of(step)

    first, again = timed(key), timed(key)
    Closures(root).of(further)
    run = Closures(root)
    run.of(step)
    another = timed(lambda: run.of(further))
    edited = root / f"app/m{reached - 1}.py"
    text = edited.read_text()
    edited.write_text(text + "# a comment\n")
    after = timed(key)
    edited.write_text(text)
    return [lines, first, again, another, after]


def timed(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return (time.process_time() - begun) * 1e3


if __name__ == "__main__":
    main()
