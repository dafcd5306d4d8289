"""What is captured when a run begins: the code with every uncommitted change, packages, machine, command. And the way back.

Code is kept as content: for a project in git, its commit and the files of the work tree that differ from it (untracked ones
too, ignored ones not), each an object; `restore` writes them out again. What takes time is remembered within the process: a
second run looks at the files only.
"""

import os
import platform
import re
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import msgspec

from everloop.domain.canonical import canonical, sha256
from everloop.domain.runs import Captured, HeldObject
from everloop.errors import Conflict, Failed, NotFound
from everloop.tracking import notebooks
from everloop.tracking.secrets import holds_secrets, is_secret, masked_command, masked_text
from everloop.tracking.worktree import git, state_of, top_of

if TYPE_CHECKING:
    from everloop.store.objects import Objects
    from everloop.tracking.errands import Spool

LARGEST_FILE = 10_000_000
"""Bytes of a changed file that is kept; a larger one is named in `Code.skipped`."""
LARGEST_SUM = 100_000_000
"""Bytes of all changed files together."""

THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "BLIS_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS",
)  # fmt: skip
ALLOWED = (
    "CONDA_DEFAULT_ENV", "CUBLAS_WORKSPACE_CONFIG", "CUDA_VISIBLE_DEVICES", "LANG", "LC_ALL", "OMP_PROC_BIND",
    "OPENBLAS_CORETYPE", "PYTHONHASHSEED", "PYTHONPATH", "SLURM_JOB_ID", "TZ", "VIRTUAL_ENV", "EVERLOOP_PROFILE",
)  # fmt: skip
"""Environment variables that are kept. No others are looked at."""


class Environment(msgspec.Struct, frozen=True):
    """What a run ran on. Equal environments are one object."""

    python: str
    implementation: str
    platform: str
    cpu: str
    cpus: int
    packages: list[str]
    """``name==version`` of every installed distribution, sorted."""
    threads: dict[str, str]
    variables: dict[str, str]


class CodeFile(msgspec.Struct, frozen=True):
    """A file of the work tree that is not as committed. `mode` is git's: 100644, 100755 (executable) or 120000 (a link)."""

    path: str
    digest: str
    size: int
    mode: str


class Code(msgspec.Struct, frozen=True):
    """The work tree as it was: `files` and `deleted` over `commit`; without git, the entry file alone."""

    commit: str
    branch: str
    files: list[CodeFile]
    deleted: list[str]
    skipped: list[str]
    """Files that are not kept: too large, not readable, or of a kind that holds secrets."""


def capture(
    objects: "Objects | Spool", *, project: Path, seeds: Mapping[str, int], leave_out: Sequence[Path] = ()
) -> Captured:
    """Capture now; what needs keeping is put into `objects`. `leave_out`: folders that are no part of the project's code."""
    entry = entry_file()
    kept = _Kept(objects)
    code = _code(kept, entry.parent if entry is not None else Path.cwd(), entry, tuple(leave_out))
    cells = notebooks.cells() if entry is None else None
    if cells is not None:
        held = kept.keep(cells.encode(errors="replace"))
        code.files.append(CodeFile(notebooks.CELLS, held.digest, held.size, "100644"))
    environment = kept.keep(canonical(_environment(tuple(sys.path))))
    record = kept.keep(canonical(code))
    kept.store()
    command = list(sys.orig_argv)
    shown = masked_command(command)
    return Captured(
        source=_source(entry, project),
        commit=code.commit,
        branch=code.branch,
        dirty=bool(code.commit and (code.files or code.deleted or code.skipped)),
        environment=environment.digest,
        code=record.digest,
        command=shown,
        interpreter=sys.executable,
        folder=str(Path.cwd()),
        masked=shown != command,
        seeds=dict(seeds),
        holds=[environment, record, *(HeldObject(each.digest, each.size) for each in code.files)],
    )


def restore(objects: "Objects", digest: str, target: Path, *, repository: Path | None = None) -> Code:
    """Write the code that was captured under `digest` into the new folder `target`: the commit's files from `repository` (the
    project, or any clone of it), with the captured changes over them.

    Raises Conflict when `target` is there already, NotFound when the repository has no such commit.
    """
    code = msgspec.json.decode(objects.read(digest), type=Code)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Conflict(f"{target} is there already", hint="name a folder that does not exist")
    target.mkdir(parents=True, exist_ok=True)
    if code.commit:
        _check_out(repository or Path.cwd(), code.commit, target)
    for path in code.deleted:
        _inside(target, path).unlink(missing_ok=True)
    for each in code.files:
        place = _inside(target, each.path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        content = objects.read(each.digest)
        if each.mode == "120000":
            place.symlink_to(content.decode())
        else:
            place.write_bytes(content)
            place.chmod(0o755 if each.mode == "100755" else 0o644)
    return code


def entry_file() -> Path | None:
    """The file that was started: a script or the module of ``python -m``; None in an interactive session."""
    started = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(started).resolve() if started else None


def _source(entry: Path | None, project: Path) -> str:
    if entry is None:
        return notebooks.name() or "interactive"
    return entry.relative_to(project).as_posix() if entry.is_relative_to(project) else entry.name


class _Memory:
    """What this process has put into one object store already; files by path, size, time of change and inode."""

    def __init__(self) -> None:
        self.stored: set[str] = set()
        self.files: dict[tuple[str, int, int, int], HeldObject] = {}


_memories: "WeakKeyDictionary[Objects | Spool, _Memory]" = WeakKeyDictionary()


def forget_stored(objects: "Objects | Spool") -> None:
    """Believe no more that an object store has what this process put there: it was freed since, for nothing needed it then."""
    _memories.pop(objects, None)


class _Kept:
    """Gathers what must be in the object store, and puts what is new there in one go."""

    def __init__(self, objects: "Objects | Spool") -> None:
        self._objects = objects
        self._memory = _memories.setdefault(objects, _Memory())
        self._new: dict[str, bytes] = {}

    def keep(self, content: bytes) -> HeldObject:
        digest = sha256(content)
        if digest not in self._memory.stored:
            self._new[digest] = content
        return HeldObject(digest, len(content))

    def keep_file(self, place: Path, found: os.stat_result) -> HeldObject:
        """A file as it is now; one that has not changed since this process last looked is not read again."""
        key = (str(place), found.st_size, found.st_mtime_ns, found.st_ino)
        known = self._memory.files.get(key)
        if known is None or (known.digest not in self._memory.stored and known.digest not in self._new):
            known = self._memory.files[key] = self.keep(place.read_bytes())
        return known

    def store(self) -> None:
        if self._new:
            with self._objects.writer() as writer:
                for content in self._new.values():
                    writer.add(content)
            self._memory.stored |= set(self._new)


def _environment(path: tuple[str, ...]) -> Environment:
    variables = {name: os.environ[name] for name in ALLOWED if name in os.environ and not is_secret(name)}
    return Environment(
        python=platform.python_version(),
        implementation=platform.python_implementation(),
        platform=_system(),
        cpu=_cpu(),
        cpus=os.cpu_count() or 0,
        packages=_packages(tuple((folder, _changed(folder)) for folder in path)),
        threads={name: os.environ[name] for name in THREADS if name in os.environ},
        variables={name: masked_text(value) for name, value in variables.items()},
    )


@cache
def _system() -> str:
    """What `platform.platform` says. On Linux that starts a program to ask for the processor, whose name it leaves out again."""
    if sys.platform != "linux":
        return platform.platform()
    here = os.uname()
    libc = "".join(platform.libc_ver())
    return "-".join(filter(None, (here.sysname, here.release, here.machine, "with", libc)))


@cache
def _packages(path: tuple[tuple[str, int], ...]) -> list[str]:
    """Names and versions from the names of dist-info folders: a hundredth of the time that reading them takes."""
    found: dict[str, str] = {}
    for folder, changed in path:
        if not changed:
            continue
        for name in os.listdir(folder or "."):
            if name.endswith((".dist-info", ".egg-info")):
                distribution, _, version = name.rsplit(".", 1)[0].partition("-")
                if version:
                    found.setdefault(re.sub(r"[-_.]+", "-", distribution).lower(), version.split("-py")[0])
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def _changed(folder: str) -> int:
    try:
        found = os.stat(folder or ".")
    except OSError:
        return 0
    return found.st_mtime_ns if os.path.isdir(folder or ".") else 0


@cache
def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _code(kept: _Kept, folder: Path, entry: Path | None, leave_out: tuple[Path, ...]) -> Code:
    top = top_of(folder)
    state = state_of(top, leave_out) if top is not None else None
    if top is None or state is None:  # without git, the file that was started is all the code we know of
        alone = [] if entry is None or not entry.is_file() else [entry.name]
        files, skipped = _contents(kept, folder, alone)
        return Code("", "", files, [], skipped)
    files, skipped = _contents(kept, top, state.changed)
    return Code(state.commit, state.branch, files, list(state.deleted), skipped)


def _contents(kept: _Kept, top: Path, paths: Iterable[str]) -> tuple[list[CodeFile], list[str]]:
    """The files at `paths` as they are now, and the paths of those that cannot be kept."""
    files: list[CodeFile] = []
    skipped: list[str] = []
    total = 0
    for path in paths:
        place = top / path
        try:
            found = place.lstat()
            if holds_secrets(path):
                skipped.append(path)
                continue
            if stat.S_ISLNK(found.st_mode):
                held, mode = kept.keep(os.readlink(place).encode()), "120000"
            elif (
                stat.S_ISREG(found.st_mode)
                and found.st_size <= LARGEST_FILE
                and total + found.st_size <= LARGEST_SUM
            ):
                held, mode = kept.keep_file(place, found), "100755" if found.st_mode & 0o100 else "100644"
            else:  # too large, or another repository within this one
                skipped.append(path)
                continue
            path.encode()
        except (OSError, UnicodeEncodeError):
            skipped.append(path.encode(errors="replace").decode())
            continue
        total += held.size
        files.append(CodeFile(path, held.digest, held.size, mode))
    return files, skipped


def _check_out(repository: Path, commit: str, target: Path) -> None:
    top = top_of(repository.resolve())
    archive = git(top, "archive", "--format=tar", commit) if top is not None else None
    if archive is None:
        raise NotFound(
            f"there is no commit {commit} in {repository}", hint="fetch it, or name a clone that has it"
        )
    import io
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(target, filter="tar")


def _inside(target: Path, path: str) -> Path:
    place = target / path
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise Failed(
            f"the captured path {path!r} leads out of the folder", hint="the record is not to be trusted"
        )
    return place
