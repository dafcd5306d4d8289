"""The datasets that a run says it used: described by whoever logged them, not kept."""

import sqlalchemy as sa

from everloop.domain.run_inputs import DATASET_LIMITS, MAX_DATASETS, LoggedDataset, UsedDataset
from everloop.domain.runs import ACTIVE, checked_text
from everloop.errors import InvalidInput
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.ledger import Transaction
from everloop.store.schema.tracking import logged_datasets, run_datasets, runs
from everloop.tracking import reading, writing

CONTEXT = "mlflow.data.context"
"""The tag that says what a dataset was used for."""


class LoggedInputs(Room):
    """Operations about the datasets of runs."""

    name = "tracking"

    @operation(Permission.WRITE)
    def log_datasets(self, run_id: str, datasets: list[LoggedDataset]) -> None:
        """Say which datasets a run used. One that was said before stays as it was said first, its context too; what a dataset of
        that name and digest is, is kept once for all runs of the experiment."""
        if len(datasets) > MAX_DATASETS:
            raise InvalidInput(
                f"{len(datasets)} datasets are too many for one call", hint=f"at most {MAX_DATASETS}"
            )
        for each in datasets:
            _check(each)
        with self.change() as tx:
            run = writing.writable(tx, run_id)
            for each in datasets:
                row = {
                    "run": run_id,
                    "dataset": self._described(tx, run.experiment, each),
                    "context": each.context,
                    "tags": each.tags,
                }
                tx.insert_new(run_datasets, row)
            facts = [
                {"name": each.name, "digest": each.digest, "context": each.context} for each in datasets[:100]
            ]
            tx.event("run.datasets", f"run:{run_id}", {"count": len(datasets), "first": facts})

    def _described(self, tx: Transaction, experiment: int, given: LoggedDataset) -> str:
        """The identifier of a dataset as it is known to the experiment, by now."""
        key = {"experiment": experiment, "name": given.name, "digest": given.digest}
        row = {name: getattr(given, name) for name in ("source_type", "source", "schema", "profile")}
        tx.insert_new(logged_datasets, {"id": self.context.ids()} | key | row)
        of_key = sa.and_(*(logged_datasets.c[name] == value for name, value in key.items()))
        return str(tx.scalar(sa.select(logged_datasets.c.id).where(of_key)))

    @operation(Permission.READ)
    def datasets_of(self, run_ids: list[str]) -> dict[str, list[LoggedDataset]]:
        """The datasets of these runs, by run, in the order of name and digest."""
        with self.look() as look:
            return reading.datasets(look, run_ids)

    @operation(Permission.READ)
    def used_datasets(self, experiments: list[int], limit: int = MAX_DATASETS) -> list[UsedDataset]:
        """The datasets that active runs of these experiments say they used, each once for what it was used for."""
        if not 1 <= limit <= MAX_DATASETS:
            raise InvalidInput(f"a list of {limit} datasets cannot be had", hint=f"1 to {MAX_DATASETS}")
        described, used = logged_datasets.c, run_datasets.c
        query = (
            sa.select(described.experiment, described.name, described.digest, used.context)
            .select_from(
                run_datasets.join(logged_datasets, used.dataset == described.id).join(
                    runs, runs.c.id == used.run
                )
            )
            .where(described.experiment.in_(experiments), runs.c.state == ACTIVE)
            .distinct()
            .order_by(described.experiment, described.name, described.digest, used.context)
        )
        with self.look() as look:
            return [UsedDataset(*tuple(row)) for row in look.all(query.limit(limit))]


def _check(given: LoggedDataset) -> None:
    if not given.name or not given.digest:
        raise InvalidInput("a logged dataset has a name and a digest", hint="give both")
    for field, limit in DATASET_LIMITS.items():
        checked_text(getattr(given, field), f"the {field} of dataset {given.name[:50]!r}", limit)
    checked_text(given.source_type, "the source type of a dataset", 500)
    for key, value in given.tags.items():
        checked_text(key, "the key of a dataset's tag", 255)
        checked_text(value, f"the dataset's tag {key}", 500)
    checked_text(given.context, "the context of a dataset", 500)
