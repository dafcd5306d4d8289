"""What stands of a project, read part by part where the caller is."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from everloop.data.labels.finishing import Finishing, ItemResult
from everloop.data.labels.suggesting import Suggesting
from everloop.domain.labels import Answers, LabelProject, Policy, Suggestion, majority

if TYPE_CHECKING:
    from everloop.data.data import Data


class Standing(Finishing, Suggesting):
    """The part of labelling that reads whole projects."""

    name = "labels"

    @property
    def _data(self) -> "Data":
        from everloop.data.data import Data

        return self.context.room(Data)

    def all_numbers(self, project: LabelProject) -> dict[str, int]:
        """The number of every item by its key."""
        found: dict[str, int] = {}
        while len(found) < project.items:
            part = self.numbers(project.name, after=len(found) - 1)
            if not part:
                break
            found |= part
        return found

    def all_results(self, project: str, *, skips: bool = False) -> Iterator[ItemResult]:
        """Every item that has an answer (or was skipped), with what was said of it."""
        after = -1
        while part := self.results(project, after=after, skips=skips):
            yield from part
            after = part[-1].item.number

    def all_suggestions(self, project: str, model: str) -> Iterator[Suggestion]:
        """What one model says, by item."""
        after = -1
        while part := self.suggestions(project, model, after=after):
            yield from part
            after = part[-1].item

    def _answered(
        self, project: LabelProject, policy: Policy
    ) -> Iterator[tuple[ItemResult, Answers | None, float | None]]:
        """What stands of each item by a policy; None where nothing does."""
        for result in self.all_results(project.name):
            if result.final is not None:
                yield result, result.final.answers, None
            elif policy is Policy.REVIEWED:
                yield result, None, None
            else:
                answers, share = majority([each.answers for each in result.entries], project.questions)
                yield result, (answers or None), share
