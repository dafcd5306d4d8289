"""Runs a repository's Python files, as ``feast apply`` does, and writes what they declare into a file.

    python -m everloop.exchange.feast.running REPOSITORY ANSWER FILE…

This is a process of its own: what the files do besides, they do here. Their output goes to standard error.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import textwrap
import traceback
from pathlib import Path
from typing import Any

import msgspec

from everloop.exchange.feast import standin
from everloop.exchange.feast.declared import (
    FeastEntity,
    FeastField,
    FeastOnDemand,
    FeastService,
    FeastSource,
    FeastView,
    Left,
    Repository,
)


def main(repository: Path, answer: Path, files: list[str]) -> None:
    sys.stdout = sys.stderr
    standin.install()
    sys.path.insert(0, str(repository))
    left = []
    for file in files:
        name = ".".join(Path(file).with_suffix("").parts)
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # noqa: BLE001  (the user's file may raise anything at all)
            left.append(Left("file", file, _told(error, repository)))
    found = _collected(standin.DECLARED, repository)
    answer.write_bytes(msgspec.json.encode(msgspec.structs.replace(found, left=left)))


def _collected(declared: list[Any], repository: Path) -> Repository:
    def all_of(kind: type) -> list[Any]:
        return [each for each in declared if isinstance(each, kind)]

    return Repository(
        entities=[FeastEntity(each.name, each.join_keys) for each in all_of(standin.Entity)],
        views=[_view(each) for each in all_of(standin.View)],
        on_demand=[_on_demand(each, repository) for each in all_of(standin.OnDemandFeatureView)],
        services=[_service(each) for each in all_of(standin.FeatureService)],
        sources=[_source(each) for each in all_of(standin.Source)],
    )


def _view(view: Any) -> FeastView:
    entities = [each if isinstance(each, str) else str(each.name) for each in view.entities]
    source = _source(view.source) if isinstance(view.source, standin.Source) else None
    return FeastView(view.kind, view.name, entities, source, _fields(view.fields), view.ttl, view.transformed)


def _source(source: Any) -> FeastSource:
    batch = source.batch
    kept = batch if isinstance(batch, standin.Source) else source
    return FeastSource(
        kind=source.kind,
        name=source.name,
        path=str(kept.path),
        timestamp_field=kept.timestamp_field,
        created_field=kept.created_field,
        field_mapping=kept.field_mapping,
        batch=kept.name if kept is not source else "",
        format=kept.format,
    )


def _fields(fields: list[Any]) -> list[FeastField]:
    return [FeastField(each.name, each.dtype) for each in fields if isinstance(each, standin.Field)]


def _service(service: Any) -> FeastService:
    features: list[tuple[str, str]] = []
    for each in service.features:
        if isinstance(each, standin.Projection):
            features += [(each.name, name) for name in each.features]
        else:
            features.append((str(each.name), ""))
    return FeastService(service.name, features)


def _on_demand(view: Any, repository: Path) -> FeastOnDemand:
    inputs: list[tuple[str, FeastField]] = []
    request: list[FeastField] = []
    for source in view.sources:
        if isinstance(source, standin.RequestSource):
            request += _fields(source.schema)
        elif isinstance(source, standin.Projection):
            inputs += [(source.name, FeastField(name)) for name in source.features]
        elif isinstance(source, standin.View):
            entities = [key for each in source.entities for key in getattr(each, "join_keys", [])]
            inputs += [(source.name, each) for each in _fields(source.fields) if each.name not in entities]
    code, place = _code(view.function, repository)
    return FeastOnDemand(
        name=view.name,
        mode=view.mode,
        inputs=inputs,
        request=request,
        outputs=_fields(view.schema),
        function=getattr(view.function, "__name__", ""),
        code=code,
        place=place,
    )


def _code(function: Any, repository: Path) -> tuple[str, str]:
    """The function's own lines without decorators, and where they stand."""
    try:
        lines, first = inspect.getsourcelines(function)
        source = textwrap.dedent("".join(lines))
        [node] = ast.parse(source).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return "", ""
    if not isinstance(node, ast.FunctionDef):
        return "", ""
    file = Path(inspect.getsourcefile(function) or "")
    where = file.relative_to(repository) if file.is_relative_to(repository) else file.name
    return "".join(source.splitlines(keepends=True)[node.lineno - 1 :]).rstrip(), f"{where}, line {first}"


def _told(error: BaseException, repository: Path) -> str:
    """What went wrong, and where in the repository."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(repository)
    ]
    place = f", line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]), sys.argv[3:])
