"""Tests that stay valid however often they are looked at, as small frozen states that go on from JSON.

An *e-value* is evidence against a null hypothesis: its expectation is at most 1 if the null is true, so by
Ville's inequality (1939) it ever reaches 1/alpha with probability at most alpha. Hence one may look after
every day, stop when it suffices, and store the state in between.

- ``betting``      is a mean of bounded values above (below) a number: paired losses of champion and candidate
- ``confidence``   where that mean lies, at every moment at once
- ``rare_errors``  does the canary fail more often than the baseline
- ``concept``      has a model's error rate risen, with a promised run length between false alarms
- ``decision``     promote, roll back, go on or hold: a verdict from the evidence, with its numbers

Every state is a msgspec Struct: ``msgspec.json.encode(state)`` stores it and
``msgspec.json.decode(data, type=MeanBet)`` brings it back.
"""

from everloop.stats.sequential.betting import MeanBet
from everloop.stats.sequential.concept import ErrorDetector
from everloop.stats.sequential.confidence import MeanSequence
from everloop.stats.sequential.decision import Evidence, PairedTrial, Verdict, decide
from everloop.stats.sequential.rare_errors import ErrorGuard

__all__ = [
    "ErrorDetector",
    "ErrorGuard",
    "Evidence",
    "MeanBet",
    "MeanSequence",
    "PairedTrial",
    "Verdict",
    "decide",
]
