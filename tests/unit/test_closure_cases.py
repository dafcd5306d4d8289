"""What a step returns is the judge: where an edit changes it the key must change, where it reaches nothing edited it must not.

The cases are listings of small projects in `closure_cases`, one for each way in which code reaches code. ``#! text`` at the end
of a line is an edit that changes what ``own()`` returns (the line becomes that text); ``#= text`` is one that nothing depends
on. The names of a case's files begin with its own, so that cases can be put together into one project.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.examples import fewer

from everloop.domain.pipelines import changes
from everloop.pipelines.code.closure import Closure, Closures


@dataclass(frozen=True)
class Edit:
    """A line of a file, and what it becomes."""

    file: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.file}: {self.after.strip()}"


@dataclass(frozen=True)
class Case:
    """A project whose module `name` has a function ``own()``."""

    name: str
    listing: str

    @cached_property
    def files(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for part in re.split(r"^--- ", self.listing, flags=re.MULTILINE)[1:]:
            file, _, text = part.partition("\n")
            found[file] = "".join(_bare(line) for line in text.splitlines(keepends=True))
        return found

    @cached_property
    def behaviour(self) -> list[Edit]:
        return self._edits(" #! ")

    @cached_property
    def neutral(self) -> list[Edit]:
        return self._edits(" #= ")

    def _edits(self, mark: str) -> list[Edit]:
        found = []
        for part in re.split(r"^--- ", self.listing, flags=re.MULTILINE)[1:]:
            file, _, text = part.partition("\n")
            for line in text.splitlines():
                before, marked, after = line.partition(mark)
                if marked:
                    indent = before[: len(before) - len(before.lstrip())]
                    found.append(Edit(file, before.rstrip() + "\n", indent + after.strip() + "\n"))
        return found


def _bare(line: str) -> str:
    code = re.split(r" #[!=] ", line)[0].rstrip()
    return code + "\n"


CASES = [
    Case(path.stem, path.read_text()) for path in sorted((Path(__file__).parent / "closure_cases").iterdir())
]


class Folder:
    """Files that are imported afresh each time."""

    def __init__(self, place: Path, cases: list[Case]) -> None:
        self.place = place
        self.files = {name: text for case in cases for name, text in case.files.items()}
        names = [case.name for case in cases]
        calls = ", ".join(f"{name}.own()" for name in names)
        self.files["whole.py"] = f"import {', '.join(names)}\n\ndef own():\n    return ({calls},)\n"

    def edit(self, edit: Edit) -> None:
        assert edit.before in self.files[edit.file]
        self.files[edit.file] = self.files[edit.file].replace(edit.before, edit.after, 1)

    def state(self, module: str = "whole") -> tuple[Closure, str]:
        """The closure of the function `own`, and what it returns."""
        for name, text in self.files.items():
            path = self.place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
        self.forget()
        own = importlib.import_module(module).own
        closure = Closures(self.place).of(own)
        return closure, repr(own())

    def forget(self) -> None:
        """Its modules, and those of their names that other tests left: their folders are beside this one."""
        named = {Path(file).with_suffix("").parts[0] for file in self.files}

        def goes(name: str, module: object) -> bool:
            file = str(getattr(module, "__file__", None) or "")
            return file.startswith(str(self.place)) or (
                name.partition(".")[0] in named and file.startswith(str(self.place.parent))
            )

        for name in [name for name, each in sys.modules.items() if goes(name, each)]:
            del sys.modules[name]
        importlib.invalidate_caches()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    Folder(tmp_path, []).forget()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_line_that_is_edited_stands_once(case: Case) -> None:
    """Else another line of the same text might be edited, which something depends on."""
    for edit in (*case.behaviour, *case.neutral):
        assert case.files[edit.file].count(edit.before) == 1, edit


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_key_changes_with_what_the_step_returns_and_not_otherwise(case: Case, place: Path) -> None:
    start, returned = Folder(place, [case]).state(case.name)
    for edit in [*case.behaviour, *case.neutral]:
        folder = Folder(place, [case])
        folder.edit(edit)
        closure, now = folder.state(case.name)
        assert (now != returned) == (edit in case.behaviour), f"the case itself: {edit}"
        if edit in case.behaviour:
            assert closure.digest != start.digest, f"stale after {edit}"
            assert changes(start.components, closure.components)
        elif not start.notes:
            assert not changes(start.components, closure.components), f"executed again after {edit}"


@fewer(0.4)
@given(data=st.data())
def test_any_mix_of_projects_and_edits(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Cases put together into one project, edited several times in a row; each state has the key of its behaviour."""
    chosen = data.draw(
        st.lists(st.sampled_from(CASES), min_size=2, max_size=4, unique_by=lambda case: case.name)
    )
    edits = [(edit, True) for case in chosen for edit in case.behaviour]
    edits += [(edit, False) for case in chosen for edit in case.neutral]
    wanted = data.draw(st.lists(st.sampled_from(edits), max_size=4, unique_by=lambda each: each[0]))
    folder = Folder(tmp_path_factory.mktemp("mixed"), chosen)
    sys.path.insert(0, str(folder.place))
    try:
        seen: dict[str, str] = {}
        closure, returned = folder.state()
        last = closure.digest
        seen[closure.digest] = returned
        for edit, behaves in wanted:
            if edit.before not in folder.files[edit.file]:
                continue  # an earlier edit took its line
            folder.edit(edit)
            closure, returned = folder.state()
            assert seen.setdefault(closure.digest, returned) == returned, f"stale after {edit}"
            if not behaves and not closure.notes:
                assert closure.digest == last, f"executed again after {edit}"
            last = closure.digest
    finally:
        folder.forget()
        sys.path.remove(str(folder.place))
