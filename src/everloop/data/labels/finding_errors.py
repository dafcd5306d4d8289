"""Looking for answers that are probably wrong: in a project, or in a column of a dataset."""

from collections.abc import Sequence
from typing import Any

from everloop.data.labels.judging import LabelErrorReport, chosen_question, judged
from everloop.data.labels.projects import Projects
from everloop.data.labels.standing import Standing
from everloop.domain.labels import LabelProject, Policy, Question
from everloop.domain.references import Kind, Reference
from everloop.errors import InvalidInput, NotFound


class FindingErrors(Standing, Projects):
    """The part of labelling that looks for wrong answers."""

    name = "labels"

    def errors(
        self,
        subject: str,
        *,
        question: str = "",
        probabilities: Any = None,
        model: str = "",
        columns: Sequence[str] = (),
        folds: int = 5,
        seed: int = 0,
    ) -> LabelErrorReport:
        """Answers that are probably wrong, by confident learning; see `everloop.stats.label_errors`.

        subject: a project, or a dataset version, whose column `question` holds the labels. probabilities: a table (file,
        reference, Arrow) with one column a class, of a model that did not see the row it speaks of. model: suggestions of the
        project instead. With neither, they are worked out by cross-validation from `columns` (extra ``sklearn``).
        """
        if self._is_project(subject):
            return self._project_errors(subject, question, probabilities, model, columns, folds, seed)
        return self._dataset_errors(subject, question, probabilities, columns, folds, seed)

    def _is_project(self, subject: str) -> bool:
        if subject.startswith("labels:"):
            return True
        if subject.startswith("data:") or "@" in subject:
            return False
        try:
            self.project(subject)
        except NotFound:
            return False
        return True

    def _project_errors(
        self,
        subject: str,
        question: str,
        probabilities: Any,
        model: str,
        columns: Sequence[str],
        folds: int,
        seed: int,
    ) -> LabelErrorReport:
        from everloop.data.labels.probabilities import out_of_fold

        project = self.project(subject)
        asked = chosen_question(project, question)
        given = {
            result.item.number: (result.item.key, answers[asked.name])
            for result, answers, _ in self._answered(project, Policy.MAJORITY)
            if answers is not None and asked.name in answers
        }
        if not given:
            raise InvalidInput(
                f"{project.name} has no answers yet", hint=f"see: everloop label show {project.typed}"
            )
        chances: Any
        if probabilities is not None:
            known = self._chances_of_table(project, asked, probabilities)
            given, chances = _both(given, known)
        elif model:
            said = {
                each.item: each.probabilities
                for each in self.all_suggestions(project.name, model)
                if each.probabilities
            }
            if not said:
                raise InvalidInput(
                    f"{model} gave {project.name} no probabilities",
                    hint=f"see: everloop label predictions {project.typed}",
                )
            given, chances = _both(given, said)
        else:
            dataset = self._data.dataset(project.source)
            learned = list(columns) or [each.column for each in project.shown if each.look != "image"]
            if dataset.rows is None or not learned:
                raise InvalidInput("pictures cannot be learned from here", hint="give --probabilities FILE")
            rows = dataset.to_arrow(learned).take(list(given))
            chances = out_of_fold(
                rows, [each[1] for each in given.values()], asked.choices, folds=folds, seed=seed
            )
        keys = [key for key, _ in given.values()]
        labels = [label for _, label in given.values()]
        return judged(
            project.reference, asked.name, list(asked.choices), keys, labels, chances, numbers=list(given)
        )

    def _chances_of_table(
        self, project: LabelProject, question: Question, source: Any
    ) -> dict[int, list[float]]:
        from everloop.data.labels.probabilities import columns_of_classes, rows_by_item, table_from

        table = table_from(self._data, source)
        columns = columns_of_classes(table.column_names, question.choices)
        if columns is None:
            raise InvalidInput(
                "the table has no column for each class",
                hint=f"classes are {', '.join(question.choices[:12])}",
            )
        numbers = rows_by_item(table, self.all_numbers(project), project.key)
        rows = zip(*(table[each].to_pylist() for each in columns), strict=True)
        return {number: list(row) for number, row in zip(numbers, rows, strict=True)}

    def _dataset_errors(
        self, subject: str, column: str, probabilities: Any, columns: Sequence[str], folds: int, seed: int
    ) -> LabelErrorReport:
        from everloop.data.labels.probabilities import columns_of_classes, out_of_fold, table_from

        dataset = self._data.dataset(str(Reference.parse(subject, Kind.DATA)))
        if not column:
            raise InvalidInput("say which column holds the labels", hint="--label COLUMN")
        values = dataset.to_arrow([column])[column].to_pylist()
        kept = [at for at, value in enumerate(values) if value is not None]
        labels = [str(values[at]) for at in kept]
        classes = sorted(set(labels), key=lambda each: (len(each), each) if each.isdecimal() else (99, each))
        if len(classes) < 2 or len(classes) > 1000:
            raise InvalidInput(
                f"column '{column}' has {len(classes)} classes", hint="labels are 2 to 1,000 classes"
            )
        if probabilities is not None:
            table = table_from(self._data, probabilities)
            found = columns_of_classes(table.column_names, classes)
            if found is None or table.num_rows != len(values):
                raise InvalidInput(
                    f"the probabilities are no table of {len(values):,} rows with one column a class",
                    hint=f"classes are {', '.join(classes[:12])}",
                )
            rows = list(zip(*(table[each].to_pylist() for each in found), strict=True))
            chances = [rows[at] for at in kept]
        else:
            learned = list(columns) or [each.name for each in dataset.schema if each.name != column]
            features = dataset.to_arrow(learned).take(kept)
            chances = out_of_fold(features, labels, classes, folds=folds, seed=seed)
        keys = [str(at) for at in kept]
        return judged(dataset.reference, column, classes, keys, labels, chances, numbers=kept)


def _both(given: dict[int, Any], known: dict[int, list[float]]) -> tuple[dict[int, Any], list[list[float]]]:
    """Items that have an answer and probabilities, and these."""
    kept = {number: each for number, each in given.items() if number in known}
    if not kept:
        raise InvalidInput(
            "no item has both an answer and probabilities", hint="check which items they are of"
        )
    return kept, [known[number] for number in kept]
