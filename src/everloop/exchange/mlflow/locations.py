"""Where the artifacts are that an MLflow store names by the address they once had."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from everloop.exchange.source import Unreachable

PROXIED = "mlflow-artifacts"


class Locations:
    """Finds folders. `folder` is where the store is now; `moved` are pairs of a beginning that addresses have and the folder that
    is in its place today, the longest match first."""

    def __init__(self, folder: Path, moved: Sequence[tuple[str, str]] = ()) -> None:
        self._folder = folder
        self._moved = sorted(((_plain(old), new) for old, new in moved), key=lambda pair: -len(pair[0]))

    def find(self, uri: str, owner: str) -> Path:
        """The folder that `uri` names, of the run or model `owner`. Raises Unreachable.

        An address that does not name its owner is refused: MLflow never makes one, and a database from elsewhere must not be able
        to bring in any folder of this machine.
        """
        plain = _plain(uri)
        place = plain.partition(f"/{owner}/")[0].removesuffix("/models")
        if f"/{owner}/" not in plain + "/":
            raise Unreachable(uri, f"the address of its artifacts does not name it: {uri}")
        for old, new in self._moved:
            if plain == old or plain.startswith(old.rstrip("/") + "/"):
                return self._there(Path(new) / plain[len(old) :].lstrip("/"), place)
        scheme = urlsplit(uri).scheme if ":" in uri else ""
        if scheme not in {"", "file", PROXIED}:
            raise Unreachable(
                place, f"{scheme}:// is not read; copy them here and add: --artifacts {place}=FOLDER"
            )
        candidates = [] if scheme == PROXIED else [self._folder / plain]
        tail = plain.partition(":")[2].lstrip("/") if scheme == PROXIED else _tail(plain, owner)
        candidates += [self._folder / each / tail for each in ("mlruns", "mlartifacts", "")]
        for candidate in candidates:
            if candidate.is_dir():
                return candidate
        if any(candidate.parent.parent.is_dir() for candidate in candidates[-3:-1]):
            raise Unreachable("", "nothing was logged")
        if scheme == PROXIED:
            everywhere = f"{PROXIED}:/"
            advice = f"add: --artifacts {everywhere}=FOLDER, the one of its --artifacts-destination"
            raise Unreachable(everywhere, f"a server kept them; {advice}")
        return self._there(candidates[0], place)

    def _there(self, folder: Path, place: str) -> Path:
        """The folder; without it, whether only this one has none (it logged nothing) or all that were beside it are gone."""
        if folder.is_dir():
            return folder
        above = folder.parent.parent
        above = above.parent if above.name == "models" else above
        if above.is_dir() or above.parent.is_dir():
            raise Unreachable("", "nothing was logged")
        raise Unreachable(place, f"there is no folder {above}; if it moved, add: --artifacts {place}=FOLDER")


def _plain(uri: str) -> str:
    """An address without what is said in different ways: ``file:///a`` and ``/a`` are one.

    >>> _plain("file:///a%20b/c/"), _plain("./mlruns/0"), _plain("mlflow-artifacts://host:5000/1/x")
    ('/a b/c', 'mlruns/0', 'mlflow-artifacts:/1/x')
    """
    parts = urlsplit(uri)
    if parts.scheme == "file":
        uri = unquote(parts.path)
    elif parts.scheme == PROXIED:
        uri = f"{PROXIED}:{parts.path}"
    return uri.removeprefix("./").rstrip("/") or "/"


def _tail(plain: str, owner: str) -> str:
    """The end of a path that is the same wherever the store is moved: experiment, run or model, and what is below.

    >>> _tail("/old/mlruns/7/abc/artifacts", "abc"), _tail("/old/mlruns/7/models/m-1/artifacts", "m-1")
    ('7/abc/artifacts', '7/models/m-1/artifacts')
    """
    before, _, after = plain.partition(f"/{owner}/")
    kept = 2 if before.endswith("/models") else 1
    return "/".join([*before.split("/")[-kept:], owner, after])
