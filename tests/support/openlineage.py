"""What OpenLineage 2-0-2 asks of an event and of the facets that are told, as a JSON Schema: written from the specification
(https://openlineage.io/spec/2-0-2/OpenLineage.json and its facets), stricter where that leaves room: no field that it does not
know."""

from __future__ import annotations

from typing import Any

MOMENT = {"type": "string", "format": "date-time"}
ADDRESS = {"type": "string", "format": "uri", "pattern": "^[a-z][a-z0-9+.-]*:."}
IDENTIFIER = {"type": "string", "format": "uuid", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}
TEXT = {"type": "string", "minLength": 1}
WORDS = {"type": "string"}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "properties": required | (optional or {}),
        "additionalProperties": False,
    }


def _facet(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return _object({"_producer": ADDRESS, "_schemaURL": ADDRESS} | required, optional)


NAMED = {"namespace": TEXT, "name": TEXT}
FIELD = _object({"name": TEXT}, {"type": WORDS, "description": WORDS})
OWN = {
    "type": "object",
    "required": ["_producer", "_schemaURL"],
    "properties": {"_producer": ADDRESS, "_schemaURL": ADDRESS},
}
RUN_FACETS = {
    "parent": _facet({"run": _object({"runId": IDENTIFIER}), "job": _object(NAMED)}),
    "nominalTime": _facet({"nominalStartTime": MOMENT}, {"nominalEndTime": MOMENT}),
    "jobRunParameters": _facet(
        {},
        {
            "parameters": {
                "type": "array",
                "items": _object({"key": TEXT}, {"name": WORDS, "description": WORDS, "value": {}}),
            }
        },
    ),
    "errorMessage": _facet({"message": WORDS, "programmingLanguage": TEXT}, {"stackTrace": WORDS}),
    "processing_engine": _facet({"version": TEXT}, {"name": TEXT, "openlineageAdapterVersion": TEXT}),
    "everloop_run": OWN,
}
JOB_FACETS = {
    "jobType": _facet(
        {"processingType": {"enum": ["BATCH", "STREAMING", "SERVICE"]}, "integration": TEXT},
        {"jobType": TEXT},
    ),
    "sourceCodeLocation": _facet(
        {"type": TEXT, "url": ADDRESS},
        {"repoUrl": WORDS, "path": WORDS, "version": WORDS, "branch": WORDS, "tag": WORDS},
    ),
}
DATASET_FACETS = {
    "schema": _facet({}, {"fields": {"type": "array", "items": FIELD}}),
    "version": _facet({"datasetVersion": TEXT}),
}
STATISTICS = _facet(
    {"rowCount": {"type": "integer"}}, {"size": {"type": "integer"}, "fileCount": {"type": "integer"}}
)
DATASET = {"facets": _object({}, DATASET_FACETS)}

EVENT = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **_object(
        {
            "eventTime": MOMENT,
            "producer": ADDRESS,
            "schemaURL": ADDRESS,
            "run": _object({"runId": IDENTIFIER}, {"facets": _object({}, RUN_FACETS)}),
            "job": _object(NAMED, {"facets": _object({}, JOB_FACETS)}),
        },
        {
            "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
            "inputs": {"type": "array", "items": _object(NAMED, DATASET)},
            "outputs": {
                "type": "array",
                "items": _object(
                    NAMED, DATASET | {"outputFacets": _object({}, {"outputStatistics": STATISTICS})}
                ),
            },
        },
    ),
}
