"""A key changes if and only if something that the step's result depends on does."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.domain.pipelines import changes
from everloop.pipelines.code.closure import Closure, Closures

FILES = {
    "train.py": """
        '''Training.'''
        import json
        import shapes
        from helpers import scale as rescale, TABLE
        from settings import *
        import package.inner as inner

        def own(x, power=2):
            '''What the tests look at.'''
            import lazy
            model = shapes.Square(x)
            parts = [rescale(each, RATE) for each in range(x)]  # RATE comes with the star
            return lazy.late(model.area(), *parts) + TABLE["b"] + inner.deep() ** power

        def unrelated():
            return json.dumps({})
        """,
    "helpers.py": """
        import logging
        TABLE = {"a": 1}
        TABLE["b"] = 2
        OTHER = 5
        logging.getLogger("here").setLevel("ERROR")

        def traced(function):
            def inside(*args):
                return function(*args)
            return inside

        @traced
        def scale(value, rate):
            return value * rate

        def unused():
            return OTHER
        """,
    "shapes.py": """
        class Shape:
            sides = 4
            def area(self):
                return self.length ** 2

        class Square(Shape):
            def __init__(self, length):
                self.length = length

        class Circle(Shape):
            pass
        """,
    "settings.py": "RATE = 3\nUNUSED = 4\n",
    "lazy.py": "def late(*values):\n    return sum(values)\n\ndef never():\n    return 0\n",
    "package/__init__.py": "",
    "package/inner.py": "from .deeper import number\n\ndef deep():\n    return number()\n",
    "package/deeper.py": "def number():\n    return 7\n",
}

BEHAVIOUR = [
    ("train.py", "inner.deep() ** power", "inner.deep() * power", "function own"),
    ("train.py", "power=2", "power=3", "function own"),
    ("helpers.py", "value * rate", "value + rate", "function scale"),
    ("helpers.py", "return function(*args)", "return 1 + function(*args)", "function traced"),
    ("helpers.py", '"a": 1', '"a": 3', "constant TABLE"),
    ("helpers.py", 'TABLE["b"] = 2', 'TABLE["b"] = 3', "TABLE changed (helpers.py, line 4)"),
    ("helpers.py", '"ERROR"', '"DEBUG"', "statement"),
    ("shapes.py", "self.length ** 2", "self.length ** 3", "class Shape"),
    ("shapes.py", "sides = 4", "sides = 5", "class Shape"),
    ("shapes.py", "self.length = length", "self.length = -length", "class Square"),
    ("settings.py", "RATE = 3", "RATE = 4", "constant RATE"),
    ("lazy.py", "sum(values)", "max(values)", "function late"),
    ("package/deeper.py", "return 7", "return 8", "function number"),
    ("package/inner.py", "return number()", "return -number()", "function deep"),
]

NO_BEHAVIOUR = [
    ("train.py", "'''Training.'''", "'''Something else.'''"),
    ("train.py", "'''What the tests look at.'''", ""),
    ("train.py", "# RATE comes with the star", "#"),
    ("train.py", "model = shapes.Square(x)", "model = (\n                shapes.Square( x )\n            )"),
    ("train.py", "def unrelated", "def renamed"),
    ("train.py", "json.dumps({})", "json.dumps([])"),
    ("helpers.py", "OTHER = 5", "OTHER = 6"),
    ("helpers.py", "def unused", "def somehow"),
    ("shapes.py", "class Circle(Shape):\n    pass", "class Disc(Shape):\n    '''Round.'''"),
    ("settings.py", "UNUSED = 4", "UNUSED = 5"),
    ("lazy.py", "return 0", "return 1"),
    ("helpers.py", 'TABLE = {"a": 1}', "\n\nTABLE = {'a': 0x1}"),
]


class Project:
    """A folder of modules that is imported afresh after each edit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = {name: textwrap.dedent(text) for name, text in FILES.items()}

    def edit(self, file: str, before: str, after: str) -> None:
        assert before in self.files[file], before
        self.files[file] = self.files[file].replace(before, after)

    def forget(self) -> None:
        """Its modules, and others of their names: another test's project may have had a train.py too."""
        named = {Path(file).with_suffix("").parts[0] for file in self.files}
        for name in [name for name, module in sys.modules.items() if name in named or self._is_mine(module)]:
            del sys.modules[name]
        importlib.invalidate_caches()

    def _is_mine(self, module: object) -> bool:
        return str(getattr(module, "__file__", None) or "").startswith(str(self.folder))

    def closure(self, function: str = "own") -> Closure:
        for name, text in self.files.items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        self.forget()
        module = importlib.import_module("train")
        return Closures(self.folder).of(getattr(module, function))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made = Project(tmp_path)
    for name in made.files:  # another test may have left a module of this name
        monkeypatch.delitem(sys.modules, name.partition("/")[0].removesuffix(".py"), raising=False)
    yield made
    made.forget()


@pytest.mark.parametrize(("file", "before", "after", "said"), BEHAVIOUR, ids=[each[1] for each in BEHAVIOUR])
def test_a_change_of_behaviour_anywhere_is_a_new_key_and_is_named(
    project: Project, file: str, before: str, after: str, said: str
) -> None:
    old = project.closure()
    project.edit(file, before, after)
    new = project.closure()
    assert new.digest != old.digest
    named = [change for change in changes(old.components, new.components) if said in change]
    assert named, changes(old.components, new.components)
    assert file in named[0]


@pytest.mark.parametrize(("file", "before", "after"), NO_BEHAVIOUR, ids=[each[1] for each in NO_BEHAVIOUR])
def test_comments_formatting_and_unrelated_code_leave_the_key(
    project: Project, file: str, before: str, after: str
) -> None:
    old = project.closure()
    project.edit(file, before, after)
    assert changes(old.components, project.closure().components) == []


edits = st.lists(
    st.tuples(st.sampled_from(range(len(BEHAVIOUR))), st.booleans()),
    max_size=6,
    unique_by=lambda each: each[0],
)


@given(behaviour=edits, quiet=st.lists(st.sampled_from(range(len(NO_BEHAVIOUR))), max_size=6, unique=True))
def test_any_mix_of_edits_and_going_back_gives_the_key_of_its_behaviour(
    tmp_path_factory: pytest.TempPathFactory, behaviour: list[tuple[int, bool]], quiet: list[int]
) -> None:
    """Edits that are taken back leave the key of the start; those that stay make a key of their own."""
    project = Project(tmp_path_factory.mktemp("edited"))
    sys.path.insert(0, str(project.folder))
    try:
        start = project.closure().digest
        for number in quiet:
            file, before, after = NO_BEHAVIOUR[number]
            if before in project.files[file]:
                project.edit(file, before, after)
        kept = 0
        for number, stays in behaviour:
            file, before, after, _ = BEHAVIOUR[number]
            if before not in project.files[file]:
                continue
            original = project.files[file]
            project.edit(file, before, after)
            if not stays:
                assert project.closure().digest != start
                project.files[file] = original
            kept += stays
        assert (project.closure().digest == start) == (kept == 0)
    finally:
        project.forget()
        sys.path.remove(str(project.folder))


def test_the_key_is_the_same_in_another_process_and_folder(project: Project, tmp_path: Path) -> None:
    here = project.closure().digest
    moved = tmp_path / "moved"
    for name in project.files:
        target = moved / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text((tmp_path / name).read_text())
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; import train\n"
        "from everloop.pipelines.code.closure import Closures\n"
        "print(Closures(Path(sys.argv[1])).of(train.own).digest)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(moved)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == here


def test_a_file_edited_after_it_was_imported_does_not_pass_for_what_runs(project: Project) -> None:
    old = project.closure()
    module = importlib.import_module("train")
    helpers = project.folder / "helpers.py"
    helpers.write_text(helpers.read_text().replace("value * rate", "value - rate"))
    stale = Closures(project.folder).of(module.own)
    project.edit("helpers.py", "value * rate", "value - rate")
    fresh = project.closure()
    assert len({old.digest, stale.digest, fresh.digest}) == 3


def test_a_function_put_in_the_place_of_another_is_seen(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = project.closure()
    train, shapes = importlib.import_module("train"), importlib.import_module("lazy")
    monkeypatch.setattr(train, "rescale", lambda value, rate: 0)
    monkeypatch.setattr(shapes, "late", lambda *values: 0)
    monkeypatch.setattr(importlib.import_module("helpers"), "scale", lambda value, rate: 0)
    assert Closures(project.folder).of(train.own).digest != old.digest


def test_a_constant_changed_at_run_time_is_seen(project: Project) -> None:
    old = project.closure()
    train = importlib.import_module("train")
    importlib.import_module("helpers").TABLE["a"] = 99
    changed = Closures(project.folder).of(train.own)
    assert changes(old.components, changed.components) == ["value TABLE changed (helpers.py)"]


@pytest.mark.parametrize(
    "line",
    [
        "return eval('x')",
        "exec('y = x')",
        "return getattr(shapes, 'Sq' + 'uare')(x)",
        "return __import__('imp' + 'ossible')",
        "import importlib; return importlib.import_module('la' + 'zy')",
        "return globals()['rescale']",
        "return shapes.Shape.__subclasses__()",
    ],
)
def test_code_that_cannot_be_seen_through_takes_the_whole_project_and_says_so(
    project: Project, line: str
) -> None:
    project.edit("train.py", "    import lazy\n", f"    import lazy\n    if x == 99:\n        {line}\n")
    old = project.closure()
    assert len(old.notes) >= 1
    assert "train.py, line" in old.notes[0]
    project.edit("helpers.py", "OTHER = 5", "OTHER = 6")
    assert project.closure().digest != old.digest


def test_attributes_named_by_a_constant_are_followed(project: Project) -> None:
    project.edit("train.py", "shapes.Square(x)", "getattr(shapes, 'Square')(x)")
    old = project.closure()
    assert old.notes == ()
    project.edit("shapes.py", "self.length = length", "self.length = 2 * length")
    assert project.closure().digest != old.digest


def test_cells_defaults_and_lambdas_count(project: Project) -> None:
    project.files["train.py"] += textwrap.dedent("""
        def factory(rate):
            return (lambda x: x * rate), (lambda x: x - rate)

        def default(x, other=unrelated):
            return other()

        twice, less = factory(2)
        thrice, _ = factory(3)
        """)
    digests = {name: project.closure(name).digest for name in ("twice", "less", "thrice")}
    assert len(set(digests.values())) == 3
    before = project.closure("default")
    project.edit("train.py", "json.dumps({})", "json.dumps([])")
    assert project.closure("default").digest != before.digest
    assert {name: project.closure(name).digest for name in digests} == digests


def test_functions_without_a_file_are_told_apart_by_what_they_do(tmp_path: Path) -> None:
    def made(body: str, rate: int) -> Callable[[int], int]:
        scope: dict[str, object] = {"RATE": rate}
        exec(f"def helper(x): return x * RATE\ndef step(x):\n    return {body}", scope)
        return scope["step"]  # type: ignore[return-value]

    closures = Closures(tmp_path)
    first = closures.of(made("helper(x)", 2)).digest
    assert closures.of(made("helper(x)", 2)).digest == first
    assert closures.of(made("helper(x) + 1", 2)).digest != first
    assert closures.of(made("helper(x)", 3)).digest != first


def test_packages_enter_with_their_versions_and_what_they_need(project: Project) -> None:
    before = {each.name for each in project.closure().components if each.kind == "package"}
    assert before == set()
    project.edit("train.py", "    import lazy\n", "    import lazy, sklearn.linear_model\n")
    found = {each.name: each.digest for each in project.closure().components if each.kind == "package"}
    assert {"scikit-learn", "numpy", "scipy"} <= found.keys()
    assert found["numpy"][0].isdigit()


def test_a_missing_module_that_appears_is_seen(project: Project) -> None:
    project.edit(
        "train.py",
        "    import lazy\n",
        "    import lazy\n    try:\n        import faster\n    except ImportError:\n        faster = None\n",
    )
    old = project.closure()
    project.files["faster.py"] = "SPEED = 1\nprint('effect')\n"
    assert project.closure().digest != old.digest


def test_nothing_is_read_again_when_nothing_changed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = importlib.import_module("train").own if project.closure() else None
    read: list[str] = []
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or b"")
    Closures(project.folder).of(own)
    assert read == []


def test_a_compiled_module_counts_and_what_it_may_import_when_it_is_used(project: Project) -> None:
    alone, others, calls = (
        b"\x7fELF numbers alone",
        b"\x7fELF other numbers",
        b"\x7fELF PyImport_ImportModule",
    )

    def keys(content: bytes) -> set[str]:
        """Before and after an edit of a function that nothing written in Python reaches."""
        (project.folder / f"fast{EXTENSION_SUFFIXES[0]}").write_bytes(content)
        found = [project.closure()]
        project.edit("helpers.py", "return OTHER", "return -OTHER")
        found.append(project.closure())
        project.edit("helpers.py", "return -OTHER", "return OTHER")
        assert bool(found[0].notes) == (len({each.digest for each in found}) == 2)
        return {each.digest for each in found}

    project.edit("train.py", "    import lazy\n", "    import lazy, fast\n")
    imported = [keys(alone), keys(others), keys(calls)]
    assert [len(each) for each in imported] == [1, 1, 1]
    project.edit("train.py", "lazy.late(", "fast.late(")
    used = [keys(alone), keys(others), keys(calls)]
    assert [len(each) for each in used] == [1, 1, 2]
    assert len(set().union(*imported, *used)) == 7


def test_functions_that_reach_the_same_code_have_keys_of_their_own(project: Project) -> None:
    project.files["train.py"] += textwrap.dedent("""
        def registered(functions):
            return [(each, functions) for each in functions]

        def made(rate):
            def inside():
                return EACH and rate
            return inside

        def even(): return 1 if EACH else odd()
        def odd(): return 2 if EACH else even()
        def twice(): return 1 if EACH else 0
        first = twice
        def twice(): return 2 if EACH else 0
        two, three = made(2), made(3)
        less, more = (lambda: EACH and 1), (lambda: EACH and 2)
        EACH = registered([even, odd, first, twice, two, three, less, more])
        """)
    names = ("even", "odd", "first", "twice", "two", "three", "less", "more")
    digests = {name: project.closure(name).digest for name in names}
    assert len(set(digests.values())) == len(names)
    project.edit("train.py", "def odd():", "def odd():  # a comment\n   ")
    assert {name: project.closure(name).digest for name in names} == digests
