"""Documents say what is there: nothing public is missing from them, and nothing they point at is missing."""

import importlib.util
import re
from functools import cache
from pathlib import Path
from types import ModuleType

import click
import pytest

import everloop
from everloop.cli.main import cli
from everloop.domain.references import Kind
from everloop.domain.search import AGGREGATES, LINEAGE, TEXT_ATTRIBUTES, TIME_ATTRIBUTES
from everloop.domain.settings import Settings
from everloop.errors import EverloopError
from everloop.governance.operations import operations_of
from everloop.workspace.workspace import ROOMS, room_class

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]

VARIABLE = re.compile(r"""["'](EVERLOOP_[A-Z_]+|AWS_[A-Z_]+|XDG_[A-Z_]+|[A-Z]+_(?:NUM|MAX)_THREADS)["']""")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s#]+)(?:#[^)]*)?\)")


@cache
def generator() -> ModuleType:
    """`docs/reference/generate.py`, which is a script and no part of the package."""
    spec = importlib.util.spec_from_file_location("generate", REFERENCE / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(page: str) -> str:
    return (REFERENCE / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["commands.md", "python.md", "operations.md", "../adr/README.md"])
def test_generated_pages_are_what_the_code_says(page: str) -> None:
    assert read(page) == generator().pages()[page], "stale: run python docs/reference/generate.py"


def test_every_command_and_option_is_in_the_reference() -> None:
    page = read("commands.md")
    missing = []
    for path, command, _ in generator().walk(cli, "everloop", None):
        name = path.removeprefix("everloop").strip()
        if name and not re.search(rf"^#+ {re.escape(name)}$", page, re.MULTILINE):
            missing.append(path)
        missing += [
            f"{path} {option}"
            for parameter in command.params
            if isinstance(parameter, click.Option) and not parameter.hidden
            for option in parameter.opts
            if option not in page
        ]
    assert missing == []


def test_every_public_name_is_in_the_reference() -> None:
    page = read("python.md")
    missing = [name for name in everloop.__all__ if not re.search(rf"\bev\.{re.escape(name)}\b", page)]
    assert missing == []


def test_every_operation_is_in_the_reference() -> None:
    page = read("operations.md")
    for room in ROOMS:
        section = page.partition(f"## {room}\n")[2].partition("\n## ")[0]
        assert [each for each in operations_of(room_class(room)) if f"| `{each}` |" not in section] == []


def test_every_setting_is_in_the_reference() -> None:
    page = read("settings.md")
    known = {*Settings.__struct_fields__, "profile", "profiles"}
    listed = set(
        re.findall(
            r"^\| `(\w+)` \|", page.partition("## everloop.toml")[2].partition("\n## ")[0], re.MULTILINE
        )
    )
    assert listed == known


def test_every_environment_variable_is_in_the_reference() -> None:
    page = read("settings.md")
    sources = sorted((ROOT / "src" / "everloop").rglob("*.py"))
    named = {name for source in sources for name in VARIABLE.findall(source.read_text(encoding="utf-8"))}
    assert "EVERLOOP_WORKSPACE" in named
    assert sorted(name for name in named if f"`{name}`" not in page) == []
    promised = set(re.findall(r"`(EVERLOOP_[A-Z_]+)`", page))
    assert sorted(promised - named) == []


def test_every_error_is_in_the_reference_with_its_codes() -> None:
    page = read("errors.md")
    kinds: list[type[EverloopError]] = [EverloopError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    public = [kind for kind in kinds if kind.__module__ == "everloop.errors"]
    rows = [f"| `{kind.code}` | `{kind.__name__}` | {kind.exit_code} | {kind.status} |" for kind in public]
    assert [row for row in rows if row not in page] == []


def test_every_kind_of_reference_is_in_the_reference() -> None:
    page = read("references.md")
    assert [kind for kind in Kind if f"`{kind}:" not in page] == []


def test_every_attribute_of_a_run_is_in_the_search_page() -> None:
    page = read("search.md")
    words = {*TEXT_ATTRIBUTES, *TIME_ATTRIBUTES, *LINEAGE} - {"run name"}
    assert sorted(word for word in words if f"`{word}`" not in page) == []
    assert [word for word in AGGREGATES if f'"{word}"' not in page] == []


def test_every_how_to_and_explanation_is_in_an_index() -> None:
    listed = (DOCS / "index.md").read_text(encoding="utf-8")
    listed += (DOCS / "how-to" / "index.md").read_text(encoding="utf-8")
    listed += read("index.md")
    pages = [*DOCS.glob("how-to/*.md"), *DOCS.glob("explanation/*.md"), *DOCS.glob("tutorial/*.md")]
    pages += list(REFERENCE.glob("*.md"))
    assert sorted(page.name for page in pages if page.name != "index.md" and page.name not in listed) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    ends = [(page.parent / target).resolve() for target in targets]
    lost = [end.relative_to(ROOT).as_posix() for end in ends if not end.exists()]
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_documents_exist(page: Path) -> None:
    """Also those in tables and sentences, which no test runs: the command, and the options it is shown with."""
    known = {path: command for path, command, _ in generator().walk(cli, "everloop", None)}
    wrong = []
    for shown in re.findall(r"(?:\$ |`)everloop ([^`\n]+)", page.read_text(encoding="utf-8")):
        words = re.split(r"\s(?:&&|\|)\s|\s{2,}#", shown)[0].split()
        path = "everloop"
        while words and f"{path} {words[0]}" in known:
            path = f"{path} {words.pop(0)}"
        command = known[path]
        if isinstance(command, click.Group) and words and not words[0].startswith("-") and words[0].islower():
            wrong.append(shown)
        options = {
            option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        options |= {"--help", "--json", "--debug"}
        wrong += [shown for word in words if word.startswith("--") and word.partition("=")[0] not in options]
    assert wrong == []
