"""What checks found: results, the verdict that follows from them, and the share that suffices."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any

import msgspec

from everloop.domain.checks.kinds import Severity


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found.

    column: the column or columns it is about, empty for a check of whole rows or of the table.
    failed_rows, of: rows that fail among the rows it looked at; a check of the table looks at one thing.
    sample: up to five failing rows, each with its number (``row``, from 0, in the order of the version's files) and values.
    For a check of the table, what was seen.
    error: why the check could not be made; a check that was not made has not passed.
    note: what else to know, such as that there was no version before to compare with.
    """

    name: str
    column: str
    severity: Severity
    passed: bool
    failed_rows: int
    of: int
    sample: list[dict[str, Any]] = []
    error: str = ""
    note: str = ""


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on a table. `passed` unless a check of severity fail or quarantine did not pass.

    contract, contract_version: the contract that asked for the checks; empty and 0 when none did.
    waived: why the contract's checks were not made. Such a report has not passed.
    user: who checked, or waived; known once it is recorded.
    """

    reference: str
    suite: str
    passed: bool
    rows: int
    checks: list[CheckResult]
    time: datetime
    contract: str = ""
    contract_version: int = 0
    waived: str = ""
    user: str = ""

    @property
    def failed(self) -> list[CheckResult]:
        """The checks that did not pass, warnings too."""
        return [check for check in self.checks if not check.passed]

    @property
    def refused(self) -> list[CheckResult]:
        """The checks for which rows may not come in at all: those of severity fail, and those to quarantine rows that could
        not be made, so that nobody knows which rows are bad."""
        return [
            check
            for check in self.failed
            if check.severity == "fail" or (check.error and check.severity != "warn")
        ]


def verdict(results: Sequence[CheckResult]) -> bool:
    """Whether a table passes: everything that is not a mere warning has passed."""
    return all(result.passed or result.severity == "warn" for result in results)


def enough(failed: int, of: int, mostly: float) -> bool:
    """Whether the share that passes suffices. Nothing looked at is nothing wrong.

    The share means the decimal number that was written: 0.07 of 100 is 7, though as a float it is a little more.

    >>> enough(0, 0, 1.0), enough(1, 100, 0.99), enough(2, 100, 0.99), enough(93, 100, 0.07)
    (True, True, False, True)
    """
    return failed == 0 or of - failed >= Fraction(repr(mostly)) * of
