"""Commands of serving: serve, predict."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from everloop.cli.frame import command, emit, say, workspace


@command()
@click.argument("reference")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8600, show_default=True, help="0 takes a free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
def serve(reference: str, port: int, host: str) -> None:
    """Answer predictions over HTTP until interrupted: ENDPOINT, or a model (model:NAME@champion) as an endpoint of its name."""
    found = workspace(write=True)
    endpoint = _endpoint(found, reference)
    say(f"loading endpoint {endpoint}")
    with found.serving.start(endpoint, port, host=host) as server:
        line = {"endpoint": endpoint, "url": server.url, "pid": server.pid}
        emit(
            line,
            lambda value: f"endpoint {value['endpoint']} answers at {value['url']}/predict; Ctrl-C ends it",
        )
        sys.stdout.flush()
        server.wait()


@command()
@click.argument("reference")
@click.option("--in", "source", required=True, type=click.Path(path_type=Path), help="Rows: .parquet or .csv")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Rows with answers: .parquet or .csv"
)
def predict(reference: str, source: Path, out: Path) -> None:
    """Answer a whole file with a model version."""
    rows = workspace().serving.predict(reference, source, out)
    emit({"rows": rows, "out": str(out)}, lambda value: f"answered {value['rows']} rows into {value['out']}")


def _endpoint(found: Any, reference: str) -> str:
    """The endpoint that is meant. A model is deployed to an endpoint of its name first, unless that one serves it already."""
    from everloop.domain.references import Kind, Reference
    from everloop.errors import NotFound

    model = "@" in reference or reference.startswith(f"{Kind.MODEL}:")
    if not model:
        try:
            return str(found.serving.endpoint(reference).name)
        except NotFound:
            known = {each.name for each in found.registry.models()}
            if reference not in known:
                raise
    version = found.registry.version(reference)
    name = Reference.parse(version.reference).name.replace("/", "-")
    served = {each.name: each for each in found.serving.endpoints()}.get(name)
    if served is None or version.reference not in [arm.model for arm in served.arms]:
        found.registry.make_servable(version.reference)  # where a client of MLflow logged it
        found.serving.deploy(name, version.reference)
    return name
