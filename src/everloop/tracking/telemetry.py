"""What runs said while they ran: the points of their metrics, whole or thinned for drawing, and what they printed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from everloop.domain.runs import History, OutputPiece, RunHistory
from everloop.errors import InvalidInput
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.schema.tracking import metric_blocks, run_output
from everloop.tracking.blocks import Points, decode, thinned
from everloop.tracking.writing import existing_run

if TYPE_CHECKING:
    from everloop.store.ledger import Reader

MOST_RUNS = 200
MOST_SERIES = 10_000
MOST_PIECES = 1_000
FEWEST_POINTS = 4


class Telemetry(Room):
    """Operations over what is recorded step by step."""

    @operation(Permission.READ)
    def history(self, run_id: str, key: str, points: int = 0) -> History:
        """The points of one metric by step and time, as columns of bytes; none where it was never logged. `points`: at most so
        many, those a curve needs: the first, last, least and greatest of each stretch. 0: all."""
        with self.look() as look:
            existing_run(look, run_id)
            found = _series(look, [run_id], [key], points)
            return found[0].history if found else History(key, 0, b"", b"", b"")

    @operation(Permission.READ)
    def histories(self, run_ids: list[str], keys: list[str], points: int = 1000) -> list[RunHistory]:
        """The points of several metrics of several runs in one call, by run and key in the order asked for; those that were never
        logged are left out. `points` as in `history`, for each of them."""
        if len(run_ids) > MOST_RUNS or len(run_ids) * len(keys) > MOST_SERIES:
            raise InvalidInput(
                f"{len(keys)} metrics of {len(run_ids)} runs are too many for one call",
                hint=f"at most {MOST_RUNS} runs and {MOST_SERIES:,} curves",
            )
        with self.look() as look:
            for run_id in run_ids:
                existing_run(look, run_id)
            return _series(look, run_ids, keys, points)

    @operation(Permission.READ)
    def output(self, run_id: str, after: int = -1, limit: int = MOST_PIECES) -> list[OutputPiece]:
        """What a run printed, in order. `after`: the `record` of the last piece that is known already, so that what is new can be
        asked for again and again."""
        if not 1 <= limit <= MOST_PIECES:
            raise InvalidInput(f"{limit} pieces of output cannot be had at once", hint=f"1 to {MOST_PIECES}")
        with self.look() as look:
            existing_run(look, run_id)
            query = sa.select(run_output).where(run_output.c.run == run_id, run_output.c.record > after)
            rows = look.all(query.order_by(run_output.c.record).limit(limit))
            return [OutputPiece(row.record, row.stream, row.time, row.text) for row in rows]


def _series(look: "Reader", run_ids: Sequence[str], keys: Sequence[str], points: int) -> list[RunHistory]:
    if points and points < FEWEST_POINTS:
        raise InvalidInput(
            f"a curve of {points} points shows nothing", hint=f"at least {FEWEST_POINTS}, or 0 for all"
        )
    query = sa.select(metric_blocks.c.run, metric_blocks.c.key, metric_blocks.c.points)
    query = query.where(metric_blocks.c.run.in_(run_ids), metric_blocks.c.key.in_(keys))
    blocks: dict[tuple[str, str], list[Points]] = {}
    for run, key, block in map(tuple, look.all(query.order_by(metric_blocks.c.record))):
        blocks.setdefault((run, key), []).append(decode(block))
    wanted = ((run, key) for run in dict.fromkeys(run_ids) for key in dict.fromkeys(keys))
    return [
        RunHistory(run, _history(key, Points.joined(blocks[run, key]).ordered(), points))
        for run, key in wanted
        if (run, key) in blocks
    ]


def _history(key: str, found: Points, points: int) -> History:
    kept = thinned(found, points) if points else found
    return History(
        key,
        len(kept),
        kept.steps.astype("<i8").tobytes(),
        kept.times.astype("<i8").tobytes(),
        kept.values.astype("<f8").tobytes(),
        len(found),
    )
