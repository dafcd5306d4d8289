"""`everloop label`: projects, the queue, what people answer and what reviewers say of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from everloop.cli.frame import command, counted, emit, facts, say, table, workspace
from everloop.cli.main import LazyGroup
from everloop.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from everloop.domain.labels import Entry, LabelItem, LabelProject, Progress, Question
    from everloop.exchange.labelstudio.config import Skipped

HERE = "everloop.cli.labels"
JUDGING = "everloop.cli.label_judging"
EXCHANGE = "everloop.cli.label_exchange"
COMMANDS: dict[str, tuple[str, str]] = {
    "create": (f"{HERE}:create", "begin a labelling project over a dataset version"),
    "list": (f"{HERE}:list_", "all labelling projects"),
    "show": (f"{HERE}:show", "how far a project is; with an item, all that was said of it"),
    "guidelines": (f"{HERE}:guidelines", "show the guidelines, or give other ones"),
    "queue": (f"{HERE}:queue", "the next items; with --order, in which order they come"),
    "answer": (f"{HERE}:answer", "say what an item is, or skip it"),
    "undo": (f"{HERE}:undo", "take your last answer or skip back"),
    "review": (f"{HERE}:review", "accept, send back or correct an answer"),
    "suggest": (f"{JUDGING}:suggest", "ask a registered model about every item"),
    "predictions": (f"{JUDGING}:predictions", "bring a model's predictions in, or list whose are there"),
    "agreement": (f"{JUDGING}:agreement", "how far annotators agree"),
    "errors": (f"{JUDGING}:errors", "answers that are probably wrong"),
    "close": (f"{HERE}:close", "take no more answers"),
    "reopen": (f"{HERE}:reopen", "take answers again"),
    "import": (f"{EXCHANGE}:import_", "bring in a Label Studio file"),
    "export": (f"{EXCHANGE}:export", "answers as a dataset version, or as a Label Studio file"),
}
"""Command -> (where it is, one line of help)."""

SHOWN = 20
"""Rows of a list for people."""

ORDERS = ["given", "random", "entropy", "margin", "confidence", "disagreement"]


@click.group(cls=LazyGroup, table=COMMANDS)
def label() -> None:
    """Labelling: a queue of items, what people say of them, and the dataset that comes of it."""


@command()
@click.argument("name")
@click.option("--data", required=True, help="The dataset version whose rows or pictures are labelled.")
@click.option("--choices", default="", help="The classes of one question, by comma.")
@click.option("--question", default="label", show_default=True, help="What that question is called.")
@click.option("--multi", is_flag=True, help="Several classes may be chosen.")
@click.option("--boxes", is_flag=True, help="Boxes of these classes are drawn on pictures.")
@click.option("--spans", is_flag=True, help="Spans of these classes are marked in the text.")
@click.option(
    "--config", type=click.Path(path_type=Path), help="Ask what a Label Studio configuration (XML) asks."
)
@click.option("--text", default="", help="The column to read.")
@click.option(
    "--column", "columns", multiple=True, help="Another column to show; all of them without this and --text."
)
@click.option("--key", default="", help="The column that names a row; else rows are numbered.")
@click.option("--overlap", default=1, show_default=True, help="How many annotators an item needs.")
@click.option("--guidelines", type=click.Path(path_type=Path), help="A Markdown file with the guidelines.")
@click.option(
    "--lease", default=600, show_default=True, help="Seconds for which an item is kept for an annotator."
)
def create(
    name: str,
    data: str,
    choices: str,
    question: str,
    multi: bool,
    boxes: bool,
    spans: bool,
    config: Path | None,
    text: str,
    columns: tuple[str, ...],
    key: str,
    overlap: int,
    guidelines: Path | None,
    lease: int,
) -> None:
    """Begin a labelling project over a dataset version."""
    from everloop.exchange.labelstudio.config import read_config

    asked: list[Question] = []
    shown: tuple[Any, ...] = ()
    skipped: list[Skipped] = []
    if config is not None:
        read = read_config(text_of(config))
        asked, skipped = list(read.questions), read.skipped
        shown = () if any(each.look == "image" for each in read.shown) else read.shown
    elif choices:
        asked = [_question(question, choices, multi=multi, boxes=boxes, spans=spans)]
    made = workspace(write=True).labels.create(
        name,
        data,
        asked,
        text=text,
        columns=columns,
        shown=shown,
        key=key,
        overlap=overlap,
        guidelines=text_of(guidelines) if guidelines is not None else "",
        lease_seconds=lease,
    )
    for each in skipped[:SHOWN]:
        say(f"left: {each.where}: {each.reason}")
    emit(
        made,
        lambda _: (
            f"{made.reference}: {counted(made.items, 'item')} of {made.source}; label them at /labels/{quote(made.name)}"
        ),
    )


@command("list")
def list_() -> None:
    """All labelling projects."""
    here = workspace()
    found = here.labels.projects()
    rows = [
        (
            each.name,
            each.source,
            each.items,
            ", ".join(q.name for q in each.questions),
            each.overlap,
            each.created,
        )
        for each in found
    ]
    emit(
        {"projects": found},
        lambda _: table(
            ["project", "of", "items", "asks", "overlap", "made"],
            rows,
            right=["items", "overlap"],
            empty="no labelling projects yet; make one: everloop label create",
        ),
    )


@command()
@click.argument("project")
@click.argument("item", required=False)
def show(project: str, item: str | None) -> None:
    """How far a project is; with ITEM (its key, or # and its number), all that was said of it."""
    here = workspace()
    found: LabelProject = here.labels.project(project)
    if item is not None:
        one = here.labels.item(project, item)
        history = here.labels.history(project, one.number)
        emit(
            {"item": one, "content": here.labels.content(project, one.number), "history": history},
            lambda _: _history(one, history),
        )
        return
    progress = here.labels.progress(project)
    emit({"project": found, "progress": progress}, lambda _: _progress(found, progress))


@command()
@click.argument("project")
@click.option(
    "--from", "file", type=click.Path(path_type=Path), help="A Markdown file: the guidelines from now on."
)
def guidelines(project: str, file: Path | None) -> None:
    """Show the guidelines, or give other ones; answers say by which they were given."""
    labels = workspace(write=file is not None).labels
    found = labels.write_guidelines(project, text_of(file)) if file is not None else labels.project(project)
    emit(
        {"project": found.name, "version": found.guidelines_version, "text": found.guidelines},
        lambda shown: shown["text"] or "there are no guidelines",
    )


@command()
@click.argument("project")
@click.option("--order", type=click.Choice(ORDERS), help="Put the queue in this order first.")
@click.option(
    "--model", "models", multiple=True, help="Whose predictions decide; may be given more than once."
)
@click.option("--seed", default=0, show_default=True, help="Of a random order.")
@click.option("--limit", type=click.IntRange(min=0), default=SHOWN, show_default=True, help="How many items.")
def queue(project: str, order: str | None, models: tuple[str, ...], seed: int, limit: int) -> None:
    """The next items that want an answer. Orders: as given, random, or what models know least first."""
    from everloop.domain.labels import Order

    labels = workspace(write=order is not None).labels
    if order is not None:
        labels.arrange(project, Order(order), seed=seed, models=list(models))
    found, progress = labels.project(project), labels.progress(project)
    items = labels.items(project, state="open", limit=limit)
    rows = [(f"#{each.number}", each.key, each.labelled, each.skipped) for each in items]
    emit(
        {"project": found.name, "order": found.order, "open": progress.open, "items": items},
        lambda _: table(
            ["item", "key", "answers", "skips"],
            rows,
            right=["answers", "skips"],
            title=f"{progress.open:,} of {progress.items:,} open, in the order: {found.order}",
        ),
    )


@command()
@click.argument("project")
@click.argument("item")
@click.argument("answers", nargs=-1, metavar="[QUESTION=ANSWER]…")
@click.option("--skip", is_flag=True, help="Leave it to others.")
@click.option("--because", default="", help="Why it is skipped.")
def answer(project: str, item: str, answers: tuple[str, ...], skip: bool, because: str) -> None:
    """Say what an item is: `tone=good`, several choices by comma, boxes and spans as JSON. A project with one question takes
    the answer alone."""
    labels = workspace(write=True).labels
    found = labels.project(project)
    number = labels.item(project, item).number
    if skip == bool(answers):
        raise InvalidInput(
            "give an answer, or --skip", hint=f"it asks: {', '.join(q.name for q in found.questions)}"
        )
    if because and not skip:
        raise InvalidInput("--because says why an item is skipped", hint="give --skip too, or leave it out")
    if skip:
        entry = labels.skip(project, number, comment=because)
    else:
        entry = labels.annotate(project, number, _answers(found, answers))
    emit(entry, lambda _: f"{entry.key}: {_said(entry)}")


@command()
@click.argument("project")
def undo(project: str) -> None:
    """Take your last answer or skip back: what you said before counts again."""
    entry = workspace(write=True).labels.undo(project)
    emit(entry, lambda _: f"{entry.key}: taken back")


@command()
@click.argument("project")
@click.argument("item")
@click.option("--accept", "verdict", flag_value="accept", help="The answer is right.")
@click.option("--reject", "verdict", flag_value="reject", help="Send it back, with --because.")
@click.option("--correct", default="", metavar="QUESTION=ANSWER", help="Write the right answer.")
@click.option("--of", "annotator", default="", help="Whose answer, where several people gave one.")
@click.option("--because", default="", help="Why.")
def review(project: str, item: str, verdict: str | None, correct: str, annotator: str, because: str) -> None:
    """Accept, send back or correct the answer of somebody else."""
    labels = workspace(write=True).labels
    found = labels.project(project)
    one = labels.item(project, item)
    if bool(verdict) == bool(correct):
        raise InvalidInput("say one of --accept, --reject and --correct", hint="see the command with --help")
    about = _about(labels.history(project, one.number), one.key, annotator)
    if correct:
        entry = labels.correct(project, about.id, _answers(found, (correct,)), comment=because)
    elif verdict == "accept":
        entry = labels.accept(project, about.id, comment=because)
    else:
        entry = labels.reject(project, about.id, comment=because)
    emit(entry, lambda _: f"{entry.key}: {_said(entry)}")


@command()
@click.argument("project")
@click.option("--because", default="", help="Why.")
def close(project: str, because: str) -> None:
    """Take no more answers, skips and reviews. What was said stays, and can be exported."""
    found = workspace(write=True).labels.close(project, because)
    emit(
        found, lambda _: f"{found.reference} is closed; to open it again: everloop label reopen {found.typed}"
    )


@command()
@click.argument("project")
@click.option("--because", default="", help="Why.")
def reopen(project: str, because: str) -> None:
    """Take answers again, from where the queue was left."""
    found = workspace(write=True).labels.reopen(project, because)
    emit(found, lambda _: f"{found.reference} takes answers again")


def _question(name: str, choices: str, *, multi: bool, boxes: bool, spans: bool) -> Question:
    from everloop.domain.labels import Asks, Question

    if multi + boxes + spans > 1:
        raise InvalidInput("choose one of --multi, --boxes and --spans")
    kind = Asks.MULTI if multi else Asks.BOXES if boxes else Asks.SPANS if spans else Asks.SINGLE
    listed = tuple(each.strip() for each in choices.split(",") if each.strip())
    return Question(name=name, kind=kind, choices=listed)


def _answers(project: LabelProject, given: tuple[str, ...]) -> dict[str, Any]:
    """Answers as they are typed: ``tone=good``; the answer alone where only one question is asked."""
    only = project.questions[0].name if len(project.questions) == 1 else ""
    known = {each.name for each in project.questions}
    answers: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if (not equals or name not in known) and only:
            name, text = only, each
        elif not equals:
            raise InvalidInput(f"'{each}' does not say what it answers", hint="write QUESTION=ANSWER")
        answers[name] = _typed(project.question(name), text)
    return answers


def _typed(question: Question, text: str) -> Any:
    import msgspec

    from everloop.domain.labels import Asks

    if question.kind is Asks.MULTI:
        return [each.strip() for each in text.split(",") if each.strip()]
    if question.kind in (Asks.SINGLE, Asks.TEXT):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise InvalidInput(
            f"'{text}' is no answer to '{question.name}'", hint="give a number, or boxes and spans as JSON"
        ) from None


def _about(history: list[Entry], key: str, annotator: str) -> Entry:
    """The answer that a review is about."""
    counting = [each for each in history if each.counts and annotator in ("", each.user)]
    if len(counting) == 1:
        return counting[0]
    if not counting:
        raise NotFound(
            f"{key} has no answer{f' of {annotator}' if annotator else ''}", hint="see: everloop label show"
        )
    people = ", ".join(each.user for each in counting)
    raise InvalidInput(f"{people} answered {key}", hint="say whose answer: --of NAME")


def _progress(project: LabelProject, progress: Progress) -> Any:
    from rich.console import Group

    head = facts(
        [
            ("project", project.reference),
            ("of", project.source),
            (
                "asks",
                "; ".join(
                    f"{q.name} ({q.kind}{': ' + ', '.join(q.choices) if q.choices else ''})"
                    for q in project.questions
                ),
            ),
            (
                "items",
                f"{progress.items:,}: {progress.open:,} open, {progress.done:,} answered, {progress.reviewed:,} reviewed",
            ),
            ("annotators differ", f"{counted(progress.differs, 'item')}"),
            ("order", project.order),
            *([("closed", project.closed)] if project.closed is not None else []),
        ]
    )
    rows = [
        (each.user, each.labelled, each.skipped, each.rejected, each.seconds) for each in progress.annotators
    ]
    people = table(
        ["annotator", "answers", "skips", "sent back", "seconds"],
        rows,
        right=["answers", "skips", "sent back", "seconds"],
    )
    return Group(head, people) if rows else head


def _history(item: LabelItem, history: list[Entry]) -> Any:
    rows = [
        (each.created, each.user, each.kind, _said(each), "counts" if each.counts else "") for each in history
    ]
    return table(["when", "who", "what", "said", ""], rows, title=f"{item.key}: {item.state}")


def _said(entry: Entry) -> str:
    answers = "; ".join(f"{name}={_short(value)}" for name, value in entry.answers.items())
    return ", ".join(each for each in (answers, entry.comment) if each) or str(entry.kind)


def _short(value: Any) -> str:
    import msgspec

    return value if isinstance(value, str) else msgspec.json.encode(value).decode()[:80]


def text_of(path: Path) -> str:
    """What a file says, or NotFound."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(f"{path} cannot be read: {error}", hint="check the path") from None
