"""One run as OpenLineage events: what its schema and its standard facets call things.

The schema is version 2-0-2 of the specification (https://openlineage.io/spec/2-0-2/OpenLineage.json). Events of one run add up: a
receiver that is told an event twice knows no more than one that is told once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import msgspec

from everloop._version import __version__

EventType = Literal["START", "COMPLETE", "FAIL", "ABORT"]

SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
PRODUCER = f"urn:everloop:{__version__}"
FACETS = {
    "parent": "1-1-0/ParentRunFacet",
    "errorMessage": "1-0-1/ErrorMessageRunFacet",
    "nominalTime": "1-0-1/NominalTimeRunFacet",
    "jobRunParameters": "1-0-0/JobRunParametersFacet",
    "processing_engine": "1-1-1/ProcessingEngineRunFacet",
    "sourceCodeLocation": "1-0-1/SourceCodeLocationJobFacet",
    "jobType": "2-0-3/JobTypeJobFacet",
    "schema": "1-1-1/SchemaDatasetFacet",
    "version": "1-0-1/DatasetVersionDatasetFacet",
    "outputStatistics": "1-0-2/OutputStatisticsOutputDatasetFacet",
}
"""Facet -> version and name in the specification's folder of facets."""

TYPES: dict[str, EventType] = {
    "started": "START",
    "finished": "COMPLETE",
    "failed": "FAIL",
    "killed": "ABORT",
    "interrupted": "ABORT",
}


class Thing(msgspec.Struct, frozen=True):
    """A dataset version, feature view or model that went into a run or came out of it. `columns`: name -> type."""

    reference: str
    columns: dict[str, str] = {}
    rows: int | None = None
    bytes: int | None = None


class JobName(msgspec.Struct, frozen=True):
    """What ran, whatever the run: a pipeline, a step of one, or a script in an experiment."""

    name: str
    kind: Literal["PIPELINE", "STEP", "SCRIPT"]


class RunFacts(msgspec.Struct, frozen=True):
    """All that the events of a run tell. run, parent: identifiers of 32 digits; `parent` with its job. `repository`: the address
    of the git repository, where it has one. `nominal`: the time it was started for."""

    run: str
    job: JobName
    namespace: str
    params: dict[str, str]
    metrics: dict[str, float]
    user: str
    source: str = ""
    commit: str = ""
    branch: str = ""
    repository: str = ""
    parent: tuple[str, JobName] | None = None
    nominal: datetime | None = None
    error: str = ""
    inputs: tuple[Thing, ...] = ()
    outputs: tuple[Thing, ...] = ()


def run_event(kind: EventType, time: datetime, facts: RunFacts) -> dict[str, Any]:
    """The event as JSON will have it."""
    ended = kind != "START"
    return {
        "eventType": kind,
        "eventTime": _moment(time),
        "producer": PRODUCER,
        "schemaURL": SCHEMA,
        "run": {"runId": uuid(facts.run), "facets": _run_facets(kind, facts)},
        "job": {
            "namespace": facts.namespace,
            "name": facts.job.name,
            "facets": _job_facets(facts),
        },
        "inputs": [_dataset(each, facts.namespace) for each in facts.inputs],
        "outputs": [_output(each, facts.namespace) for each in facts.outputs] if ended else [],
    }


def uuid(run: str) -> str:
    """An identifier as the specification wants it.

    >>> uuid("019b76daa80070008000000000000000")
    '019b76da-a800-7000-8000-000000000000'
    """
    return str(UUID(run))


def _run_facets(kind: EventType, facts: RunFacts) -> dict[str, Any]:
    facets: dict[str, Any] = {
        "processing_engine": _facet(
            "processing_engine", name="Everloop", version=__version__, openlineageAdapterVersion=__version__
        ),
        "everloop_run": {
            "_producer": PRODUCER,
            "_schemaURL": "urn:everloop:openlineage:run:1",
            "reference": f"run:{facts.run}",
            "user": facts.user,
            "parameters": facts.params,
        },
    }
    if kind != "START":
        facets["everloop_run"]["metrics"] = facts.metrics
    if facts.parent is not None:
        run, job = facts.parent
        told = {"run": {"runId": uuid(run)}, "job": {"namespace": facts.namespace, "name": job.name}}
        facets["parent"] = _facet("parent", **told)
    if facts.params:
        given = [{"key": key, "value": value} for key, value in facts.params.items()]
        facets["jobRunParameters"] = _facet("jobRunParameters", parameters=given)
    if facts.nominal is not None:
        facets["nominalTime"] = _facet("nominalTime", nominalStartTime=_moment(facts.nominal))
    if kind == "FAIL":
        first, _, rest = (facts.error or "the run failed").partition("\n")
        trace = {"stackTrace": rest} if rest else {}
        facets["errorMessage"] = _facet("errorMessage", message=first, programmingLanguage="Python", **trace)
    return facets


def _job_facets(facts: RunFacts) -> dict[str, Any]:
    facets = {
        "jobType": _facet("jobType", processingType="BATCH", integration="EVERLOOP", jobType=facts.job.kind)
    }
    if facts.repository and facts.commit:
        path = facts.source.partition(":")[0]
        web, clone = _web_address(facts.repository), _clone_address(facts.repository)
        located = {"type": "git", "url": f"{web}/blob/{facts.commit}/{path}" if web else clone}
        located |= {"repoUrl": clone, "path": path, "version": facts.commit}
        facets["sourceCodeLocation"] = _facet(
            "sourceCodeLocation", **located, **({"branch": facts.branch} if facts.branch else {})
        )
    return facets


def _web_address(repository: str) -> str:
    """Where a person looks at a repository; empty where that cannot be told.

    >>> _web_address("git@example.org:team/flights.git"), _web_address("/srv/flights.git")
    ('https://example.org/team/flights', '')
    """
    address = repository.removesuffix(".git")
    if address.startswith("git@") and ":" in address:
        host, _, path = address.removeprefix("git@").partition(":")
        return f"https://{host}/{path}"
    return address if address.startswith(("https://", "http://")) else ""


def _clone_address(repository: str) -> str:
    """The same repository as a URI, which the standard asks for: git also takes ``host:path`` and plain folders.

    >>> _clone_address("git@example.org:team/flights.git"), _clone_address("/srv/my flights.git")
    ('ssh://git@example.org/team/flights.git', 'file:///srv/my%20flights.git')
    >>> _clone_address("https://example.org/team/flights.git")
    'https://example.org/team/flights.git'
    """
    if "://" in repository:
        return repository
    if Path(repository).is_absolute():
        return Path(repository).as_uri()
    host, _, path = repository.partition(":")
    return f"ssh://{host}/{path.lstrip('/')}"


def _dataset(thing: Thing, namespace: str) -> dict[str, Any]:
    """The name is without its kind for datasets (``flights``), with it for what only looks like one (``model/delay``)."""
    kind, _, rest = thing.reference.partition(":")
    name, _, version = rest.partition("@")
    facets: dict[str, Any] = {}
    if version:
        facets["version"] = _facet("version", datasetVersion=version)
    if thing.columns:
        fields = [{"name": each, "type": of} for each, of in thing.columns.items()]
        facets["schema"] = _facet("schema", fields=fields)
    return {"namespace": namespace, "name": name if kind == "data" else f"{kind}/{name}", "facets": facets}


def _output(thing: Thing, namespace: str) -> dict[str, Any]:
    told = _dataset(thing, namespace)
    if thing.rows is not None:
        size: Mapping[str, int] = {"size": thing.bytes} if thing.bytes is not None else {}
        told["outputFacets"] = {"outputStatistics": _facet("outputStatistics", rowCount=thing.rows, **size)}
    return told


def _facet(name: str, /, **fields: Any) -> dict[str, Any]:
    file = FACETS[name]
    address = f"https://openlineage.io/spec/facets/{file}.json#/$defs/{file.partition('/')[2]}"
    return {"_producer": PRODUCER, "_schemaURL": address, **fields}


def _moment(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
