"""Environments of steps on this machine: resolved once, built once, found again by what they hold.

Below the workspace's folder: ``environments/locks/`` has what each declaration was resolved to, so it stays the same until the
declaration changes, and ``environments/<digest>/`` the environments themselves. With both there, nothing asks the network.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from everloop.domain.canonical import digest_of
from everloop.domain.pipelines import Component
from everloop.errors import InvalidInput
from everloop.pipelines.code.outside import digest_of_file
from everloop.pipelines.environments.bridge import build_bridge, needed, own_version
from everloop.pipelines.environments.declared import Environment

READY = "ready.json"
_LOOKS = 0.05


class Lock(msgspec.Struct, frozen=True):
    """What a declaration was resolved to. `requirements`: one exact line for each package; `packages`: name -> version, or the
    digest of the file it comes from."""

    requirements: tuple[str, ...]
    packages: dict[str, str]
    python: str

    @property
    def digest(self) -> str:
        """What the environment is kept under: everything that is in it, and the machine that it fits."""
        return digest_of([self.packages, self.python, sys.platform, platform.machine()])[:16]

    @property
    def components(self) -> tuple[Component, ...]:
        """Its part in a step's key."""
        return (
            Component("environment", "python", self.python),
            *(Component("environment", name, version) for name, version in sorted(self.packages.items())),
        )


class Environments:
    """Those of one workspace. `meanwhile` is called again and again while something is being built."""

    def __init__(self, folder: Path, meanwhile: Callable[[], None] = lambda: None) -> None:
        self._folder, self._meanwhile = folder / "environments", meanwhile
        self._locks: dict[Environment, Lock] = {}

    def lock(self, wanted: Environment) -> Lock:
        """The exact packages of an environment; resolved now if they never were. Raises InvalidInput when they cannot be."""
        if wanted not in self._locks:
            self._locks[wanted] = self._kept(wanted) or self._resolve(wanted)
        return self._locks[wanted]

    def components(self, wanted: Environment | None) -> tuple[Component, ...]:
        """What an environment adds to a step's key; nothing when it has none of its own."""
        return () if wanted is None else self.lock(wanted).components

    def is_other_python(self, wanted: Environment | None) -> bool:
        """Whether code may look otherwise there: Python's own reading of a text differs from version to version."""
        return wanted is not None and not _is_own(wanted)

    def python(self, wanted: Environment | None) -> str:
        """The interpreter of an environment, empty for None; built now if it is not there. Raises InvalidInput when it cannot
        be."""
        if wanted is None:
            return ""
        lock = self.lock(wanted)
        built = self._folder / lock.digest
        if not (built / READY).is_file():
            self._build(wanted, lock, built)
        return str(_interpreter(built))

    def _kept(self, wanted: Environment) -> Lock | None:
        try:
            return msgspec.json.decode(self._place(wanted).read_bytes(), type=Lock)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def _place(self, wanted: Environment) -> Path:
        """Where the lock of a declaration is; files that it names count by their content."""
        files = {
            each: digest_of_file(path)
            for each in wanted.requirements
            if (path := _file(each, wanted)) is not None
        }
        declared = [
            wanted.requirements,
            wanted.python or own_version(),
            files,
            sys.platform,
            platform.machine(),
        ]
        return self._folder / "locks" / f"{digest_of(declared)[:24]}.json"

    def _resolve(self, wanted: Environment) -> Lock:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="everloop-") as name:
            asked = Path(name) / "requirements.in"
            own = [] if _is_own(wanted) else [f"{each}=={version}" for each, version in needed().items()]
            asked.write_text(
                "\n".join([*wanted.options, *(_line(each, wanted) for each in wanted.requirements), *own])
                + "\n"
            )
            uv = find_uv()
            if uv is not None:
                options = ["--quiet", "--no-header", "--no-annotate", "--no-python-downloads"]
                lines = self._call(
                    wanted,
                    [uv, "pip", "compile", *options, "--python", wanted.python or sys.executable, str(asked)],
                    "resolved",
                ).splitlines()
            else:
                lines = self._resolve_by_pip(wanted, asked, Path(name))
        requirements = tuple(
            each for line in lines if (each := line.strip()) and not each.startswith(("#", "-"))
        )
        packages = dict(_named(each) for each in requirements)
        lock = Lock(requirements, packages, wanted.python or own_version())
        place = self._place(wanted)
        place.parent.mkdir(exist_ok=True)
        _write(place, msgspec.json.encode(lock))
        return lock

    def _resolve_by_pip(self, wanted: Environment, asked: Path, folder: Path) -> list[str]:
        self._make(wanted, folder / "resolving", None)
        command = [
            str(_interpreter(folder / "resolving")),
            "-m",
            "pip",
            "install",
            "--dry-run",
            "--quiet",
            "--report",
            "-",
        ]
        report = json.loads(self._call(wanted, [*command, "-r", str(asked)], "resolved"))
        return [_pinned(each) for each in report["install"]]

    def _build(self, wanted: Environment, lock: Lock, built: Path) -> None:
        """Build beside, and move into place when it is whole: who looks sees all of it or nothing."""
        uv = find_uv()
        begun = self._folder / f".{lock.digest}-{uuid.uuid4().hex[:8]}"
        try:
            self._make(wanted, begun, uv)
            listed = begun / "requirements.txt"
            listed.write_text("\n".join([*wanted.options, *lock.requirements]) + "\n")
            python = str(_interpreter(begun))
            if uv is not None:
                install = [
                    uv,
                    "pip",
                    "install",
                    "--quiet",
                    "--no-deps",
                    "--python",
                    python,
                    "-r",
                    str(listed),
                ]
                try:
                    self._call(
                        wanted, [*install, "--offline"], "built"
                    )  # what uv has kept is not asked for again
                except InvalidInput:
                    self._call(wanted, install, "built")
            else:
                self._call(
                    wanted,
                    [python, "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(listed)],
                    "built",
                )
            self._call(wanted, [python, "-c", _COMPILE], "built")
            site = Path(
                self._call(
                    wanted, [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], "built"
                ).strip()
            )
            build_bridge(begun, site, compiled=_is_own(wanted))
            _move_bridge(site, begun, built)
            _write(begun / READY, msgspec.json.encode(lock))
            try:
                begun.rename(built)
            except OSError:
                if not (built / READY).is_file():  # left over from one that was never finished
                    shutil.rmtree(built, ignore_errors=True)
                    begun.rename(built)
        finally:
            shutil.rmtree(begun, ignore_errors=True)

    def _make(self, wanted: Environment, folder: Path, uv: str | None) -> None:
        """An empty environment."""
        if uv is not None:
            options = ["--quiet", "--relocatable", "--no-python-downloads"]
            self._call(
                wanted,
                [uv, "venv", *options, "--python", wanted.python or sys.executable, str(folder)],
                "built",
            )
            return
        python = sys.executable if _is_own(wanted) else shutil.which(f"python{wanted.python}")
        if python is None:
            raise InvalidInput(
                f"there is no Python {wanted.python} on this machine", hint="install it, or install uv"
            )
        self._call(wanted, [python, "-m", "venv", str(folder)], "built")

    def _call(self, wanted: Environment, command: Sequence[str], what: str) -> str:
        """What a command prints. Raises InvalidInput with what it says when it fails."""
        self._folder.mkdir(parents=True, exist_ok=True)
        variables = {
            name: each
            for name, each in os.environ.items()
            if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        }
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            with subprocess.Popen(
                command, cwd=wanted.folder, env=variables, stdin=subprocess.DEVNULL, stdout=out, stderr=errors
            ) as at_work:
                while at_work.poll() is None:
                    self._meanwhile()
                    time.sleep(_LOOKS)
            out.seek(0)
            errors.seek(0)
            printed, said = out.read().decode("utf-8", "replace"), errors.read().decode("utf-8", "replace")
        if at_work.returncode:
            raise InvalidInput(
                f"the environment {', '.join(wanted.requirements)} cannot be {what}: {_one_sentence(said or printed)}",
                hint="mend the requirements, or see whether the package index can be reached",
            )
        return printed


def find_uv() -> str | None:
    """The program uv, beside this interpreter or on the path; None where it is not installed."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("uv")


_COMPILE = "import compileall, sysconfig; compileall.compile_dir(sysconfig.get_path('purelib'), quiet=2)"


def _is_own(wanted: Environment) -> bool:
    return wanted.python in {"", own_version()}


def _interpreter(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _file(requirement: str, wanted: Environment) -> Path | None:
    """The file that a requirement names: ``./tiny-1.0-py3-none-any.whl``, ``tiny @ file:///…``."""
    text = requirement.rpartition(" @ ")[2]
    path = Path(unquote(urlsplit(text).path)) if text.startswith("file:") else Path(wanted.folder, text)
    return path if path.is_file() else None


def _line(requirement: str, wanted: Environment) -> str:
    path = _file(requirement, wanted)
    return requirement if path is None else path.resolve().as_uri()


def _named(line: str) -> tuple[str, str]:
    """The package of a resolved line, and its version; of a file, the digest of its content.

    >>> _named("numpy==2.4.6"), _named("tiny @ https://example.org/tiny-1.0-py3-none-any.whl")
    (('numpy', '2.4.6'), ('tiny', 'https://example.org/tiny-1.0-py3-none-any.whl'))
    """
    requirement = line.partition(" ; ")[0].strip()
    name, equals, version = requirement.partition("==")
    if equals:
        return name.strip().lower(), version.strip()
    name, _, place = requirement.rpartition(" @ ")
    if not place.startswith("file:"):
        return name.strip().lower(), place
    path = Path(unquote(urlsplit(place).path))
    return (name or path.name.partition("-")[0]).strip().lower(), f"sha256:{digest_of_file(path)}"


def _pinned(installed: dict[str, dict[str, str]]) -> str:
    """A line of pip's report as a requirement."""
    metadata, place = installed["metadata"], installed["download_info"]["url"]
    if place.startswith("file:"):
        return f"{metadata['name']} @ {place}"
    return f"{metadata['name']}=={metadata['version']}"


def _move_bridge(site: Path, begun: Path, built: Path) -> None:
    """Its path is written in a file: it must name where the environment will be."""
    file = site / "everloop_bridge.pth"
    file.write_text(file.read_text(encoding="utf-8").replace(str(begun), str(built)), encoding="utf-8")


def _one_sentence(said: str) -> str:
    """What uv or pip says, without its frame: "  × No solution found …\\n  ╰─▶ Because x was not found …"."""
    lines = [re.sub(r"^[\s×╰─▶├│]*((error|hint|ERROR): )?", "", line) for line in said.splitlines()]
    return " ".join(filter(None, lines))[:500]


def _write(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    beside.write_bytes(content)
    beside.replace(path)
