"""Whether the copies that prediction servers run from are still what was deployed, and their logs still whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from everloop.domain.canonical import sha256
from everloop.domain.deployments import EndpointRecord
from everloop.domain.signature import StoredFile
from everloop.errors import EverloopError
from everloop.governance.chain import AuditFault
from everloop.registry.packaging import REFERENCE_ROWS
from everloop.serving.snapshot import deployment_path, log_folder, read_deployment
from everloop.store.journal import read_journal


def endpoint_faults(
    folder: Path, record: EndpointRecord, models: Mapping[str, Mapping[str, StoredFile]]
) -> Iterator[AuditFault]:
    """What is wrong in an endpoint's folder. `models`: the files of each model by the digest of its `model.json`."""
    yield from _snapshot_faults(folder, record)
    for placed in sorted((folder / "models").glob("*")):
        for name, file in models.get(placed.name, {}).items():
            # The reference rows are monitoring's: they are not placed beside a server.
            if name != REFERENCE_ROWS and (fault := _file_fault(placed / name, file)):
                yield fault
    yield from journal_faults(log_folder(folder).glob("*.journal"))


def journal_faults(paths: Iterable[Path]) -> Iterator[AuditFault]:
    """Journals that are damaged before their end. A torn end is what a kill leaves, and no fault."""
    for path in sorted(paths):
        try:
            for _ in read_journal(path):
                pass
        except EverloopError as error:
            yield AuditFault(str(path), error.message)


def _snapshot_faults(folder: Path, record: EndpointRecord) -> Iterator[AuditFault]:
    try:
        found = read_deployment(folder)
    except EverloopError as error:
        yield AuditFault(str(deployment_path(folder)), error.message)
        return
    arms = tuple(placed.arm for placed in found.arms)
    if (found.revision, arms, found.salt) != (record.revision, record.arms, record.salt):
        yield AuditFault(
            str(deployment_path(folder)), f"is not revision {record.revision} as it was deployed"
        )


def _file_fault(path: Path, file: StoredFile) -> AuditFault | None:
    try:
        found = sha256(path.read_bytes())
    except OSError as error:
        return AuditFault(str(path), f"cannot be read: {error.strerror}")
    return (
        None
        if found == file.digest
        else AuditFault(str(path), f"does not match its digest {file.digest[:12]}…")
    )
