"""The files of a run: keeping them as what they are, and reading them again."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everloop.domain.logged_models import logged_name
from everloop.domain.runs import ArtifactRecord, checked_artifact_path, checked_key
from everloop.errors import EverloopError, InvalidInput, MissingExtra, NotFound, StorageError, Unavailable
from everloop.tracking.datasets import described as described_data
from everloop.tracking.errands import Errand
from everloop.tracking.pictures import png

if TYPE_CHECKING:
    from everloop.domain.run_inputs import LoggedDataset
    from everloop.domain.runs import RunRecord
    from everloop.store.objects import Objects
    from everloop.tracking.errands import Spool
    from everloop.tracking.shipping import RunJournal
    from everloop.tracking.tracking import Tracking


class RunFiles:
    """What a `Run` does with files. A server that is away or a full disk costs a warning: the file is kept beside the journal and
    goes to the store later, or it is lost. What is wrong with a call, such as a file that does not exist, raises at once."""

    _tracking: "Tracking"
    _record: "RunRecord"
    _seen: dict[str, None]

    @property
    def run_id(self) -> str:
        raise NotImplementedError

    def _open(self) -> "RunJournal":
        raise NotImplementedError

    def log_artifact(self, file: str | os.PathLike[str], path: str | None = None) -> ArtifactRecord:
        """Keep a file, at `path` within the run (its own name, when none is given)."""
        source = Path(file)
        if source.is_dir():
            raise InvalidInput(f"{source} is a folder", hint="log_artifacts keeps folders")
        return self._keep([(path or source.name, source)])[0]

    def log_artifacts(self, folder: str | os.PathLike[str], path: str = "") -> list[ArtifactRecord]:
        """Keep all files of a folder, below `path` within the run."""
        top = Path(folder)
        if not top.is_dir():
            raise NotFound(f"there is no folder {top}", hint="log_artifact keeps single files")
        found = sorted(each for each in top.rglob("*") if each.is_file())
        head = f"{path.rstrip('/')}/" if path else ""
        return self._keep([(head + each.relative_to(top).as_posix(), each) for each in found])

    def log_bytes(self, content: bytes, path: str) -> ArtifactRecord:
        """Keep bytes as a file."""
        return self._keep([(path, content)])[0]

    def log_text(self, text: str, path: str) -> ArtifactRecord:
        """Keep a text as a file, UTF-8."""
        return self.log_bytes(text.encode(), path)

    def log_dict(self, value: Any, path: str) -> ArtifactRecord:
        """Keep a dict, a list or a msgspec Struct as a JSON file."""
        import msgspec

        try:
            text = msgspec.json.encode(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidInput(
                f"{path} cannot be written as JSON: {error}",
                hint="keep it with log_text, log_table or log_bytes",
            ) from None
        return self.log_bytes(msgspec.json.format(text, indent=2), path)

    def log_table(self, table: Any, path: str, *, append: bool = False) -> ArtifactRecord:
        """Keep a table: an Arrow table, a pandas frame, or a dict of columns. `path` ends in ``.parquet``, or in ``.json`` for
        one that MLflow's `load_table` reads too. `append`: below the rows there are; columns may differ."""
        from everloop.tracking import tables

        place = path if path.endswith((".parquet", ".json")) else f"{path}.parquet"
        arrow = tables.arrow_table(table)
        if append:
            before = [each for each in self.artifacts(place) if each.path == place]
            if before:
                arrow = tables.joined(
                    tables.read(self._tracking.objects.read(before[0].digest), place), arrow
                )
        return self.log_bytes(tables.written(arrow, place), place)

    def log_image(
        self, image: Any, path: str | None = None, *, key: str | None = None, step: int | None = None
    ) -> ArtifactRecord:
        """Keep a picture as PNG: a numpy array (height x width, or with 1 to 4 channels; 0 to 255, or 0.0 to 1.0), or anything
        with a `save` method, as pictures of PIL have.

        At `path`; or, for pictures that show how something develops, under `key` and `step`: ``images/KEY/STEP.png``, with the
        steps counted where none is given.
        """
        if (path is None) == (key is None):
            raise InvalidInput(
                "a picture needs either a path or a key", hint="log_image(image, key='samples', step=3)"
            )
        if path is None:
            folder = f"images/{checked_key(str(key), 'image')}"
            number = len(self.artifacts(folder)) if step is None else int(step)
            path = f"{folder}/{number:08d}.png"
        return self.log_bytes(png(image), path)

    def log_figure(self, figure: Any, path: str) -> ArtifactRecord:
        """Keep a figure: one of matplotlib (``savefig``) by the ending of `path`, one of plotly (``to_html``) as HTML."""
        import io

        if hasattr(figure, "savefig"):
            sink = io.BytesIO()
            figure.savefig(
                sink, format=path.rpartition(".")[2] if "." in path else "png", bbox_inches="tight"
            )
            return self.log_bytes(sink.getvalue(), path)
        if hasattr(figure, "to_html"):
            return self.log_text(figure.to_html(include_plotlyjs="directory"), path)
        raise InvalidInput(
            f"a {type(figure).__name__} is not a figure", hint="give a figure of matplotlib or plotly"
        )

    def log_model(
        self, model: Any, name: str = "model", *, example: Any = None, features: Sequence[str] = ()
    ) -> Any:
        """Keep a model as a folder of the run, in the format of its library, with signature and environment; from there it can
        be registered. `example`: a few rows of input, which the signature is read from. `features`: references of the feature
        views that its inputs come from; of a view that was read within the run, the version that was read counts from now on.
        Returns the `ModelFile`."""
        try:
            from everloop.tracking.formats import save_model
        except ModuleNotFoundError as error:
            raise MissingExtra(
                f"models cannot be saved: {error.name} is missing", hint="pip install 'everloop[sklearn]'"
            ) from error
        from everloop.domain.featureviews import as_read

        with tempfile.TemporaryDirectory(prefix="everloop-model-") as folder:
            saved = save_model(model, Path(folder), example=example, features=as_read(features, self._seen))
            kept = self.log_artifacts(folder, name)
        files = [ArtifactRecord(each.path[len(name) + 1 :], each.digest, each.size) for each in kept]
        self._say_or_note("log_run_model", name=logged_name(name), kind=saved.flavour, files=files)
        return saved

    def log_dataset(
        self, data: Any, name: str = "dataset", *, context: str = "", source: str = ""
    ) -> "LoggedDataset":
        """Say which data the run used, where they are no dataset version of this workspace (those are noted by themselves when
        they are read): counts, columns and a digest are kept, not the rows. `context`: what for, as in ``train``."""
        described = described_data(data, name, context=context, source=source)
        self._say_or_note("log_datasets", datasets=[described])
        return described

    def artifacts(self, path: str = "") -> list[ArtifactRecord]:
        """Files of the run, all or those at or below `path`."""
        return self._tracking.artifacts(self.run_id, path)

    def read_artifact(self, path: str) -> bytes:
        """The content of one file."""
        found = [each for each in self.artifacts(path) if each.path == path]
        if not found:
            raise NotFound(
                f"run {self._record.name} has no file {path!r}", hint=f"see: everloop runs show {self.run_id}"
            )
        return self._tracking.objects.read(found[0].digest)

    def download(self, folder: str | os.PathLike[str], path: str = "") -> Path:
        """Write the run's files, or those at or below `path`, into a folder; returns the folder."""
        import shutil

        top = Path(folder)
        for each in self.artifacts(path):
            inner = (
                each.path[len(path) :].lstrip("/")
                if path and each.path != path
                else each.path.rpartition("/")[2]
                if path
                else each.path
            )
            place = top / checked_artifact_path(inner)
            place.parent.mkdir(parents=True, exist_ok=True)
            with self._tracking.objects.open(each.digest) as source, place.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
        return top

    def _keep(self, files: Sequence[tuple[str, Path | bytes]]) -> list[ArtifactRecord]:
        journal = self._open()
        for path, source in files:
            checked_artifact_path(path)
            if isinstance(source, Path) and not source.is_file():
                raise NotFound(f"there is no file {source}", hint="name a file that exists")
        if not files:
            return []
        reason: EverloopError | None = None
        if not journal.is_away:
            try:
                kept = self._stored(self._tracking.objects, files)
                self._tracking.add_artifacts(self.run_id, kept)
            except (Unavailable, StorageError) as error:
                reason = error
            except NotFound:  # the run was begun while the server was away, and has not arrived there yet
                if not journal.has_errands:
                    raise
            else:
                return kept
        try:
            kept = self._stored(journal.spool, files)
        except StorageError as error:
            named = ", ".join(path for path, _ in files[:3])
            journal.warn("file", f"the file {named} is lost, and others may be: {error.message}")
            return [ArtifactRecord(path, "", 0) for path, _ in files]
        if reason is not None:
            journal.away(reason)
        journal.later(Errand.of("add_artifacts", run_id=self.run_id, artifacts=kept))
        return kept

    def _say_or_note(self, operation: str, /, **arguments: Any) -> None:
        """Call an operation on this run now, or, while the ledger is away, note it to be called later."""
        journal = self._open()
        if not (journal.is_away or journal.has_errands):
            try:
                getattr(self._tracking, operation)(run_id=self.run_id, **arguments)
                return
            except (Unavailable, StorageError) as error:
                journal.away(error)
        journal.later(Errand.of(operation, run_id=self.run_id, **arguments))

    def _stored(
        self, store: "Objects | Spool", files: Sequence[tuple[str, Path | bytes]]
    ) -> list[ArtifactRecord]:
        kept = []
        with store.writer() as writer:
            for path, source in files:
                stored = writer.add(source)
                kept.append(ArtifactRecord(path, stored.digest, stored.size))
        return kept
