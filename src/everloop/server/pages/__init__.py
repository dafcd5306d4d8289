"""What people see: one module a room of the navigation. A page calls operations and renders a template; it holds no rules.

- `rendering`: templates, assets, the frame of every page
- `navigation`: the rooms that have pages
- `addresses`: the state of a page, which is its address
- `plots`, `run_plots`, `monitor_plots`, `lineage`, `step_graph`: pictures as data
- `markdown`: what people write, as HTML that is safe
- `live`: the stream that keeps a page up to date
- `signing`: /login and /logout
"""

from starlette.routing import BaseRoute

from everloop.server.pages import (
    alerts,
    artifacts,
    audit,
    comparison,
    data,
    endpoints,
    experiments,
    explorer,
    features,
    labelling,
    labels,
    live,
    models,
    overview,
    pipeline_runs,
    pipelines,
    predictions,
    rollouts,
    run,
    run_charts,
    runs,
    search,
    signing,
    steps,
    sweeps,
    triggers,
    views,
)
from everloop.server.pages.rendering import Pages

ROOMS = (
    overview,
    search,
    data,
    labelling,
    labels,
    features,
    runs,
    run_charts,
    comparison,
    views,
    experiments,
    artifacts,
    run,
    pipeline_runs,
    steps,
    pipelines,
    sweeps,
    triggers,
    models,
    endpoints,
    rollouts,
    predictions,
    alerts,
    explorer,
    audit,
    live,
    signing,
)
"""In this order, since the first address that fits answers: ``/runs/compare`` is no run."""


def page_routes(pages: Pages) -> list[BaseRoute]:
    """The addresses of all pages."""
    return [route for room in ROOMS for route in room.routes(pages)]
