"""One prediction, traced: the answer, the features it was made from, the model, the run, the rows, the commit, the machine."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from everloop.domain.references import Kind, Reference
from everloop.server.pages import lineage
from everloop.server.pages.features import feature_reference
from everloop.server.pages.rendering import Pages
from everloop.workspace.provenance import Link, Why
from everloop.workspace.workspace import Workspace


def routes(pages: Pages) -> list[BaseRoute]:
    return [pages.page("/predictions/{prediction}", "predictions/prediction.html", show, active="endpoints")]


def show(request: Request, workspace: Workspace) -> dict[str, Any] | Response:
    asked = Reference.parse(request.path_params["prediction"], Kind.PREDICTION)
    why: Why = workspace.provenance.why(str(asked))
    if why.reference != str(asked):
        return RedirectResponse(f"/predictions/{why.reference.partition(':')[2]}", 303)
    found = workspace.serving.prediction(why.reference)
    model = workspace.registry.version(found.model)
    features = list(dict.fromkeys(map(feature_reference, model.model.features)))
    return {
        "crumbs": [
            ("Endpoints", "/endpoints"),
            (found.endpoint, f"/endpoints/{found.endpoint}"),
            (f"prediction {asked.name[-8:]}", None),
        ],
        "subject": why.reference,
        "found": found,
        "why": why,
        "model": model,
        "features": features,
        "types": {field.name: field.type for field in model.model.signature.inputs},
        "run": workspace.tracking.run(model.run),
        "graph": lineage.graph_of(
            workspace,
            why,
            [Link(each, why.reference, "answered") for each in (found.model, *features)],
        ),
        "command": f"everloop why {why.reference}",
    }
