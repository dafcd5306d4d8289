"""The commands export openlineage and export prov: lineage for other tools."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everloop.cli.frame import command, counted, emit, workspace
from everloop.cli.instants import Instant

if TYPE_CHECKING:
    from everloop.exchange.openlineage.exporting import Exported


@click.group("export")
def export() -> None:
    """Lineage for other tools: OpenLineage events, PROV documents. Runs themselves: everloop runs export."""


@command("openlineage")
@click.option(
    "--to",
    default="openlineage.jsonl",
    show_default=True,
    metavar="FILE|URL",
    help="A file, or where to post.",
)
@click.option("--since", type=Instant(), metavar="TIME", help="Leave out what happened before.")
@click.option("--again", is_flag=True, help="Tell everything once more, from the beginning.")
@click.option(
    "--namespace", default="", help="Of jobs and datasets; everloop://NAME of the workspace by default."
)
def openlineage(to: str, since: datetime | None, again: bool, namespace: str) -> None:
    """Runs as OpenLineage events: what this destination was not told yet.

    A file gets a line of JSON an event. An address is posted to; a key for it is read from OPENLINEAGE_API_KEY.
    """
    from everloop.exchange.openlineage.exporting import export as tell

    done = tell(workspace(write=True), to, since=since, again=again, namespace=namespace)
    emit(done, _told)


@command("prov")
@click.argument("reference")
@click.option("--to", "path", type=click.Path(path_type=Path), help="A file; standard output by default.")
def prov(reference: str, path: Path | None) -> None:
    """The provenance of REFERENCE as a PROV-JSON document."""
    import msgspec

    from everloop.domain.runs import RunRecord
    from everloop.errors import NotFound
    from everloop.exchange.prov.document import counts, document

    here = workspace()

    def run_of(name: str) -> RunRecord | None:
        try:
            found: RunRecord = here.tracking.run(name.removeprefix("run:"))
        except NotFound:
            return None
        return found

    made = document(here.provenance.why(reference), run_of)
    text = msgspec.json.format(msgspec.json.encode(made), indent=2)
    if path is None:
        sys.stdout.write(text.decode() + "\n")
        return
    path.write_bytes(text + b"\n")
    told: dict[str, Any] = {"reference": reference, "path": str(path), "counts": counts(made)}
    emit(told, lambda _: f"{path}: " + ", ".join(f"{count} {name}" for name, count in told["counts"].items()))


def _told(done: Exported) -> str:
    if not done.events:
        return f"{done.to} knows all that happened"
    return f"{counted(done.events, 'event')} of {counted(done.runs, 'run')} to {done.to}"


for each in (openlineage, prov):
    export.add_command(each)
