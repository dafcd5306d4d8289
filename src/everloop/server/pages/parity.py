"""Reports of parity: what was logged against what history says, column by column."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from everloop.domain.featureviews import ParityRecord
from everloop.workspace.workspace import Workspace


def report(request: Request, workspace: Workspace) -> dict[str, Any]:
    record: ParityRecord = workspace.features.parity_report(request.path_params["report"])
    views = list(dict.fromkeys(record.views))
    crumbs: list[tuple[str, str | None]] = [("Features", "/features")]
    if views:
        name = views[0].removeprefix("feature:").partition("@")[0]
        crumbs.append((name, f"/features/{name}"))
    features = " ".join(f"--feature {each.removeprefix('feature:')}" for each in views)
    return {
        "crumbs": [*crumbs, ("parity", None)],
        "record": record,
        "report": record.report,
        "views": views,
        # Those that differ first; the worst of them at the top.
        "ordered": sorted(record.report.columns, key=lambda each: -each.rows_different),
        "command": f"everloop features parity LOGGED {features} --time COLUMN",
    }
