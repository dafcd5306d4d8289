"""Open Inference Protocol v2 over HTTP, its JSON form. One tensor a column: shape [rows] or [rows, 1].

The binary extension is refused with a sentence: clients then send JSON (tritonclient: `binary_data=False`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from everloop.domain.names import shown
from everloop.domain.signature import Field, Signature, Type
from everloop.errors import InvalidInput, nearest
from everloop.serving.server.answering import Answered
from everloop.serving.server.requests import Asked, checked_size
from everloop.tracking.formats.columns import jsonable

_DATATYPES = {
    Type.DOUBLE: "FP64",
    Type.LONG: "INT64",
    Type.BOOLEAN: "BOOL",
    Type.STRING: "BYTES",
    Type.DATETIME: "BYTES",
}
_WHOLE = {f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
_TAKEN = {
    Type.DOUBLE: {"FP64", "FP32", "FP16"} | _WHOLE,
    Type.LONG: _WHOLE,
    Type.BOOLEAN: {"BOOL"},
    Type.STRING: {"BYTES"},
    Type.DATETIME: {"BYTES"},
}


def server_metadata(version: str) -> bytes:
    return msgspec.json.encode({"name": "everloop", "version": version, "extensions": []})


def model_metadata(name: str, version: int, signature: Signature) -> bytes:
    return msgspec.json.encode(
        {
            "name": name,
            "versions": [str(version)],
            "platform": "everloop",
            "inputs": [_tensor(field) for field in signature.inputs],
            "outputs": [_tensor(field) for field in signature.outputs],
        }
    )


def read(body: dict[str, Any], signature: Signature) -> Asked:
    inputs = body.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise InvalidInput(
            "the request has no inputs", hint=f"one tensor each for: {', '.join(signature.names)}"
        )
    fields = {field.name: field for field in signature.inputs}
    columns: dict[str, list[Any]] = {}
    for tensor in inputs:
        name, values = _read_tensor(tensor, fields)
        if name in columns:
            raise InvalidInput(f"two inputs are called {shown(name)}", hint="give each column once")
        columns[name] = values
    return Asked(checked_size(columns), columns)


def checked_outputs(body: dict[str, Any], signature: Signature) -> list[str]:
    """The names of the outputs a request wants, all of them if it names none."""
    known = [field.name for field in signature.outputs]
    asked = body.get("outputs") or []
    if not isinstance(asked, list) or not all(isinstance(each, dict) for each in asked):
        raise InvalidInput("outputs is not a list of objects", hint=f"outputs: {', '.join(known)}")
    wanted = [str(each.get("name")) for each in asked] or known
    for name in wanted:
        if name not in known:
            raise InvalidInput(
                f"there is no output {shown(name)}",
                hint=nearest(name, known) or f"outputs: {', '.join(known)}",
            )
    return wanted


def written(body: dict[str, Any], answered: Answered, name: str, version: int, signature: Signature) -> bytes:
    types = {field.name: field.type for field in signature.outputs}
    outputs = []
    for output in checked_outputs(body, signature):
        values = jsonable(answered.outputs[output])
        outputs.append(
            {"name": output, "datatype": _DATATYPES[types[output]], "shape": [len(values)], "data": values}
        )
    reply: dict[str, Any] = {"model_name": name, "model_version": str(version), "outputs": outputs}
    if "id" in body:
        reply["id"] = body["id"]
    reply["parameters"] = {"prediction_ids": ",".join(answered.ids)}
    return msgspec.json.encode(reply)


def _tensor(field: Field) -> dict[str, Any]:
    return {"name": field.name, "datatype": _DATATYPES[field.type], "shape": [-1]}


def _read_tensor(tensor: Any, fields: dict[str, Field]) -> tuple[str, list[Any]]:
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        raise InvalidInput(
            "an input has no name", hint="inputs are objects with name, shape, datatype and data"
        )
    name = tensor["name"]
    if name not in fields:
        raise InvalidInput(
            f"unknown input {shown(name)}", hint=nearest(name, fields) or f"inputs: {', '.join(fields)}"
        )
    if "data" not in tensor:
        raise InvalidInput(
            f"input {shown(name)} has no data; the binary and shared-memory extensions are not supported",
            hint="send JSON: binary_data=False in tritonclient",
        )
    datatype = tensor.get("datatype")
    if datatype not in _TAKEN[fields[name].type]:
        raise InvalidInput(
            f"input {shown(name)} is {_DATATYPES[fields[name].type]}, not {shown(str(datatype))}",
            hint="see the model's metadata",
        )
    shape = tensor.get("shape")
    if (
        not isinstance(shape, list)
        or not all(type(size) is int and size >= 0 for size in shape)
        or not 1 <= len(shape) <= 2
    ):
        raise InvalidInput(f"input {shown(name)} has no shape [rows]", hint="give shape [rows] or [rows, 1]")
    if len(shape) == 2 and shape[1] != 1:
        raise InvalidInput(f"input {shown(name)} has {shape[1]} columns", hint="send one tensor a column")
    values = _flat(tensor["data"])
    if len(values) != shape[0]:
        raise InvalidInput(
            f"input {shown(name)} has {len(values)} values for shape {shape}",
            hint="shape and data must agree",
        )
    return name, values


def _flat(data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise InvalidInput("data is not a list", hint="give one value a row")
    if data and all(isinstance(each, list) for each in data):
        return [value for each in data for value in each]
    return data
