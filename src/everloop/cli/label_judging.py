"""`everloop label suggest`, `predictions`, `agreement`, `errors`: what models say, and how far answers are to be trusted."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from everloop.cli.frame import command, counted, emit, table, workspace
from everloop.errors import InvalidInput

if TYPE_CHECKING:
    from everloop.data.labels.judging import LabelErrorReport, QuestionAgreement
    from everloop.stats.findings import Coefficient

SHOWN = 20
"""Candidates listed for people."""


@command()
@click.argument("project")
@click.option("--model", required=True, help="Who is asked, such as model:tone@champion.")
@click.option("--question", default="", help="What it answers; the first question when not given.")
def suggest(project: str, model: str, question: str) -> None:
    """Ask a registered model about every item: its answers are shown to annotators, and can order the queue.

    A dataset made of the labels names the model as one of its origins.
    """
    here = workspace(write=True)
    asked = here.registry.model(model)
    items = here.labels.suggest(project, asked, question=question)

    def told(_: object) -> str:
        order = f"everloop label queue {shlex.quote(project)} --order entropy --model {asked.reference}"
        return f"{asked.reference} answered for {counted(items, 'item')}; least certain first: {order}"

    emit({"project": here.labels.project(project).name, "model": asked.reference, "items": items}, told)


@command()
@click.argument("project")
@click.option(
    "--from", "source", default="", help="A Parquet or CSV file, or a dataset's reference: a row an item."
)
@click.option("--model", default="", help="Whose they are, such as model:tone@v1.")
@click.option("--question", default="", help="What they answer; the first question when not given.")
def predictions(project: str, source: str, model: str, question: str) -> None:
    """Bring a model's predictions in, or list whose are there.

    A column a class with its probability (`good` or `p_good`), or `prediction` and `score`; items by their key in a column
    `item`, else in their order.
    """
    labels = workspace(write=bool(source)).labels
    if bool(source) != bool(model):
        raise InvalidInput("give --from and --model, or neither", hint="--from FILE --model model:NAME@v1")
    if source:
        labels.suggest(project, source, model, question=question)
    found = labels.suggesting_models(project)
    emit(
        {"project": labels.project(project).name, "models": found},
        lambda _: table(["model", "items"], list(found.items()), right=["items"]),
    )


@command()
@click.argument("project")
@click.option(
    "--rounds",
    type=click.IntRange(0, 100_000),
    default=400,
    show_default=True,
    help="Draws of the bootstrap; 0 for no intervals.",
)
def agreement(project: str, rounds: int) -> None:
    """How far annotators agree, by question: Krippendorff's alpha, Fleiss' and Cohen's kappa, by class, with 95 % intervals."""
    found = workspace().labels.agreement(project, rounds=rounds)
    emit({"questions": found}, lambda _: _agreement(found))


@command()
@click.argument("subject", metavar="PROJECT|DATASET")
@click.option(
    "--probabilities", default="", help="A file or dataset with out-of-fold probabilities: a column a class."
)
@click.option("--model", default="", help="Take a model's predictions that were brought in instead.")
@click.option("--question", default="", help="The question looked at.")
@click.option("--label", "label_column", default="", help="Of a dataset: the column with the labels.")
@click.option(
    "--column", "columns", multiple=True, help="Learn from this column; from all that are shown without it."
)
@click.option("--folds", default=5, show_default=True, help="Parts of the cross-validation.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=SHOWN,
    show_default=True,
    help="How many for people; JSON has all.",
)
def errors(
    subject: str,
    probabilities: str,
    model: str,
    question: str,
    label_column: str,
    columns: tuple[str, ...],
    folds: int,
    limit: int,
) -> None:
    """Answers that are probably wrong, worst first (confident learning).

    Without --probabilities and --model they are worked out by cross-validation (extra sklearn).
    """
    found = workspace().labels.errors(
        subject,
        question=label_column or question,
        probabilities=probabilities or None,
        model=model,
        columns=columns,
        folds=folds,
    )
    emit(found, lambda _: _errors(found, limit))


def _agreement(found: list[QuestionAgreement]) -> Any:
    rows: list[tuple[object, ...]] = []
    for each in found:
        rows += [(each.question, one.name, *_estimate(one)) for one in each.coefficients]
        rows += [(each.question, f"  {name}", *_estimate(one)) for name, one in each.by_class.items()]
        rows += [
            (each.question, f"  {one.first} and {one.second} (Cohen)", *_estimate(one.kappa))
            for one in each.pairs
        ]
    if not rows:
        return "no item has two answers yet"
    return table(
        ["question", "agreement", "", "from", "to", "items"], rows, right=["", "from", "to", "items"]
    )


def _estimate(found: Coefficient) -> tuple[object, ...]:
    interval = found.interval
    ends = (None, None) if interval is None else (interval.low, interval.high)
    return (found.estimate if found.estimate is not None else "–", *ends, found.items)


def _errors(found: LabelErrorReport, limit: int) -> Any:
    labelled = counted(found.labelled, "answer")
    share = f"{len(found.candidates):,} of {labelled} are probably wrong; estimated share {found.share:.1%}"
    rows = [(each.item, each.given, each.suggested, each.score) for each in found.candidates[:limit]]
    return table(["item", "given", "rather", "score"], rows, right=["score"], title=share)
