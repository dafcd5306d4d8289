"""How far annotators agree, question by question, and which answers are probably wrong."""

from collections import defaultdict
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from everloop.data.labels.ledger import LABELLED, likeness_of, project_named
from everloop.domain.labels import Answers, Asks, LabelProject, Question
from everloop.errors import InvalidInput
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.stats import agreement
from everloop.stats.agreement import Coefficient
from everloop.stats.label_errors import LabelErrors, find_label_errors
from everloop.store.ledger import Reader
from everloop.store.schema.labels import label_entries, label_marks

MOST_PAIRS = 45
"""Pairs of annotators that get a kappa of their own: those of ten annotators."""


class PairAgreement(msgspec.Struct, frozen=True):
    """Two annotators, over the items both answered."""

    first: str
    second: str
    kappa: Coefficient


class QuestionAgreement(msgspec.Struct, frozen=True, kw_only=True):
    """Agreement on one question. items: with two answers at least. coefficients: those that fit the question, the first one being
    the one to quote. by_class: alpha of each choice against all others. pairs: Cohen's kappa of two annotators."""

    question: str
    kind: Asks
    items: int
    annotators: list[str]
    coefficients: list[Coefficient]
    by_class: dict[str, Coefficient] = {}
    pairs: list[PairAgreement] = []


class Judging(Room):
    """The part of labelling that measures it."""

    name = "labels"

    @operation(Permission.READ)
    def agreement(self, project: str, rounds: int = 400, seed: int = 0) -> list[QuestionAgreement]:
        """Agreement by question, of the answers that count today; corrections by reviewers are not answers. Intervals are
        bootstraps over items, of `rounds` draws."""
        with self.look() as look:
            found = project_named(look, project)
            given = _given(look, found.name)
        rounds = max(0, min(rounds, 5000))
        return [_of_question(each, given, rounds, seed) for each in found.questions]


def _given(look: Reader, project: str) -> dict[int, dict[str, Answers]]:
    """Answers that count, by item and annotator."""
    rows = look.all(
        sa.select(label_marks.c.item, label_marks.c.user, label_entries.c.answers)
        .join(label_entries, label_entries.c.id == label_marks.c.entry)
        .where(label_marks.c.project == project, label_marks.c.state == LABELLED)
        .order_by(label_marks.c.item, label_marks.c.user)
    )
    found: dict[int, dict[str, Answers]] = defaultdict(dict)
    for row in rows:
        found[row.item][row.user] = row.answers
    return found


def _of_question(
    question: Question, given: dict[int, dict[str, Answers]], rounds: int, seed: int
) -> QuestionAgreement:
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


class LabelErrorReport(msgspec.Struct, frozen=True, kw_only=True):
    """Answers that are probably wrong, worst first. subject: the project or dataset. question: what was asked, or the column.
    labelled: how many answers were looked at. share: the estimated share of wrong ones. joint: by given (row) and confident class
    (column)."""

    subject: str
    question: str
    labelled: int
    classes: list[str]
    thresholds: dict[str, float | None]
    joint: list[list[int]]
    share: float
    candidates: list["ErrorCandidate"]


class ErrorCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """One of them. item: its key. score: 0 to 1, low is worse."""

    item: str
    given: str
    suggested: str
    score: float
    number: int


def judged(
    subject: str,
    question: str,
    classes: list[str],
    keys: list[str],
    labels: list[str],
    probabilities: Any,
    numbers: list[int] | None = None,
) -> LabelErrorReport:
    """Confident learning over answers and out-of-fold probabilities (items x classes, in the order of `classes`)."""
    place = {each: at for at, each in enumerate(classes)}
    unknown = next((each for each in labels if each not in place), None)
    if unknown is not None:
        raise InvalidInput(
            f"{subject} has the label '{unknown}', which has no probabilities",
            hint=f"there are: {', '.join(classes)}",
        )
    try:
        found: LabelErrors = find_label_errors([place[each] for each in labels], probabilities)
    except ValueError as error:
        raise InvalidInput(
            f"the probabilities do not fit: {error}", hint="one row an item, one column a class"
        ) from None
    return LabelErrorReport(
        subject=subject,
        question=question,
        labelled=len(labels),
        classes=classes,
        thresholds=dict(zip(classes, found.thresholds, strict=True)),
        joint=found.joint,
        share=found.share,
        candidates=[
            ErrorCandidate(
                item=keys[each.row],
                given=classes[each.given],
                suggested=classes[each.suggested],
                score=each.score,
                number=numbers[each.row] if numbers is not None else each.row,
            )
            for each in found.candidates
        ],
    )


def chosen_question(project: LabelProject, name: str) -> Question:
    """The question whose answers can be looked at for errors: one choice among several."""
    question = project.question(name)
    if question.kind is not Asks.SINGLE:
        raise InvalidInput(
            f"'{question.name}' asks for {question.kind}; errors are looked for among single choices",
            hint="name another one: --question",
        )
    return question
