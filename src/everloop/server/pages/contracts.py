"""The contracts of a dataset: which holds, what came of each version of it, and when it was waived."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from everloop.domain.checks import CheckReport
from everloop.domain.contracts import Contract, governing
from everloop.workspace.workspace import Workspace


class Outcome(NamedTuple):
    """A version of a contract and what it did. `passed`, `failed` and `waived` count verdicts; `last` is the newest of them.

    state: "in force", "replaced", "ended", or "overruled" by the contract of a closer name.
    """

    contract: Contract
    state: str
    passed: int
    failed: int
    waived: int
    last: CheckReport | None


class Waiver(NamedTuple):
    """A version that came in unchecked. `until`: the next version of the dataset that its contract was kept for; None when there
    is none yet."""

    report: CheckReport
    until: str | None


def outcomes(workspace: Workspace, name: str, reports: Sequence[CheckReport]) -> list[Outcome]:
    """What was ever bound to a dataset, newest first. `reports`: all verdicts on its versions, newest first."""
    history = workspace.data.contract_history(f"data:{name}")
    newest = {each.pattern: each for each in reversed(history)}
    holding = governing(newest.values(), name)
    found = []
    for contract in history:
        own = [
            each
            for each in reports
            if (each.contract, each.contract_version) == (contract.pattern, contract.version)
        ]
        found.append(
            Outcome(
                contract,
                _state(contract, newest[contract.pattern], holding),
                sum(each.passed for each in own),
                sum(not each.passed and not each.waived for each in own),
                sum(bool(each.waived) for each in own),
                own[0] if own else None,
            )
        )
    return found


def _state(contract: Contract, newest: Contract, holding: Contract | None) -> str:
    if not contract.bound:
        return "ended"
    if contract != newest:
        return "replaced"
    return "in force" if contract == holding else "overruled"


def waivers(reports: Sequence[CheckReport]) -> list[Waiver]:
    """The versions whose contract was waived, newest first."""
    found: list[Waiver] = []
    kept: str | None = None
    for each in reports:
        if each.waived:
            found.append(Waiver(each, kept))
        elif each.contract:
            kept = each.reference
    return found
