"""The endpoint's folder: everything a prediction server needs, so that it stands alone.

deployment.json        the arms (written whole: a temporary file, then a rename)
models/DIGEST/         one folder a model; DIGEST is that of its model.json
log/SEGMENT.journal    predictions, see `frames`
server.json            address and process of the running server
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from everloop.domain.canonical import sha256
from everloop.domain.deployments import Deployment
from everloop.errors import Corrupted, NotFound, StorageError
from everloop.registry.packaging import write_whole

FORMAT = 1


class Running(msgspec.Struct, frozen=True):
    """A server that runs: written by itself once it listens. `key`: what a control call of it has to bring along, so that only
    those who may read the endpoint's folder give it orders."""

    pid: int
    url: str
    started: float
    key: str = ""


def deployment_path(folder: Path) -> Path:
    return folder / "deployment.json"


def log_folder(folder: Path) -> Path:
    return folder / "log"


def read_deployment(folder: Path) -> Deployment:
    """The snapshot in an endpoint's folder. Raises NotFound or Corrupted."""
    path = deployment_path(folder)
    try:
        deployment = msgspec.json.decode(path.read_bytes(), type=Deployment)
    except FileNotFoundError:
        raise NotFound(f"{folder} holds no deployment", hint="deploy a model first: everloop serve") from None
    except msgspec.MsgspecError as error:
        raise Corrupted(f"{path} cannot be read: {error}", hint="deploy again") from None
    if deployment.format > FORMAT:
        raise StorageError(f"{path} was written by a newer Everloop", hint="install a newer Everloop")
    return deployment


def read_model_digest(folder: Path) -> str:
    """The digest of the `model.json` in a model's folder, which names the digests of all its files."""
    try:
        return sha256((folder / "model.json").read_bytes())
    except OSError as error:
        raise Corrupted(f"{folder} has no model.json: {error.strerror}", hint="deploy it again") from None


def read_running(folder: Path) -> Running | None:
    """The server that says it runs, if its process is there."""
    try:
        running = msgspec.json.decode((folder / "server.json").read_bytes(), type=Running)
        os.kill(running.pid, 0)
    except (OSError, msgspec.MsgspecError):
        return None
    return running


def write_running(folder: Path, running: Running) -> None:
    write_whole(folder / "server.json", msgspec.json.encode(running), mode=0o600)
