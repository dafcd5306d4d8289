"""Puts a Feast repository into a workspace: its files as datasets, its declarations as a definitions file, recorded.

Feast reads `created` timestamps to break ties only, so that is what they do here too: of rows of one entity and moment the one
created last stands last in the dataset. Doing it twice changes nothing.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds

from everloop.data.tables.scanning import first_line, quoted
from everloop.domain.featureviews import FeatureView, OnDemandView
from everloop.domain.names import checked_name
from everloop.domain.online import FeatureList
from everloop.errors import Conflict, EverloopError, InvalidInput
from everloop.exchange.feast.declared import FeastField, FeastOnDemand, FeastView, Repository
from everloop.exchange.feast.reading import CONFIGURATION, Config
from everloop.exchange.feast.writing import WrittenView, definitions, on_demand, type_of
from everloop.exchange.source import Changed, Report, Skipped
from everloop.governance.definitions import declared, load

if TYPE_CHECKING:
    from everloop.workspace.workspace import Workspace

DEFINITIONS = "feast_features.py"
SUPPORTED = ("FeatureView", "BatchFeatureView", "StreamFeatureView")


class FeastReport(Report):
    """What the import did. definitions: the files that declare what was brought."""

    definitions: list[str] = []  # noqa: RUF012  (a Struct, which copies its defaults)


class _Cannot(Exception):
    """Why something cannot be brought."""


def bring_in_feast(
    workspace: Workspace,
    config: Config,
    repository: Repository,
    *,
    out: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> FeastReport:
    """Bring a repository in. out: the definitions file, `feast_features.py` in the project's folder when not given.

    Raises Conflict when that file is there and says something else, before anything is changed.
    """
    return _Import(workspace, config, repository, out or workspace.project / DEFINITIONS, say).run()


class _Import:
    def __init__(
        self,
        workspace: Workspace,
        config: Config,
        repository: Repository,
        out: Path,
        say: Callable[[str], None],
    ) -> None:
        self._workspace, self._config, self._repository, self._out = workspace, config, repository, out
        self._say = say
        self._report = FeastReport(str(config.folder))
        self._schemas: dict[str, pa.Schema] = {}
        """Of the datasets that are brought."""
        self._datasets: dict[str, tuple[Path, FeastView]] = {}
        self._entities: dict[str, list[str]] = {}
        self._declared = {each.name: each.join_keys for each in repository.entities}
        self._types: dict[tuple[str, str], str] = {}

    def run(self) -> FeastReport:
        for each in self._repository.left:
            self._skip(each.kind, each.name, each.reason)
        views = []
        for view in self._repository.views:
            try:
                views.append(self._view(view))
            except (_Cannot, EverloopError) as reason:
                self._skip("feature view", view.name, str(reason))
        brought = {each.name for each in views}
        lists = self._lists(brought)
        source = definitions(self._config.project, self._entities, views, lists)
        self._require_free(source)
        for name, (path, view) in self._datasets.items():
            self._add(name, path, view)
        self._out.write_text(source, encoding="utf-8")
        self._report.definitions.append(str(self._out))
        self._record()
        self._on_demand(brought)
        self._tell_rest()
        return self._report

    # Views

    def _view(self, view: FeastView) -> WrittenView:
        source = view.source
        if view.kind not in SUPPORTED:
            raise _Cannot(f"a {view.kind} has no like here")
        if view.transformed:
            raise _Cannot("it transforms its source by code of its own: declare it with sql=… or python=…")
        if source is None:
            raise _Cannot("it names no source")
        if source.kind not in ("FileSource", "PushSource") and not source.batch:
            raise _Cannot(f"its source is a {source.kind}: add the data, then declare the view over it")
        if not source.path:
            raise _Cannot("its source is not a file")
        if source.format and "Parquet" not in source.format:
            raise _Cannot(f"its source is kept as {source.format}, not as Parquet")
        if view.kind == "StreamFeatureView" or source.batch:
            self._change("feature view", view.name, f"rows come by: everloop features push {view.name} FILE")
        path = self._path(source.path)
        dataset = _dataset_name(source.batch or source.name, path)
        schema = self._schema(dataset, path, view)
        entity, keys = self._entity(view)
        back = {feast: column for column, feast in source.field_mapping.items()}
        for key in keys:
            if key not in schema.names:
                raise _Cannot(f"its file has no key column '{back.get(key, key)}'")
        event_time = self._event_time(source.timestamp_field, schema)
        checked_name(view.name, "feature view name", folders=True)
        given = view.fields or [
            FeastField(back_name)
            for name in schema.names
            if (back_name := source.field_mapping.get(name, name))
            not in (*keys, source.timestamp_field, source.created_field)
        ]
        features = self._features(view, [each for each in given if each.name not in keys], back, schema)
        if not features:
            raise _Cannot("none of its features can be brought")
        self._entities.setdefault(entity, keys)
        return WrittenView(
            name=view.name,
            entity=entity,
            source=dataset,
            event_time=event_time,
            ttl=view.ttl,
            features=features,
        )

    def _features(
        self, view: FeastView, fields: Sequence[FeastField], back: dict[str, str], schema: pa.Schema
    ) -> dict[str, str]:
        """Names to expressions; blank where the column has that name."""
        features = {}
        for field in fields:
            column = back.get(field.name, field.name)
            if column not in schema.names:
                self._skip("feature", f"{view.name}:{field.name}", f"the file has no column '{column}'")
            elif not field.name.isidentifier():
                self._skip("feature", f"{view.name}:{field.name}", "a feature's name is one word")
            else:
                features[field.name] = "" if column == field.name else quoted(column)
                self._types[view.name, field.name] = type_of(field.type) or _arrow_type(schema, column)
        return features

    def _entity(self, view: FeastView) -> tuple[str, list[str]]:
        names = [name for name in view.entities if name != "__dummy"]
        if not names:
            raise _Cannot("it is about no entity")
        keys = [key for name in names for key in self._declared.get(name, [name])]
        return "_".join(names), keys

    def _event_time(self, column: str, schema: pa.Schema) -> str:
        if not column or column not in schema.names:
            raise _Cannot(f"its file has no column of event times '{column}'")
        kind = schema.field(column).type
        if not pa.types.is_timestamp(kind):
            raise _Cannot(f"its event times '{column}' are {kind}, not instants")
        # Feast reads times without a zone as UTC; here that is said.
        return quoted(column) if kind.tz else f"{quoted(column)} at time zone 'UTC'"

    def _path(self, given: str) -> Path:
        if "://" in given and not given.startswith("file://"):
            raise _Cannot(f"its file is at {given}: add it first, then declare the view over it")
        path = Path(given.removeprefix("file://"))
        path = path if path.is_absolute() else self._config.folder / path
        if not path.exists():
            raise _Cannot(f"its file {path} is not there")
        return path

    def _schema(self, dataset: str, path: Path, view: FeastView) -> pa.Schema:
        known = self._datasets.get(dataset)
        if known is not None and known[0] != path:
            raise _Cannot(f"its source is called '{dataset}', as another file is")
        if dataset not in self._schemas:
            try:
                schema = pds.dataset(path, format="parquet").schema
            except (pa.ArrowInvalid, OSError) as error:
                raise _Cannot(f"its file {path} is not Parquet: {first_line(error)}") from None
            self._schemas[dataset] = schema
            self._datasets[dataset] = (path, view)
        return self._schemas[dataset]

    # Services

    def _lists(self, brought: set[str]) -> dict[str, list[str]]:
        lists = {}
        for service in self._repository.services:
            features = [
                f"{view}:{feature}" if feature else view
                for view, feature in service.features
                if view in brought
            ]
            left = sorted({view for view, _ in service.features if view not in brought})
            if left:
                self._change("feature service", service.name, f"without {', '.join(left)}")
            if not features:
                self._skip("feature service", service.name, "none of its views was brought")
                continue
            lists[service.name] = features
        return lists

    # What is changed here

    def _require_free(self, source: str) -> None:
        if self._out.exists() and self._out.read_text(encoding="utf-8") != source:
            raise Conflict(
                f"{self._out} is there and says something else", hint="name another file: --out FILE"
            )

    def _add(self, name: str, path: Path, view: FeastView) -> None:
        assert view.source is not None
        before = self._workspace.data.newest(name)
        table = _ordered(path, view, self._keys(view))
        if table is not None:
            self._change(
                "dataset", name, "rows of one entity and moment stand in the order they were created"
            )
        added = self._workspace.data.add(
            path if table is None else table, name, f"from the Feast project {self._config.project}"
        )
        self._say(f"{added.reference}: {added.rows:,} rows" if added.rows is not None else added.reference)
        self._report.count("datasets", int(not added.unchanged), int(added.unchanged and before is not None))

    def _keys(self, view: FeastView) -> list[str]:
        return [key for name in view.entities for key in self._declared.get(name, [name])]

    def _record(self) -> None:
        """Record what the definitions file declares."""
        room = self._workspace.features
        module = load(str(self._out), self._workspace.project)
        known = {(each.reference, each.digest) for each in room.views()}
        views = room.apply(declared(module, FeatureView))
        present = sum((each.reference, each.digest) in known for each in views)
        self._report.count("feature_views", len(views) - present, present)
        before = {(each.name, each.version) for each in room.feature_lists()}
        lists = room.apply_lists(declared(module, FeatureList))
        here = sum((each.name, each.version) in before for each in lists)
        self._report.count("feature_lists", len(lists) - here, here)
        self._report.count("entities", len(self._entities))

    # On-demand views

    def _on_demand(self, brought: set[str]) -> None:
        for view in self._repository.on_demand:
            try:
                self._carry(view, brought)
            except (_Cannot, EverloopError) as reason:
                self._skip("on-demand view", view.name, str(reason))

    def _carry(self, view: FeastOnDemand, brought: set[str]) -> None:
        if view.mode not in ("pandas", "python") or not view.code:
            raise _Cannot(f"its code cannot be had (mode {view.mode})")
        if view.mode == "pandas" and importlib.util.find_spec("pandas") is None:
            raise _Cannot("its code needs pandas: install it, and import again")
        missing = sorted({name for name, _ in view.inputs if name not in brought})
        if missing:
            raise _Cannot(f"it needs '{missing[0]}', which was not brought")
        for name, field in view.inputs:
            if not self._types.get((name, field.name)):
                raise _Cannot(f"the type of its input {name}:{field.name} has no like here")
        for each in (*view.request, *view.outputs):
            if not type_of(each.type):
                raise _Cannot(f"the type of '{each.name}', {each.type or 'unknown'}, has no like here")
        source = on_demand(view, self._types)
        file = self._out.with_name(f"{self._out.stem}_{_word(view.name)}.py")
        with tempfile.TemporaryDirectory(prefix="everloop-feast-") as scratch:
            tried = Path(scratch) / file.name
            tried.write_text(source, encoding="utf-8")
            [found] = declared(load(str(tried), Path(scratch)), OnDemandView)
        known = {(each.reference, each.digest) for each in self._workspace.features.on_demand_views()}
        [record] = self._workspace.features.apply([found])
        file.write_text(source, encoding="utf-8")
        self._report.definitions.append(str(file))
        present = (record.reference, record.digest) in known
        self._report.count("on_demand_views", int(not present), int(present))

    # What is left

    def _tell_rest(self) -> None:
        views = self._repository.views
        used = {each.source.batch or each.source.name for each in views if each.source is not None}
        used |= {each.source.name for each in views if each.source is not None}
        for source in self._repository.sources:
            if source.kind != "RequestSource" and source.name not in used:
                self._skip("source", source.name or source.path, f"no feature view reads this {source.kind}")
                used.add(source.name)
        if self._config.online != "sqlite":
            self._skip(
                "online store",
                self._config.online,
                f"{CONFIGURATION} is not read; 'online' in everloop.toml may name a Redis; then: everloop features materialize",
            )
        if self._config.offline not in ("file", "dask", "duckdb"):
            self._skip("offline store", self._config.offline, "only file sources are brought")

    def _skip(self, kind: str, name: str, reason: str) -> None:
        self._report.skipped.append(Skipped(kind, name, reason))

    def _change(self, kind: str, name: str, change: str) -> None:
        self._report.changed.append(Changed(kind, name, change))


def _dataset_name(name: str, path: Path) -> str:
    """What a source is called, else what its file is called."""
    for candidate in (name, path.stem):
        try:
            if candidate and "/" not in candidate:
                return checked_name(candidate, "dataset name")
        except InvalidInput:
            continue
    raise _Cannot(f"its source '{name}' has no name that a dataset may have")


def _ordered(path: Path, view: FeastView, keys: Sequence[str]) -> pa.Table | None:
    """The file's rows in the order they were created, where that decides between rows; None where the file may stay as it is."""
    assert view.source is not None
    created = view.source.created_field
    source = pds.dataset(path, format="parquet")
    if not created or created not in source.schema.names:
        return None
    told_apart = [*keys, view.source.timestamp_field]
    table = source.to_table(columns=[*told_apart, created])
    if len(table.group_by(told_apart).aggregate([])) == len(table):
        return None
    rows = pa.table(
        {
            "said": pc.is_valid(table[created]),  # rows of which it is not said count as created first
            "created": table[created],
            "row": pa.array(np.arange(len(table))),
        }
    )
    order = pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in rows.column_names])
    if np.array_equal(order.to_numpy(), np.arange(len(table))):
        return None
    return source.to_table().take(order).replace_schema_metadata(None)


def _arrow_type(schema: pa.Schema, column: str) -> str:
    kind: Any = schema.field(column).type
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind):
        return "long"
    if pa.types.is_floating(kind):
        return "double"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "string"
    return "datetime" if pa.types.is_timestamp(kind) and kind.tz else ""


def _word(name: str) -> str:
    return "".join(each if each.isalnum() else "_" for each in name)
