"""Promises of the repository itself: few packages, light imports, placed rooms, no registry addresses."""

import ast
import importlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "everloop"
MOST_CORE_PACKAGES = 32

# What must not be loaded by `import everloop` or `everloop --help`: each costs 50 to 2,700 ms.
HEAVY = {
    "alembic",
    "asyncio",
    "cryptography",
    "duckdb",
    "httpx",
    "importlib.metadata",
    "jinja2",
    "numpy",
    "obstore",
    "pandas",
    "prometheus_client",
    "pyarrow",
    "pyfastcdc",
    "rich",
    "scipy",
    "sklearn",
    "sqlalchemy",
    "starlette",
    "uvicorn",
}


def core_packages() -> set[str]:
    """The closure of the declared core dependencies over what is installed, with markers evaluated here."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    waiting = [Requirement(line) for line in declared]
    found: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        for extra in ["", *sorted(requirement.extras)]:
            key = (canonicalize_name(requirement.name), extra)
            if key in found:
                continue
            found.add(key)
            for line in metadata.requires(requirement.name) or []:
                needed = Requirement(line)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    waiting.append(needed)
    return {name for name, _ in found}


def test_the_core_stays_small() -> None:
    packages = core_packages()
    assert {"click", "sqlalchemy", "numpy"} <= packages, "the closure was not computed"
    assert len(packages) <= MOST_CORE_PACKAGES, sorted(packages)


def tracked_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_tracked_file_names_a_package_registry() -> None:
    hosts = ["pypi" + ".org", "python" + "hosted.org", "registry." + "npmjs.org", "registry.yarnpkg" + ".com"]
    pattern = re.compile("|".join(re.escape(host) for host in hosts).encode())
    for path in tracked_files():
        found = pattern.search(path.read_bytes())
        assert found is None, f"{path.relative_to(ROOT)} names {found[0].decode() if found else ''}"


def test_locks_hold_pins_and_hashes_and_no_address() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        for line in path.read_text().splitlines():
            assert re.match(r"[a-z0-9._-]+==\S+( ; .+)? \\$|    --hash=sha256:[0-9a-f]{64}( \\)?$", line), (
                f"{path.name}: {line}"
            )
    lock = json.loads((ROOT / "ui" / "package-lock.json").read_text())
    for name, entry in lock["packages"].items():
        assert "resolved" not in entry, name
        assert name == "" or "integrity" in entry, name


@pytest.mark.parametrize(
    "code",
    [
        "import everloop",
        "import sys; sys.argv[1:] = ['--help']; from everloop.cli.main import main; main()",
        "import sys; sys.argv[1:] = ['--version']; from everloop.cli.main import main; main()",
    ],
    ids=["import", "help", "version"],
)
def test_starting_is_light(code: str, tmp_path: Path) -> None:
    """Loaded modules are counted, not milliseconds, so that the test says what made the start slow."""
    report = "atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))"
    probe = f"import atexit, json, sys\n{report}\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    assert "everloop" in loaded
    assert not loaded & HEAVY


def lint_layers(root: Path) -> subprocess.CompletedProcess[str]:
    command = [
        str(Path(sys.executable).with_name("lint-imports")),
        "--config",
        "pyproject.toml",
        "--no-cache",
    ]
    return subprocess.run(
        command, cwd=root, env={"PYTHONPATH": str(root / "src")}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def skeleton(tmp_path: Path) -> Path:
    """Every placed room as an empty package, under the repository's own contracts."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = " ".join(contracts[0]["layers"])
    for room in ["", *re.findall(r"[a-z]+", layers)]:
        folder = tmp_path / "src" / "everloop" / room
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").touch()
    return tmp_path


def test_a_room_that_is_not_placed_is_refused(skeleton: Path) -> None:
    before = lint_layers(skeleton)
    assert before.returncode == 0, before.stdout
    attic = skeleton / "src" / "everloop" / "attic"
    attic.mkdir()
    (attic / "__init__.py").touch()
    after = lint_layers(skeleton)
    assert after.returncode == 1
    assert "attic" in after.stdout


@pytest.mark.parametrize(
    ("importer", "imported"),
    [("domain", "store"), ("cli", "server"), ("store", "governance"), ("rollout", "loop")],
)
def test_an_import_against_the_order_is_refused(skeleton: Path, importer: str, imported: str) -> None:
    room = skeleton / "src" / "everloop" / importer / "__init__.py"
    room.write_text(f"import everloop.{imported}\n")
    after = lint_layers(skeleton)
    assert after.returncode == 1
    assert f"everloop.{importer}" in after.stdout


def test_a_driver_outside_the_store_is_refused(skeleton: Path) -> None:
    (skeleton / "src" / "everloop" / "store" / "postgres.py").write_text("import psycopg\n")
    assert lint_layers(skeleton).returncode == 0
    (skeleton / "src" / "everloop" / "tracking" / "__init__.py").write_text("import psycopg\n")
    assert lint_layers(skeleton).returncode == 1


def modules_with_all() -> list[str]:
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if re.search(r"^__all__\b", path.read_text(), re.MULTILINE) and "versions" not in path.parts:
            name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
            names.append(name.removesuffix(".__init__"))
    return names


@pytest.mark.parametrize("name", modules_with_all())
def test_all_lists_what_is_there(name: str) -> None:
    module = importlib.import_module(name)
    listed = list(module.__all__)
    assert len(listed) == len(set(listed))
    missing = [entry for entry in listed if not hasattr(module, entry)]
    assert not missing


def test_the_public_face_hides_nothing_it_defines() -> None:
    """A public name bound in `everloop/__init__.py` itself is in `__all__`, or it is private by accident."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    defined = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    everloop = importlib.import_module("everloop")
    assert defined <= set(getattr(everloop, "__all__", []))


@pytest.fixture
def pages_build(tmp_path: Path) -> Any:
    """The build of the pages over a small ui/ folder."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "ui" / "src").mkdir(parents=True)
    (tmp_path / "ui" / "package.json").write_text("{}")
    (tmp_path / "ui" / "src" / "main.ts").write_text("one")
    build = module.Pages(tmp_path)
    build.output.mkdir(parents=True)
    return build


def test_an_unchanged_ui_is_not_built_again(pages_build: Any) -> None:
    assert not pages_build.fresh()
    pages_build.stamp.write_text(pages_build.digest())
    assert pages_build.fresh()
    (pages_build.sources / "node_modules" / "vite").mkdir(parents=True)
    (pages_build.sources / "node_modules" / "vite" / "index.js").write_text("installed")
    assert pages_build.fresh()


@pytest.mark.parametrize("change", ["edit", "add", "rename"])
def test_a_changed_ui_is_built(pages_build: Any, change: str) -> None:
    pages_build.stamp.write_text(pages_build.digest())
    file = pages_build.sources / "src" / "main.ts"
    if change == "edit":
        file.write_text("two")
    elif change == "add":
        (pages_build.sources / "src" / "more.ts").touch()
    else:
        file.rename(file.with_name("other.ts"))
    assert not pages_build.fresh()


def test_a_package_without_sources_of_the_pages_has_nothing_to_build(pages_build: Any) -> None:
    shutil.rmtree(pages_build.sources)
    assert pages_build.fresh()


def test_every_verb_of_the_makefile_says_what_it_does() -> None:
    help_text = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    named = {line.split()[0] for line in help_text.splitlines()}
    wanted = {
        "bench",
        "check",
        "clean",
        "demo",
        "docs",
        "fmt",
        "help",
        "lint",
        "lock",
        "setup",
        "soak",
        "test",
        "ui",
    }
    assert wanted <= named
