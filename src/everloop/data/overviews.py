"""Datasets at a glance: what a list of them shows, in a few questions to the ledger."""

import sqlalchemy as sa
from msgspec import convert

from everloop.data import records
from everloop.domain.checks import CheckReport
from everloop.domain.dataset_overviews import DatasetOverview
from everloop.domain.datasets import VersionRecord, quarantine_of
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.schema.base import edges
from everloop.store.schema.data import dataset_checks, dataset_versions

_IDS_AT_ONCE = 5_000  # SQLite takes 32,766 parameters in one statement


class Overviews(Room):
    """Operations about all datasets at once."""

    name = "data"

    @operation(Permission.READ)
    def overview(self) -> list[DatasetOverview]:
        """All datasets by name: the newest version of each, who made and reads it, and what came of its last check."""
        with self.look() as look:
            rows = look.all(records.present().order_by(dataset_versions.c.name, dataset_versions.c.version))
            newest: dict[str, VersionRecord] = {}
            counts: dict[str, int] = {}
            stored: dict[str, int] = {}
            for row in rows:
                newest[row.name] = records.record(row)
                counts[row.name] = counts.get(row.name, 0) + 1
                stored[row.name] = stored.get(row.name, 0) + row.new_bytes
            readers: dict[str, int] = {}
            of_versions = sa.select(
                edges.c.source, sa.func.count(sa.distinct(edges.c.target)).label("runs")
            ).where(edges.c.source.startswith("data:"), edges.c.role == "consumed")
            for row in look.all(of_versions.group_by(edges.c.source)):
                name = row.source.partition(":")[2].rpartition("@")[0]
                readers[name] = readers.get(name, 0) + row.runs
            reports: dict[str, CheckReport] = {}
            references = [each.reference for each in newest.values()]
            for start in range(0, len(references), _IDS_AT_ONCE):
                some = dataset_checks.c.reference.in_(references[start : start + _IDS_AT_ONCE])
                columns = sa.select(dataset_checks.c.reference, dataset_checks.c.report)
                for row in look.all(columns.where(some).order_by(dataset_checks.c.time, dataset_checks.c.id)):
                    reports[row.reference] = convert(row.report, CheckReport)
        return [
            DatasetOverview(
                name=name,
                latest=latest.reference,
                versions=counts[name],
                bytes=latest.bytes,
                stored=stored[name],
                rows=latest.rows,
                producer=latest.producer,
                user=latest.user,
                created=latest.created,
                readers=readers.get(name, 0),
                quarantined=newest[quarantine_of(name)].rows if quarantine_of(name) in newest else None,
                report=reports.get(latest.reference),
            )
            for name, latest in newest.items()
        ]
