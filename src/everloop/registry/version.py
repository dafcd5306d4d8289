"""The handle on one model version: it answers, and it can be packaged to answer elsewhere."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everloop.domain.consumption import note
from everloop.domain.models import ModelVersionRecord, Package
from everloop.domain.signature import Signature
from everloop.errors import Conflict, InvalidInput, NotFound, nearest

if TYPE_CHECKING:
    from everloop.registry.registry import Registry
    from everloop.tracking.formats import LoadedModel
    from everloop.tracking.formats.columns import Columns

TARGETS = ("folder",)


class ModelVersion:
    """A model version that can be used. Get one with ``ev.model("delay@champion")``; what it means by then
    stays what it means.
    """

    def __init__(self, room: Registry, record: ModelVersionRecord) -> None:
        self._room = room
        self.record = record
        self._loaded: LoadedModel | None = None

    def __repr__(self) -> str:
        aliases = f" ({', '.join(self.record.aliases)})" if self.record.aliases else ""
        return f"<ModelVersion {self.reference}{aliases}: {self.record.model.kind}>"

    @property
    def reference(self) -> str:
        return self.record.reference

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def version(self) -> int:
        return self.record.version

    @property
    def aliases(self) -> tuple[str, ...]:
        return self.record.aliases

    @property
    def signature(self) -> Signature:
        return self.record.model.signature

    @property
    def run(self) -> str:
        """The reference of the run that made it."""
        return f"run:{self.record.run}"

    @property
    def created(self) -> datetime:
        return self.record.created

    def folder(self) -> Path:
        """The model's files on this machine, fetched once and checked. Raises NotFound when they are elsewhere."""
        from everloop.registry.packaging import fetched_models, place

        if not self.record.files:
            raise NotFound(
                f"the files of {self.reference} are not here: its source is {self.record.source or 'unknown'}",
                hint="import them, or log the model here",
            )

        return place(
            fetched_models(self._room.context.folder),
            self.record.digest,
            self.record.files,
            self._room.objects,
        )

    def load(self, *, trust: bool = False) -> LoadedModel:
        """The model in memory, loaded at the first use. `native` of it is the library's own object.

        A model that MLflow pickled runs its author's code when it is loaded: that is refused unless `trust` says that this is
        wanted. Afterwards `predict` uses what was loaded.
        """
        if self._loaded is None:
            from everloop.tracking.formats import load_model

            note(self.reference)
            self._loaded = load_model(self.folder(), trust=trust)
        return self._loaded

    def predict(self, table: Any) -> Columns:
        """The answers for a table of any kind as arrays by name: ``probability`` and ``label``, or ``prediction``."""
        return self.load().predict(table)

    def package(self, target: str = "folder", *, out: str | Path = "", verify: bool = True) -> Package:
        """Build the model for a target and prove it there.

        ``folder``: a folder that ``python -m everloop.serving.server FOLDER`` answers from, with pinned requirements; nothing of
        this workspace is needed. `out`: where, by default ``NAME-vN`` here; it must not hold anything yet. With `verify`, a fresh
        process loads the result and answers the stored rows again. A model that MLflow logged is adopted first.
        """
        if target not in TARGETS:
            raise InvalidInput(
                f"there is no target '{target}'",
                hint=nearest(target, TARGETS) or f"targets: {', '.join(TARGETS)}",
            )
        from everloop.registry.packaging import write_folder

        where = Path(out) if str(out) else Path.cwd() / f"{self.name.replace('/', '-')}-v{self.version}"
        if where.exists() and any(where.iterdir()):
            raise Conflict(f"{where} is not empty", hint="name another folder with --out")
        self.record = self._room.make_servable(self.reference)
        return write_folder(self._room, self.record, where, verify=verify)
