"""What every command has: `--json`, the workspace it works in, and two ways to print.

@command()
@click.argument("reference")
def show(reference: str) -> None:
    '''Show one dataset version.'''
    emit(workspace().data.version(reference), lambda version: table(...))
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from everloop.errors import NotFound

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from everloop.workspace.workspace import Workspace

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

JSON = "everloop.json"
DEBUG = "everloop.debug"


def command(name: str | None = None, **attributes: Any) -> Callable[[F], click.Command]:
    """A click command with ``--json`` and ``--debug``."""

    def make(function: F) -> click.Command:
        @functools.wraps(function)
        def call(*args: Any, as_json: bool, debug: bool, **kwargs: Any) -> Any:
            meta = click.get_current_context().meta
            meta[JSON] = as_json
            meta[DEBUG] = debug or meta.get(DEBUG, False)
            return function(*args, **kwargs)

        wrapped = click.option("--debug", is_flag=True, hidden=True, help="Show the traceback of an error.")(
            call
        )
        wrapped = click.option(
            "--json", "as_json", is_flag=True, help="Print one JSON object and nothing else."
        )(wrapped)
        return click.command(name, **attributes)(wrapped)

    return make


def workspace(*, write: bool = False) -> Workspace:
    """The workspace of this command, closed when it ends. A command that only reads does not make one."""
    from everloop.client.ambient import connect, using
    from everloop.workspace.locations import locate

    found = locate()
    if not found.exists and not write:
        raise NotFound(
            f"there is no workspace in {found.folder} or above it",
            hint="begin one with: everloop data add FILE --name NAME, or name one in EVERLOOP_WORKSPACE",
        )
    context = click.get_current_context()
    return context.with_resource(using(context.with_resource(connect())))


def as_json() -> bool:
    """Whether the caller asked for JSON."""
    return bool(click.get_current_context().meta.get(JSON, False))


def emit(value: T, human: Callable[[T], Any]) -> None:
    """Print a result: as one JSON object, or by `human`, which prints or returns something rich can print."""
    if as_json():
        import msgspec

        sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
        return
    shown = human(value)
    if shown is not None:
        console().print(shown)


def answer_no() -> None:
    """End the command with exit code 1: it ran, and the answer is no."""
    click.get_current_context().exit(1)


def console() -> Console:
    """Where results for people go. Without a terminal, lines are not cut."""
    from rich.console import Console

    return Console(
        width=None if sys.stdout.isatty() else 400,
        highlight=False,
        soft_wrap=not sys.stdout.isatty(),
        emoji=False,  # pipeline:train:main has no train in it
    )


def say(line: str) -> None:
    """A line of progress: on standard error, so that results stay clean."""
    click.echo(line, err=True)


def progress() -> Progress:
    """Progress bars on standard error, when it is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Iterable[str] = (),
    title: str | None = None,
    empty: str = "",
) -> Table | str:
    """A table of strings; the columns in `right` are numbers. `empty`: what is said instead of one without rows."""
    from rich import box
    from rich.table import Table

    rows = list(rows)
    if empty and not rows:
        return empty
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    numeric = set(right)
    for column in columns:
        made.add_column(column, justify="right" if column in numeric else "left", overflow="fold")
    for row in rows:
        made.add_row(*(_cell(value) for value in row))
    return made


def facts(pairs: Iterable[tuple[str, object]]) -> Table:
    """Names and values beside each other: the head of one object."""
    from rich.table import Table

    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        made.add_row(name, _cell(value))
    return made


def human_bytes(size: float) -> str:
    """Bytes in a unit people read.

    >>> human_bytes(512), human_bytes(2_500_000)
    ('512 B', '2.5 MB')
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError


def counted(number: int, noun: str) -> str:
    """How many there are, in words.

    >>> counted(1, "file"), counted(2000, "row")
    ('1 file', '2,000 rows')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def human_number(value: object) -> str:
    """A number with four significant digits; anything else as it is.

    >>> human_number(0.123456), human_number(1234567.0), human_number(12), human_number(None)
    ('0.1235', '1.235e+06', '12', '')
    """
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cell(value: object) -> str:
    from datetime import datetime

    from rich.markup import escape

    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return escape(human_number(value))
