"""Saving a model as a folder, and loading it again after checking what the folder holds."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from everloop.domain.canonical import sha256
from everloop.domain.signature import FORMAT, Field, Layout, ModelFile, Signature, StoredFile, Type
from everloop.errors import Corrupted, InvalidInput, NotFound, StorageError
from everloop.tracking.formats import estimators
from everloop.tracking.formats.answers import LoadedModel
from everloop.tracking.formats.columns import Columns, categories_of, conform, field_of, jsonable
from everloop.tracking.formats.digests import skops_digest
from everloop.tracking.formats.mlmodel import MLMODEL, load_mlflow_folder, mlmodel_text

MANIFEST = "model.json"
PROBE = "probe.json"
REFERENCE = "reference.parquet"

PROBE_ROWS = 64
REFERENCE_ROWS = 10_000


class Described(msgspec.Struct, frozen=True):
    """A model in memory with how it is called. `columns`: the example's, in the model's order."""

    native: Any
    signature: Signature
    layout: Layout
    quick_labels: bool
    columns: Columns | None = None


def save_model(
    model: Any, folder: str | Path, *, example: Any = None, features: Sequence[str] = ()
) -> ModelFile:
    """Write a model into `folder`, which is made if need be, and return what its `model.json` says.

    `example` holds rows as the model was trained on, of any table type, the more the better: from them come
    the signature, 64 rows that prove later that the model answers as it does now, and up to 10,000 that
    monitoring compares with. `features` are references of the feature views whose values the inputs are.

    Raises InvalidInput for models that are not scikit-learn estimators or are not fitted, for parts that
    could not be loaded without running code, and for an example the model does not answer.
    """
    if not estimators.is_estimator(model):
        raise InvalidInput(
            f"a {type(model).__module__}.{type(model).__qualname__} cannot be saved as a model",
            hint="scikit-learn estimators and pipelines can; they are stored with skops, never as pickle",
        )
    return write_model(described_model(model, example), Path(folder), features=features)


def described_model(model: Any, example: Any) -> Described:
    """How a model is called: found with the rows of an example, or else what the model knows of itself."""
    columns = None if example is None else estimators.columns_for(model, example)
    probe = None if columns is None else _spread(columns, PROBE_ROWS)
    inputs = _inputs(model, example, columns)
    return Described(model, *estimators.described(model, example, inputs, probe), columns)


def write_model(
    model: Described, target: Path, *, features: Sequence[str] = (), stored: Path | None = None
) -> ModelFile:
    """Write the folder of a model. `stored`: the model as a skops file that is there already."""
    target.mkdir(parents=True, exist_ok=True)
    if stored is None:
        estimators.dump(model.native, target)
    else:
        shutil.copyfile(stored, target / estimators.FILE)
    file = ModelFile(
        flavour="sklearn",
        kind=f"{type(model.native).__module__}.{type(model.native).__qualname__}",
        signature=model.signature,
        content=skops_digest(target / estimators.FILE),
        layout=model.layout,
        labels_from_probabilities=model.quick_labels,
        features=tuple(str(each) for each in features),
        python=platform.python_version(),
        packages=versions_of(estimators.libraries()),
    )
    # The answers to keep are those of the stored model, not of the one in memory: what is proved later is the
    # file.
    kept = LoadedModel(file, estimators.load(target), target)
    names = [estimators.FILE]
    if model.columns is not None:
        probe = _spread(model.columns, PROBE_ROWS)
        _write_probe(target / PROBE, kept, conform(probe, file.signature))
        reference = conform(_spread(model.columns, REFERENCE_ROWS), file.signature)
        rows = _write_reference(target / REFERENCE, kept, reference)
        names += [PROBE, REFERENCE]
        file = msgspec.structs.replace(file, probe_rows=len(next(iter(probe.values()))), reference_rows=rows)
    file = msgspec.structs.replace(file, files={name: _stored(target / name) for name in names})
    (target / MLMODEL).write_text(mlmodel_text(file, estimators.TRUSTED))
    (target / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n")
    return file


def read_model_file(source: str | Path | bytes) -> ModelFile:
    """What `model.json` says: of a folder, or of the file's own bytes. Raises NotFound or Corrupted."""
    if isinstance(source, bytes):
        data, place = source, MANIFEST
    else:
        path = Path(source) / MANIFEST
        place = str(path)
        if not path.is_file():
            raise NotFound(f"{source} is not a model folder: it has no {MANIFEST}")
        data = path.read_bytes()
    try:
        written = msgspec.json.decode(data)
        if (
            isinstance(written, dict)
            and isinstance(written.get("format"), int)
            and written["format"] > FORMAT
        ):
            raise StorageError(f"{place} was written by a newer Everloop", hint="install a newer Everloop")
        return msgspec.convert(written, ModelFile)
    except msgspec.MsgspecError as error:
        raise Corrupted(f"{place} cannot be read: {error}") from None


def load_model(folder: str | Path, *, trust: bool = False) -> LoadedModel:
    """Load a model folder after checking the digest of every file it needs. A folder that MLflow wrote has no such digests; its
    files were checked when they were fetched. `trust`: also load what would run code, a pickle.

    Raises NotFound, Corrupted (a file differs from what `model.json` says), Refused (types that are not
    trusted), MissingExtra.
    """
    source = Path(folder)
    if not (source / MANIFEST).is_file() and (source / MLMODEL).is_file():
        return LoadedModel(*load_mlflow_folder(source, trust=trust), source)
    file = read_model_file(source)
    if file.flavour != "sklearn":
        raise InvalidInput(
            f"{source} holds a model of flavour '{file.flavour}', which this Everloop cannot load"
        )
    for name, expected in file.files.items():
        path = source / name
        if name == REFERENCE:  # not needed to answer, so a package may leave it out
            continue
        if not path.is_file():
            raise Corrupted(f"{source} lacks its file {name}", hint="fetch the model again")
        if _stored(path) != expected:
            raise Corrupted(f"{path} does not match its digest", hint="fetch the model again")
    return LoadedModel(file, estimators.load(source), source)


def canonical_digest(folder: str | Path) -> str:
    """The digest of what the stored model is, whatever process wrote it: equal for equal models."""
    return skops_digest(Path(folder) / estimators.FILE)


def _inputs(model: Any, example: Any, columns: Columns | None) -> tuple[Field, ...]:
    if columns is not None:
        categories = categories_of(example)
        return tuple(field_of(name, column, categories.get(name)) for name, column in columns.items())
    names = estimators.input_names(model)
    if names is None:
        raise InvalidInput(
            "the model does not say which columns it takes", hint="give example=rows it was trained on"
        )
    return tuple(Field(name, Type.DOUBLE, nullable=True) for name in names)


def _spread(columns: Columns, wanted: int) -> Columns:
    """`wanted` rows taken at equal distances over all of them, so that every part of a sorted table is
    there.
    """
    total = len(next(iter(columns.values()))) if columns else 0
    if total == 0:
        raise InvalidInput("the example has no rows", hint="give rows as the model was trained on")
    chosen = np.unique(np.linspace(0, total - 1, min(wanted, total)).astype(np.int64))
    return {name: column[chosen] for name, column in columns.items()}


def _write_probe(path: Path, model: LoadedModel, inputs: Columns) -> None:
    outputs = model.answer(inputs)
    written = {
        "inputs": {name: jsonable(column) for name, column in inputs.items()},
        "outputs": {name: jsonable(column) for name, column in outputs.items()},
    }
    path.write_bytes(msgspec.json.encode(written))


def _write_reference(path: Path, model: LoadedModel, inputs: Columns) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    outputs = model.answer(inputs)
    columns = {**inputs, **{_beside(name, inputs): column for name, column in outputs.items()}}
    table = pa.table({name: pa.array(column, from_pandas=True) for name, column in columns.items()})
    pq.write_table(table, path, compression="zstd")
    return table.num_rows


def _beside(output: str, inputs: Columns) -> str:
    """The name of an output in a table that also holds the inputs."""
    return f"output.{output}" if output in inputs else output


def _stored(path: Path) -> StoredFile:
    data = path.read_bytes()
    return StoredFile(sha256(data), len(data))


def versions_of(names: Iterable[str]) -> dict[str, str]:
    """The versions of those packages that are installed here."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
