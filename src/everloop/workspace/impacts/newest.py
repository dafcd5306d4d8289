"""What the ledger knows of the results as they are now: the latest runs with their steps, the models that count, who serves them.

A ledger may hold very many runs, so nothing here reads all of them: the latest run of each pipeline and experiment is found by
its index, and the rest follows from these few.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.domain.featureviews.asked import ViewRecord
from everloop.domain.featureviews.on_demand import OnDemandRecord
from everloop.domain.pipelines import Component, Read
from everloop.domain.runs import ACTIVE
from everloop.store.ledger import Reader
from everloop.store.schema.base import edges
from everloop.store.schema.data import dataset_versions
from everloop.store.schema.pipelines import pipeline_runs, pipeline_steps, step_code, step_keys, step_results
from everloop.store.schema.registry import model_aliases, model_versions, models
from everloop.store.schema.serving import endpoints
from everloop.store.schema.tracking import experiments, runs
from everloop.workspace.impacts.spreading import Feeds, MadeModel, MadeRun, MadeStep, Present

RECENT = 500
"""How many of the newest runs are looked at for scripts, and of those that read what changes."""
AT_ONCE = 500

Row = sa.Row[Any]


def present(
    look: Reader, views: Sequence[ViewRecord | OnDemandRecord], asked: Collection[str] = ()
) -> Present:
    """The results as they are now. `asked`: references of datasets and views, of which also the latest readers count."""
    serving = {
        f"endpoint:{row.name}": tuple((arm["model"], arm["mode"]) for arm in row.arms)
        for row in look.all(sa.select(endpoints.c.name, endpoints.c.arms))
    }
    made_models = list(_models(look, {model for arms in serving.values() for model, _ in arms}))
    newest = _newest_runs(look)
    of_models = _pipeline_runs_of(look, [each.run for each in made_models if each.run])
    whole = {
        **dict.fromkeys(newest.values(), True),
        **dict.fromkeys(set(of_models.values()) - set(newest.values()), False),
    }
    steps = _steps(look, list(whole))
    pipelines = _pipelines(look, whole, steps)
    scripts = _scripts(
        look, {each.run for each in made_models if each.run and each.run not in of_models}, asked
    )
    return Present(
        runs=(*pipelines, *scripts),
        produced=_produced(look),
        models=tuple(made_models),
        views=tuple(_feeds(each) for each in views),
        serving=serving,
    )


def _newest_runs(look: Reader) -> dict[str, str]:
    """Pipeline -> its latest run: one that finished, if any did. The names are found one after another by their index."""
    least = sa.select(sa.func.min(pipeline_runs.c.pipeline).label("name")).cte("names", recursive=True)
    after = (
        sa.select(sa.func.min(pipeline_runs.c.pipeline))
        .where(pipeline_runs.c.pipeline > least.c.name)
        .scalar_subquery()
    )
    names = least.union_all(sa.select(after).where(least.c.name.is_not(None)))
    found: dict[str, str] = {}
    for finished in (False, True):
        newest = sa.select(pipeline_runs.c.run).where(pipeline_runs.c.pipeline == names.c.name)
        if finished:
            newest = newest.where(pipeline_runs.c.status == "finished")
        newest = newest.order_by(pipeline_runs.c.started.desc()).limit(1)
        run = newest.correlate(names).scalar_subquery().label("run")
        rows = look.all(sa.select(names.c.name, run).where(names.c.name.is_not(None)))
        found |= {row.name: row.run for row in rows if row.run is not None}
    return found


def _pipeline_runs_of(look: Reader, asked: Sequence[str]) -> dict[str, str]:
    """Tracking run -> the pipeline's run that it is, or is a step of."""
    found: dict[str, str] = {}
    for part in _parts(asked):
        rows = look.all(sa.select(pipeline_runs.c.run).where(pipeline_runs.c.run.in_(part)))
        found |= {row.run: row.run for row in rows}
        of_steps = sa.select(pipeline_steps.c.child, pipeline_steps.c.run).where(
            pipeline_steps.c.child.in_(part), pipeline_steps.c.status == "executed"
        )
        found |= {row.child: row.run for row in look.all(of_steps)}
    return found


def _steps(look: Reader, asked: Sequence[str]) -> list[Row]:
    columns = [
        pipeline_steps.c[each]
        for each in ("run", "name", "step", "status", "seconds", "key", "child", "inputs")
    ]
    rows: list[Row] = []
    for part in _parts(asked):
        query = sa.select(*columns).where(pipeline_steps.c.run.in_(part))
        rows += look.all(query.order_by(pipeline_steps.c.run, pipeline_steps.c.position))
    return rows


def _pipelines(look: Reader, whole: dict[str, bool], rows: list[Row]) -> list[MadeRun]:
    keys = sorted({row.key for row in rows if row.key})
    code = _code(look, keys)
    seconds, read = _results(look, keys)
    edge = _consumed(look, sorted({*whole, *(row.child for row in rows if row.child)}))
    own = {row.run: set(edge.get(row.run, ())) for row in rows}
    for row in rows:  # what its steps with runs of their own read is told there
        own[row.run] -= edge.get(row.child or "", set()) | read.get(row.key, set())
    made: dict[str, list[MadeStep]] = {}
    for row in rows:
        reads = edge.get(row.child or "", set()) | read.get(row.key, set())
        if not row.inputs and row.child is None:
            reads = reads | own[row.run]  # a first step without a run of its own may have been given them
        took = row.seconds if row.status == "executed" else seconds.get(row.key, row.seconds)
        made.setdefault(row.run, []).append(
            MadeStep(
                run=row.run,
                name=row.name,
                step=row.step,
                child=row.child,
                inputs=tuple(row.inputs),
                seconds=took,
                code=code.get(row.key, ()),
                reads=frozenset(reads),
            )
        )
    columns = (pipeline_runs.c.run, pipeline_runs.c.pipeline, pipeline_runs.c.source)
    found = []
    for part in _parts(list(whole)):
        for row in look.all(sa.select(*columns).where(pipeline_runs.c.run.in_(part))):
            steps = tuple(made.get(row.run, ()))
            found.append(MadeRun(row.run, row.pipeline, row.source, whole[row.run], steps=steps))
    return found


def _code(look: Reader, keys: Sequence[str]) -> dict[str, tuple[Component, ...]]:
    """Key -> the code it was made from. Many keys share one."""
    by_key: dict[str, str] = {}
    for part in _parts(keys):
        query = sa.select(step_keys.c.key, step_keys.c.code).where(step_keys.c.key.in_(part))
        by_key |= {row.key: row.code for row in look.all(query)}
    known: dict[str, tuple[Component, ...]] = {}
    raw = sa.type_coerce(step_code.c.components, sa.Text).label("components")
    for part in _parts(sorted(set(by_key.values()))):
        for row in look.all(sa.select(step_code.c.code, raw).where(step_code.c.code.in_(part))):
            known[row.code] = msgspec.json.decode(row.components, type=tuple[Component, ...])
    return {key: known.get(code, ()) for key, code in by_key.items()}


def _results(look: Reader, keys: Sequence[str]) -> tuple[dict[str, float], dict[str, set[str]]]:
    """Key -> the seconds it took when it was computed last, and what it read by itself then."""
    seconds: dict[str, float] = {}
    read: dict[str, set[str]] = {}
    raw = sa.type_coerce(step_results.c.reads, sa.Text).label("reads")
    for part in _parts(keys):
        query = sa.select(step_results.c.key, step_results.c.seconds, raw)
        for row in look.all(query.where(step_results.c.key.in_(part)).order_by(step_results.c.time)):
            seconds[row.key] = row.seconds
            read[row.key] = {each.found for each in msgspec.json.decode(row.reads, type=list[Read])}
    return seconds, read


def _consumed(look: Reader, asked: Sequence[str]) -> dict[str, set[str]]:
    """Run -> references of what went into it."""
    found: dict[str, set[str]] = {}
    for part in _parts(asked):
        query = sa.select(edges.c.source, edges.c.target).where(
            edges.c.target.in_([f"run:{each}" for each in part]), edges.c.role == "consumed"
        )
        for row in look.all(query):
            found.setdefault(row.target.removeprefix("run:"), set()).add(row.source)
    return found


def _scripts(look: Reader, of_models: set[str], asked: Collection[str]) -> list[MadeRun]:
    """Runs that no pipeline made: the latest of each script in each experiment, and those behind models."""
    columns = [runs.c[each] for each in ("id", "experiment", "source", "parent", "start_time", "end_time")]
    newest = (
        sa.select(runs.c.id)
        .where(runs.c.experiment == experiments.c.id, runs.c.state == ACTIVE)
        .order_by(runs.c.start_time.desc())
        .limit(1)
        .correlate(experiments)
        .scalar_subquery()
    )
    wanted = {row.id for row in look.all(sa.select(newest.label("id"))) if row.id} | of_models
    recent = (
        sa.select(*columns).where(runs.c.state == ACTIVE).order_by(runs.c.start_time.desc()).limit(RECENT)
    )
    rows = {row.id: row for row in look.all(recent)}
    wanted |= _readers(look, asked)
    for part in _parts(sorted(wanted - rows.keys())):
        rows |= {row.id: row for row in look.all(sa.select(*columns).where(runs.c.id.in_(part)))}
    of_pipelines = _pipeline_runs_of(look, list(rows)).keys()
    alone = [row for row in rows.values() if row.id not in of_pipelines]
    alone.sort(key=lambda row: (row.start_time, row.id), reverse=True)
    latest: dict[tuple[int, str], str] = {}
    for row in alone:
        latest.setdefault((row.experiment, row.source), row.id)
    kept = [row for row in alone if row.id in of_models or latest[row.experiment, row.source] == row.id]
    reads = _consumed(look, [row.id for row in kept])
    return [
        MadeRun(
            run=row.id,
            pipeline="",
            source=row.source,
            newest=latest[row.experiment, row.source] == row.id,
            seconds=None if row.end_time is None else (row.end_time - row.start_time).total_seconds(),
            reads=frozenset(reads.get(row.id, ())),
        )
        for row in kept
    ]


def _readers(look: Reader, asked: Collection[str]) -> set[str]:
    """The newest runs that read some references: identifiers rise with time, and the index holds them in order."""
    found: set[str] = set()
    for each in asked:
        query = sa.select(edges.c.target).where(
            edges.c.source == each, edges.c.target > "run:", edges.c.target < "run;"
        )
        rows = look.all(query.order_by(edges.c.target.desc()).limit(RECENT))
        found |= {row.target.removeprefix("run:") for row in rows}
    return found


def _models(look: Reader, served: set[str]) -> Iterator[MadeModel]:
    """Versions that count now: the newest, those with an alias, those that endpoints have."""
    aliases: dict[tuple[str, int], list[str]] = {}
    for row in look.all(sa.select(model_aliases).order_by(model_aliases.c.alias)):
        aliases.setdefault((row.name, row.version), []).append(row.alias)
    columns = (model_versions.c.name, model_versions.c.version, model_versions.c.run)
    raw = sa.type_coerce(model_versions.c.model, sa.Text).label("model")
    latest = sa.select(*columns, raw).join(
        models, (models.c.name == model_versions.c.name) & (models.c.latest == model_versions.c.version)
    )
    rows = {(row.name, row.version): row for row in look.all(latest)}
    others = {*aliases, *(_named(each) for each in served)} - rows.keys()
    for part in _parts(sorted(others)):
        query = sa.select(*columns, raw).where(
            sa.tuple_(model_versions.c.name, model_versions.c.version).in_(part)
        )
        rows |= {(row.name, row.version): row for row in look.all(query)}
    for key, row in sorted(rows.items()):
        model = msgspec.json.decode(row.model, type=_ModelFile)
        yield MadeModel(
            reference=f"model:{row.name}@v{row.version}",
            run=row.run,
            features=model.features,
            columns=frozenset(each.name for each in model.signature.inputs),
            aliases=tuple(aliases.get(key, ())),
        )


class _Column(msgspec.Struct, frozen=True):
    name: str = ""


class _Signature(msgspec.Struct, frozen=True):
    inputs: tuple[_Column, ...] = ()


class _ModelFile(msgspec.Struct, frozen=True):
    """Of a model's file only what is asked here."""

    features: tuple[str, ...] = ()
    signature: _Signature = _Signature()


def _produced(look: Reader) -> dict[str, str]:
    """The newest version of each dataset that a run made."""
    newest = (
        sa.select(dataset_versions.c.name, sa.func.max(dataset_versions.c.version).label("version"))
        .where(dataset_versions.c.removed.is_(None))
        .group_by(dataset_versions.c.name)
        .subquery()
    )
    query = sa.select(newest.c.name, newest.c.version, dataset_versions.c.producer).join(
        dataset_versions,
        (dataset_versions.c.name == newest.c.name) & (dataset_versions.c.version == newest.c.version),
    )
    return {
        f"data:{row.name}@v{row.version}": row.producer.removeprefix("run:")
        for row in look.all(query.where(dataset_versions.c.producer.is_not(None)))
    }


def _feeds(record: ViewRecord | OnDemandRecord) -> Feeds:
    view = record.view
    if isinstance(record, OnDemandRecord):
        views = dict.fromkeys(
            f"feature:{each.name.partition('@')[0].partition(':')[0]}" for each in record.view.inputs
        )
        return Feeds(record.name, record.version, tuple(views), {})
    texts = {each.name: " ".join(_words(each)) for each in record.view.features}
    everywhere = " ".join([record.view.sql, record.view.where, record.view.event_time])
    shared = {"its rows": everywhere} if everywhere.strip() else {}
    return Feeds(
        view.name, record.version, tuple(f"data:{each}" for each in record.view.sources), texts | shared
    )


def _words(feature: Any) -> Iterator[str]:
    yield from (each for each in msgspec.structs.astuple(feature) if isinstance(each, str))


def _named(reference: str) -> tuple[str, int]:
    name, _, version = reference.removeprefix("model:").rpartition("@v")
    return name, int(version)


def _parts(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for first in range(0, len(keys), AT_ONCE):
        yield keys[first : first + AT_ONCE]
