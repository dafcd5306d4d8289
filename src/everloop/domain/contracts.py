"""Contracts: checks that every version of a dataset must have been through, and what follows from them at an add.

A contract is bound to a dataset's name, or to all names that begin alike (``raw/*``). The most specific one holds: the exact
name, then the longest beginning. Datasets of rejected rows (``NAME/quarantine``) are under a contract only by their exact name.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from everloop.domain.checks import AnyCheck, CheckReport, Suite
from everloop.domain.names import checked_name
from everloop.errors import InvalidInput

KIND = "contract"
"""What the ledger's definitions call them."""
_REJECTED = "/quarantine"


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a contract. `bound` is false for the one that ended it, and `reason` says why. `user`: who bound or ended it,
    where that was asked for."""

    pattern: str
    suite: Suite
    version: int
    created: datetime
    bound: bool = True
    reason: str = ""
    user: str = ""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What rows must pass on their way in: the checks of a contract and those that were asked for besides.

    waived: why the contract's checks are not made this time.
    """

    name: str = ""
    checks: tuple[AnyCheck, ...] = ()
    contract: Contract | None = None
    waived: str = ""

    def signed(self, report: CheckReport) -> CheckReport:
        """The report with the contract it keeps. One whose contract was waived has not passed: nobody has looked."""
        if self.contract is None:
            return report
        facts = {"contract": self.contract.pattern, "contract_version": self.contract.version}
        return msgspec.structs.replace(
            report, **facts, waived=self.waived, passed=report.passed and not self.waived
        )

    def unexamined(self, now: datetime) -> CheckReport | None:
        """The report on rows that nobody looked at: None when nobody had to."""
        if self.contract is None:
            return None
        return self.signed(
            CheckReport(reference="", suite=self.name, passed=False, rows=0, checks=[], time=now)
        )


def checked_pattern(pattern: str) -> str:
    """A dataset's name, or the beginning of names with ``*`` at its end. Raises InvalidInput for any other.

    >>> checked_pattern("raw/*")
    'raw/*'
    >>> checked_pattern("*/flights")
    Traceback (most recent call last):
    everloop.errors.InvalidInput: '*/flights' has a '*' that is not at its end
    """
    checked_name(pattern, "dataset name")
    if "*" in pattern[:-1]:
        raise InvalidInput(
            f"'{pattern}' has a '*' that is not at its end",
            hint="name a dataset, or a beginning such as raw/*",
        )
    return pattern


def candidates(dataset: str) -> list[str]:
    """The patterns that would cover a dataset, the most specific first.

    >>> candidates("a/b")
    ['a/b', 'a/b*', 'a/*', 'a*', '*']
    >>> candidates("flights/quarantine")
    ['flights/quarantine']
    """
    if dataset.endswith(_REJECTED):
        return [dataset]
    return [dataset, *(f"{dataset[:end]}*" for end in range(len(dataset), -1, -1))]


def governing(contracts: Iterable[Contract], dataset: str) -> Contract | None:
    """The contract that holds for a dataset among the newest versions of all: the most specific that is bound."""
    bound = {contract.pattern: contract for contract in contracts if contract.bound}
    return next((bound[pattern] for pattern in candidates(dataset) if pattern in bound), None)


def terms(contract: Contract | None, suite: Suite | None, waived: str = "") -> Terms:
    """What an add must pass. Checks asked for besides a contract's are made too; one of another check's name is told apart."""
    if contract is None or waived:
        own = suite.checks if suite is not None else ()
        return Terms(name=suite.name if suite else "", checks=own, contract=contract, waived=waived)
    checks = list(contract.suite.checks)
    taken = {check.name: check for check in checks}
    for check in suite.checks if suite is not None else ():
        if taken.get(check.name) == check:
            continue
        if check.name in taken:
            check = msgspec.structs.replace(check, name=_other(check.name, taken))
        taken[check.name] = check
        checks.append(check)
    return Terms(name=contract.suite.name, checks=tuple(checks), contract=contract)


def broken(contract: Contract, report: CheckReport | None) -> str:
    """Why a version with this report must not be recorded under a contract; empty when it may.

    Whoever adds makes the checks, for a server runs nobody's code: what can be told here is whether they were made by these
    rules, all of them, and what they said.
    """
    if report is None or report.contract != contract.pattern:
        return f"is under contract '{contract.pattern}', and its checks were not made"
    if report.waived:
        return ""
    if report.contract_version != contract.version:
        return f"was checked by version {report.contract_version} of its contract, which has version {contract.version} by now"
    made = {result.name for result in report.checks}
    left = [check.name for check in contract.suite.checks if check.name not in made]
    if left:
        return f"was not checked for {left[0]}, which contract '{contract.pattern}' asks for"
    if report.refused:
        return f"failed {report.refused[0].name} of contract '{contract.pattern}'"
    return ""


def _other(name: str, taken: Iterable[str]) -> str:
    number, known = 2, set(taken)
    while f"{name} ({number})" in known:
        number += 1
    return f"{name} ({number})"
