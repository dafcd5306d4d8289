"""The endpoint's folder: everything a prediction server needs, so that it stands alone.

deployment.json        the arms (written whole: a temporary file, then a rename)
models/DIGEST/         one folder a model; DIGEST is that of its model.json
log/SEGMENT.journal    predictions, see `frames`
server.json            address and process of the running server
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from everloop.domain.canonical import sha256
from everloop.domain.deployments import Deployment
from everloop.domain.signature import StoredFile
from everloop.errors import Corrupted, NotFound, StorageError

if TYPE_CHECKING:  # a prediction server reads snapshots without ever touching a store
    from everloop.store.objects import Objects

FORMAT = 1


class Running(msgspec.Struct, frozen=True):
    """A server that runs: written by itself once it answers."""

    pid: int
    url: str
    started: float


def deployment_path(folder: Path) -> Path:
    return folder / "deployment.json"


def log_folder(folder: Path) -> Path:
    return folder / "log"


def write_deployment(folder: Path, deployment: Deployment) -> None:
    """Replace the snapshot as a whole: a reader sees the old one or the new one."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(
        deployment_path(folder), msgspec.json.format(msgspec.json.encode(deployment), indent=2) + b"\n"
    )


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


def place_model(folder: Path, digest: str, files: Mapping[str, StoredFile], objects: Objects) -> str:
    """Bring a model's files from the object store into the endpoint's folder, whole or not at all. Returns
    where, relative to it.
    """
    place = f"models/{digest}"
    target = folder / place
    if target.is_dir():
        return place
    partial = folder / "models" / f".{digest}.{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        write_model(partial, files, objects)
        partial.rename(target)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if not target.is_dir():  # another process may have placed it meanwhile
            raise StorageError(
                f"cannot write {target}: {error.strerror}", hint="is there room on the disk?"
            ) from None
    return place


def write_model(target: Path, files: Mapping[str, StoredFile], objects: Objects) -> None:
    """Write a model's files from the object store into a folder."""
    target.mkdir(parents=True, exist_ok=True)
    for name, file in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with objects.open(file.digest) as source, path.open("wb") as out:
            shutil.copyfileobj(source, out)


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
    write_whole(folder / "server.json", msgspec.json.encode(running))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageError(
            f"cannot write {path}: {error.strerror}", hint="is there room on the disk?"
        ) from None
