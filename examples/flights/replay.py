"""The year goes by: each day's flights ask the endpoint, and what became of them arrives as they land.

This is the world outside Everloop: a booking system that asks for predictions over HTTP, and an airport that reports landings.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta

import httpx
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from definitions.training import FEATURES, KEY, lateness, schedule

import everloop as ev

KNOWN = [
    *KEY,
    *["sched_dep", "departed", "dep_delay", "landed", "arr_delay"],
    *["dest", "hour", "minute", "distance"],
]


class Traffic:
    """Flights of the months that have arrived, day by day. `url` is where the endpoint answers; `failed` counts requests that
    were not answered."""

    def __init__(self) -> None:
        self.url = ""
        self._flights: pa.Table | None = None
        self._reader = None
        self._client = httpx.Client(timeout=60)
        self._beside = ThreadPoolExecutor(1)
        self._ahead: dict[date, Future[tuple[bytes, int]]] = {}
        self.requests = self.predictions = self.failed = 0

    def month_arrives(self, flights: str, month: str) -> None:
        """From now on the month's flights in this version of the data are known: their schedule, and each one's delay once it
        landed. With them those of the days before that may still be in the air."""
        first = date.fromisoformat(f"{month}-01")
        since = midnight(first) - timedelta(days=3)
        rows = ev.data(flights).to_arrow(columns=KNOWN, filter=pc.field("sched_dep") >= since)
        self._flights = rows.append_column("date", pc.cast(rows["sched_dep"], pa.date32()))
        self._reader = ev.workspace().features.prepare(
            FEATURES, at={"flights": flights}, since=midnight(first)
        )

    def days(self, month: str) -> Iterator[date]:
        """The days of a month."""
        day = date.fromisoformat(f"{month}-01")
        while day.isoformat().startswith(month):
            yield day
            day += timedelta(days=1)

    def fly(self, day: date) -> None:
        """Ask the endpoint about every flight of a day, as each would be asked about at its scheduled departure."""
        body, flights = self._ahead.pop(day).result() if day in self._ahead else self._request(day)
        tomorrow = day + timedelta(days=1)
        # Tomorrow's flights are known: their request is made while today's is answered.
        if tomorrow.month == day.month:
            self._ahead[tomorrow] = self._beside.submit(self._request, tomorrow)
        answer = self._client.post(f"{self.url}/predict", content=body)
        self.requests += 1
        if answer.status_code == 200:
            self.predictions += flights
        else:
            self.failed += 1

    def _request(self, day: date) -> tuple[bytes, int]:
        """A day's request, and how many flights it asks about."""
        rows = schedule(self._flights.filter(pc.equal(self._flights["date"], pa.scalar(day))))
        known = self._reader.history(rows, time="sched_dep")
        columns = {
            name: known[name].to_pylist() for name in known.column_names if name not in ("key", "sched_dep")
        }
        times = pc.strftime(known["sched_dep"], "%Y-%m-%dT%H:%M:%SZ").to_pylist()
        body = {"columns": columns, "keys": known["key"].to_pylist(), "time": times}
        return msgspec.json.encode(body), known.num_rows

    def landed(self, day: date) -> pa.Table:
        """What became known on a day: the flights that landed on it, late or not."""
        begin, end = midnight(day), midnight(day + timedelta(days=1))
        landed = self._flights["landed"]
        arrived = pc.and_(pc.greater_equal(landed, begin), pc.less(landed, end))
        rows = self._flights.filter(pc.and_(arrived, pc.is_valid(self._flights["arr_delay"])))
        return pa.table({"key": schedule(rows)["key"], "label": lateness(rows), "observed": rows["landed"]})


def midnight(day: date) -> datetime:
    """The beginning of a day, UTC."""
    return datetime.combine(day, time(), UTC)
