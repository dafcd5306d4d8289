"""Model folders on disk: placed whole, and built as packages that stand alone.

A package and an endpoint's folder have one form, so a prediction server answers from either:

    deployment.json      which model answers (`everloop.domain.deployments`)
    models/DIGEST/       the model's files; DIGEST is that of its model.json
    requirements.txt     in packages: the versions the model was saved with
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from everloop._version import __version__
from everloop.domain.deployments import Arm, Deployment, PlacedArm
from everloop.domain.models import ModelVersionRecord, Package
from everloop.domain.signature import StoredFile
from everloop.errors import InvalidInput, NotFound, Refused, StorageError

if TYPE_CHECKING:  # a prediction server reads folders without ever touching a store
    from everloop.registry.registry import Registry
    from everloop.store.objects import Objects

REFERENCE_ROWS = "reference.parquet"
"""The one file of a model that is not needed to answer."""


def write_whole(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file so that a reader sees the old content or the new, never a part. mode: who may read it, before the umask."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(partial, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise _cannot_write(path, error) from None


def write_deployment(folder: Path, deployment: Deployment) -> None:
    """Replace the snapshot as a whole: a reader sees the old one or the new one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(folder, error) from None
    write_whole(
        folder / "deployment.json", msgspec.json.format(msgspec.json.encode(deployment), indent=2) + b"\n"
    )


def check_servable(record: ModelVersionRecord) -> None:
    """Raise Refused for a version that a prediction server could not answer with: it needs our `model.json`."""
    if "model.json" not in record.files:
        raise Refused(
            f"{record.reference} cannot answer at an endpoint as MLflow logged it",
            hint=f"let Everloop adopt it: everloop models adopt {record.name}@v{record.version}",
        )


def fetched_models(workspace: Path) -> Path:
    """Where a workspace keeps the models it has fetched from the object store, by digest."""
    return workspace / "cache" / "models"


def place(folder: Path, digest: str, files: Mapping[str, StoredFile], objects: Objects) -> Path:
    """Bring a model's files from the object store to ``folder/DIGEST``, whole or not at all; nothing is done if it is there.
    Raises NotFound when there are none."""
    if not files:
        raise NotFound(
            "the version has no files here, only an address they came from",
            hint="log the model here, or import it",
        )
    target = folder / digest
    if target.is_dir():
        return target
    partial = folder / f".{digest}.{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for name, file in files.items():
            if name == REFERENCE_ROWS:
                continue
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with objects.open(file.digest) as source, path.open("wb") as out:
                shutil.copyfileobj(source, out)
        partial.rename(target)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if not target.is_dir():  # another process may have placed it meanwhile
            raise _cannot_write(target, error) from None
    return target


def write_folder(registry: Registry, record: ModelVersionRecord, where: Path, *, verify: bool) -> Package:
    """Write a version as a folder that stands alone; with `verify`, prove it in a fresh process. An unproven one is removed."""
    check_servable(record)
    reference = record.reference
    place(where / "models", record.digest, record.files, registry.objects)
    arm = PlacedArm(Arm("model", reference), f"models/{record.digest}", record.digest)
    endpoint = record.name.replace("/", "-")
    now = registry.context.clock()
    write_deployment(where, Deployment(endpoint, 1, (arm,), salt=record.digest[:16], time=now))
    pinned = [
        f"everloop=={__version__}",
        *(f"{name}=={version}" for name, version in record.model.packages.items()),
    ]
    write_whole(where / "requirements.txt", "".join(f"{line}\n" for line in pinned).encode())
    parity = None
    if verify:
        from everloop.tracking.formats.fresh import fresh_parity

        parity = fresh_parity(where / "models" / record.digest, tolerance=1e-9)
        if not parity.passed:
            shutil.rmtree(where)
            raise InvalidInput(
                f"the packaged {reference} answers otherwise: off by {parity.max_abs:g}, {parity.flips} of {parity.rows} labels",
                hint="nothing was kept; are the package versions those the model was saved with?",
            )
    size = sum(path.stat().st_size for path in where.rglob("*") if path.is_file())
    return Package(reference, "folder", str(where), size, parity)


def _cannot_write(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot write {path}: {error.strerror}", hint="is there room on the disk, and are you allowed to?"
    )
