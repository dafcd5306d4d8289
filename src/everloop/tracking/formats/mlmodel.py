"""MLflow's model folders: what their ``MLmodel`` file says, loading them, and the ``MLmodel`` beside our own ``model.json``.

What `MLmodel` says of itself is only read, never believed: which types may be built from a skops file is decided by our own
list, and a pickle, which runs code when it is loaded, is loaded only for a user who says that it is trusted.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from everloop.domain.canonical import digest_of
from everloop.domain.plain_yaml import read_yaml
from everloop.domain.runs import checked_artifact_path
from everloop.domain.signature import Field, Layout, ModelFile, Signature, StoredFile, Task, Type
from everloop.errors import Corrupted, EverloopError, InvalidInput, MissingExtra, Refused

MLMODEL = "MLmodel"

_TYPES = {
    "boolean": Type.BOOLEAN,
    "integer": Type.LONG,
    "long": Type.LONG,
    "float": Type.DOUBLE,
    "double": Type.DOUBLE,
    "string": Type.STRING,
    "datetime": Type.DATETIME,
}
_GENERIC = "python_function"
_TRUST = "if you trust its author: ev.model(…).load(trust=True)"
_LONGEST = 4 << 20


def read_mlmodel(data: bytes) -> dict[str, Any]:
    """What an ``MLmodel`` file says. Raises InvalidInput."""
    if len(data) > _LONGEST:
        raise InvalidInput(f"{MLMODEL} has {len(data)} bytes", hint=f"at most {_LONGEST}")
    try:
        said = read_yaml(data.decode())
    except UnicodeDecodeError:
        raise InvalidInput(f"{MLMODEL} is not text") from None
    except EverloopError as error:
        raise InvalidInput(f"{MLMODEL} cannot be read: {error.message}") from None
    if not isinstance(said, dict) or not isinstance(said.get("flavors"), dict):
        raise InvalidInput(f"{MLMODEL} names no flavours of a model")
    return said


def describe_mlmodel(said: Mapping[str, Any], files: Mapping[str, StoredFile]) -> ModelFile:
    """The model as our records describe one, from its ``MLmodel`` alone: nothing is loaded.

    The flavour is the library's, if there is one beside MLflow's general one; `content` is the digest of the file that holds
    the model, or of all files where there are several.
    """
    flavors: dict[str, Any] = said["flavors"]
    flavour = next((name for name in flavors if name != _GENERIC), _GENERIC)
    settings = flavors.get(flavour)
    settings = settings if isinstance(settings, dict) else {}
    held = settings.get("pickled_model") or settings.get("data") or settings.get("model_data")
    own = files.get(str(held)) if held else None
    packages = {"mlflow": str(said["mlflow_version"])} if said.get("mlflow_version") else {}
    if settings.get("sklearn_version"):
        packages["scikit-learn"] = str(settings["sklearn_version"])
    general = flavors.get(_GENERIC)
    python = general.get("python_version") if isinstance(general, dict) else None
    inner = {name: each.digest for name, each in files.items() if name != MLMODEL}
    return ModelFile(
        flavour=flavour,
        kind=f"mlflow.{flavour}",
        signature=_signature(said.get("signature")),
        content=own.digest if own is not None else digest_of(inner),
        python=str(python or ""),
        packages=packages,
    )


def load_mlflow_folder(folder: Path, *, trust: bool = False) -> tuple[ModelFile, Any]:
    """The model of an MLflow folder and what is known of it. Raises InvalidInput for a library we do not load, Refused for what
    would run code unless `trust` is given, MissingExtra, Corrupted."""
    from everloop.tracking.formats import estimators

    said = read_mlmodel((folder / MLMODEL).read_bytes())
    described = describe_mlmodel(said, {})
    settings = said["flavors"].get("sklearn")
    if not isinstance(settings, dict) or not settings.get("pickled_model"):
        raise InvalidInput(
            f"{folder} holds an MLflow model of flavour '{described.flavour}', which Everloop does not load by itself",
            hint="load it with its own library: mlflow.pyfunc.load_model('models:/NAME/VERSION')",
        )
    path = folder / checked_artifact_path(str(settings["pickled_model"]))
    if settings.get("serialization_format") == "skops":
        native = _load_skops(path, trust)
    else:
        native = _load_pickle(path, trust)
    names = estimators.input_names(native)
    inputs = _inputs(described.signature.inputs, names, own=estimators.names_are_its_own(native))
    if not inputs:
        raise InvalidInput(
            f"{folder} does not say which columns the model takes",
            hint="log it with input_example=rows, or with a signature",
        )
    signature, layout, quick = estimators.described(native, None, inputs, None)
    if estimators.names_are_its_own(native):
        layout = Layout.FRAME
    elif any(field.type is Type.STRING for field in inputs):
        layout = Layout.OBJECTS
    kind = f"{type(native).__module__}.{type(native).__qualname__}"
    changed = msgspec.structs.replace(
        described, kind=kind, signature=signature, layout=layout, labels_from_probabilities=quick
    )
    return changed, native


def _inputs(given: tuple[Field, ...], names: tuple[str, ...] | None, *, own: bool) -> tuple[Field, ...]:
    """The columns of a signature under the names the model knows; without a signature that fits, numbers that may be missing."""
    if names is None or len(names) == len(given):
        if own and names is not None and {field.name for field in given} != set(names):
            return tuple(
                Field(name, field.type, field.nullable) for name, field in zip(names, given, strict=True)
            )
        return given
    return tuple(Field(name, Type.DOUBLE, nullable=True) for name in names)


def mlmodel_text(file: ModelFile, trusted: Sequence[str]) -> str:
    """The ``MLmodel`` of a folder that Everloop wrote, so that clients of MLflow load it as one of theirs.

    `trusted`: the skops types that loading it needs.
    """
    shown = msgspec.json.encode
    takes = [
        {"type": _mlflow_type(field), "name": field.name, "required": not field.nullable}
        for field in file.signature.inputs
    ]
    answer = next(
        (each for each in file.signature.outputs if each.name == "label"), file.signature.outputs[0]
    )
    gives = [{"type": _mlflow_type(answer), "required": True}]
    lines = [
        "flavors:",
        f"  {_GENERIC}:",
        "    loader_module: mlflow.sklearn",
        "    model_path: model.skops",
        "    predict_fn: predict",
        f"    python_version: {_quoted(file.python)}",
        "    env: {}",
        "  sklearn:",
        "    code: null",
        "    pickled_model: model.skops",
        "    serialization_format: skops",
        f"    sklearn_version: {_quoted(file.packages.get('scikit-learn', ''))}",
        "    skops_trusted_types:",
        *(f"    - {name}" for name in trusted),
        "signature:",
        f"  inputs: {_quoted(shown(takes).decode())}",
        f"  outputs: {_quoted(shown(gives).decode())}",
        "  params: null",
        f"model_uuid: {file.content[:32]}",
    ]
    return "\n".join(lines) + "\n"


def _load_skops(path: Path, trust: bool) -> Any:
    from everloop.tracking.formats import estimators

    if not trust:
        try:
            return estimators.load_file(path)
        except Refused as error:
            raise Refused(error.message, hint=_TRUST) from None
    skops = estimators.skops_io()
    try:
        return skops.load(path, trusted=skops.get_untrusted_types(file=path))
    except (OSError, KeyError, ValueError, TypeError, AttributeError, ImportError) as error:
        raise Corrupted(f"{path} cannot be loaded: {error}") from error


def _load_pickle(path: Path, trust: bool) -> Any:
    if not trust:
        raise Refused(
            f"{path.name} is a pickle, and loading a pickle runs whatever code its author put into it",
            hint=f"{_TRUST}; models logged with serialization_format='skops' need no trust",
        )
    try:
        with path.open("rb") as file:
            return pickle.load(file)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{path.name} needs the package {error.name}", hint=f"pip install {error.name}"
        ) from error
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, OSError) as error:
        raise Corrupted(
            f"{path} cannot be loaded: {error}",
            hint="load it with the package versions that its requirements.txt names",
        ) from error


def _signature(said: Any) -> Signature:
    """The signature that MLmodel gives as JSON texts: columns, or one tensor of rows and columns. What has no columns (images,
    chats) is left out."""
    given = said if isinstance(said, dict) else {}
    inputs = _fields(given.get("inputs"), "x")
    outputs = _fields(given.get("outputs"), "prediction")
    if outputs and outputs[0].type is not Type.DOUBLE:
        return Signature(inputs, (Field("label", outputs[0].type),), Task.CLASSIFICATION)
    return Signature(inputs, (Field("prediction", Type.DOUBLE),), Task.REGRESSION)


def _fields(text: Any, unnamed: str) -> tuple[Field, ...]:
    try:
        specs = msgspec.json.decode(text) if isinstance(text, str) else []
    except msgspec.DecodeError:
        return ()
    found: list[Field] = []
    for number, spec in enumerate(specs if isinstance(specs, list) else []):
        kind = spec.get("type") if isinstance(spec, dict) else None
        if kind == "tensor":
            return _columns_of_tensor(spec, unnamed)
        if kind not in _TYPES:
            return ()
        found.append(
            Field(str(spec.get("name", f"{unnamed}{number}")), _TYPES[kind], spec.get("required") is False)
        )
    return tuple(found)


def _columns_of_tensor(spec: Mapping[str, Any], unnamed: str) -> tuple[Field, ...]:
    tensor = spec.get("tensor-spec")
    shape = tensor.get("shape") if isinstance(tensor, dict) else None
    if not isinstance(shape, list) or not 1 <= len(shape) <= 2:
        return ()
    width = shape[1] if len(shape) == 2 else 1
    if not isinstance(width, int) or not 0 < width <= 10_000:
        return ()
    text = isinstance(tensor, dict) and str(tensor.get("dtype", "")).startswith(("str", "object", "<U"))
    return tuple(Field(f"{unnamed}{number}", Type.STRING if text else Type.DOUBLE) for number in range(width))


def _mlflow_type(field: Field) -> str:
    """A whole number that may be missing arrives as a float in pandas, and MLflow takes it as one."""
    return "double" if field.type is Type.LONG and field.nullable else str(field.type)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
