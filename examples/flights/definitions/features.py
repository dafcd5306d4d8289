"""What was known before a flight was to depart. One definition serves training, replay and serving."""

import everloop as ev

airport = ev.entity("airport", keys=["origin"])
carrier = ev.entity("carrier", keys=["carrier"])
route = ev.entity("carrier at an airport", keys=["origin", "carrier"])

# The row of 10:00 is the greatest of all reports from 10:00 to 10:51, so it is known at 10:52 and not before.
weather = ev.feature_view(
    "weather",
    entity=airport,
    source="weather",
    event_time="time_hour",
    available="52min",
    ttl="3h",
    features=["temp", "dewp", "humid", "wind_speed", "precip", "visib", "pressure"],
)

# A flight's lateness is known when it has landed, and nobody knows it of one that is still in the air.
LATE = "arr_delay > 15"

airport_recent = ev.feature_view(
    "airport_recent",
    entity=airport,
    source="flights",
    event_time="landed",
    features=[
        ev.aggregate("mean", LATE, over="3h", min_count=3, name="late_3h"),
        ev.aggregate("mean", LATE, over="24h", min_count=3, name="late_24h"),
    ],
)

carrier_recent = ev.feature_view(
    "carrier_recent",
    entity=carrier,
    source="flights",
    event_time="landed",
    features=[ev.aggregate("mean", LATE, over="24h", min_count=3, name="carrier_late_24h")],
)

route_recent = ev.feature_view(
    "route_recent",
    entity=route,
    source="flights",
    event_time="landed",
    features=[ev.aggregate("mean", LATE, over="6h", min_count=3, name="route_late_6h")],
)

departures = ev.feature_view(
    "departures",
    entity=airport,
    source="flights",
    event_time="departed",
    features=[ev.aggregate("mean", "dep_delay", over="2h", min_count=3, name="dep_delay_2h")],
)
