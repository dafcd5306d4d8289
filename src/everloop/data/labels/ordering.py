"""In which order items are asked about: as given, shuffled, or what models know least first."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from everloop.data.labels.ledger import project_named
from everloop.domain.canonical import canonical
from everloop.domain.labels import LabelProject, Order, Question, one_of
from everloop.domain.names import shown
from everloop.errors import InvalidInput, NotFound, nearest
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.ledger import Transaction
from everloop.store.schema.labels import label_items, label_leases, label_projects, label_suggestions


class Ordering(Room):
    """The part of labelling that decides what is asked first."""

    name = "labels"

    @operation(Permission.WRITE)
    def arrange(self, project: str, by: Order, seed: int = 0, models: list[str] = []) -> LabelProject:  # noqa: B006
        """Put the queue in another order; answers stay what they are.

        ``entropy``, ``margin`` and ``confidence`` take the suggestions of one model (of the only one there is, when none is
        named), ``disagreement`` those of two or more (of all): the entropy of their votes, then how far their probabilities are
        apart (Jensen-Shannon). Items without a suggestion come last; equals stay as they are in the version.
        """
        by = one_of(Order, by, "order")
        with self.change() as tx:
            found = project_named(tx, project, locked=True)
            rows = tx.all(
                sa.select(label_items)
                .where(label_items.c.project == found.name)
                .order_by(label_items.c.number)
            )
            places = self._places(tx, found, by, seed, models, len(rows))
            tx.put(
                label_items,
                [dict(row._mapping) | {"position": place} for row, place in zip(rows, places, strict=True)],
            )
            # Everybody begins again at the head of the queue.
            tx.execute(
                sa.update(label_leases).where(label_leases.c.project == found.name).values(position=-1)
            )
            named = label_projects.c.name == found.name
            tx.execute(sa.update(label_projects).where(named).values(order=str(by)))
            tx.event("labels.arranged", found.reference, {"by": by, "seed": seed, "models": models})
            return project_named(tx, found.name)

    def _places(
        self, tx: Transaction, project: LabelProject, by: Order, seed: int, models: list[str], items: int
    ) -> list[int]:
        if by is Order.GIVEN:
            return list(range(items))
        if by is Order.RANDOM:
            import numpy as np

            return [int(each) for each in np.random.default_rng(abs(seed)).permutation(items)]
        said = self._said(tx, project, by, models)
        question = project.question()
        urgency = {item: _urgency(by, question, given) for item, given in said.items()}
        last = (-math.inf, -math.inf)
        ranked = sorted(range(items), key=lambda item: (*(-each for each in urgency.get(item, last)), item))
        places = [0] * items
        for place, item in enumerate(ranked):
            places[item] = place
        return places

    def _said(
        self, tx: Transaction, project: LabelProject, by: Order, models: list[str]
    ) -> dict[int, list[sa.Row[Any]]]:
        """The suggestions to go by, of each item."""
        has = (
            sa.select(label_suggestions.c.model).where(label_suggestions.c.project == project.name).distinct()
        )
        known = sorted(row.model for row in tx.all(has))
        for each in models:
            if each not in known:
                raise NotFound(
                    f"{project.name} has no suggestions of {shown(each)}",
                    hint=nearest(each, known)
                    or f"bring them: everloop label predictions {project.typed} --from FILE",
                )
        chosen = models or known
        enough = len(chosen) >= 2 if by is Order.DISAGREEMENT else len(chosen) == 1
        if not enough:
            needed = "two models or more" if by is Order.DISAGREEMENT else "one model"
            there = ", ".join(known) or "none"
            raise InvalidInput(
                f"{by} takes the suggestions of {needed}; there are those of: {there}",
                hint="name the model: --model"
                if known
                else f"everloop label predictions {project.typed} --from FILE",
            )
        query = sa.select(label_suggestions).where(
            label_suggestions.c.project == project.name, label_suggestions.c.model.in_(chosen)
        )
        found: dict[int, list[sa.Row[Any]]] = defaultdict(list)
        for row in tx.all(query.order_by(label_suggestions.c.item, label_suggestions.c.model)):
            found[row.item].append(row)
        return found


def _urgency(by: Order, question: Question, rows: Sequence[sa.Row[Any]]) -> tuple[float, float]:
    """How much there is to learn from an item, and what decides between equals: larger is sooner."""
    if by is Order.DISAGREEMENT:
        votes = Counter(canonical(row.answers.get(question.name)) for row in rows)
        return entropy([n / len(rows) for n in votes.values()]), spread([row.probabilities for row in rows])
    row = rows[0]
    if row.probabilities:
        return uncertainty(by, row.probabilities), 0.0
    return (-math.inf if row.score is None else 1.0 - row.score), 0.0


def uncertainty(by: Order, probabilities: Sequence[float]) -> float:
    """How unsure probabilities are: their entropy in nats, one minus the margin of the two largest, or one minus the largest
    (least confidence); see Settles 2009, Active Learning Literature Survey, section 3.1.

    >>> [round(uncertainty(by, [0.6, 0.3, 0.1]), 3) for by in (Order.ENTROPY, Order.MARGIN, Order.CONFIDENCE)]
    [0.898, 0.7, 0.4]
    """
    first, *rest = sorted(probabilities, reverse=True)
    if by is Order.ENTROPY:
        return entropy(probabilities)
    return 1 - first + (rest[0] if rest and by is Order.MARGIN else 0.0)


def entropy(shares: Iterable[float]) -> float:
    """Shannon's entropy in nats.

    >>> round(entropy([0.5, 0.5]), 4), entropy([1.0])
    (0.6931, 0.0)
    """
    return -sum(each * math.log(each) for each in shares if each > 0) + 0.0


def spread(distributions: Sequence[Sequence[float]]) -> float:
    """How far distributions are apart: the entropy of their mean minus their mean entropy (generalised Jensen-Shannon, Lin 1991);
    0 where not all have one.

    >>> round(spread([[1.0, 0.0], [0.0, 1.0]]), 4), spread([[0.5, 0.5], []])
    (0.6931, 0.0)
    """
    sizes = {len(each) for each in distributions}
    if len(sizes) != 1 or 0 in sizes:
        return 0.0
    mean = [sum(each) / len(distributions) for each in zip(*distributions, strict=True)]
    return max(0.0, entropy(mean) - sum(map(entropy, distributions)) / len(distributions))
