"""What a model version can be made of: a folder of a run, a logged model, another version, or files that are elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import msgspec

from everloop.domain.canonical import digest_of
from everloop.domain.logged_models import OUTPUT, LoggedModel
from everloop.domain.models import ModelVersionRecord
from everloop.domain.runs import ArtifactRecord
from everloop.domain.signature import Field, ModelFile, Signature, StoredFile, Task, Type
from everloop.errors import Corrupted, InvalidInput, NotFound
from everloop.store.objects import Objects
from everloop.tracking.tracking import Tracking

MANIFEST = "model.json"
MLMODEL = "MLmodel"


class Origin(msgspec.Struct, frozen=True):
    """A model on its way into the registry: where it was logged, its files, and what they say of it.

    digest: of `model.json`, which names the digests of all other files; where MLflow wrote the folder, of the list of all its
    files; empty when there are no files here.
    """

    model: ModelFile
    files: dict[str, StoredFile] = {}
    digest: str = ""
    run: str = ""
    artifact: str = ""
    logged_model: str = ""


def from_run(tracking: Tracking, objects: Objects, run_id: str, artifact: str) -> Origin | None:
    """The model in a folder of a run, or the logged model of that name that came out of the run; None when there is neither."""
    files = _inside(tracking.artifacts(run_id, artifact), artifact)
    if MANIFEST in files or MLMODEL in files:
        return _described(objects, files, Origin(NO_MODEL, run=run_id, artifact=artifact))
    made = [each.model_id for each in tracking.models_of_runs([run_id]) if each.role == OUTPUT]
    named = [each for each in _living(tracking, made) if each.name == artifact]
    if not named:
        return None
    return from_logged_model(tracking, objects, max(named, key=lambda each: each.created).model_id)


def from_logged_model(tracking: Tracking, objects: Objects, model_id: str) -> Origin:
    """A logged model. Raises NotFound. One whose files are elsewhere has no description."""
    logged = tracking.logged_model(model_id)
    files = _inside(tracking.logged_model_files(model_id), "")
    origin = Origin(NO_MODEL, run=logged.source_run or "", artifact=logged.name, logged_model=model_id)
    return _described(objects, files, origin)


def from_version(record: ModelVersionRecord) -> Origin:
    """Another version, copied: the same files under a name of their own."""
    return Origin(record.model, record.files, record.digest, record.run, record.artifact, record.logged_model)


def with_manifest(objects: Objects, record: ModelVersionRecord, given: Mapping[str, StoredFile]) -> Origin:
    """A version that MLflow wrote with Everloop's own files beside. Raises NotFound, InvalidInput, Corrupted."""
    absent = objects.missing({each.digest for each in given.values()})
    if absent:
        raise NotFound(f"object {min(absent)} is not in the store", hint="store the bytes before naming them")
    if MANIFEST not in given or MLMODEL in given:
        raise InvalidInput(f"the files are {MANIFEST} and those it names", hint=f"leave {MLMODEL} as it is")
    files = {**record.files, **given}
    return _described(objects, files, Origin(NO_MODEL, run=record.run, artifact=record.artifact))


def says_environment(files: Mapping[str, StoredFile]) -> bool:
    """Whether an MLflow folder says which packages the model was made with.

    >>> says_environment({"MLmodel": StoredFile("", 1), "requirements.txt": StoredFile("", 1)}), says_environment({})
    (True, False)
    """
    return MLMODEL in files and not {"requirements.txt", "conda.yaml"}.isdisjoint(files)


def from_elsewhere(run: str = "") -> Origin:
    """Nothing that is here: the source is an address only."""
    return Origin(NO_MODEL, run=run)


NO_MODEL = ModelFile(
    flavour="",
    kind="",
    signature=Signature((), (Field("prediction", Type.DOUBLE),), Task.REGRESSION),
    content="",
)
"""The description of a version whose files are not here."""


def _inside(found: list[ArtifactRecord], folder: str) -> dict[str, StoredFile]:
    head = f"{folder}/" if folder else ""
    return {each.path.removeprefix(head): StoredFile(each.digest, each.size) for each in found}


def _described(objects: Objects, files: dict[str, StoredFile], origin: Origin) -> Origin:
    """`origin` with its files and what their manifest says. Raises Corrupted, InvalidInput."""
    if MANIFEST in files:
        from everloop.tracking.formats import read_model_file

        digest = files[MANIFEST].digest
        model = read_model_file(objects.read(digest))
        _check(model, files)
    elif MLMODEL in files:
        from everloop.tracking.formats.mlmodel import describe_mlmodel, read_mlmodel

        digest = digest_of(files)
        try:
            model = describe_mlmodel(read_mlmodel(objects.read(files[MLMODEL].digest)), files)
        except InvalidInput:  # a client may register what only it can read: then nothing is known of it
            model = NO_MODEL
    else:
        return origin
    return msgspec.structs.replace(origin, model=model, files=files, digest=digest)


def _check(model: ModelFile, files: Mapping[str, StoredFile]) -> None:
    for name, expected in model.files.items():
        if files.get(name) != expected:
            raise Corrupted(
                f"the model's file {name} is not the one its model.json names", hint="log the model again"
            )


def _living(tracking: Tracking, model_ids: list[str]) -> list[LoggedModel]:
    """Those that have not been deleted."""
    found = []
    for each in model_ids:
        with contextlib.suppress(NotFound):
            found.append(tracking.logged_model(each))
    return found
