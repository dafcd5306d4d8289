"""What models say of the items: shown to annotators, used to order the queue and to look for errors."""

from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.data.labels.ledger import project_named
from everloop.domain.labels import Answers, Suggestion, checked_answers
from everloop.domain.references import Kind, Reference
from everloop.errors import InvalidInput, InvalidReference
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.schema.labels import label_items, label_suggestions

BATCH = 20_000
"""Suggestions in one request."""


class NewSuggestion(msgspec.Struct, frozen=True, kw_only=True):
    """What a model says of item number `item`; see `Suggestion`."""

    item: int
    answers: Answers = {}
    score: float | None = None
    probabilities: list[float] = []


class Suggesting(Room):
    """The part of labelling that keeps what models say."""

    name = "labels"

    @operation(Permission.READ)
    def suggesting_models(self, project: str) -> dict[str, int]:
        """Models that say something of the items, and of how many."""
        with self.look() as look:
            found = project_named(look, project)
            rows = look.all(
                sa.select(label_suggestions.c.model, sa.func.count().label("n"))
                .where(label_suggestions.c.project == found.name)
                .group_by(label_suggestions.c.model)
                .order_by(label_suggestions.c.model)
            )
            return {row.model: row.n for row in rows}

    @operation(Permission.READ)
    def suggestions(self, project: str, model: str, after: int = -1, limit: int = BATCH) -> list[Suggestion]:
        """What one model says, by item."""
        with self.look() as look:
            found = project_named(look, project)
            rows = look.all(
                sa.select(label_suggestions)
                .where(
                    label_suggestions.c.project == found.name,
                    label_suggestions.c.model == model,
                    label_suggestions.c.item > after,
                )
                .order_by(label_suggestions.c.item)
                .limit(max(0, min(limit, BATCH)))
            )
            return [
                msgspec.convert(
                    {str(name): value for name, value in row._mapping.items() if name != "project"},
                    Suggestion,
                )
                for row in rows
            ]

    @operation(Permission.WRITE)
    def record_suggestions(self, project: str, model: str, suggestions: list[NewSuggestion]) -> int:
        """Keep what a model says, in the place of what it said of the same items before. `model`: its reference, or any name."""
        if not model.strip() or len(model) > 290:
            raise InvalidInput("say which model it was", hint="such as --model model:tone@v1")
        with self.change() as tx:
            found = project_named(tx, project, locked=True)
            question = found.question()
            rows: list[dict[str, Any]] = []
            for new in suggestions:
                if new.probabilities and len(new.probabilities) != len(question.choices):
                    raise InvalidInput(
                        f"item {new.item} has {len(new.probabilities)} probabilities for {len(question.choices)} choices"
                    )
                rows.append(
                    {
                        "project": found.name,
                        "model": model,
                        "item": new.item,
                        "answers": checked_answers(_lenient(found.questions), new.answers),
                        "score": None if new.score is None else float(new.score),
                        "probabilities": new.probabilities,
                    }
                )
            wrong = [row["item"] for row in rows if not 0 <= row["item"] < found.items]
            if wrong:
                raise InvalidInput(
                    f"{found.name} has no item {wrong[0]}", hint=f"its items are 0 to {found.items - 1}"
                )
            tx.put(label_suggestions, rows)
            if is_model(model):
                tx.edge(model, found.reference, "suggested")
            tx.event("labels.suggested", found.reference, {"model": model, "items": len(rows)})
            return len(rows)

    @operation(Permission.READ)
    def numbers(self, project: str, after: int = -1, limit: int = 200_000) -> dict[str, int]:
        """The number of each item by its key, from number `after` on."""
        with self.look() as look:
            found = project_named(look, project)
            rows = look.all(
                sa.select(label_items.c.key, label_items.c.number)
                .where(label_items.c.project == found.name, label_items.c.number > after)
                .order_by(label_items.c.number)
                .limit(max(0, min(limit, 200_000)))
            )
            return {row.key: row.number for row in rows}


def is_model(name: str) -> bool:
    """Whether suggestions come from a registered model, rather than from whatever else has this name."""
    try:
        return Reference.parse(name).kind is Kind.MODEL
    except InvalidReference:
        return False


def _lenient(questions: Any) -> list[Any]:
    """The same questions, none of which a model has to answer."""
    return [msgspec.structs.replace(each, required=False) for each in questions]
