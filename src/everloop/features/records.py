"""What is kept of feature views beside their declarations: what work took, statistics, reports of parity."""

from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from everloop.data.data import Data
from everloop.domain.canonical import digest_of
from everloop.domain.featureviews import ParityRecord, ParityReport, ViewRecord
from everloop.domain.featureviews.changes import FeatureStatistics, Work
from everloop.domain.references import Kind, Reference
from everloop.errors import NotFound
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.schema.feature_records import (
    feature_statistics,
    feature_work,
    parity_reports,
    parity_views,
)

if TYPE_CHECKING:
    from everloop.features.history.reader import FeatureReader

AT_MOST = 200_000
"""Moments at which statistics look at a view."""


class FeatureRecords(Room):
    """The part of the features room that remembers."""

    if TYPE_CHECKING:  # the other parts

        def view(self, reference: str) -> ViewRecord: ...

        def stored_reader(
            self, reference: str, *, at: Mapping[str, int | str] | None = None
        ) -> FeatureReader: ...

    # Work

    def measured(self, work: str, reference: str, sources: Mapping[str, str], seconds: float) -> Work:
        """Keep how long work on a view version took, whose datasets were read at these versions."""
        records = [self.context.room(Data).dataset(each).record for each in sources.values()]
        rows, size = sum(each.rows or 0 for each in records), sum(each.bytes for each in records)
        return self.note_work(work, reference, rows, size, seconds)

    @operation(Permission.WRITE)
    def note_work(self, work: str, reference: str, rows: int, bytes: int, seconds: float) -> Work:
        """Keep how long it took to compute a view version from so many rows and bytes of its datasets."""
        done = Work(reference=reference, work=work, rows=rows, bytes=bytes, seconds=seconds)
        with self.change() as tx:
            row = {"id": self.context.ids(), "time": tx.now, **msgspec.structs.asdict(done)}
            tx.execute(sa.insert(feature_work).values(row))
            tx.event("feature.computed", reference, {"work": work, "rows": rows, "seconds": seconds})
        return done

    @operation(Permission.READ)
    def past_work(self, limit: int = 200) -> list[Work]:
        """What computing views took lately, newest first."""
        columns = [feature_work.c[name] for name in Work.__struct_fields__]
        with self.look() as look:
            rows = look.all(sa.select(*columns).order_by(feature_work.c.id.desc()).limit(limit))
        return [Work(**row._mapping) for row in rows]

    # Statistics

    def describe(self, view: str, *, at: Mapping[str, int | str] | None = None) -> FeatureStatistics:
        """Statistics of a stored view over versions of its datasets (the newest when `at` names none), computed where the caller
        is and kept with the view version."""
        from everloop.features.statistics import column_profiles

        begun = monotonic()
        record = self.view(view)
        reader = self.stored_reader(record.reference, at=at)
        rows, columns = column_profiles(reader, record.reference, AT_MOST)
        statistics = FeatureStatistics(
            reference=record.reference, sources=reader.sources, rows=rows, columns=columns
        )
        kept = self.record_statistics(statistics)
        self.measured("describe", record.reference, reader.sources, monotonic() - begun)
        return kept

    @operation(Permission.WRITE)
    def record_statistics(self, statistics: FeatureStatistics) -> FeatureStatistics:
        """Keep statistics of a view version over data versions, in the place of those that were kept of the same."""
        record = self.view(statistics.reference)
        with self.change() as tx:
            tx.put(
                feature_statistics,
                {
                    "reference": record.reference,
                    "data": digest_of(statistics.sources),
                    "sources": statistics.sources,
                    "rows": statistics.rows,
                    "columns": msgspec.to_builtins(statistics.columns),
                    "time": tx.now,
                },
            )
            tx.event("feature.described", record.reference, {"sources": statistics.sources})
        return statistics

    @operation(Permission.READ)
    def statistics(self, reference: str) -> list[FeatureStatistics]:
        """What is kept of a view version (the newest when the reference names none), the last described first."""
        record = self.view(reference)
        columns = [feature_statistics.c[name] for name in FeatureStatistics.__struct_fields__]
        query = (
            sa.select(*columns)
            .where(feature_statistics.c.reference == record.reference)
            .order_by(feature_statistics.c.time.desc())
        )
        with self.look() as look:
            rows = look.all(query)
        return [
            msgspec.convert({str(name): value for name, value in row._mapping.items()}, FeatureStatistics)
            for row in rows
        ]

    # Parity

    @operation(Permission.WRITE)
    def record_parity(self, report: ParityReport) -> ParityRecord:
        """Keep a report of logged features against history."""
        identifier = self.context.ids()
        with self.change() as tx:
            row = {"id": identifier, "time": tx.now, "user": tx.actor, "report": msgspec.to_builtins(report)}
            tx.execute(sa.insert(parity_reports).values(row))
            for reference in dict.fromkeys(report.features):
                tx.execute(sa.insert(parity_views).values(report=identifier, reference=reference))
            found = {"compared": report.compared, "different": report.different}
            for reference in dict.fromkeys(report.features):
                tx.event("feature.compared", reference, {"report": identifier, **found})
            return _parity(row)

    @operation(Permission.READ)
    def parity_reports(self, view: str = "", limit: int = 50) -> list[ParityRecord]:
        """Reports of parity, newest first: of all views, of all versions of one view, or of one version."""
        query = sa.select(parity_reports).order_by(parity_reports.c.id.desc()).limit(min(max(limit, 0), 1000))
        if view:
            wanted = Reference.parse(view, Kind.FEATURE)
            about = parity_views.c.reference == str(wanted)
            if wanted.version is None:
                about = parity_views.c.reference.startswith(f"{wanted}@v", autoescape=True)
            query = query.where(parity_reports.c.id.in_(sa.select(parity_views.c.report).where(about)))
        with self.look() as look:
            return [_parity(dict(row._mapping)) for row in look.all(query)]

    @operation(Permission.READ)
    def parity_report(self, id: str) -> ParityRecord:
        """One report of parity."""
        with self.look() as look:
            row = look.first(sa.select(parity_reports).where(parity_reports.c.id == id))
        if row is None:
            raise NotFound(f"there is no parity report '{id}'", hint="everloop features parity-reports")
        return _parity(dict(row._mapping))


def _parity(row: dict[str, Any]) -> ParityRecord:
    report = msgspec.convert(row["report"], ParityReport)
    return ParityRecord(
        id=row["id"], time=row["time"], user=row["user"], views=report.features, report=report
    )
