"""Files that users uploaded, shown without trusting them.

Text, tables and JSON are read here and escaped by the template. Pictures and HTML come from an address of their own, whose
answer is sandboxed: no script, no request, no part of this origin.
"""

from __future__ import annotations

import csv
import io
from typing import Any, BinaryIO, cast
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from everloop.domain.runs import ArtifactRecord, RunRecord
from everloop.errors import NotFound, TooLarge, nearest
from everloop.server.pages import markdown, run_plots
from everloop.server.pages.rendering import Pages
from everloop.workspace.workspace import Workspace

TEXT_SHOWN = 200_000
"""Bytes of a text that are shown; the rest is for the download."""
ROWS_SHOWN = 200
LARGEST_RAW = 64 << 20
"""Bytes that one answer of the raw address may have: it is sent from memory."""

PICTURES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "svg": "image/svg+xml",
}
PAGES = frozenset({"html", "htm"})
TABLES = frozenset({"csv", "tsv"})
NOTES = frozenset({"md", "markdown"})
LARGEST_JSON = 4 << 20
SANDBOX = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:; frame-ancestors 'self'"


def routes(pages: Pages) -> list[BaseRoute]:
    return [
        pages.page("/runs/{run}/artifacts/{path:path}", "runs/artifact.html", show, active="runs"),
        pages.file("/runs/{run}/raw/{path:path}", raw),
    ]


def show(request: Request, workspace: Workspace) -> dict[str, Any]:
    run, artifact, beside = _find(request, workspace)
    suffix = _suffix(artifact.path)
    context: dict[str, Any] = {
        "crumbs": [("Runs", "/runs"), (run.name, f"/runs/{run.run_id}"), (artifact.path, None)],
        "subject": run.reference,
        "run": run,
        "artifact": artifact,
        "beside": beside,
        "raw": f"/runs/{run.run_id}/raw/{quote(artifact.path)}",
        "view": "none",
        "matrix": None,
        "shortened": False,
        "command": f"everloop runs show {run.run_id}",
    }
    if suffix in PICTURES:
        return context | {"view": "picture"}
    if suffix in PAGES:
        return context | {"view": "page"}
    if (rows := table_of(workspace, artifact)) is not None:
        matrix = run_plots.confusion(artifact.path, rows["header"], rows["rows"])
        return (
            context
            | {"view": "table", "matrix": matrix if "confusion" in artifact.path.lower() else None}
            | rows
        )
    with workspace.objects.open(artifact.digest) as stream:
        data = stream.read(TEXT_SHOWN)
    if b"\0" in data:
        return context
    text = data.decode("utf-8", "replace")
    context["shortened"] = artifact.size > TEXT_SHOWN
    if suffix in NOTES:
        return context | {"view": "prose", "html": markdown.render(text)}
    if suffix == "json" and not context["shortened"]:
        text = _indented(text)
    return context | {"view": "text", "text": text}


def table_of(workspace: Workspace, artifact: ArtifactRecord) -> dict[str, Any] | None:
    """The first rows of a file that is a table (Parquet, CSV, or JSON of columns and data, as `log_table` writes it); None for
    any other, and for one that cannot be read."""
    suffix = _suffix(artifact.path)
    if suffix == "parquet":
        return parquet_rows(workspace.objects.open(artifact.digest))
    if suffix not in TABLES and (suffix != "json" or artifact.size > LARGEST_JSON):
        return None
    with workspace.objects.open(artifact.digest) as stream:
        data = stream.read(LARGEST_JSON if suffix == "json" else TEXT_SHOWN)
    if suffix == "json":
        return json_rows(data)
    return (
        None if b"\0" in data else csv_rows(data.decode("utf-8", "replace"), "\t" if suffix == "tsv" else ",")
    )


def json_rows(data: bytes) -> dict[str, Any] | None:
    """The rows of a JSON file that says what its columns are, or is a list of objects with the same keys."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(value, dict) and set(value) >= {"columns", "data"} and isinstance(value["data"], list):
        header, rows = value["columns"], value["data"]
        if not isinstance(header, list) or not all(isinstance(row, list) for row in rows):
            return None
        return {"header": header, "rows": rows[:ROWS_SHOWN], "count": len(rows)}
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        header = list(dict.fromkeys(key for row in value[:ROWS_SHOWN] for key in row))
        if len(header) <= 100:
            rows = [[row.get(key) for key in header] for row in value[:ROWS_SHOWN]]
            return {"header": header, "rows": rows, "count": len(value)}
    return None


def raw(request: Request, workspace: Workspace) -> Response:
    """The bytes themselves: a picture or a page to be framed, everything else to be saved."""
    _, artifact, _ = _find(request, workspace)
    if artifact.size > LARGEST_RAW:
        raise TooLarge(
            f"{artifact.path} has {artifact.size:,} bytes",
            hint="download it with: everloop.runs, run.download(folder)",
        )
    suffix, save = _suffix(artifact.path), "save" in request.query_params
    media = PICTURES.get(suffix) or ("text/html; charset=utf-8" if suffix in PAGES else "")
    headers = {"Content-Security-Policy": SANDBOX, "Cross-Origin-Resource-Policy": "same-origin"}
    if save or not media:
        name = quote(artifact.path.rpartition("/")[2])
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{name}"
    content = workspace.objects.read(artifact.digest)
    return Response(content, media_type=media or "application/octet-stream", headers=headers)


def csv_rows(text: str, separator: str) -> dict[str, Any]:
    """The first rows of a table in text; the last line may be cut, so it is left out where there is more."""
    rows = []
    for row in csv.reader(io.StringIO(text), delimiter=separator):
        rows.append(row)
        if len(rows) > ROWS_SHOWN:
            break
    header = rows[0] if rows else []
    return {"header": header, "rows": rows[1:], "count": None}


def parquet_rows(stream: BinaryIO) -> dict[str, Any]:
    """The first rows of a Parquet file."""
    import pyarrow.parquet as pq

    with stream, pq.ParquetFile(cast(Any, stream)) as file:
        batch = next(file.iter_batches(ROWS_SHOWN), None)
        names = file.schema_arrow.names
        rows = [list(row.values()) for row in batch.to_pylist()] if batch is not None else []
        return {"header": names, "rows": rows, "count": file.metadata.num_rows}


def _find(request: Request, workspace: Workspace) -> tuple[RunRecord, ArtifactRecord, list[ArtifactRecord]]:
    run: RunRecord = workspace.tracking.run(request.path_params["run"])
    path = request.path_params["path"]
    everything: list[ArtifactRecord] = workspace.tracking.artifacts(run.run_id)
    for each in everything:
        if each.path == path:
            return run, each, everything
    raise NotFound(
        f"run {run.name} has no artifact '{path}'", hint=nearest(path, [each.path for each in everything])
    )


def _suffix(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[2].lower()


def _indented(text: str) -> str:
    try:
        return msgspec.json.format(text, indent=2)
    except msgspec.MsgspecError:
        return text
