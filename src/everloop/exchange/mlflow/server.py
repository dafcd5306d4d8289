"""What a running MLflow server answers, of any version since 1.28: read over REST, as its own client would.

Histories take a request for each metric of each run, so a store that can be read as a file is read much faster as one.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

import httpx

from everloop.domain.adoption import (
    AdoptedExperiment,
    AdoptedLoggedModel,
    AdoptedModel,
    AdoptedRun,
    MetricColumns,
    run_identifier,
)
from everloop.domain.logged_models import INPUT, OUTPUT, MeasuredPoint, RunModel
from everloop.domain.times import EPOCH
from everloop.errors import EverloopError, InvalidInput, NotFound, Unauthenticated, Unavailable
from everloop.exchange.folders import files_below
from everloop.exchange.mlflow import conventions
from everloop.exchange.mlflow.locations import PROXIED, Locations
from everloop.exchange.source import ForeignFile, Head, Skipped, Unreachable

API, OLD_REGISTRY = "/api/2.0/mlflow/", "/api/2.0/preview/mlflow/"
PROXY = "/api/2.0/mlflow-artifacts/artifacts"
PAGE, POINTS_PAGE = 1_000, 25_000
AT_ONCE = 8
ATTEMPTS = 4
RETRIED = {429, 502, 503, 504}
DEEPEST = 50
IS_PROMPT = "tags.`mlflow.prompt.is_prompt` = 'true'"


class ServerSource:
    """A `Source` over a server's address. `client` and `pause` are there for tests."""

    def __init__(
        self,
        address: str,
        moved: Sequence[tuple[str, str]] = (),
        *,
        environment: Mapping[str, str] = os.environ,
        client: httpx.Client | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.origin = f"mlflow {address}"
        self.skipped: list[Skipped] = []
        self._moved = [old for old, _ in moved]
        self._locations = Locations(Path.cwd(), moved)
        self._pause = pause
        self._client = client or httpx.Client(
            base_url=address.rstrip("/"), timeout=120, follow_redirects=True
        )
        _sign_in(self._client, environment)
        self._found = self._experiments()

    def close(self) -> None:
        self._client.close()

    # Requests

    def _ask(self, method: str, path: str, given: dict[str, Any]) -> dict[str, Any]:
        """One request; what is away for a moment is asked again. Raises NotFound for 404."""
        answer = self._sent(method, path, given)
        try:
            found = json.loads(answer.content or b"{}")
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise InvalidInput(
                f"{self._client.base_url} does not answer as an MLflow server does", hint="check the address"
            )
        return found

    def _sent(self, method: str, path: str, given: dict[str, Any]) -> httpx.Response:
        for attempt in range(ATTEMPTS):
            try:
                answer = self._requested(method, path, given)
            except httpx.HTTPError as error:
                if attempt + 1 == ATTEMPTS or isinstance(error, httpx.ConnectError):
                    raise Unavailable(
                        f"the server {self._client.base_url} cannot be reached: {error}",
                        hint="is it running?",
                    ) from None
            else:
                if answer.status_code not in RETRIED or attempt + 1 == ATTEMPTS:
                    return _checked(answer)
            self._pause(0.5 * 4**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _requested(self, method: str, path: str, given: dict[str, Any]) -> httpx.Response:
        return (
            self._client.get(path, params=given) if method == "GET" else self._client.post(path, json=given)
        )

    def _pages(self, method: str, path: str, key: str, given: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The items of all pages of an answer."""
        token: str | None = None
        while True:
            found = self._ask(method, path, given | ({"page_token": token} if token else {}))
            yield from found.get(key, [])
            token = found.get("next_page_token")
            if not token:
                return

    # Experiments and runs

    def experiments(self) -> dict[str, AdoptedExperiment]:
        return self._found

    def _experiments(self) -> dict[str, AdoptedExperiment]:
        given = {"max_results": PAGE, "view_type": "ALL"}
        return {
            str(each["experiment_id"]): conventions.experiment(
                str(each["experiment_id"]),
                str(each.get("name", "")),
                str(each.get("artifact_location", "")),
                each.get("creation_time"),
                state=conventions.state_word(each.get("lifecycle_stage")),
                updated=conventions.moment(each.get("last_update_time")),
                tags=_entries(each.get("tags")),
            )
            for each in self._pages("POST", API + "experiments/search", "experiments", given)
        }

    def heads(self) -> Sequence[Head]:
        heads = []
        for experiment in self._found:
            given = {
                "experiment_ids": [experiment],
                "run_view_type": "ALL",
                "max_results": PAGE,
                "order_by": ["attributes.start_time ASC"],
            }
            for each in self._pages("POST", API + "runs/search", "runs", given):
                info = each["info"]
                run_id = str(info.get("run_id") or info["run_uuid"])
                status = conventions.status_word(info.get("status"))
                uri = str(info.get("artifact_uri", ""))
                heads.append(Head(run_identifier(run_id), run_id, experiment, status, uri))
        return heads

    def read(self, heads: Sequence[Head]) -> Iterator[AdoptedRun]:
        with ThreadPoolExecutor(AT_ONCE) as requests:
            for head in heads:
                try:
                    run = self._ask("GET", API + "runs/get", {"run_id": head.given})["run"]
                except (NotFound, KeyError):
                    self.skipped.append(Skipped("run", head.given, "it is gone from the server"))
                    continue
                data, inputs = run.get("data", {}), run.get("inputs", {})
                keys = sorted({str(each["key"]) for each in data.get("metrics", [])})
                histories = list(requests.map(partial(self._history, head.given), keys))
                datasets = [
                    conventions.dataset(each["dataset"], _entries(each.get("tags")))
                    for each in inputs.get("dataset_inputs", [])
                ]
                models = [
                    RunModel(head.run_id, each["model_id"], role, int(each.get("step", 0)))
                    for role, found in (
                        (INPUT, inputs.get("model_inputs", [])),
                        (OUTPUT, run.get("outputs", {}).get("model_outputs", [])),
                    )
                    for each in found
                ]
                info = run["info"] | {"run_id": head.given, "experiment_id": head.experiment}
                metrics = _columns(keys, histories)
                yield conventions.run(
                    info, _entries(data.get("params")), _entries(data.get("tags")), metrics, datasets, models
                )

    def _history(self, run_id: str, key: str) -> list[tuple[int, int, float]]:
        """Step, time and value of each point, each once."""
        given = {"run_id": run_id, "metric_key": key, "max_results": POINTS_PAGE}
        points = self._pages("GET", API + "metrics/get-history", "metrics", given)
        found = {
            (int(each.get("step", 0)), int(each.get("timestamp", 0)), str(each.get("value", 0))): None
            for each in points
        }
        return [(step, moment, float(value)) for step, moment, value in found]

    # Files

    def files(self, head: Head) -> Iterable[ForeignFile]:
        name = f"run:{head.run_id}"
        if any(head.files.startswith(old) for old in self._moved):
            return files_below(self._locations.find(head.files, head.given), "artifact", name, self.skipped)
        if urlsplit(head.files).scheme == PROXIED:
            return self._proxied(head.files)
        path = API + "artifacts/list"
        return self._listed(
            lambda folder: self._ask("GET", path, {"run_id": head.given, "path": folder}).get("files", []),
            lambda file: partial(self._download, "/get-artifact", {"run_uuid": head.given, "path": file}),
        )

    def _proxied(self, uri: str) -> Iterable[ForeignFile]:
        """Files that the server keeps itself, under the path in their address."""
        root = urlsplit(uri).path.strip("/")

        def listed(folder: str) -> list[dict[str, Any]]:
            found = self._ask("GET", PROXY, {"path": "/".join(filter(None, [root, folder]))}).get("files", [])
            return [each | {"path": "/".join(filter(None, [folder, str(each["path"])]))} for each in found]

        return self._listed(
            listed, lambda file: partial(self._download, f"{PROXY}/{quote(f'{root}/{file}')}", {})
        )

    def _listed(
        self,
        listed: Callable[[str], list[dict[str, Any]]],
        content: Callable[[str], Callable[[], Any]],
    ) -> Iterator[ForeignFile]:
        """All files, folder by folder. Raises Unreachable when the server cannot read them itself."""
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            try:
                found = listed(folder)
            except EverloopError as error:
                raise Unreachable("artifacts", f"the server does not give them: {error.message}") from None
            for each in found:
                path = str(each["path"])
                inside = path.startswith(f"{folder}/" if folder else "") and path != folder
                if each.get("is_dir") and inside and path.count("/") < DEEPEST:
                    waiting.append(path)
                elif not each.get("is_dir"):
                    yield ForeignFile(path, content(path), int(each.get("file_size") or 0))

    @contextmanager
    def _download(self, path: str, given: dict[str, str]) -> Iterator[BinaryIO]:
        """A file by way of a temporary one: it is stored once it is here whole."""
        with tempfile.TemporaryFile() as spool:
            try:
                with self._client.stream("GET", path, params=given) as answer:
                    if answer.status_code != httpx.codes.OK:
                        raise OSError(f"the server answered {answer.status_code}")
                    for piece in answer.iter_bytes():
                        spool.write(piece)
            except httpx.HTTPError as error:
                raise OSError(f"the server broke off: {error}") from None
            spool.seek(0)
            yield spool

    # Models

    def logged_models(self) -> Iterator[tuple[AdoptedLoggedModel, Callable[[], Iterable[ForeignFile]]]]:
        for experiment in self._found:
            given = {"experiment_ids": [experiment], "max_results": 100}
            try:
                found = list(self._pages("POST", API + "logged-models/search", "models", given))
            except NotFound:  # a server before 3.0
                return
            for each in found:
                info, data = each["info"], each.get("data", {})
                model_id = str(info["model_id"])
                named = {
                    "creation_timestamp": info.get("creation_timestamp_ms"),
                    "last_updated_timestamp": info.get("last_updated_timestamp_ms"),
                }
                measured = [_measured(point, model_id) for point in data.get("metrics", [])]
                model = conventions.logged_model(
                    info | named, _entries(data.get("params")), _entries(info.get("tags")), measured
                )
                uri = str(info.get("artifact_uri", ""))
                yield AdoptedLoggedModel(model, experiment), partial(self._model_files, uri, model_id)

    def _model_files(self, uri: str, model_id: str) -> Iterable[ForeignFile]:
        if any(uri.startswith(old) for old in self._moved):
            return files_below(self._locations.find(uri, model_id), "model file", model_id, self.skipped)
        if urlsplit(uri).scheme == PROXIED:
            return self._proxied(uri)
        path = f"{API}logged-models/{model_id}/artifacts/directories"
        of_page = f"/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files"  # the API has no call for the bytes
        return self._listed(
            lambda folder: self._ask("GET", path, {"artifact_directory_path": folder}).get("files", []),
            lambda file: partial(self._download, of_page, {"artifact_file_path": file}),
        )

    def models(self) -> Iterator[AdoptedModel]:
        for each, condition in self._registered():
            name = str(each["name"])
            quoted = name.replace("'", "''")
            given = {"filter": f"name='{quoted}'{condition}", "max_results": PAGE}
            versions = [
                conventions.version(found | {"version": int(found["version"])}, _entries(found.get("tags")))
                for found in self._registry("model-versions/search", "model_versions", given)
                if found["name"] == name
            ]
            created = conventions.moment(each.get("creation_timestamp")) or EPOCH
            yield AdoptedModel(
                name=name,
                created=created,
                updated=conventions.moment(each.get("last_updated_timestamp")) or created,
                latest=max((version.version for version in versions), default=0),
                description=str(each.get("description", "")),
                tags=_entries(each.get("tags")),
                aliases={str(alias["alias"]): int(alias["version"]) for alias in each.get("aliases", [])},
                versions=sorted(versions, key=lambda version: version.version),
            )

    def _registered(self) -> Iterator[tuple[dict[str, Any], str]]:
        """Registered models, then prompts, which only a search for them finds; with what finds their versions."""
        found = list(self._registry("registered-models/search", "registered_models", {"max_results": 100}))
        yield from ((each, "") for each in found)
        names = {each["name"] for each in found}
        try:
            given = {"filter": IS_PROMPT, "max_results": 100}
            prompts = list(self._registry("registered-models/search", "registered_models", given))
        except InvalidInput:  # a server that does not know tags in filters has no prompts
            return
        yield from ((each, f" AND {IS_PROMPT}") for each in prompts if each["name"] not in names)

    def _registry(self, path: str, key: str, given: dict[str, Any]) -> Iterator[dict[str, Any]]:
        try:
            first = list(self._pages("GET", API + path, key, given))
        except NotFound:  # a server before 2.0
            first = list(self._pages("GET", OLD_REGISTRY + path, key, given))
        yield from first


def _sign_in(client: httpx.Client, environment: Mapping[str, str]) -> None:
    """The login of MLflow's own client, from the same variables."""
    user, password = environment.get("MLFLOW_TRACKING_USERNAME"), environment.get("MLFLOW_TRACKING_PASSWORD")
    token = environment.get("MLFLOW_TRACKING_TOKEN")
    if user and password:
        client.auth = httpx.BasicAuth(user, password)
    elif token:
        client.headers["Authorization"] = f"Bearer {token}"


def _checked(answer: httpx.Response) -> httpx.Response:
    """The answer, if it is one."""
    if answer.is_success:
        return answer
    if answer.status_code == httpx.codes.NOT_FOUND:
        raise NotFound(f"{answer.url} is not there")
    if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        raise Unauthenticated(
            f"the server refuses the request ({answer.status_code})",
            hint="set MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN",
        )
    if answer.is_server_error:
        raise Unavailable(
            f"{answer.url.copy_with(query=None)} answered {answer.status_code}", hint="try again later"
        )
    raise InvalidInput(
        f"{answer.url.copy_with(query=None)} answered {answer.status_code}", hint="is it an MLflow server?"
    )


def _entries(found: Any) -> dict[str, str]:
    return {str(each["key"]): str(each.get("value", "")) for each in found or []}


def _measured(point: dict[str, Any], model_id: str) -> MeasuredPoint:
    run_id = str(point.get("run_id") or "")
    return MeasuredPoint.of(
        str(point["key"]),
        float(conventions.infinite_number(float(point.get("value", 0)))),
        int(point.get("step", 0)),
        conventions.moment(point.get("timestamp")) or EPOCH,
        model_id,
        run_identifier(run_id) if run_id else "",
        str(point.get("dataset_name") or ""),
        str(point.get("dataset_digest") or ""),
    )


def _columns(keys: list[str], histories: list[list[tuple[int, int, float]]]) -> MetricColumns:
    import numpy as np

    pairs = [(key, points) for key, points in zip(keys, histories, strict=True) if points]
    if not pairs:
        return MetricColumns()
    steps, times, values = zip(*(point for _, points in pairs for point in points), strict=True)
    return conventions.columns(
        [key for key, _ in pairs],
        [len(points) for _, points in pairs],
        np.array(steps, np.int64),
        np.array(times, np.int64),
        conventions.infinite(np.array(values, np.float64)),
    )
