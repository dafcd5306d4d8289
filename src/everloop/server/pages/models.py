"""Registered models, their versions with gates and cards, and the names (aliases) by which the rest of the world knows them."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from everloop.client.apart import call_apart
from everloop.domain.gates import HIGHER_IS_BETTER, GateResult
from everloop.domain.models import ModelState, ModelVersionRecord, Promotion
from everloop.errors import NotFound
from everloop.governance.identity import Permission, authorize
from everloop.server.pages import lineage, plots
from everloop.server.pages.addresses import Address
from everloop.server.pages.features import feature_reference
from everloop.server.pages.rendering import Pages, Told, field, link_to
from everloop.workspace.workspace import Workspace

VERSIONS = 100
MOST_METRICS = 4
ALIAS_CHANGES = 20
RETRAININGS = 20
CHAMPION, CHALLENGER = "champion", "challenger"


def routes(pages: Pages) -> list[BaseRoute]:
    one, shown = "/models/{name:path}@v{version:int}", "models/version.html"
    return [
        pages.page("/models", "models/list.html", models, active="models"),
        pages.deed(one, "promote", promote, shown, version, active="models"),
        pages.deed(one, "deprecate", deprecate, shown, version, active="models"),
        pages.page(one, shown, version, active="models"),
        pages.page("/models/{name:path}@{alias}", "models/version.html", by_alias, active="models"),
        pages.page("/models/{name:path}", "models/model.html", model, active="models"),
    ]


def models(request: Request, workspace: Workspace) -> dict[str, Any]:
    found = workspace.registry.models()
    serving: dict[str, list[str]] = {}
    for endpoint in workspace.serving.endpoints():
        for name in {arm.model.partition("@")[0] for arm in endpoint.arms if arm.mode == "live"}:
            serving.setdefault(name.partition(":")[2], []).append(endpoint.name)
    return {
        "crumbs": [("Models", None)],
        "models": found,
        "serving": serving,
        "command": "everloop models list",
    }


def model(request: Request, workspace: Workspace) -> dict[str, Any]:
    here, name = Address.of(request), request.path_params["name"]
    record = next((each for each in workspace.registry.models() if each.name == name), None)
    if record is None:
        workspace.registry.version(name)  # says which names are near
        raise NotFound(f"there is no model '{name}'", hint="see: everloop models list")
    versions: list[ModelVersionRecord] = workspace.registry.versions(name)
    first = here.number("from")
    shown = versions[first : first + VERSIONS]
    logged = {key for each in shown for key in each.metrics}
    metrics = sorted(logged, key=lambda key: (key not in HIGHER_IS_BETTER, key))[:MOST_METRICS]
    verdicts = {}
    for each in shown[:20]:
        promotions = workspace.registry.promotions(each.reference)
        if promotions:
            verdicts[each.reference] = promotions[0]
    return {
        "crumbs": [("Models", "/models"), (name, None)],
        "here": here,
        "subject": f"model:{name}",
        "model": record,
        "versions": shown,
        "count": len(versions),
        "next": here.but({"from": first + VERSIONS}) if first + VERSIONS < len(versions) else None,
        "metrics": metrics,
        "verdicts": verdicts,
        "history": workspace.registry.alias_history(name)[:ALIAS_CHANGES],
        "retrainings": workspace.loop.retrainings(name, limit=RETRAININGS),
        "policies": workspace.loop.policies(name),
        "by_version": by_version(versions, metrics),
        "command": f"everloop models show {name}",
        "best": f"everloop best {name}",
    }


def by_alias(request: Request, workspace: Workspace) -> Response:
    """An alias leads to the version it means now; the version's page is the one to keep."""
    name, alias = request.path_params["name"], request.path_params["alias"]
    return RedirectResponse(link_to(workspace.registry.version(f"{name}@{alias}").reference), 303)


def version(request: Request, workspace: Workspace) -> dict[str, Any]:
    reference = _reference(request)
    record: ModelVersionRecord = workspace.registry.version(reference)
    promotions = workspace.registry.promotions(reference)
    endpoints = [
        (each, arm)
        for each in workspace.serving.endpoints()
        for arm in each.arms
        if arm.model == reference and arm.mode != "off"
    ]
    latest = promotions[0] if promotions else None
    return {
        "crumbs": [
            ("Models", "/models"),
            (record.name, f"/models/{record.name}"),
            (f"v{record.version}", None),
        ],
        "subject": reference,
        "record": record,
        "origin": origin_of(record),
        "latest": latest,
        "earlier": promotions[1:6],
        "comparison": comparison(latest.gates) if latest else None,
        "card": workspace.registry.card(reference) if record.card else None,
        "endpoints": endpoints,
        "aliases": sorted({CHAMPION, CHALLENGER, *_aliases(workspace, record.name)} - {*record.aliases}),
        "may_answer_at": may_answer_at(workspace, record),
        "features": list(dict.fromkeys(map(feature_reference, record.model.features))),
        "missing": workspace.registry.missing_provenance(reference),
        "reproductions": workspace.pipelines.reproductions(reference)[:5],
        "predictions": workspace.provenance.why(reference).predictions.get(reference, 0),
        "graph": lineage.graph(workspace, reference),
        "command": f"everloop models show {record.name}@v{record.version}",
    }


def origin_of(record: ModelVersionRecord) -> list[tuple[str, str]]:
    """What is said of where a version is from, besides its run."""
    said = (("source", record.source), ("logged model", record.logged_model), ("link", record.run_link))
    return [(name, text) for name, text in said if text]


def promote(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> Told:
    """Ask the gates for an alias. They are the project's own code, so they are asked in another process."""
    reference, alias = _reference(request), field(form, "alias") or CHAMPION
    authorize(Permission.WRITE, "registry.promote")
    asked = call_apart(
        workspace,
        Promotion,
        "registry",
        "promote",
        reference=reference,
        to=alias,
        because=field(form, "because"),
    )
    failed = [f"{gate.name}: {gate.reason}" for gate in asked.gates if not gate.passed]
    name = reference.partition(":")[2]
    if asked.allowed:
        passed = f"{len(asked.gates)} gates" if len(asked.gates) != 1 else "its gate"
        return Told(f"{name} is {alias} now; it passed {passed}.")
    return Told(f"{name} was refused as {alias}.", "bad", "What each gate said is below.", failed)


def deprecate(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> Told:
    changed = workspace.registry.deprecate(_reference(request), reason=field(form, "because"))
    return Told(f"{changed.reference.partition(':')[2]} is deprecated.")


def _reference(request: Request) -> str:
    return f"model:{request.path_params['name']}@v{request.path_params['version']}"


def _aliases(workspace: Workspace, name: str) -> list[str]:
    return [alias for each in workspace.registry.models() if each.name == name for alias in each.aliases]


def may_answer_at(workspace: Workspace, record: ModelVersionRecord) -> list[str]:
    """Endpoints that another version of this model answers, to which a rollout could bring this one."""
    if record.state is not ModelState.READY:
        return []
    found = []
    for endpoint in workspace.serving.endpoints():
        live = [arm.model for arm in endpoint.arms if arm.mode == "live"]
        of_this = any(model.rpartition("@")[0] == f"model:{record.name}" for model in live)
        if of_this and record.reference not in live:
            found.append(endpoint.name)
    return found


def comparison(gates: list[GateResult]) -> plots.Spec | None:
    """What the gates measured against the other model, on the same rows: one estimate with its interval a row."""
    rows = []
    others = {gate.evidence.get("other") for gate in gates if gate.evidence.get("metrics")}
    for gate in gates:
        # A metric may be compared with several: the champion, and the baseline.
        against = f" / {str(gate.evidence.get('other')).partition(':')[2]}" if len(others) > 1 else ""
        for key in ("metrics", "worst"):
            for each in gate.evidence.get(key) or []:
                if not isinstance(each, dict) or each.get("low") is None or each.get("gain") is None:
                    continue
                metric = each.get("metric")
                name = f"{metric}{against}" if metric else f"{each.get('column')} = {each.get('value')}"
                rows.append(
                    {
                        "name": name,
                        "estimate": each["gain"],
                        "low": each["low"],
                        "high": each["high"],
                        "key": key,
                    }
                )
    if not rows:
        return None
    return {
        "kind": "forest",
        "name": "gains",
        "x": {"name": "gain over the other model (right is better)", "zero": True},
        "rows": rows[:30],
        "reference": {"at": 0, "label": "equal"},
    }


def by_version(versions: list[ModelVersionRecord], metrics: list[str]) -> list[tuple[str, plots.Spec]]:
    """The gates' own metrics by version, where there are enough versions to compare."""
    charts = []
    for key in metrics:
        points = [
            [f"v{each.version}", each.metrics[key]]
            for each in reversed(versions)
            if each.metrics.get(key) is not None
        ]
        if len(points) > 2 and key in HIGHER_IS_BETTER:
            series = [{"name": key, "points": points}]
            x = {"name": "version", "type": "category", "categories": [place for place, _ in points]}
            charts.append((key, plots.line(key, series, x=x, y={"name": key})))
    return charts[:2]
