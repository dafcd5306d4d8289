"""What DVC's files say: `.dvc` and `dvc.lock` name outputs by the MD5 of their content, `dvc.yaml` names stages.

The formats are DVC 3's (https://dvc.org/doc/user-guide/project-structure); what DVC 2 wrote differs in one thing: an output
without ``hash: md5`` has an MD5 for which CRLF was turned to LF when the file is text.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from everloop.domain.plain_yaml import read_yaml
from everloop.errors import InvalidInput

FOLDER = ".dir"
"""The MD5 of a folder ends so: it is that of the list of its files."""


class Output(msgspec.Struct, frozen=True):
    """A file or folder that DVC tracks. `path` from the folder of the DVC repository; `md5` ends in ``.dir`` for a folder.
    `plain`: the MD5 is of the bytes as they are."""

    path: str
    md5: str
    plain: bool = True

    @property
    def is_folder(self) -> bool:
        return self.md5.endswith(FOLDER)


class Stage(msgspec.Struct, frozen=True):
    """A step of a DVC pipeline, as `dvc.yaml` names it. Paths from the folder of the DVC repository."""

    name: str
    command: str
    dependencies: list[str] = []
    outputs: list[str] = []


def is_tracking(path: str) -> bool:
    """Whether a file of this name says what is tracked.

    >>> [is_tracking(path) for path in ("data/a.csv.dvc", "dvc.lock", "sub/dvc.lock", ".dvc/config", "a.csv")]
    [True, True, True, False, False]
    """
    name = posixpath.basename(path)
    return (name.endswith(".dvc") and name != ".dvc") or name == "dvc.lock"


def outputs(path: str, text: str, wdirs: Mapping[str, str] = {}) -> list[Output]:
    """The outputs that a `.dvc` file or a `dvc.lock` names. Raises InvalidInput for a file that is none. `wdirs`: the working
    folders that `dvc.yaml` gives stages, for `dvc.lock` has paths from there and does not say where that is.

    >>> outputs("data/a.csv.dvc", "outs:\\n- md5: 0cc175b9c0f1b6a831c399e269772661\\n  hash: md5\\n  path: a.csv\\n")
    [Output(path='data/a.csv', md5='0cc175b9c0f1b6a831c399e269772661', plain=True)]
    """
    said = _mapping(path, text)
    if posixpath.basename(path) == "dvc.lock":
        stages = said.get("stages", said if "schema" not in said else {})
        if not isinstance(stages, Mapping):
            raise InvalidInput(f"{path} names no stages")
        found = [
            each
            for name, stage in stages.items()
            if isinstance(stage, Mapping)
            for each in _outs(path, stage, wdirs.get(str(name).partition("@")[0], "."))
        ]
    else:
        found = list(_outs(path, said, str(said.get("wdir") or ".")))
    return found


def working_folders(path: str, text: str) -> dict[str, str]:
    """The working folder of each stage of a `dvc.yaml` that has one."""
    said = _mapping(path, text).get("stages", {})
    found = {}
    for name, stage in said.items() if isinstance(said, Mapping) else ():
        inner = stage.get("do", stage) if isinstance(stage, Mapping) else {}
        if isinstance(inner, Mapping) and inner.get("wdir"):
            found[str(name)] = str(inner["wdir"])
    return found


def stages(path: str, text: str) -> list[Stage]:
    """The stages that a `dvc.yaml` names, as it writes them: templates and loops are not filled in.

    >>> stages("dvc.yaml", "stages:\\n  count:\\n    cmd: python count.py\\n    deps: [a.csv]\\n    outs: [out: {cache: no}]\\n")
    [Stage(name='count', command='python count.py', dependencies=['a.csv'], outputs=['out'])]
    """
    said = _mapping(path, text).get("stages", {})
    folder = posixpath.dirname(path)
    found = []
    for name, stage in said.items() if isinstance(said, Mapping) else ():
        inner = stage.get("do", stage) if isinstance(stage, Mapping) else {}
        if not isinstance(inner, Mapping):
            continue
        command = inner.get("cmd", "")
        here = posixpath.join(folder, str(inner.get("wdir") or "."))
        full = posixpath.join(folder, str(name)) if folder else str(name)
        found.append(
            Stage(
                full,
                " && ".join(map(str, command)) if isinstance(command, list) else str(command),
                _paths(here, inner.get("deps")),
                _paths(here, inner.get("outs")),
            )
        )
    return found


def _mapping(path: str, text: str) -> Mapping[str, Any]:
    try:
        said = read_yaml(text)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error.message}") from None
    if said is None:
        return {}
    if not isinstance(said, Mapping):
        raise InvalidInput(f"{path} is no file of DVC: it holds no mapping")
    return said


def _outs(path: str, said: Mapping[str, Any], wdir: str) -> Iterator[Output]:
    folder = posixpath.join(posixpath.dirname(path), wdir)
    listed = said.get("outs") or []
    if not isinstance(listed, list):
        raise InvalidInput(f"{path}: its outs are no list")
    for out in listed:
        # Without an MD5 an output is not cached, or its content is known by the version of a cloud.
        if isinstance(out, Mapping) and isinstance(out.get("md5"), str) and isinstance(out.get("path"), str):
            place = posixpath.normpath(posixpath.join(folder, out["path"]))
            yield Output(place, out["md5"].lower(), out.get("hash") == "md5")


def _paths(folder: str, said: Any) -> list[str]:
    """Paths of a list whose entries are a path, or a path with settings."""
    entries = said if isinstance(said, list) else []
    names = [next(iter(each), "") if isinstance(each, Mapping) else each for each in entries]
    return [posixpath.normpath(posixpath.join(folder, str(name))) for name in names]
