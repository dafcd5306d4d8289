"""The addresses of a Feast server, answered by operations of the features room.

Computing a view may run the user's own code, so materialising is done by a process of its own: the same command that a person
would type.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from everloop.domain.featureviews import ViewRecord
from everloop.errors import EverloopError, Failed, InvalidInput, NotFound, TooLarge, from_dict, nearest
from everloop.governance.identity import Actor, Permission, acting_as, authorize
from everloop.server.answers import json_response
from everloop.server.feast import messages
from everloop.workspace.workspace import Workspace

BODY_LIMIT = 32 << 20
T = TypeVar("T", bound=msgspec.Struct)


class FeastEndpoints:
    """What a Feast server answers, over a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def routes(self) -> list[Route]:
        return [
            self._route("/get-online-features", messages.GetOnlineFeatures, self.get_online_features),
            self._route("/push", messages.Push, self.push),
            self._route("/write-to-online-store", messages.WriteToOnlineStore, self.write),
            self._route("/materialize", messages.Materialize, self.materialize),
            self._route("/materialize-incremental", messages.Materialize, self.materialize),
        ]

    def get_online_features(self, asked: messages.GetOnlineFeatures) -> messages.OnlineFeatures:
        """A feature service is a feature list here."""
        room, keys = self._workspace.features, messages.entities(asked.entities)
        if asked.feature_service:
            answer = room.ask_list(
                asked.feature_service, keys, full_names=asked.full_feature_names, code=False
            )
        else:
            answer = room.ask(asked.features, keys, full_names=asked.full_feature_names, code=False)
        return messages.online_features(asked, answer)

    def push(self, asked: messages.Push) -> None:
        """A push source is a view here, or a dataset: the rows go to every view over it."""
        view = self._view_over(asked.push_source_name)
        self._workspace.features.push_rows(view.name, messages.rows(view.view, asked.df))

    def write(self, asked: messages.WriteToOnlineStore) -> None:
        view = self._workspace.features.view(asked.feature_view_name)
        self._workspace.features.push_rows(asked.feature_view_name, messages.rows(view.view, asked.df))

    def materialize(self, asked: messages.Materialize) -> None:
        """Ends when the views are materialised."""
        authorize(Permission.WRITE, "features.materialize")
        until = messages.instant(asked.end_ts).isoformat()
        views = [self._workspace.features.view(each).name for each in asked.feature_views or ()]
        command = ["features", "materialize", "--until", until, "--json", *views]
        environment = os.environ | {"EVERLOOP_WORKSPACE": self._workspace.location}
        done = subprocess.run(
            [sys.executable, "-m", "everloop", *command],
            env=environment,
            cwd=self._workspace.project,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise _told(done)

    def _view_over(self, name: str) -> ViewRecord:
        views = self._workspace.features.views()
        for each in views:
            if each.name == name:
                return each
        for each in views:
            if each.view.sources == (name,) and not each.view.sql:
                return each
        known = [each.name for each in views] + [source for each in views for source in each.view.sources]
        raise NotFound(
            f"no feature view or dataset of one is called '{name}'",
            hint=nearest(name, known) or "see: everloop features list",
        )

    def _route(self, path: str, kind: type[T], answer: Callable[[T], msgspec.Struct | None]) -> Route:
        async def respond(request: Request) -> Response:
            try:
                asked = _decoded(await _body(request), kind)
                actor: Actor = request.state.actor
                return json_response(await run_in_threadpool(_acting, actor, answer, asked))
            except EverloopError as error:
                return _failure(error)

        return Route(path, respond, methods=["POST"])


def _acting(actor: Actor, answer: Callable[[T], msgspec.Struct | None], asked: T) -> Any:
    with acting_as(actor):
        return answer(asked)


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the body does not fit: {error}", hint="send the JSON that Feast sends") from None
    except RecursionError:
        raise InvalidInput("the body is nested too deeply", hint="send the JSON that Feast sends") from None


async def _body(request: Request) -> bytes:
    parts, length = [], 0
    async for part in request.stream():
        length += len(part)
        if length > BODY_LIMIT:
            raise TooLarge(f"the body is longer than {BODY_LIMIT >> 20} MB", hint="push in smaller batches")
        parts.append(part)
    return b"".join(parts)


def _failure(error: EverloopError) -> Response:
    """An error as Feast's clients read it."""
    detail = f"{error.message} ({error.hint})" if error.hint else error.message
    body = {"status_code": error.status, "detail": detail, "error_type": type(error).__name__}
    return json_response(body, error.status)


def _told(done: subprocess.CompletedProcess[bytes]) -> EverloopError:
    """What the command said."""
    try:
        return from_dict(msgspec.json.decode(done.stdout, type=dict[str, dict[str, str]])["error"])
    except (msgspec.DecodeError, KeyError):
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return Failed(f"materializing failed: {lines[-1] if lines else done.returncode}")
