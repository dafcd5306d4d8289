"""The coefficients that fit each kind of question."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from everloop.data.labels.judging import MOST_PAIRS, PairAgreement, QuestionAgreement
from everloop.data.labels.ledger import likeness_of
from everloop.domain.labels import Answers, Asks, Question
from everloop.stats import agreement
from everloop.stats.findings import Coefficient


def question_agreement(
    question: Question, given: dict[int, dict[str, Answers]], rounds: int, seed: int
) -> QuestionAgreement:
    """Agreement on one question, of the answers that count, by item and annotator."""
    users = sorted({user for answers in given.values() for user in answers})
    shared = [answers for answers in given.values() if len(answers) > 1]
    answered = [
        {user: each[question.name] for user, each in answers.items() if question.name in each}
        for answers in shared
    ]
    answered = [each for each in answered if len(each) > 1]
    result = QuestionAgreement(
        question=question.name, kind=question.kind, items=len(answered), annotators=users, coefficients=[]
    )
    if not answered:
        return result
    if question.kind in (Asks.BOXES, Asks.SPANS):
        regions = [list(each.values()) for each in answered]
        found = agreement.region_agreement(regions, likeness_of(question.kind), rounds=rounds, seed=seed)
        return msgspec.structs.replace(result, coefficients=[found])
    table = [[_comparable(each[user]) if user in each else None for user in users] for each in answered]
    equal = agreement.percent(table, rounds=rounds, seed=seed)
    if question.kind is Asks.TEXT:
        return msgspec.structs.replace(result, coefficients=[equal])
    level: Literal["nominal", "ordinal", "interval"] = "nominal"
    if question.kind is Asks.RATING:
        level = "ordinal"
    elif question.kind is Asks.NUMBER:
        level = "interval"
    coefficients = [agreement.krippendorff(table, level=level, rounds=rounds, seed=seed)]
    if (
        question.kind in (Asks.SINGLE, Asks.MULTI)
        and len({sum(x is not None for x in row) for row in table}) == 1
    ):
        coefficients.append(agreement.fleiss(table, rounds=rounds, seed=seed))
    return msgspec.structs.replace(
        result,
        coefficients=[*coefficients, equal],
        by_class=_by_class(question, table, rounds, seed),
        pairs=_pairs(question, users, table, rounds, seed) if question.kind is not Asks.NUMBER else [],
    )


def _by_class(question: Question, table: list[list[Any]], rounds: int, seed: int) -> dict[str, Coefficient]:
    if question.kind is Asks.SINGLE:
        return agreement.by_class(table, question.choices, rounds=rounds, seed=seed)
    if question.kind is not Asks.MULTI:
        return {}
    return {
        choice: agreement.krippendorff(
            [[None if each is None else choice in each for each in row] for row in table],
            rounds=rounds,
            seed=seed,
        )
        for choice in question.choices
    }


def _pairs(
    question: Question, users: list[str], table: list[list[Any]], rounds: int, seed: int
) -> list[PairAgreement]:
    found = []
    columns = list(zip(*table, strict=True))
    weights: Literal["none", "quadratic"] = "quadratic" if question.kind is Asks.RATING else "none"
    for i, first in enumerate(users):
        for j, second in enumerate(users[i + 1 :], i + 1):
            kappa = agreement.cohen(columns[i], columns[j], weights=weights, rounds=rounds, seed=seed)
            if kappa.items:
                found.append(PairAgreement(first, second, kappa))
            if len(found) >= MOST_PAIRS:
                return found
    return found


def _comparable(answer: Any) -> Any:
    """An answer that can be counted: several choices as a tuple."""
    return tuple(answer) if isinstance(answer, list) else answer
