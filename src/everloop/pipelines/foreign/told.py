"""What a run of another tool's stages shows of itself: the parameters that they read, the metrics and plots that they wrote.

Named as DVC names them in its tables: a parameter of params.yaml and a metric that one file alone has by its key (``train.rate``,
``auc``), others with their file in front (``conf.json:rate``, ``eval/test.json:auc``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from everloop.errors import InvalidInput
from everloop.pipelines.foreign.documents import values_of
from everloop.tracking.run import Run

READ = (".json", ".yaml", ".yml", ".toml")
"""Files that hold metrics by name; of others, one that is a number is a metric."""


def tell(
    run: Run, root: Path, params: Mapping[str, Any], metrics: Iterable[str], plots: Iterable[str]
) -> None:
    """Record them with a run. `metrics` and `plots` are files or folders of the project at `root`; what is not there, or cannot
    be read as numbers, is left out: the stages made it, and DVC would show it empty, too."""
    run.log_params({key_of(name): value for name, value in params.items()})
    files = _files(root, metrics)
    numbers = named({name: numbers_of(root / name) for name in files})
    if numbers:
        run.log_metrics(numbers)
    for name in dict.fromkeys([*files, *_files(root, plots)]):
        run.log_artifact(root / name, name)


def named(by_file: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Numbers by the names that a table has for them.

    >>> named({"a.json": {"auc": 0.8, "rows": 3.0}, "b.json": {"auc": 0.9}, "count.txt": {"": 7.0}})
    {'a.json:auc': 0.8, 'rows': 3.0, 'b.json:auc': 0.9, 'count.txt': 7.0}
    """
    often = Counter(key for numbers in by_file.values() for key in numbers)
    return {
        key_of(file if not key else key if often[key] == 1 else f"{file}:{key}"): number
        for file, numbers in by_file.items()
        for key, number in numbers.items()
    }


def key_of(name: str) -> str:
    """A name as a key of a run.

    >>> key_of("eval/low@1.json:f1 (macro)")
    'eval/low_1.json:f1 _macro_'
    """
    return re.sub(r"[^\w\-./: ]", "_", name)


def numbers_of(file: Path) -> dict[str, float]:
    """The numbers in a file of metrics, nested ones as ``outer.inner``; a file that is one number has it under no name."""
    if file.suffix in READ:
        try:
            return dict(_flat(values_of(file)))
        except InvalidInput:  # a document of another form: a list of points, a text
            pass
    try:
        return {"": float(file.read_text(encoding="utf-8"))}
    except ValueError:
        return {}


def _flat(values: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, float]]:
    for name, each in values.items():
        if isinstance(each, Mapping):
            yield from _flat(each, f"{before}{name}.")
        elif isinstance(each, int | float) and not isinstance(each, bool):
            yield f"{before}{name}", float(each)


def _files(root: Path, places: Iterable[str]) -> list[str]:
    """The files at these places, those of folders among them."""
    found: dict[str, None] = {}
    for each in places:
        place = root / each
        below = sorted(place.rglob("*")) if place.is_dir() else [place]
        found |= dict.fromkeys(file.relative_to(root).as_posix() for file in below if file.is_file())
    return list(found)
