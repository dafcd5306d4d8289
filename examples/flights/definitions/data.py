"""What the data must be like. Rows that are not go into quarantine, by name; the others go on."""

import everloop as ev

check = ev.check

airports = ev.checks(
    "airports",
    dataset="airports",
    checks=[check.not_null("faa"), check.unique("faa")],
)

weather = ev.checks(
    "weather",
    dataset="weather",
    checks=[
        check.in_set("origin", ["EWR", "JFK", "LGA"]),
        check.unique("origin", "time_hour"),
        check.in_range("temp", -40, 130, severity="quarantine"),
        check.in_range("wind_speed", 0, 150, severity="quarantine"),  # mph; a hurricane has 74 and more
        check.in_range("humid", 0, 100, severity="quarantine"),
        check.in_range("pressure", 900, 1100, severity="quarantine"),
        check.not_null("temp", mostly=0.99, severity="warn"),
    ],
)

# Departures and arrivals are written as on a clock, HHMM; midnight at the end of a day is 2400.
CLOCK = "{0} between 0 and 2400 and {0} % 100 < 60"

flights = ev.checks(
    "flights",
    dataset="flights",
    checks=[
        check.not_null("sched_dep"),
        check.unique("time_hour", "origin", "carrier", "flight"),
        check.in_set("origin", ["EWR", "JFK", "LGA"]),
        check.foreign_key(
            "dest", dataset="airports", to="faa", severity="quarantine", name="destination is known"
        ),
        check.in_range("distance", 1, 5000, severity="quarantine", name="distance is in miles"),
        check.in_range("air_time", 10, 900, severity="quarantine"),
        check.in_range("arr_delay", -180, 3000, severity="quarantine"),
        *(
            check.expression(CLOCK.format(column), severity="quarantine", name=f"{column} is a time of day")
            for column in ("sched_dep_time", "sched_arr_time", "dep_time", "arr_time")
        ),
    ],
)
