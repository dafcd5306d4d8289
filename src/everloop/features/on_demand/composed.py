"""A reader of features some of which are computed on demand, of the frame's columns and of features read for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from everloop.data.tables.parquet import arrow_table
from everloop.domain.consumption import note
from everloop.domain.featureviews import ParityReport
from everloop.errors import InvalidInput
from everloop.features.on_demand.computing import OnDemand
from everloop.features.parity.comparing import compare

if TYPE_CHECKING:
    import pyarrow as pa

    from everloop.features.history.reader import FeatureReader

FEATURES = b"everloop.features"


class Computed(NamedTuple):
    """A feature on demand that was asked for, and what its column is called in the answer."""

    view: OnDemand
    feature: str
    column: str


class ComposedReader:
    """Like `FeatureReader`, which it asks for what is stored. Made by `Features.prepare`.

    stored: reads all stored features, those that were asked for and those that are only inputs; None when there are none.
    inputs: what an input is called in the stored reader's answer, by its name. columns: of the answer, in order.
    """

    def __init__(
        self,
        stored: FeatureReader | None,
        computed: Sequence[Computed],
        inputs: dict[str, str],
        columns: Sequence[str],
    ) -> None:
        self._stored = stored
        self._computed = list(computed)
        self._inputs = inputs
        self.columns = list(columns)

    @property
    def references(self) -> list[str]:
        """The view versions that answer, those on demand behind those they are computed from."""
        on_demand = dict.fromkeys(each.view.record.reference for each in self._computed)
        return [*(self._stored.references if self._stored else ()), *on_demand]

    @property
    def sources(self) -> dict[str, str]:
        """Which version of each dataset is read."""
        return self._stored.sources if self._stored else {}

    def history(self, frame: Any, *, time: str) -> pa.Table:
        """See `FeatureReader.history`. Request fields are columns of the frame."""
        table = arrow_table(frame)
        taken = [name for name in self.columns if name in table.column_names]
        if taken:
            raise InvalidInput(
                f"the frame has a column '{taken[0]}' already", hint="drop it, or ask with full_names=True"
            )
        known = self._stored.history(table, time=time) if self._stored else table
        found: dict[str, Any] = {}
        answers: dict[str, Any] = {}
        for each in self._computed:
            reference = each.view.record.reference
            if reference not in answers:
                answers[reference] = each.view.compute(self._given(each.view, table, known))
                note(reference)
            found[each.column] = answers[reference][each.feature]
        answer = table
        for name in self.columns:
            answer = answer.append_column(name, found[name] if name in found else known[name])
        return answer.replace_schema_metadata({**(table.schema.metadata or {}), **self.metadata()})

    def extend(self, source: str, rows: Any) -> None:
        """See `FeatureReader.extend`."""
        if self._stored is None:
            raise InvalidInput(f"no feature here reads '{source}'")
        self._stored.extend(source, rows)

    def metadata(self) -> dict[bytes, bytes]:
        """What an answer says of where it came from."""
        stored = self._stored.metadata() if self._stored else {}
        return {**stored, FEATURES: json.dumps(self.references).encode()}

    def parity(self, logged: Any, *, time: str, tolerance: float | None = None) -> ParityReport:
        """See `everloop.features.parity.comparing`. The log has the request's fields too."""
        return compare(self, logged, time=time, tolerance=tolerance)

    def _given(self, view: OnDemand, table: pa.Table, known: pa.Table) -> pa.Table:
        import pyarrow as pa

        columns = {
            each.column: table[each.column] for each in view.request if each.column in table.column_names
        }
        columns |= {each.column: known[self._inputs[each.name]] for each in view.view.inputs}
        return pa.table(columns) if columns else table.select([])
