"""Saved views of the table of runs: an address under a name."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.routing import BaseRoute

from everloop.server.pages.addresses import Address
from everloop.server.pages.rendering import Pages
from everloop.server.pages.run_columns import column_of
from everloop.server.pages.runs import Wanted, widths_in
from everloop.workspace.workspace import Workspace


def routes(pages: Pages) -> list[BaseRoute]:
    return [
        pages.action("/runs/views/save", save),
        pages.action("/runs/views/delete", delete),
    ]


def save(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> str:
    """Keep what the table shows under a name."""
    here = _came_from(request)
    wanted = Wanted.of(here)
    name = form.get("name", [""])[0].strip()
    workspace.tracking.save_view(
        name,
        wanted.where,
        wanted.experiment,
        wanted.state,
        [each for each in here.all("column") if column_of(each) is not None],
        wanted.order_by,
        [wanted.group_by] if wanted.group_by else [],
        nested=wanted.nested,
        widths=widths_in(here.get("w")),
    )
    return here.but({"view": name, "picked": None})


def delete(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> str:
    """Forget a view; the table stays as it is."""
    workspace.tracking.delete_view(form.get("name", [""])[0])
    return _came_from(request).but({"view": None})


def _came_from(request: Request) -> Address:
    return Address.within("/runs", urlsplit(request.headers.get("referer", "")).query)
