"""Where code draws what no seed decides: random numbers, clocks, identifiers.

Seen in the text, so it names suspects, not culprits.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from everloop.domain.pipelines import Component


class Suspect(msgspec.Struct, frozen=True, order=True):
    """A call that may give something else each time. what: a few words."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.what} in {self.file} line {self.line}"


GENERATORS = {
    "numpy.random.default_rng",
    "numpy.random.RandomState",
    "numpy.random.SeedSequence",
    "random.Random",
}
"""Seeded by their first argument, or not at all."""
HARMLESS = {
    "numpy.random.seed",
    "numpy.random.Generator",
    "numpy.random.get_state",
    "numpy.random.set_state",
    "random.seed",
}
HARMLESS |= {"random.getstate", "random.setstate", "torch.manual_seed"}
ALWAYS_NEW = {"os.urandom", "uuid.uuid1", "uuid.uuid4", "random.SystemRandom", "time.time", "time.time_ns"}
ALWAYS_NEW |= {"time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns"}
ALWAYS_NEW |= {
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.date.today",
    "datetime.datetime.today",
}
TORCH = ("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial")
STATEFUL = {
    "train_test_split", "shuffle", "resample", "KFold", "StratifiedKFold", "ShuffleSplit", "StratifiedShuffleSplit",
    "RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor", "BaggingClassifier",
    "BaggingRegressor", "GradientBoostingClassifier", "GradientBoostingRegressor", "HistGradientBoostingClassifier",
    "HistGradientBoostingRegressor", "DecisionTreeClassifier", "DecisionTreeRegressor", "MLPClassifier", "MLPRegressor",
    "SGDClassifier", "SGDRegressor", "KMeans", "MiniBatchKMeans", "GaussianMixture", "IsolationForest", "TruncatedSVD",
    "RandomizedSearchCV", "AdaBoostClassifier", "AdaBoostRegressor",
}  # fmt: skip
"""What scikit-learn draws numpy's global random numbers for unless it is given a `random_state`."""
QUIET_FOLDS = {"KFold", "StratifiedKFold"}
"""They draw only when they shuffle."""


def suspects(project: Path, code: Sequence[Component], *, seeded: bool) -> list[Suspect]:
    """Calls in the code that a step reaches which no seed decides. `project`: the folder its files are relative to. `seeded`: the
    step declares a seed, so the global generators of Python, numpy and torch begin at it."""
    found: dict[Suspect, None] = {}
    for file in dict.fromkeys(each.name.partition("::")[0] for each in code if "::" in each.name):
        path = project / file
        try:
            tree = ast.parse(path.read_bytes(), filename=str(path))
        except (OSError, SyntaxError, ValueError):
            continue
        wanted = {each.name.partition("::")[2] for each in code if each.name.startswith(f"{file}::")}
        for node in _reached(tree, wanted):
            found |= dict.fromkeys(calls(node, _imports(tree), file, seeded=seeded))
    return sorted(found)


def calls(node: ast.AST, names: dict[str, str], file: str, *, seeded: bool) -> Iterator[Suspect]:
    """The suspicious calls within some code; `names`: what its names stand for.

    >>> node = ast.parse("numbers.normal(size=3); numbers.default_rng(7).normal(); numbers.default_rng()")
    >>> [each.what for each in calls(node, {"numbers": "numpy.random"}, "train.py", seeded=False)]
    ['unseeded numpy.random', 'numpy.random.default_rng without a seed']
    """
    for each in ast.walk(node):
        if isinstance(each, ast.Call):
            what = _said(_dotted(each.func, names), each, seeded)
            if what:
                yield Suspect(file, each.lineno, what)


def _said(name: str, call: ast.Call, seeded: bool) -> str:
    given = bool(call.args) and not (isinstance(call.args[0], ast.Constant) and call.args[0].value is None)
    if name in GENERATORS:
        return "" if given or any(each.arg == "seed" for each in call.keywords) else f"{name} without a seed"
    if name in ALWAYS_NEW or name.startswith("secrets."):
        return name
    if name in HARMLESS or seeded:
        return ""
    module, _, function = name.rpartition(".")
    if module in ("numpy.random", "random"):
        return f"unseeded {module}"
    if module == "torch" and function in TORCH:
        return "unseeded torch"
    if name.startswith("sklearn.") and function in STATEFUL:
        options = {each.arg: each.value for each in call.keywords}
        state = options.get("random_state")
        is_given = state is not None and not (isinstance(state, ast.Constant) and state.value is None)
        if is_given or None in options or (function in QUIET_FOLDS and "shuffle" not in options):
            return ""
        return f"{function} without random_state"
    return ""


def _reached(tree: ast.Module, wanted: set[str]) -> Iterator[ast.AST]:
    """The statements that bind some names, at the top level of a module."""
    tops = {part for name in wanted for part in name.partition(".")[0].split(", ")}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name in tops:
                yield node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(each, ast.Name) and each.id in tops for each in targets):
                yield node


def _imports(tree: ast.Module) -> dict[str, str]:
    """What each imported name stands for, wherever in the module it is imported."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """``np.random.normal`` as ``numpy.random.normal``; empty for what is no name of something imported."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in names:
        return ""
    return ".".join([names[node.id], *reversed(parts)])
