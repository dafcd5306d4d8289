"""The room of labelling. Its operations are written in the modules it is made of; here is what runs where the caller is, because
it reads and writes data."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.data.labels.closing import Closing
from everloop.data.labels.finding_errors import FindingErrors
from everloop.data.labels.finishing import Augmentation, Augmented
from everloop.data.labels.judging import Judging
from everloop.data.labels.ordering import Ordering
from everloop.data.labels.projects import NewProject
from everloop.data.labels.queue import Queue
from everloop.data.labels.reviewing import Reviewing
from everloop.data.labels.suggesting import BATCH, NewSuggestion
from everloop.domain.datasets import Added
from everloop.domain.labels import (
    Answers,
    Asks,
    LabelProject,
    Policy,
    Question,
    Shown,
    checked_questions,
    one_of,
)
from everloop.errors import InvalidInput

if TYPE_CHECKING:
    import pyarrow as pa


class LabelsAdded(Added, frozen=True, kw_only=True):
    """What `label export` made: the version, by which policy, and how many items had no answer by it."""

    policy: Policy
    undecided: int


class Labels(Queue, Reviewing, Ordering, Judging, FindingErrors, Closing):
    """Labelling projects: who is asked what next, what they said, how far they agree, and what comes of it."""

    name = "labels"

    def create(
        self,
        name: str,
        source: str,
        questions: Iterable[Question],
        *,
        text: str = "",
        columns: Sequence[str] = (),
        shown: Sequence[Shown] = (),
        key: str = "",
        overlap: int = 1,
        guidelines: str = "",
        lease_seconds: int = 600,
    ) -> LabelProject:
        """Begin a project over the items of a dataset version: the rows of a table, or the pictures among its files.

        text: the column to read. columns: others shown beside it, as values; all of them when none is named. shown: the same,
        with how each looks. key: the column that names a row. overlap: how many annotators each item needs.
        """
        from everloop.data.labels.contents import IMAGE, items_of, pages, shown_columns

        asked = checked_questions(list(questions))
        dataset = self._data.dataset(source)
        looks = tuple(shown) or shown_columns(dataset, text, columns)
        if dataset.rows is None:  # a configuration calls the picture what it likes; here it has one name
            asked = tuple(msgspec.structs.replace(each, on=IMAGE) for each in asked)
        _check_objects(asked, looks)
        digests: list[str] = []
        with self.objects.writer() as writer:
            for page in pages(items_of(dataset, looks, key)):
                digests.append(writer.add(page).digest)  # noqa: PERF401  (the writer is open meanwhile)
        new = NewProject(
            name=name,
            source=dataset.reference,
            key=key if dataset.rows is not None else "path",
            shown=list(looks),
            questions=list(asked),
            pages=digests,
            overlap=overlap,
            guidelines=guidelines,
            lease_seconds=lease_seconds,
        )
        return self.record_project(new)

    def suggest(self, project: str, source: Any, model: str = "", question: str = "") -> int:
        """Bring a model's predictions in. `source`: the model itself (``ev.model("tone@champion")``), which is asked about every
        item; or a file, a dataset's reference or a table, with one row an item. That has one column a class with its probability
        (``good`` or ``p_good``), or the class in ``prediction``, and its ``score`` if there is one; items by their key in the
        key's column or ``item``, else in their order. model: whose they are; a model says so itself. Returns how many."""
        from everloop.data.labels.predicting import is_model, predicted
        from everloop.data.labels.probabilities import columns_of_classes, rows_by_item, table_from

        found = self.project(project)
        asked = found.question(question)
        if asked.kind is not Asks.SINGLE:
            raise InvalidInput(
                f"predictions of '{asked.name}' ({asked.kind}) do not come as a table",
                hint="a Label Studio file can bring them: everloop label import",
            )
        first_question = asked.name == found.questions[0].name
        if is_model(source):
            model = model or source.reference
            table = predicted(source, self._data.dataset(found.source), asked, chances=first_question)
            numbers = list(range(found.items))  # of the rows of its version, in their order
        else:
            table = table_from(self._data, source)
            numbers = rows_by_item(table, self.all_numbers(found), found.key)
        columns = columns_of_classes(table.column_names, asked.choices)
        if columns is not None and not first_question:
            raise InvalidInput(
                "probabilities are kept of the first question", hint="give a column 'prediction'"
            )
        rows = self._predicted(asked, table, columns)
        suggestions = [
            msgspec.structs.replace(row, item=number) for number, row in zip(numbers, rows, strict=True)
        ]
        for first in range(0, len(suggestions), BATCH):
            self.record_suggestions(found.name, model, suggestions[first : first + BATCH])
        return len(suggestions)

    def export(
        self, project: str, name: str, policy: Policy = Policy.MAJORITY, message: str = ""
    ) -> LabelsAdded:
        """Make a dataset version of a project's answers: the labelled rows of its source with a column for each question, and how
        many annotators said so. With policy ``all``, a row for each answer, with who gave it and when. Its lineage is the version
        that was labelled."""
        found, policy = self.project(project), one_of(Policy, policy, "policy")
        answers = list(self._answered(found, policy))
        decided = [each for each in answers if each[1] is not None]
        if not decided:
            raise InvalidInput(
                f"no item of {found.name} has an answer by the policy '{policy}'",
                hint=f"see: everloop label show {found.typed}",
            )
        table = self._labelled(found, decided, policy)
        said = message or f"labels of {found.source} by {found.name}: {policy}"
        added = self._data.add(table, name, said, file="labels.parquet")
        self.record_labels(found.name, added.reference, policy, table.num_rows)
        fields = {each: getattr(added, each) for each in Added.__struct_fields__}
        return LabelsAdded(**fields, policy=policy, undecided=len(answers) - len(decided))

    def augment(
        self, source: str, table: Any, name: str, steps: Iterable[Augmentation], message: str = ""
    ) -> Augmented:
        """Add a table that was made of a version by augmentation, and say by which steps. The caller does the steps: what they
        were is recorded as lineage, so that copies of one row are known for what they are."""
        origin = self._data.version(source).reference
        listed = list(steps)
        said = message or f"{origin} augmented: {', '.join(each.name for each in listed)}"
        added = self._data.add(table, name, said)
        return self.record_augmentation(origin, added.reference, listed)

    def _predicted(
        self, question: Question, table: "pa.Table", columns: list[str] | None
    ) -> list[NewSuggestion]:
        if columns is not None:
            chances = list(zip(*(table[each].to_pylist() for each in columns), strict=True))
            rows = []
            for at, each in enumerate(chances):
                if (
                    any(chance is None or not 0 <= chance <= 1 for chance in each)
                    or abs(sum(each) - 1) > 1e-3
                ):
                    raise InvalidInput(
                        f"row {at} is no distribution: {', '.join(map(str, each))}",
                        hint="probabilities sum to 1",
                    )
                best = max(range(len(each)), key=each.__getitem__)
                rounded = [round(float(chance), 6) for chance in each]
                answers: Answers = {question.name: question.choices[best]}
                rows.append(
                    NewSuggestion(item=at, answers=answers, score=rounded[best], probabilities=rounded)
                )
            return rows
        column = next(
            (each for each in ("prediction", "label", question.name) if each in table.column_names), None
        )
        if column is None:
            raise InvalidInput(
                "the table has neither a column for each class nor a column 'prediction'",
                hint=f"classes are {', '.join(question.choices[:12])}",
            )
        known = table.column_names
        scores = table["score"].to_pylist() if "score" in known else [None] * table.num_rows
        said = table[column].to_pylist()
        return [
            NewSuggestion(item=at, answers={question.name: str(label)}, score=score)
            for at, (label, score) in enumerate(zip(said, scores, strict=True))
        ]

    def _labelled(self, project: LabelProject, decided: list[Any], policy: Policy) -> "pa.Table":
        from everloop.data.labels.tables import answers_table, beside_source

        rows = []
        for result, answers, share in decided:
            common = {"item": result.item.key, "number": result.item.number}
            if policy is Policy.ALL:
                rows += [
                    common
                    | {
                        "answers": each.answers,
                        "annotator": each.user,
                        "labelled_at": each.created,
                        "entry": each.id,
                    }
                    for each in result.entries
                ]
            else:
                reviewed = result.final is not None
                rows.append(
                    common
                    | {
                        "answers": answers,
                        "annotators": result.item.labelled,
                        "agreement": share,
                        "reviewed": reviewed,
                    }
                )
        labels = answers_table(project.questions, rows)
        return beside_source(self._data.dataset(project.source), labels, project)


def _check_objects(questions: Sequence[Question], shown: Sequence[Shown]) -> None:
    """Boxes need a picture, spans a text."""
    looks = {each.column: each.look for each in shown}
    for question in questions:
        if question.on and question.on not in looks:
            raise InvalidInput(
                f"'{question.name}' is about '{question.on}', which is not shown", hint="show it"
            )
        seen = {looks[question.on]} if question.on else set(looks.values())
        if question.kind is Asks.BOXES and "image" not in seen:
            raise InvalidInput(
                f"'{question.name}' asks for boxes, and there is no picture",
                hint="label a folder of pictures",
            )
        if question.kind is Asks.SPANS and "text" not in seen:
            raise InvalidInput(
                f"'{question.name}' asks for spans, and there is no text", hint="say which column: --text"
            )
