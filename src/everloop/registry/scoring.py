"""Several models answer the same rows in a process that was begun for that.

Whoever compares models need not load their libraries for it: not a command, not a server that stays. A model that kills its
process kills that one. `python -m everloop.registry.scoring ROWS FOLDER…` answers the rows of an Arrow file with the model of
each folder and leaves the scores beside it: ``0.npy`` of the first, or ``0.json`` with what went wrong.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from everloop.domain.names import shown
from everloop.engine.forks.programs import Program, run
from everloop.engine.here import environment
from everloop.errors import EverloopError, Failed, InvalidInput, from_dict
from everloop.stats.arrays import Floats
from everloop.tracking.formats.columns import Columns
from everloop.tracking.formats.fresh import needed_packages

LIBRARY = "skops.io"
"""What takes the time when a model is loaded: where it is loaded already, nothing is gained elsewhere."""


def better_elsewhere(folders: Sequence[Path]) -> bool:
    """Whether these models should answer in another process: their libraries are known and not loaded here, and a process that
    has them is quickly had (see `everloop.engine.forks`)."""
    return (
        sys.platform == "linux" and LIBRARY not in sys.modules and all(needed_packages([f]) for f in folders)
    )


def scores_of(folders: Mapping[str, Path], columns: Columns) -> dict[str, Floats | EverloopError]:
    """The score of each row by each model (see `Signature.score`), or why it has none. Raises InvalidInput for columns that no
    table can hold."""
    with tempfile.TemporaryDirectory(prefix="everloop-scores-") as name:
        rows = Path(name) / "rows.arrow"
        _write(rows, columns)
        program = Program(
            "everloop.registry.scoring",
            [str(rows), *(str(folder.resolve()) for folder in folders.values())],
            environment(os.environ),
            Path(name),
            purpose="to prove",
            packages=needed_packages(list(folders.values())),
        )
        ended = run(program)
        said = ended.err.decode(errors="replace").strip().rpartition("\n")[2]
        found = {reference: _left(Path(name), number) for number, reference in enumerate(folders)}
    return {
        reference: Failed(f"a process that loaded {reference} died ({ended.code}): {said}")
        if scores is None
        else scores
        for reference, scores in found.items()
    }


def score_of(model_folder: str, table: pa.Table) -> Floats:
    """The score of each row of a table that may hold more columns than the model takes."""
    from everloop.tracking.formats import load_model

    model = load_model(model_folder)
    score = model.signature.score
    if score is None:
        raise InvalidInput(
            f"{model_folder} gives labels only", hint="gates need models that give probabilities or numbers"
        )
    taken = [name for name in model.signature.names if name in table.column_names]
    return model.predict(table.select(taken))[score]


def _write(path: Path, columns: Columns) -> None:
    arrays = {}
    for name, column in columns.items():
        try:
            arrays[name] = pa.array(column, from_pandas=True)
        except pa.ArrowInvalid as error:
            raise InvalidInput(f"column {shown(name)} holds values of several types: {error}") from None
    table = pa.table(arrays)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _left(folder: Path, number: int) -> Floats | EverloopError | None:
    """What the process left of its model of this number: nothing when it died."""
    if (folder / f"{number}.npy").is_file():
        return np.asarray(np.load(folder / f"{number}.npy", allow_pickle=False), dtype=np.float64)
    if (folder / f"{number}.json").is_file():
        return from_dict(msgspec.json.decode((folder / f"{number}.json").read_bytes()))
    return None


def main(arguments: list[str]) -> None:
    rows, *folders = arguments
    with pa.memory_map(rows) as file:
        table = pa.ipc.open_file(file).read_all()
        for number, folder in enumerate(folders):
            place = Path(rows).with_name(str(number))
            try:
                scores = score_of(folder, table)
            except EverloopError as error:
                place.with_suffix(".json").write_bytes(msgspec.json.encode(error.to_dict()))
            else:
                with open(f"{place}.part", "wb") as part:
                    np.save(part, scores)
                os.replace(f"{place}.part", place.with_suffix(".npy"))


if __name__ == "__main__":
    main(sys.argv[1:])
