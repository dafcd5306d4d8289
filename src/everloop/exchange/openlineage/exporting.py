"""Events of runs to a file or an address, each at least once: a destination has a cursor in the ledger."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from everloop.domain.canonical import sha256
from everloop.domain.events import Event
from everloop.errors import InvalidInput, Unavailable
from everloop.exchange.openlineage.events import TYPES, run_event
from everloop.exchange.openlineage.gathering import Gatherer

if TYPE_CHECKING:
    from everloop.workspace.workspace import Workspace

ACTIONS = [f"run.{each}" for each in (*TYPES, "adopted")]
BATCH = 200
TIMEOUT = 30.0
PATH = "/api/v1/lineage"
"""Where receivers of OpenLineage listen, when an address names no path."""


class Exported(msgspec.Struct, frozen=True):
    """What an export did. `until`: the number of the last event of the ledger that was dealt with."""

    to: str
    events: int
    runs: int
    until: int


def export(
    workspace: Workspace, to: str, *, since: datetime | None = None, again: bool = False, namespace: str = ""
) -> Exported:
    """Tell a destination about the runs that it was not told about: a file, to which a line of JSON an event is added, or an
    address, to which each is posted.

    since: leave out what happened before. again: from the beginning, whatever was told. The cursor of a destination moves when a
    batch is written (a file: to the disk) or taken, so what is interrupted is told once more and never left out. Raises
    Unavailable when the address does not take an event.
    """
    consumer = f"openlineage:{sha256(_destination(to).encode())[:24]}"
    gatherer = Gatherer(workspace, namespace)
    provenance = workspace.provenance
    events, runs = 0, set()
    after = 0 if again else None
    while True:
        feed = provenance.feed(consumer, ACTIONS, after, BATCH)
        told = list(_told(workspace, gatherer, feed.events, since))
        if told:
            _deliver(to, [each for _, each in told])
        events += len(told)
        runs |= {run for run, _ in told}
        provenance.fed(consumer, feed.until)
        after = feed.until if again else None
        if len(feed.events) < BATCH:
            return Exported(to, events, len(runs), feed.until)


def _told(
    workspace: Workspace, gatherer: Gatherer, found: list[Event], since: datetime | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    kept = [each for each in found if since is None or each.time >= since]
    runs = list(dict.fromkeys(each.subject.removeprefix("run:") for each in kept))
    nominal = workspace.provenance.nominal_times(runs) if runs else {}
    known = {run: gatherer.facts(run, nominal.get(run)) for run in runs}
    for each in kept:
        run = each.subject.removeprefix("run:")
        facts = known[run]
        if facts is None:
            continue
        happened = each.action.partition(".")[2]
        if happened == "adopted":  # another tool's run, of which everything is known at once
            record = workspace.tracking.run(run)
            yield run, run_event("START", record.start_time, facts)
            if record.status in TYPES and record.end_time is not None:
                yield run, run_event(TYPES[record.status], record.end_time, facts)
        else:
            yield run, run_event(TYPES[happened], each.time, facts)


def _destination(to: str) -> str:
    return to if _is_address(to) else str(Path(to).resolve())


def _is_address(to: str) -> bool:
    return to.startswith(("http://", "https://"))


def _deliver(to: str, events: list[dict[str, Any]]) -> None:
    if _is_address(to):
        _post(to, events)
    elif "://" in to:
        raise InvalidInput(f"'{to}' is neither a file nor an address", hint="write http://… or a path")
    else:
        _append(Path(to), events)


def _append(path: Path, events: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = b"".join(msgspec.json.encode(each) + b"\n" for each in events)
    file: BinaryIO
    with open(path, "ab") as file:
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def _post(address: str, events: list[dict[str, Any]]) -> None:
    import httpx

    url = httpx.URL(address)
    if url.path in ("", "/"):
        url = url.copy_with(path=PATH)
    key = os.environ.get("OPENLINEAGE_API_KEY", "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with httpx.Client(timeout=TIMEOUT, headers=headers) as client:
            for each in events:
                answer = client.post(
                    url, content=msgspec.json.encode(each), headers={"Content-Type": "application/json"}
                )
                if answer.status_code >= 400:
                    raise Unavailable(
                        f"{url} answered {answer.status_code} to an event: {answer.text[:200]}",
                        hint="what was not taken is told again the next time",
                    )
    except httpx.HTTPError as error:
        raise Unavailable(
            f"{url} cannot be reached: {error}", hint="what was not taken is told again the next time"
        ) from error
