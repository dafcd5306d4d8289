"""The command `init`: a new project that works from the first minute."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from string import Template

import click

from everloop.cli.frame import command, emit
from everloop.errors import Conflict, InvalidInput, StorageError

TEMPLATES = Path(__file__).parent / "project"
FILES = {
    "everloop.toml": "everloop.toml",
    "definitions.py": "definitions.py",
    "training.py": "training.py",
    "tests/test_training.py": "tests/test_training.py",
    "pytest.ini": "pytest.ini",
    "requirements.txt": "requirements.txt",
    ".gitignore": "gitignore",
    ".github/workflows/test.yml": "ci.yml",
}
"""A project's files and the templates they are made from."""
WITHOUT_SKLEARN = {"training.py": "training_numpy.py"}
DATA = "data/diabetes.csv"
UNNOTICED = {".git", ".venv", "venv", ".python-version", ".idea", ".vscode", ".DS_Store"}
"""What a folder may hold and still be empty."""
NEXT = (
    "everloop data add data/diabetes.csv --name diabetes --checks definitions.py",
    "everloop run training.py:train",
    "everloop runs list",
)


@command("init")
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path), default=Path())
@click.option(
    "--force",
    is_flag=True,
    help="Also into a folder that holds something; its own files of these names are replaced.",
)
def init(folder: Path, force: bool) -> None:
    """Make a new project: everloop.toml, definitions, a pipeline on real data, tests, CI."""
    written = make_project(folder, force=force)
    value = {"path": str(folder.resolve()), "files": written}
    emit(value, lambda _: _told(folder, written))


def make_project(folder: Path, *, force: bool = False) -> list[str]:
    """Write a project into a folder; returns the files' names. Raises Conflict when something is there already."""
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder} is a file", hint="name a folder")
    there = sorted({each.name for each in folder.iterdir()} - UNNOTICED) if folder.is_dir() else []
    if there and not force:
        held = ", ".join(there[:3]) + (" …" if len(there) > 3 else "")
        raise Conflict(
            f"{folder.resolve()} is not empty: {held}", hint="name another folder, or give --force"
        )
    has_sklearn = scikit_learn_is_here()
    values = {
        "name": folder.resolve().name.replace('"', "").replace("\\", "") or "project",
        "requirement": "everloop[sklearn]" if has_sklearn else "everloop",
    }
    chosen = FILES if has_sklearn else FILES | WITHOUT_SKLEARN
    made = {
        name: Template((TEMPLATES / f"{template}.template").read_text(encoding="utf-8")).substitute(values)
        for name, template in chosen.items()
    }
    made[DATA] = diabetes_csv(has_sklearn)
    try:
        for name, text in made.items():
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written: {error.strerror}", hint="choose a folder you may write to"
        ) from None
    return sorted(made)


def scikit_learn_is_here() -> bool:
    """Whether models can be logged: scikit-learn and what keeps its models."""
    return all(importlib.util.find_spec(each) is not None for each in ("sklearn", "skops"))


def diabetes_csv(has_sklearn: bool) -> str:
    """442 patients and how far their diabetes had progressed a year later (Efron and others 2004), as scikit-learn ships them;
    without it, made-up rows of the same shape."""
    import numpy as np

    names = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6", "progression"]
    if has_sklearn:
        from sklearn.datasets import load_diabetes

        patients, progression = load_diabetes(return_X_y=True, scaled=False)
    else:
        rng = np.random.default_rng(0)
        middle = [48.5, 1.5, 26.4, 94.6, 189.1, 115.4, 49.8, 4.1, 4.64, 91.3]
        spread = [13.1, 0.5, 4.4, 13.8, 34.6, 30.4, 12.9, 1.3, 0.52, 11.5]
        patients = np.round(np.clip(rng.normal(middle, spread, (442, 10)), 1, None), 2)
        moved = (patients - middle) / spread
        progression = np.round(
            152 + 26 * moved[:, 2] + 15 * moved[:, 3] + 30 * moved[:, 8] + rng.normal(0, 45, 442)
        )
    rows = np.column_stack([patients, progression])
    lines = [",".join(f"{value:.10g}" for value in row) for row in rows]
    return "\n".join([",".join(names), *lines]) + "\n"


def _told(folder: Path, written: list[str]) -> str:
    go = [] if folder.resolve() == Path.cwd() else [f"cd {folder}"]
    lines = [f"{folder.resolve()} is a project now:", *(f"  {name}" for name in written), "next:"]
    return "\n".join([*lines, *(f"  {each}" for each in [*go, *NEXT])])
