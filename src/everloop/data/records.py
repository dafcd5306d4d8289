"""Versions in the ledger: how one is found, and how one is written down."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.domain.checks import CheckReport
from everloop.domain.datasets import Column, Manifest, NewVersion, Origin, VersionRecord, reference_of
from everloop.domain.names import checked_name
from everloop.domain.references import Reference
from everloop.errors import Conflict, NotFound, nearest
from everloop.store.schema.base import objects_held
from everloop.store.schema.data import dataset_checks, dataset_versions, datasets


def present() -> sa.Select[Any]:
    """Versions that were not removed."""
    return sa.select(dataset_versions).where(dataset_versions.c.removed.is_(None))


def newest(name: str) -> sa.Select[Any]:
    """The newest version of a dataset."""
    return (
        present().where(dataset_versions.c.name == name).order_by(dataset_versions.c.version.desc()).limit(1)
    )


def version(look: Any, wanted: Reference) -> VersionRecord:
    """The version a reference names, removed or not. Raises NotFound."""
    if wanted.version is None:
        row = look.first(newest(wanted.name))
    else:
        chosen = (dataset_versions.c.name == wanted.name) & (dataset_versions.c.version == wanted.version)
        row = look.first(sa.select(dataset_versions).where(chosen))
    if row is not None:
        return record(row)
    last = look.first(newest(wanted.name))
    if last is None:
        raise unknown(look, wanted.name)
    raise NotFound(
        f"dataset '{wanted.name}' has no version {wanted.version}",
        hint=f"the newest is {reference_of(wanted.name, last.version)}",
    )


def unknown(look: Any, name: str) -> NotFound:
    """The error for a dataset that does not exist, or has no version any more."""
    known = [row.name for row in look.all(sa.select(datasets.c.name))]
    if name in known:
        return NotFound(f"all versions of dataset '{name}' were removed", hint="add it again for a new one")
    return NotFound(f"no dataset is called '{name}'", hint=nearest(name, known, see="everloop data list"))


def record(row: Any) -> VersionRecord:
    """A row as a record."""
    return VersionRecord(
        reference=reference_of(row.name, row.version),
        **{
            **row._mapping,
            "columns": msgspec.convert(row.columns, list[Column]),
            "origin": msgspec.convert(row.origin, Origin | None),
        },
    )


def record_one(tx: Any, new: NewVersion, manifest: Manifest, ids: Any) -> VersionRecord:
    """Write a version down, unless it is the newest one already. Raises Conflict."""
    checked_name(new.name, "dataset name")
    last = tx.first(newest(new.name))
    if last is not None and last.digest == new.digest:
        if new.report is not None:
            reference = reference_of(last.name, last.version)
            keep_report(tx, msgspec.structs.replace(new.report, reference=reference), ids)
        return record(last)
    current = last.version if last is not None else 0
    if current != new.parent:
        raise Conflict(f"dataset '{new.name}' got version {current} meanwhile", hint="try again")
    highest = tx.scalar(sa.select(datasets.c.last).where(datasets.c.name == new.name))
    number = (highest or 0) + 1
    reference = reference_of(new.name, number)
    if highest is None:
        tx.execute(sa.insert(datasets).values(name=new.name, last=number, created=tx.now))
    else:
        tx.execute(sa.update(datasets).where(datasets.c.name == new.name).values(last=number))
    parent = reference_of(new.name, current) if current else None
    row = {
        "name": new.name,
        "version": number,
        "digest": new.digest,
        "files": len(manifest.files),
        "bytes": manifest.size,
        "new_bytes": new.new_bytes,
        "rows": new.rows,
        "columns": new.columns,
        "parent": parent,
        "producer": new.producer,
        "message": new.message,
        "created": tx.now,
        "user": tx.actor,
        "content": new.content,
        "origin": new.origin,
    }
    tx.execute(sa.insert(dataset_versions).values(row))
    sizes = {file.digest: file.size for file in manifest.stored} | {new.digest: len(manifest.encode())}
    held = [{"digest": digest, "holder": reference, "size": size} for digest, size in sizes.items()]
    tx.execute(sa.insert(objects_held), held)  # all at once: nobody held anything under this reference before
    facts = {
        "digest": new.digest,
        "files": len(manifest.files),
        "bytes": manifest.size,
        "rows": new.rows,
        "message": new.message,
    }
    tx.event("data.added", reference, facts)
    if parent is not None and new.appended:
        tx.edge(parent, reference, "appended")
    if new.producer is not None:
        tx.edge(new.producer, reference, "produced")
    if new.report is not None:
        keep_report(tx, msgspec.structs.replace(new.report, reference=reference), ids)
    return VersionRecord(reference=reference, **row)


def keep_report(tx: Any, report: CheckReport, ids: Any) -> None:
    """Write a verdict down."""
    row = {
        "id": ids(),
        "reference": report.reference,
        "suite": report.suite,
        "passed": report.passed,
        "report": report,
        "time": tx.now,
        "user": tx.actor,
    }
    tx.execute(sa.insert(dataset_checks).values(row))
    failed = {check.name: check.failed_rows for check in report.failed}
    tx.event(
        "data.checked", report.reference, {"suite": report.suite, "passed": report.passed, "failed": failed}
    )
