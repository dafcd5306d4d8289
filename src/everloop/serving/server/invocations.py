"""`POST /invocations` as MLflow's scoring server and SageMaker's containers take it: JSON in four forms.

`dataframe_split`, `dataframe_records`, `instances`, `inputs`. Where no client breaks by it, this is stricter than MLflow: 2.5 is
refused for a whole number, and so is text for a number.
"""

from __future__ import annotations

from typing import Any

import msgspec

from everloop.domain.signature import Signature
from everloop.errors import InvalidInput
from everloop.serving.server.answering import Answered
from everloop.serving.server.requests import Asked, checked_size
from everloop.tracking.formats.columns import columns_from_rows, jsonable

_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


def read(body: dict[str, Any], signature: Signature) -> Asked:
    found = [form for form in _FORMS if form in body]
    if len(found) != 1:
        raise InvalidInput(
            f"give exactly one of {', '.join(_FORMS)}", hint='such as {"dataframe_records": [{"column": 1}]}'
        )
    form, value = found[0], body[found[0]]
    columns = _split(value, signature) if form == "dataframe_split" else _free(form, value, signature)
    # Extra columns are left aside: clients send what they have, and MLflow takes it by name.
    known = {name: values for name, values in columns.items() if name in signature.names}
    return Asked(checked_size(known), known)


def written(answered: Answered) -> bytes:
    """What `predict` gives in MLflow: labels of a classifier, numbers of a regressor; identifiers beside them."""
    outputs = answered.outputs
    main = outputs.get("label", next(iter(outputs.values())))
    return msgspec.json.encode({"predictions": jsonable(main), "prediction_ids": answered.ids})


def _split(value: Any, signature: Signature) -> dict[str, list[Any]]:
    if (
        not isinstance(value, dict)
        or value.keys() - {"columns", "index", "data"}
        or not isinstance(value.get("data"), list)
    ):
        raise InvalidInput(
            "dataframe_split holds columns, index and data", hint='such as {"columns": ["a"], "data": [[1]]}'
        )
    return _matrix(value["data"], value.get("columns") or list(signature.names))


def _free(form: str, value: Any, signature: Signature) -> dict[str, list[Any]]:
    if isinstance(value, dict) and form == "inputs":
        return {name: each if isinstance(each, list) else [each] for name, each in value.items()}
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        return columns_from_rows(value)
    if isinstance(value, list) and value and form != "dataframe_records":
        return _matrix(value, list(signature.names))
    raise InvalidInput(f"{form} holds no rows", hint='such as [{"column": 1}]')


def _matrix(rows: list[Any], names: Any) -> dict[str, list[Any]]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidInput("columns is not a list of names", hint='such as {"columns": ["a"], "data": [[1]]}')
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(names):
            raise InvalidInput(
                f"row {number} does not have {len(names)} values", hint=f"columns are: {', '.join(names)}"
            )
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}
