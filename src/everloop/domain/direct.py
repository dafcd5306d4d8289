"""What clients of other protocols say and ask of runs, as data."""

import math

import msgspec

from everloop.domain.runs import Experiment, number_text


class RunFacts(msgspec.Struct, frozen=True):
    """What a client says of a run besides parameters, tags and metrics; what is empty is not said."""

    name: str = ""
    user: str = ""
    source: str = ""
    version: str = ""
    parent: str = ""


class LastPoint(msgspec.Struct, frozen=True):
    """The last point of a metric: of the highest step, then time (microseconds since 1970), then value. `nonfinite` spells a
    number JSON cannot write.

    >>> LastPoint.of("loss", math.inf, 3, 0).number
    inf
    """

    key: str
    value: float | None
    step: int
    time: int
    nonfinite: str = ""

    @classmethod
    def of(cls, key: str, value: float, step: int, time: int) -> "LastPoint":
        """From a number that may be NaN or infinite."""
        if math.isfinite(value):
            return cls(key, value, step, time)
        return cls(key, None, step, time, number_text(value))

    @property
    def number(self) -> float:
        """The value as a float, NaN and infinities included."""
        return float(self.nonfinite) if self.value is None else self.value


class ExperimentPage(msgspec.Struct, frozen=True):
    """One page of a search; `next_page` asks for the one after it, None at the end."""

    experiments: list[Experiment]
    next_page: str | None = None
