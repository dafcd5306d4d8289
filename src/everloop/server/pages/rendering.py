"""Templates, built assets, and the frame every page sits in."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, quote, unquote, urlsplit

import jinja2
import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from everloop._version import __version__
from everloop.errors import EverloopError, StorageError, TooLarge
from everloop.governance.identity import Actor, Permission, acting_as, permits
from everloop.server.pages.addresses import Address
from everloop.server.pages.navigation import NAVIGATION
from everloop.workspace.workspace import Workspace

HERE = Path(__file__).parent.parent
BUILT = HERE / "_ui"

POLICY = "; ".join(
    [
        "default-src 'self'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "form-action 'self'",
    ]
)
"""No inline script or style, nothing from elsewhere, nobody may frame us."""

FORM_LIMIT = 1 << 18

View = Callable[[Request, Workspace], dict[str, Any] | Response]


class Told(msgspec.Struct, frozen=True):
    """What came of a deed, as the page says it. `reasons`: one line each."""

    sentence: str
    tone: Literal["good", "warn", "bad"] = "good"
    hint: str = ""
    reasons: list[str] = []


Deed = Callable[[Request, Workspace, dict[str, list[str]]], Told]


class Pages:
    """Renders pages of one workspace. A page is a plain function of request and workspace that gives its template's context,
    or an answer of its own (to go elsewhere)."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals["asset"] = asset
        self._templates.globals["link_to"] = link_to
        self._templates.filters["typed"] = shlex.quote  # a name as a shell takes it

    def page(self, path: str, template: str, view: View, *, active: str) -> Route:
        """A page at an address: `view` runs in a thread, in the name of who is signed in."""

        async def show(request: Request) -> Response:
            actor: Actor = request.state.actor
            return await run_in_threadpool(self._shown, view, request, actor, template, active)

        return Route(path, show, methods=["GET"])

    def file(self, path: str, make: Callable[[Request, Workspace], Response]) -> Route:
        """An address that answers with something else than a page: a download, an uploaded file in its sandbox."""

        async def send(request: Request) -> Response:
            actor: Actor = request.state.actor
            return await run_in_threadpool(self._file, make, request, actor)

        return Route(path, send, methods=["GET"])

    def action(self, path: str, act: Callable[[Request, Workspace, dict[str, list[str]]], str]) -> Route:
        """A form's target: `act` gets the form's fields, changes something and gives the address to go on to."""

        async def submit(request: Request) -> Response:
            actor: Actor = request.state.actor
            form = await form_fields(request)
            there = await run_in_threadpool(self._act, act, request, actor, form)
            return Response(status_code=303, headers={"Location": there})

        return Route(path, submit, methods=["POST"])

    def deed(self, page: str, name: str, act: Deed, template: str, view: View, *, active: str) -> Route:
        """What can be done on a page, at the page's address and a word more: `act` gets the form's fields and tells what came of
        it. The answer is the page anew with that at its top, also when it is refused (htmx takes it into the page it is on). A
        browser without scripts is sent back to the page when all went well."""

        async def submit(request: Request) -> Response:
            form = await form_fields(request)
            return await run_in_threadpool(self._done, act, request, form, template, view, active)

        return Route(f"{page}/{name}", submit, methods=["POST"])

    def assets(self) -> Mount:
        """The built scripts and styles; their names carry a digest, so a browser may keep them."""
        return Mount("/assets", _Immutable(directory=BUILT, check_dir=False))

    def render(self, request: Request, template: str, context: dict[str, Any], status: int = 200) -> Response:
        actor = getattr(request.state, "actor", None)
        may_change = actor is not None and permits(actor.role, Permission.WRITE)
        frame: dict[str, Any] = {
            "rooms": NAVIGATION,
            "here": Address.of(request),
            "may_change": may_change,
            "why_not": ""
            if may_change or actor is None
            else f"You are {actor.role} here; ask an owner for the role engineer",
            "workspace": self.workspace.settings.name,
            "user": actor.user if actor else "nobody",
            "version": __version__,
            "crumbs": [],
            "told": None,
            "as_of": None,
            "query": request.query_params.get("q", "") if request.url.path == "/search" else "",
        }
        text = self._templates.get_template(template).render(frame | context)
        return HTMLResponse(
            text, status, {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"}
        )

    def failure(self, request: Request, error: EverloopError) -> Response:
        """An error as a page."""
        context = {"active": "", "message": error.message, "hint": error.hint, "status": error.status}
        return self.render(request, "error.html", context, error.status)

    def _shown(self, view: View, request: Request, actor: Actor, template: str, active: str) -> Response:
        with acting_as(actor):
            newest = self.workspace.governance.log(limit=1, newest_first=True)
            context = view(request, self.workspace)
            if isinstance(context, Response):
                return context
            firing = len(self.workspace.monitoring.alerts(state="firing", limit=100))
        status = context.pop("http_status", 200)
        frame = {"active": active, "open_alerts": firing, "as_of": newest[0].seq if newest else 0}
        return self.render(request, template, context | frame, status)

    def _file(
        self, make: Callable[[Request, Workspace], Response], request: Request, actor: Actor
    ) -> Response:
        with acting_as(actor):
            return make(request, self.workspace)

    def _done(
        self,
        act: Deed,
        request: Request,
        form: dict[str, list[str]],
        template: str,
        view: View,
        active: str,
    ) -> Response:
        in_place, status = "hx-request" in request.headers, 200
        with acting_as(request.state.actor):
            try:
                told = act(request, self.workspace, form)
            except EverloopError as error:
                # htmx takes only answers that went well into the page; the words say that this one did not.
                told, status = Told(error.message, "bad", error.hint), 200 if in_place else error.status
        page = _page_of(request)
        if told.tone == "good" and not in_place:
            return Response(status_code=303, headers={"Location": str(Address.of(page))})

        def seen(asked: Request, workspace: Workspace) -> dict[str, Any] | Response:
            context = view(asked, workspace)
            return (
                context if isinstance(context, Response) else context | {"told": told, "http_status": status}
            )

        return self._shown(seen, page, request.state.actor, template, active)

    def _act(
        self,
        act: Callable[[Request, Workspace, dict[str, list[str]]], str],
        request: Request,
        actor: Actor,
        form: dict[str, list[str]],
    ) -> str:
        with acting_as(actor):
            return act(request, self.workspace, form)


class _Immutable(StaticFiles):
    async def get_response(self, path: str, scope: Any) -> Response:
        answer = await super().get_response(path, scope)
        if answer.status_code == 200 and not path.startswith("."):
            answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return answer


def _page_of(request: Request) -> Request:
    """The request for the page that a deed was done on, in the state it was in: its filters are in its address."""
    path = request.url.path.rpartition("/")[0]
    there = request.headers.get("hx-current-url") or request.headers.get("referer", "")
    query = urlsplit(there).query if unquote(urlsplit(there).path) == path else ""
    scope = {"path": path, "raw_path": quote(path).encode(), "query_string": query.encode(), "method": "GET"}
    return Request({**request.scope, **scope})


async def form_fields(request: Request) -> dict[str, list[str]]:
    """The fields of a submitted form (URL-encoded: our pages upload nothing), each with all its values."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > FORM_LIMIT:
            raise TooLarge(f"the form is longer than {FORM_LIMIT >> 10} kB")
    return parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)


def field(form: dict[str, list[str]], name: str, most: int = 500) -> str:
    """What was written into a field of a form, or nothing."""
    return form.get(name, [""])[0].strip()[:most]


@functools.cache
def _manifest() -> dict[str, str]:
    try:
        entries = msgspec.json.decode((BUILT / ".vite" / "manifest.json").read_bytes())
    except FileNotFoundError:
        raise StorageError("the pages are not built", hint="run: make ui") from None
    return {Path(entry["src"]).name: entry["file"] for entry in entries.values() if "src" in entry}


def asset(name: str) -> str:
    """The address of a built file: ``main.ts`` -> ``/assets/main-….js``."""
    return f"/assets/{_manifest().get(name, name)}"


_ROOMS = {
    "data": "/data",
    "labels": "/labels",
    "feature": "/features",
    "run": "/runs",
    "pipeline": "/pipelines",
    "trigger": "/triggers",
    "model": "/models",
    "endpoint": "/endpoints",
    "prediction": "/predictions",
    "rollout": "/rollouts",
    "alert": "/alerts",
}


def link_to(reference: str) -> str:
    """The address of the page about a reference; what has no page leads to the search for it.

    >>> link_to("model:team/delay@v3"), link_to("token:1")
    ('/models/team/delay@v3', '/search?q=token%3A1')
    """
    kind, _, name = reference.partition(":")
    room = _ROOMS.get(kind)
    return f"{room}/{quote(name, safe='/@')}" if room and name else f"/search?q={quote(reference, safe='')}"


def wants_html(request: Request) -> bool:
    """Whether a person's browser asks, rather than a program."""
    path = request.url.path
    return "text/html" in request.headers.get("accept", "") and not path.startswith(("/api/", "/assets/"))
