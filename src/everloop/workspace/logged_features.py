"""Features as an endpoint's models were fed them: rows of its prediction log that can be held against history."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from everloop.domain.references import Kind, Reference
from everloop.errors import InvalidInput, NotFound
from everloop.features.features import Features
from everloop.registry.registry import Registry
from everloop.serving.serving import Serving

if TYPE_CHECKING:
    from everloop.workspace.workspace import Workspace

TIME = "time"
"""The log's column of instants."""


class LoggedFeatures(NamedTuple):
    """Rows of a log (an Arrow table), the model that was fed them, and those of its features that can be compared."""

    rows: Any
    model: str
    features: list[str]


def logged_features(
    workspace: Workspace,
    endpoint: str,
    *,
    model: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
) -> LoggedFeatures:
    """What one model of an endpoint was fed in [since, until): `model`, or the one that answered last.

    Raises NotFound when nothing was logged, or nothing of that model; InvalidInput when the model has no features of a view, or
    the log lacks their keys.
    """
    import pyarrow.compute as pc

    name = Reference.parse(endpoint, Kind.ENDPOINT).name
    rows = workspace.room(Serving).predictions(name, since=since, until=until)
    wanted = workspace.room(Registry).version(model).reference if model else None
    if wanted is None and rows.num_rows:
        wanted = rows["model"][rows.num_rows - 1].as_py()
    rows = rows.filter(pc.equal(rows["model"], wanted)) if wanted else rows
    if not wanted or not rows.num_rows:
        of_model = f" of {wanted}" if wanted else ""
        raise NotFound(
            f"endpoint:{name} has no predictions{of_model} then", hint="choose other --since and --until"
        )
    declared = workspace.room(Registry).version(wanted).model.features
    if not declared:
        raise InvalidInput(
            f"{wanted} was logged without features of a view",
            hint='log it with run.log_model(…, features=["weather"])',
        )
    room = workspace.room(Features)
    features = [each for name in declared for each in room.comparable(name, rows.column_names)]
    if not features:
        raise InvalidInput(
            f"the log of endpoint:{name} has none of {', '.join(declared)} with its keys",
            hint="send the entity's keys with each request",
        )
    return LoggedFeatures(rows, wanted, features)
