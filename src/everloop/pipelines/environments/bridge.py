"""Everloop within an environment of a step: a folder of links to it and to what it needs, last on the import path.

An environment's own packages come first, so a step may have another numpy than the one Everloop would bring. Nothing else of the
caller's packages can be imported there. Compiled packages fit one version of Python only: for another one, what Everloop needs
is installed like any other requirement, and only Everloop itself is linked.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import everloop
from everloop.pipelines.code.packages import normalized

FOLDER = "everloop/site-packages"
"""Named so that what lies in it is taken for installed packages, wherever it is."""


def needed() -> dict[str, str]:
    """The distributions that Everloop needs, with their versions here; not those of its extras."""
    from importlib import metadata

    found: dict[str, str] = {}
    waiting = _required("everloop")
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # wanted on another platform
            continue
        waiting += _required(name)
    return found


def build_bridge(environment: Path, site: Path, *, compiled: bool) -> None:
    """Put the links into an environment; `site` is its ``site-packages``.

    compiled: also to the packages that Everloop needs.
    """
    from importlib import metadata

    folder = environment / FOLDER
    folder.mkdir(parents=True)
    _link(folder, Path(everloop.__file__).parent)
    for name in needed() if compiled else ():
        distribution = metadata.distribution(name)
        tops = {PurePosixPath(str(each)).parts[0] for each in distribution.files or ()}
        for top in tops - {"..", "__pycache__"}:
            source = Path(str(distribution.locate_file(top)))
            if source.exists():
                _link(folder, source)
    # Whatever a .pth file names is appended: after the environment's own packages.
    (site / "everloop_bridge.pth").write_text(f"{folder}\n", encoding="utf-8")


def not_installed(path: Iterable[str]) -> list[str]:
    """The folders of an import path that are a project's: without Python's own and those of installed packages."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    installed = {str(Path(sysconfig.get_path(name)).resolve()) for name in names}
    found = []
    for each in path:
        folder = str(Path(each).resolve())
        if (
            each
            and not each.endswith(".zip")
            and not any(folder == one or folder.startswith(f"{one}/") for one in installed)
        ):
            found.append(each)
    return found


def own_version() -> str:
    """The Python that runs Everloop, such as ``3.11``."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _required(name: str) -> list[str]:
    """What a distribution requires, by name, without what only its extras do."""
    from importlib import metadata

    wanted = []
    for each in metadata.requires(name) or ():
        requirement, _, marker = each.partition(";")
        if "extra" not in marker:
            end = next((place for place, letter in enumerate(requirement) if letter in " <>=!~[(@"), None)
            wanted.append(normalized(requirement[:end].strip()))
    return wanted


def _link(folder: Path, source: Path) -> None:
    target = folder / source.name
    if not target.is_symlink():
        target.symlink_to(source.resolve(), target_is_directory=source.is_dir())
