"""A file of Label Studio's into a project, and a project into such a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.data.labels.contents import IMAGE, PICTURES
from everloop.data.labels.queue import NewEntry
from everloop.data.labels.suggesting import NewSuggestion
from everloop.domain.labels import Entry, EntryKind, LabelProject, Suggestion
from everloop.errors import InvalidInput, NotFound, StorageError
from everloop.exchange.labelstudio.config import Config, Skipped, read_config, write_config
from everloop.exchange.labelstudio.regions import regions_of
from everloop.exchange.labelstudio.tasks import Task, read_tasks
from everloop.workspace.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

AT_ONCE = 2000
ORIGIN = "Label Studio"


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What `label import` did. added, known: annotations that were new, and that were here or about reviewed items."""

    project: str
    source: str
    tasks: int
    added: int
    known: int
    predictions: int
    skipped: list[Skipped]


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What `label export --to` wrote."""

    path: str
    config: str
    tasks: int
    annotations: int
    predictions: int


def import_tasks(
    workspace: Workspace,
    project: str,
    path: Path,
    *,
    config: str = "",
    data: str = "",
    overlap: int = 1,
    users: Mapping[str, str] | None = None,
) -> Imported:
    """Bring a file of tasks in. A project that is not there yet is made of it, by its configuration: the tasks' data become a
    dataset version (`data`, else ``PROJECT/tasks``). In one that is, tasks find their items by the key, by the path of a picture,
    or by the text that is read. Doing it again adds only what is new."""
    text = _read(path)
    asked = read_config(config) if config else None
    try:
        found: LabelProject = workspace.labels.project(project)
    except NotFound as error:
        if asked is None:
            make = "its configuration makes one of the file: --config FILE.xml"
            raise NotFound(error.message, hint=f"{error.hint}; {make}") from None
        found = _made(workspace, project, text, asked, data, overlap, users or {})
    read = read_tasks(text, found.questions, users)
    skipped = [*(asked.skipped if asked else []), *read.skipped]
    numbers = _numbers(workspace, found, read.tasks, skipped)
    entries = [
        NewEntry(
            item=number,
            user=each.user,
            answers=each.answers,
            skipped=each.skipped,
            seconds=each.seconds,
            created=each.created,
        )
        for task, number in zip(read.tasks, numbers, strict=True)
        if number is not None
        for each in task.annotations
    ]
    added = known = 0
    for first in range(0, len(entries), AT_ONCE):
        done = workspace.labels.record_entries(found.name, entries[first : first + AT_ONCE], ORIGIN)
        added, known = added + done.added, known + done.known
    suggestions: dict[str, list[NewSuggestion]] = {}
    for task, number in zip(read.tasks, numbers, strict=True):
        for said in task.predictions if number is not None else []:
            row = NewSuggestion(item=number or 0, answers=said.answers, score=said.score)
            suggestions.setdefault(said.model, []).append(row)
    for model, rows in suggestions.items():
        for first in range(0, len(rows), AT_ONCE):
            workspace.labels.record_suggestions(found.name, model, rows[first : first + AT_ONCE])
    return Imported(
        project=found.reference,
        source=found.source,
        tasks=len(read.tasks),
        added=added,
        known=known,
        predictions=sum(map(len, suggestions.values())),
        skipped=skipped,
    )


def export_tasks(workspace: Workspace, project: str, path: Path, config: str = "") -> Exported:
    """Write all items of a project as tasks, with what annotators and models said, and the configuration beside it. config: one
    whose names of objects the regions should use."""
    found: LabelProject = workspace.labels.project(project)
    about: dict[str, str] = {}
    called: dict[str, str] = {}
    if config:
        read = read_config(config)
        about = {column: name for name, column in read.names.items()}
        theirs = next((each.column for each in read.shown if each.look == "image"), "")
        if theirs:  # pictures have one name here, whatever the configuration calls them
            called[IMAGE], about[IMAGE] = theirs, about[theirs]
    said = {result.item.number: result for result in workspace.labels.all_results(found.name, skips=True)}
    models = workspace.labels.suggesting_models(found.name)
    suggested: dict[int, list[Suggestion]] = {}
    for model in models:
        for each in workspace.labels.all_suggestions(found.name, model):
            suggested.setdefault(each.item, []).append(each)
    tasks: list[dict[str, Any]] = []
    for number, (key, content) in enumerate(_contents(workspace, found)):
        result = said.get(number)
        entries = [] if result is None else [*result.entries, *result.skips]
        if result is not None and result.final is not None and result.final not in entries:
            entries.append(result.final)
        final = None if result is None or result.final is None else result.final.id
        tasks.append(
            {
                "id": number + 1,
                "data": {called.get(name, name): value for name, value in _data(found, key, content).items()},
                "annotations": [_annotation(found, each, content, about, final) for each in entries],
                "predictions": [
                    {
                        "model_version": each.model,
                        "score": each.score,
                        "result": regions_of(found.questions, each.answers, content, about),
                    }
                    for each in suggested.get(number, [])
                ],
            }
        )
    beside = path.with_suffix(".xml")
    _write(path, msgspec.json.format(msgspec.json.encode(tasks), indent=1))
    _write(beside, (config or write_config(found.questions, found.shown)).encode() + b"\n")
    return Exported(
        path=str(path),
        config=str(beside),
        tasks=len(tasks),
        annotations=sum(len(each["annotations"]) for each in tasks),
        predictions=sum(len(each["predictions"]) for each in tasks),
    )


def _annotation(
    project: LabelProject, entry: Entry, content: dict[str, Any], about: dict[str, str], final: str | None
) -> dict[str, Any]:
    return {
        "unique_id": entry.id,
        "completed_by": {"email": entry.user},
        "result": regions_of(project.questions, entry.answers, content, about),
        "was_cancelled": entry.kind is EntryKind.SKIP,
        "ground_truth": entry.id == final,
        "created_at": entry.created.isoformat(),
        "lead_time": entry.seconds,
    }


def _made(
    workspace: Workspace,
    project: str,
    text: bytes,
    config: Config,
    data: str,
    overlap: int,
    users: Mapping[str, str],
) -> LabelProject:
    """A new project over the tasks' data."""
    if any(each.look == "image" for each in config.shown):
        raise InvalidInput(
            "pictures are not in the file, only where Label Studio kept them",
            hint="add their folder (everloop data add), then: everloop label create … --config, and import again",
        )
    tasks = read_tasks(text, config.questions, users).tasks
    if not tasks:
        raise InvalidInput("the file has no tasks", hint="export them from Label Studio as JSON")
    added = workspace.data.add(
        _table(tasks), data or f"{project}/tasks", "tasks of Label Studio", file="tasks.parquet"
    )
    missing = [each.column for each in config.shown if each.column not in {c.name for c in added.columns}]
    if missing:
        raise InvalidInput(
            f"no task has '{missing[0]}', which the configuration shows", hint="is it of this project?"
        )
    made: LabelProject = workspace.labels.create(
        project, added.reference, config.questions, shown=config.shown, key="task", overlap=overlap
    )
    return made


def _table(tasks: Sequence[Task]) -> pa.Table:
    """The data of tasks as rows; what is no single value is JSON."""
    import pyarrow as pa

    names = list(dict.fromkeys(name for task in tasks for name in task.data if name != "task"))
    columns: dict[str, Any] = {"task": pa.array([_key(task, "task") for task in tasks], pa.string())}
    for name in names:
        values = [task.data.get(name) for task in tasks]
        kinds = {type(each) for each in values if each is not None}
        if kinds <= {int} or kinds <= {float, int} or kinds <= {bool} or kinds <= {str}:
            columns[name] = pa.array([float(v) if float in kinds and v is not None else v for v in values])
        else:
            columns[name] = pa.array([None if v is None else _as_text(v) for v in values], pa.string())
    return pa.table(columns)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _numbers(
    workspace: Workspace, project: LabelProject, tasks: Sequence[Task], skipped: list[Skipped]
) -> list[int | None]:
    """The number of the item that each task is about, or None where there is none."""
    known = workspace.labels.all_numbers(project)
    first = project.shown[0]
    by_name: dict[str, int | None] = {}
    if first.look == "image":
        # Pictures of one name in different folders are told apart by the path alone.
        names = [(path.rpartition("/")[2], at) for path, at in known.items()]
    elif project.key == "task" or all(project.key and project.key in each.data for each in tasks):
        names = []
    else:
        texts = workspace.data.dataset(project.source).to_arrow([first.column])[first.column].to_pylist()
        names = [(str(text), at) for at, text in enumerate(texts)]
    for name, at in names:
        by_name[name] = None if name in by_name else at
    found: list[int | None] = []
    for task in tasks:
        number = known.get(_key(task, project.key))
        value = str(task.data.get(first.column, ""))
        if first.look == "image":
            value = value or _picture_in(task)
        if number is None:
            number = _of_picture(value, known, by_name) if first.look == "image" else by_name.get(value)
        if number is None:
            skipped.append(Skipped(f"task {task.id}", "no item of the project is the same"))
        found.append(number)
    return found


def _key(task: Task, column: str) -> str:
    """What names a task in the key's column: its number, where its data do not say."""
    return str(task.data.get(column, task.id if column == "task" else ""))


def _picture_in(task: Task) -> str:
    """The address of a picture in the data of a task, whatever its column is called."""
    texts = (each for each in task.data.values() if isinstance(each, str))
    return next((each for each in texts if each.lower().endswith(PICTURES)), "")


def _of_picture(address: str, known: Mapping[str, int], by_name: Mapping[str, int | None]) -> int | None:
    """The item of a picture: by the longest end of its address that is a path here, else by its name, which Label Studio begins
    with eight digits of its own when it is uploaded."""
    path = address.partition("?d=")[2] or address
    ends = (path.split("/", cut)[-1] for cut in range(path.count("/") + 1))
    exact = next((known[each] for each in ends if each in known), None)
    name = path.rpartition("/")[2]
    return exact if exact is not None else by_name.get(name, by_name.get(name.partition("-")[2]))


def _contents(workspace: Workspace, project: LabelProject) -> Iterator[tuple[str, dict[str, Any]]]:
    from everloop.data.labels.contents import items_of

    dataset = workspace.data.dataset(project.source)
    key = project.key if dataset.rows is not None else ""
    for item in items_of(dataset, project.shown, key):
        yield item.key, item.content


def _data(project: LabelProject, key: str, content: dict[str, Any]) -> dict[str, Any]:
    """The data of a task: pictures by their paths, and the key by which a row is found again."""
    shown = {
        name: each["path"] if isinstance(each, dict) and "path" in each else each
        for name, each in content.items()
    }
    return shown | ({project.key: key} if project.key not in ("", "path") else {})


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}", hint="check the path") from None


def _write(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise StorageError(
            f"{path} cannot be written: {error.strerror}", hint="may you write there?"
        ) from None
