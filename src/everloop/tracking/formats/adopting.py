"""MLflow's model folders made Everloop's: what serving, packaging and monitoring need is put beside what MLflow wrote.

A model in skops' format is taken as it is. A pickle is loaded, which runs its author's code and so needs the user's word
(`trust`), and kept as skops from then on: no server ever loads the pickle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from everloop.domain.runs import checked_artifact_path
from everloop.domain.signature import ModelFile
from everloop.errors import Failed, Refused
from everloop.tracking.formats import estimators
from everloop.tracking.formats.answers import LoadedModel, compare
from everloop.tracking.formats.columns import conform
from everloop.tracking.formats.folder import Described, described_model, write_model
from everloop.tracking.formats.mlmodel import MLMODEL, load_mlflow_folder, read_mlmodel


def adopt_folder(source: Path, target: Path, *, trust: bool = False) -> ModelFile:
    """Write the model of an MLflow folder into `target` as one of ours, and prove that it answers the same.

    The rows it is proved with are the folder's input example; without one nothing is proved, and there is nothing to prove
    a package with later. Raises InvalidInput, Refused (a pickle without `trust`, types that skops cannot hold safely), Failed
    when the answers differ.
    """
    described, native = load_mlflow_folder(source, trust=trust)
    example = _example(source)
    try:
        if example is None:
            quick = described.labels_from_probabilities
            model = Described(native, described.signature, described.layout, quick)
        else:
            model = described_model(native, example)
        file = write_model(model, target, stored=_skops_file(source))
    except Refused as error:
        hint = "serve it with mlflow itself, or log it from estimators and functions that skops can hold"
        raise Refused(f"the model cannot be kept without a pickle: {error.message}", hint=hint) from None
    if model.columns is not None:
        rows = conform(model.columns, file.signature)
        ours = LoadedModel(file, estimators.load(target), target).answer(rows)
        theirs = LoadedModel(file, native).answer(rows)
        parity = compare(theirs, ours)
        if not parity.passed:
            raise Failed(
                f"the model answers otherwise once it is kept with skops: off by {parity.max_abs:g}, "
                f"{parity.flips} of {parity.rows} labels"
            )
    return file


def _skops_file(source: Path) -> Path | None:
    """The folder's model where it is skops already."""
    settings = read_mlmodel((source / MLMODEL).read_bytes())["flavors"]["sklearn"]
    if settings.get("serialization_format") != "skops":
        return None
    return source / checked_artifact_path(str(settings["pickled_model"]))


def _example(source: Path) -> Any:
    """The rows that were logged with the model, as columns or as an array; None without such."""
    import numpy as np

    said = read_mlmodel((source / MLMODEL).read_bytes()).get("saved_input_example_info")
    named = said.get("artifact_path") if isinstance(said, dict) else None
    path = source / checked_artifact_path(str(named)) if named else None
    if path is None or not path.is_file():
        return None
    try:
        rows = msgspec.json.decode(path.read_bytes())
        if isinstance(rows, dict) and {"columns", "data"} <= rows.keys():
            names = [str(each) for each in rows["columns"]]
            return dict(zip(names, map(list, zip(*rows["data"], strict=True)), strict=True))
        found = np.asarray(rows["inputs"] if isinstance(rows, dict) else rows)
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError):
        return None  # an example of another form proves nothing, and need not
    return found if found.ndim == 2 and found.dtype.kind in "fiub" else None
