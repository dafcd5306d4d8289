"""Features as a model asks for them: stored ones from the online store, those on demand computed from these and the request."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from everloop.domain.featureviews import FeatureName, OnDemandRecord, ViewRecord
from everloop.domain.online import Freshness, OnlineAnswer, OnlineValues
from everloop.domain.references import Kind, Reference
from everloop.errors import InvalidInput, NotFound, nearest
from everloop.features.online.lists import ListedFeatures

if TYPE_CHECKING:
    from everloop.features.on_demand.computing import OnDemand


class ServedFeatures(ListedFeatures):
    """The part of the features room that answers for views of both kinds."""

    def ask(
        self,
        features: Sequence[str],
        keys: Sequence[Mapping[str, Any]],
        *,
        time: datetime | None = None,
        full_names: bool = False,
        code: bool = True,
    ) -> OnlineAnswer:
        """Features of views of both kinds, feature by feature. `keys`: the keys of each entity and, beside them, what a request
        brings for views on demand. These are computed here, which may run the user's own function; with `code` off such a view
        is refused with InvalidInput. See `look_up`."""
        given = [dict(each) for each in keys]
        now = self.context.clock() if time is None else time
        stored, computed = self._split(features)
        parts = []
        if stored:
            parts.append(self.look_up(stored, given, now, full_names))
        for record, chosen in computed.values():
            parts.append(self._on_demand(record, chosen, given, now, full_names, code))
        if not parts:
            raise InvalidInput("no features are asked for", hint='features=["weather:temp", …]')
        answered = [each for part in parts for each in part.features]
        names = [each.name for each in answered]
        twins = [name for name in names if names.count(name) > 1]
        if twins:
            raise InvalidInput(
                f"two features are called '{twins[0]}'", hint="ask with full names: full_names=True"
            )
        freshness = {name: fresh for part in parts for name, fresh in part.freshness.items()}
        return OnlineAnswer(time=parts[0].time, entities=len(given), features=answered, freshness=freshness)

    def ask_list(
        self,
        name: str,
        keys: Sequence[Mapping[str, Any]],
        *,
        time: datetime | None = None,
        full_names: bool = False,
        code: bool = True,
    ) -> OnlineAnswer:
        """The features of a list: see `ask`."""
        features = self.feature_list(name).features
        return self.ask(features, keys, time=time, full_names=full_names, code=code)

    def _split(
        self, features: Sequence[str]
    ) -> tuple[list[str], dict[str, tuple[OnDemandRecord, list[str]]]]:
        """What is stored, and what is to be computed: records on demand with the features that are asked of each."""
        if isinstance(features, str):
            raise InvalidInput("features are a list of names", hint=f"features=[{features!r}]")
        on_demand = {each.name: each for each in self.on_demand_views()}
        stored: list[str] = []
        computed: dict[str, tuple[OnDemandRecord, list[str]]] = {}
        for text in features:
            wanted = FeatureName.parse(text)
            record: ViewRecord | OnDemandRecord | None = on_demand.get(wanted.view)
            if record is None:
                stored.append(text)
                continue
            if wanted.version is not None and wanted.version != record.version:
                record = self.recorded(str(Reference(Kind.FEATURE, wanted.view, wanted.version)))
            assert isinstance(record, OnDemandRecord)
            known = record.view.names
            if wanted.feature and wanted.feature not in known:
                raise NotFound(
                    f"feature view '{wanted.view}' has no feature '{wanted.feature}'",
                    hint=nearest(wanted.feature, known) or f"it has {', '.join(known)}",
                )
            chosen = computed.setdefault(record.reference, (record, []))[1]
            chosen += [wanted.feature] if wanted.feature else list(known)
        return stored, computed

    def _on_demand(
        self,
        record: OnDemandRecord,
        chosen: Sequence[str],
        keys: list[dict[str, Any]],
        now: datetime,
        full_names: bool,
        code: bool,
    ) -> OnlineAnswer:
        import pyarrow as pa

        view = self._computing(record)
        if not view.is_sql and not code:
            raise InvalidInput(
                f"on-demand view '{record.name}' is a Python function, which is not run here",
                hint="ask with the Python package or: everloop features get",
            )
        columns: dict[str, Any] = {}
        inputs = None
        if view.needs:
            inputs = self.look_up(list(view.needs), keys, now)
            columns = dict(inputs.columns())
        for field in view.request:
            columns[field.name] = _requested(field.name, field.type, record.name, keys)
        found = view.compute(pa.table(columns)).to_pydict()
        prefix = f"{record.name.replace('/', '_')}__" if full_names else ""
        features = [
            OnlineValues(
                name=prefix + name,
                reference=record.reference,
                values=found[name],
                statuses=["null" if value is None else "present" for value in found[name]],
            )
            for name in chosen
        ]
        freshness = {record.reference: _oldest(inputs, len(keys))}
        return OnlineAnswer(time=now, entities=len(keys), features=features, freshness=freshness)

    def _computing(self, record: OnDemandRecord) -> "OnDemand":
        from everloop.features.on_demand.computing import OnDemand

        known: dict[str, OnDemand] = self.__dict__.setdefault("_views_on_demand", {})
        if record.reference not in known:
            known[record.reference] = OnDemand(record)
        return known[record.reference]


def _requested(name: str, kind: Any, view: str, keys: Sequence[Mapping[str, Any]]) -> Any:
    """A field of the request, row for row. From a command line or a web address its values come as text."""
    import pyarrow as pa

    from everloop.features.types import ARROW

    missing = next((each for each in keys if name not in each), None)
    if missing is not None:
        raise InvalidInput(
            f"on-demand view '{view}' needs '{name}' with each entity",
            hint=nearest(name, missing) or f"a {kind}",
        )
    values = [each[name] for each in keys]
    try:
        if any(isinstance(value, str) for value in values) and kind != "string":
            return pa.array([None if value is None else str(value) for value in values]).cast(ARROW[kind])
        return pa.array(values, ARROW[kind])
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
        raise InvalidInput(
            f"'{name}' does not fit: {str(error).splitlines()[0]}", hint=f"'{view}' takes it as {kind}"
        ) from None


def _oldest(inputs: OnlineAnswer | None, entities: int) -> Freshness:
    """What is computed is as old as the oldest of what it is computed from; what a request brings is of now."""
    nothing: list[Any] = [None] * entities
    if inputs is None:
        return Freshness(event_times=nothing, ages=nothing, staleness=nothing)
    parts = list(inputs.freshness.values())

    def over(rows: Sequence[Sequence[Any]], best: Any) -> list[Any]:
        together = zip(*rows, strict=True)
        return [best([value for value in row if value is not None], default=None) for row in together]

    return Freshness(
        event_times=over([part.event_times for part in parts], min),
        ages=over([part.ages for part in parts], max),
        staleness=over([part.staleness for part in parts], max),
    )
