"""traces/…/assessments: what people and judges say of traces."""

import contextlib
from typing import Any

from everloop.errors import NotFound
from everloop.server.mlflow.codec import Answer, Asked
from everloop.server.mlflow.endpoints import Endpoints
from everloop.server.mlflow.trace_messages import said_message
from everloop.workspace.workspace import Workspace

endpoints = Endpoints("3.0/mlflow")


class Assess(Asked, frozen=True):
    trace_id: str
    assessment: dict[str, Any]


class OfAssessment(Asked, frozen=True):
    trace_id: str
    assessment_id: str


class Reassess(Asked, frozen=True):
    trace_id: str
    assessment_id: str
    assessment: dict[str, Any] = {}
    update_mask: str | dict[str, Any] = ""


class AssessmentAnswer(Answer, frozen=True):
    assessment: dict[str, Any]


@endpoints.post("traces/{trace_id}/assessments")
def assess(workspace: Workspace, asked: Assess) -> AssessmentAnswer:
    said = workspace.tracking.assess_trace(asked.trace_id, asked.assessment)
    return AssessmentAnswer(assessment=said_message(asked.trace_id, said))


@endpoints.get("traces/{trace_id}/assessments/{assessment_id}")
def get_assessment(workspace: Workspace, asked: OfAssessment) -> AssessmentAnswer:
    said = workspace.tracking.assessment(asked.trace_id, asked.assessment_id)
    return AssessmentAnswer(assessment=said_message(asked.trace_id, said))


@endpoints.patch("traces/{trace_id}/assessments/{assessment_id}")
def reassess(workspace: Workspace, asked: Reassess) -> AssessmentAnswer:
    changed = workspace.tracking.assess_trace(asked.trace_id, asked.assessment, asked.assessment_id)
    return AssessmentAnswer(assessment=said_message(asked.trace_id, changed))


@endpoints.delete("traces/{trace_id}/assessments/{assessment_id}")
def delete_assessment(workspace: Workspace, asked: OfAssessment) -> None:
    """Without it; also where there is none."""
    with contextlib.suppress(NotFound):
        workspace.tracking.remove_assessment(asked.trace_id, asked.assessment_id)
