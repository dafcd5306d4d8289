"""A file of tasks, as Label Studio reads and writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from everloop.domain.labels import Answers, Question
from everloop.errors import InvalidInput
from everloop.exchange.labelstudio.config import Skipped
from everloop.exchange.labelstudio.regions import answers_of

TASK_KEYS = frozenset(
    [
        "id",
        "data",
        "annotations",
        "predictions",
        "drafts",
        "meta",
        "project",
        "created_at",
        "updated_at",
        "updated_by",
        "is_labeled",
        "overlap",
        "inner_id",
        "total_annotations",
        "cancelled_annotations",
        "total_predictions",
        "file_upload",
        "comment_count",
        "unresolved_comment_count",
        "comment_authors",
        "last_comment_updated_at",
        "allow_skip",
        "completions",
    ]
)
"""Of a task: what is read, and what only counts or numbers what is in it."""

ANNOTATION_KEYS = frozenset(
    [
        "id",
        "completed_by",
        "result",
        "was_cancelled",
        "ground_truth",
        "created_at",
        "updated_at",
        "draft_created_at",
        "lead_time",
        "result_count",
        "task",
        "project",
        "unique_id",
        "import_id",
        "last_action",
        "bulk_created",
        "updated_by",
        "parent_prediction",
        "parent_annotation",
        "last_created_by",
        "prediction",
    ]
)


class TaskAnnotation(msgspec.Struct, frozen=True, kw_only=True):
    """What one person said of a task, or that they skipped it."""

    user: str
    answers: Answers
    skipped: bool = False
    seconds: float | None = None
    created: datetime | None = None


class TaskPrediction(msgspec.Struct, frozen=True, kw_only=True):
    """What a model said of a task."""

    model: str
    answers: Answers
    score: float | None = None


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task with what was said of it. id: Label Studio's number, else its place in the file."""

    id: str
    data: dict[str, Any]
    annotations: list[TaskAnnotation]
    predictions: list[TaskPrediction]


class Tasks(msgspec.Struct, frozen=True):
    """A file that was read, and what of it has no place here."""

    tasks: list[Task]
    skipped: list[Skipped]


def read_tasks(
    text: bytes | str, questions: Sequence[Question], users: Mapping[str, str] | None = None
) -> Tasks:
    """The tasks of a file. users: names for Label Studio's numbers of people.

    >>> from everloop.domain.labels import Asks
    >>> tone = Question(name="tone", kind=Asks.SINGLE, choices=("good", "bad"), on="text")
    >>> result = '[{"from_name": "tone", "to_name": "text", "type": "choices", "value": {"choices": ["good"]}}]'
    >>> found = read_tasks(f'[{{"data": {{"text": "fine"}}, "annotations": [{{"completed_by": 7, "result": {result}}}]}}]',
    ...                    [tone], {"7": "ana"})
    >>> found.tasks[0].annotations[0].user, found.tasks[0].annotations[0].answers
    ('ana', {'tone': 'good'})
    """
    try:
        listed = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the file is no JSON: {error}", hint="export from Label Studio as JSON") from None
    if isinstance(listed, dict):
        listed = [listed]
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise InvalidInput(
            "the file is no list of tasks", hint="export from Label Studio as JSON, not JSON-MIN"
        )
    skipped: list[Skipped] = []
    return Tasks(
        [_task(each, at, questions, users or {}, skipped) for at, each in enumerate(listed)], skipped
    )


def _task(
    raw: dict[str, Any],
    at: int,
    questions: Sequence[Question],
    users: Mapping[str, str],
    skipped: list[Skipped],
) -> Task:
    # What has no `data` is the data of a task that nobody has seen.
    plain = "data" not in raw
    data = raw if plain else raw["data"]
    name = str(raw.get("id", at + 1)) if not plain else str(at + 1)
    where = f"task {name}"
    if not isinstance(data, dict):
        raise InvalidInput(f"{where}: its data are no object")
    task = {} if plain else raw
    skipped.extend(Skipped(where, f"'{key}' has no place here") for key in sorted(task.keys() - TASK_KEYS))
    skipped.extend(
        Skipped(where, f"its {key} have no place here") for key in ("drafts", "meta") if task.get(key)
    )
    annotations = [
        _annotation(each, f"{where}, annotation {each.get('id', number)}", questions, users, skipped)
        for number, each in enumerate(_listed(task.get("annotations") or task.get("completions"), where), 1)
    ]
    predictions = []
    for number, each in enumerate(_listed(task.get("predictions"), where)):
        here = f"{where}, prediction {each.get('id', number + 1)}"
        answers = answers_of(questions, each.get("result", []), here, skipped)
        score = each.get("score")
        predictions.append(
            TaskPrediction(
                model=str(each.get("model_version") or "Label Studio"),
                answers=answers,
                score=float(score) if isinstance(score, int | float) else None,
            )
        )
    return Task(id=name, data=data, annotations=annotations, predictions=predictions)


def _annotation(
    raw: dict[str, Any],
    where: str,
    questions: Sequence[Question],
    users: Mapping[str, str],
    skipped: list[Skipped],
) -> TaskAnnotation:
    skipped.extend(
        Skipped(where, f"'{key}' has no place here") for key in sorted(raw.keys() - ANNOTATION_KEYS)
    )
    if raw.get("ground_truth"):
        skipped.append(Skipped(where, "that it is the ground truth is not taken over: accept it in a review"))
    cancelled = bool(raw.get("was_cancelled"))
    seconds = raw.get("lead_time")
    return TaskAnnotation(
        user=_user(raw.get("completed_by"), users),
        answers={} if cancelled else answers_of(questions, raw.get("result", []), where, skipped),
        skipped=cancelled,
        seconds=float(seconds) if isinstance(seconds, int | float) else None,
        created=_moment(raw.get("created_at")),
    )


def _user(raw: Any, users: Mapping[str, str]) -> str:
    if isinstance(raw, dict):
        number = str(raw.get("id", ""))
        name = raw.get("email") or raw.get("username") or (f"labelstudio-{number}" if number else "")
        return users.get(number, "") or str(name or "labelstudio")
    return users.get(str(raw), "") or (f"labelstudio-{raw}" if raw is not None else "labelstudio")


def _moment(raw: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(raw))
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _listed(raw: Any, where: str) -> list[dict[str, Any]]:
    if raw is None:
        return []
    if not isinstance(raw, list) or not all(isinstance(each, dict) for each in raw):
        raise InvalidInput(f"{where}: annotations and predictions are lists of objects")
    return raw
