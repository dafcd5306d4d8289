"""How far annotators agree, question by question, and which answers are probably wrong."""

from collections import defaultdict
from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.data.labels.ledger import LABELLED, project_named
from everloop.domain.labels import Answers, Asks, LabelProject, Question
from everloop.errors import InvalidInput
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.stats.findings import Coefficient, LabelErrors
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
        from everloop.data.labels.agreeing import (
            question_agreement,  # numpy, which other labelling does without
        )

        with self.look() as look:
            found = project_named(look, project)
            given = _given(look, found.name)
        rounds = max(0, min(rounds, 5000))
        return [question_agreement(each, given, rounds, seed) for each in found.questions]


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
    from everloop.stats.label_errors import find_label_errors

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
