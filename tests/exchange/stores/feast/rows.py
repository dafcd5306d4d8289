"""The rows of the repository's two files and the rows asked about, in hours from NOON; each has its reason."""

from datetime import datetime, timedelta

NOON = datetime(2026, 1, 1, 12)  # noqa: DTZ001  (Feast's files hold times without a zone, which it reads as UTC)

# driver, event, created, rate, trips
STATS = [
    (1, 0, 0, 0.10, 1),
    (1, 2, 2, 0.20, 2),
    (1, 2, 3, 0.25, 3),  # the same moment, written again later: this one counts
    (1, 30, 30, 0.30, 4),
    (2, 1, 1, 0.40, None),
    (2, 5, 40, 0.50, 6),  # known long after it happened
    (2, 5, 6, 0.45, 5),  # the same moment, written earlier: this one does not count
    (3, 10, 10, None, 7),
    (3, 12, 12, 0.70, 8),
    (4, 20, 20, 0.80, 9),
    (5, -50, -50, 0.90, 10),
]

# driver, event, city
PEOPLE = [
    (1, -1000, "Rome"),
    (1, 10, "Oslo"),
    (2, -10, "Bonn"),
    (3, 11, None),
    (5, -60, "Lima"),
]

# driver, moment
ASKED = [
    (1, 0),  # the very moment
    (1, 1),
    (1, 2),  # a tie
    (2, 0.5),  # of one view nothing is known yet
    (1, 25.5),
    (1, 26),  # as old as may be
    (1, 26.5),  # too old
    (2, 4),
    (2, 6),  # a late row
    (2, 41),
    (1, 40),
    (3, 10.5),
    (3, 13),
    (3, 9),  # nothing yet
    (4, 19),  # only later ones
    (4, 21),
    (5, 0),  # older than a day
    (6, 5),  # nobody knows
    (1, 25.5),  # asked twice
    (1, -2000),  # before everything
    (2, 5),
    (3, 36),
]


def moment(hours: float) -> datetime:
    return NOON + timedelta(hours=hours)
