"""The command `everloop`: a table of commands, each imported when it is named, and one place for errors and exit codes."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

import click

from everloop._version import __version__
from everloop.cli import deferred
from everloop.errors import EverloopError, InvalidInput, StorageError, nearest

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("everloop.cli.demo:demo", "the whole life cycle on real data, told as a story"),
    "init": ("everloop.cli.init:init", "a new project: definitions, a pipeline, tests, CI"),
    "up": ("everloop.cli.up:up", "start the server: API, pages, scheduler, loop"),
    "why": ("everloop.cli.why:why", "where a result comes from, and what was made with it"),
    "impact": ("everloop.cli.impact:impact", "what a change would touch, before making it"),
    "status": ("everloop.cli.why:status", "what is in this workspace"),
    "doctor": ("everloop.cli.doctor:doctor", "what is wrong with this machine and workspace"),
    "data": ("everloop.cli.data:data", "dataset versions: add, compare, check, check out"),
    "label": (
        "everloop.cli.labels:label",
        "labelling: a queue, reviews, agreement, wrong labels, Label Studio",
    ),
    "features": ("everloop.cli.features:features", "feature views: as of a moment, at hand, compared"),
    "runs": ("everloop.cli.runs:runs", "experiments' runs: list, show, compare, delete, export"),
    "diff": ("everloop.cli.diff:diff", "what differs between two runs, dataset versions or models"),
    "resume": ("everloop.cli.runs:resume", "go on with a run that was cut off"),
    "cancel": ("everloop.cli.cancel:cancel", "stop a run of a pipeline, wherever it is at work"),
    "import": (
        "everloop.cli.importing:import_",
        "bring in what other tools kept: MLflow, DVC, Feast, TensorBoard, CSV",
    ),
    "export": ("everloop.cli.export:export", "lineage for other tools: OpenLineage, PROV"),
    "run": ("everloop.cli.pipelines:run", "run a pipeline; what did not change is not executed"),
    "pipelines": ("everloop.cli.pipeline_results:pipelines", "results of steps, shared: push, pull, rm"),
    "sweep": ("everloop.cli.sweeps:sweep", "search for the parameters with which a pipeline comes out best"),
    "reproduce": (
        "everloop.cli.pipelines:reproduce",
        "rebuild a run or model elsewhere and grade how equal it came out",
    ),
    "models": ("everloop.cli.models:models", "registered models: versions, aliases, gates"),
    "best": ("everloop.cli.models:best", "which version is the good one"),
    "package": ("everloop.cli.models:package", "build a model for another place and prove it there"),
    "serve": ("everloop.cli.serving:serve", "answer predictions over HTTP"),
    "predict": ("everloop.cli.serving:predict", "answer a whole file with a model"),
    "actuals": ("everloop.cli.monitoring:actuals", "the truth that came later"),
    "health": ("everloop.cli.monitoring:health", "how an endpoint is doing"),
    "monitors": ("everloop.cli.monitoring:monitors", "what is watched: list, apply, evaluate"),
    "alerts": ("everloop.cli.monitoring:alerts", "what is wrong: list, show, ack, silence"),
    "rollout": (
        "everloop.cli.rollout:rollout",
        "switch models on evidence: start, advance, status, promote, abort",
    ),
    "rollback": ("everloop.cli.rollout:rollback", "go back to the model before, at once"),
    "retrain": ("everloop.cli.loop:retrain", "train a model again, gate it, begin its rollout"),
    "loop": ("everloop.cli.loop:loop", "policies and what they did; tick does what is due"),
    "triggers": (
        "everloop.cli.triggers:triggers",
        "what starts pipelines by itself: list, fire, pause, backfill, history",
    ),
    "audit": ("everloop.cli.audit:audit", "the chain of events, and whether it still holds"),
    "token": ("everloop.cli.audit:token", "keys to a server"),
}
"""Command -> (where it is, one line of help). Reading this table imports none of them."""

COLLECT_AFTER = 200_000
"""New objects between two collections of garbage. Modules make very many that stay, more than 100,000 of them where a pipeline
is run: Python's own 700 costs a short command a tenth of its time."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are named: `--help` stays quick whatever the commands need."""

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._table = table

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self._table)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self._table:
            return None
        module, _, attribute = self._table[name][0].partition(":")
        found: click.Command = getattr(importlib.import_module(module), attribute)
        return found

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self._table:
            hint = nearest(args[0], self._table) or "see: everloop --help"
            raise InvalidInput(f"there is no command '{args[0]}'", hint=hint)
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._table.items()])


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="everloop")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """The whole life cycle of a machine-learning model, from one install.

    Each command takes --json and prints one JSON object then. Exit codes: 0 done, 1 the answer is no, 2 bad input.
    """
    context.meta["everloop.debug"] = debug


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code. No user's mistake ends in a traceback, unless ``--debug`` asks for it."""
    if arguments is None:
        try:
            return _answer(sys.argv[1:])
        finally:
            # The process ends: looking through all that it made once more takes a fifth of a short command. DuckDB, where it was
            # used, counts what is left of its own, and complains.
            if "duckdb" not in sys.modules:
                gc.freeze()
    return _answer(arguments)


def _answer(given: list[str]) -> int:
    gc.set_threshold(COLLECT_AFTER)
    deferred.install()
    try:
        result = cli.main(given, prog_name="everloop", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except EverloopError as error:
        if "--debug" in given:
            raise
        return _report(error, given)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "everloop"
        return _report(InvalidInput(error.format_message(), hint=f"see: {where} --help"), given)
    except click.ClickException as error:
        return _report(InvalidInput(error.format_message()), given)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:  # the reader of a pipe has gone: `everloop runs list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (
        OSError
    ) as error:  # a path that cannot be had, a disk that is full: of this machine, not of the program
        if "--debug" in given or error.errno is None:
            raise
        told = f"{error.filename}: {error.strerror}" if error.filename is not None else str(error.strerror)
        return _report(
            StorageError(told, hint="see the path and the disk; --debug shows where it was"), given
        )


def _report(error: EverloopError, given: list[str]) -> int:
    if "--json" in given:
        import msgspec

        sys.stdout.write(msgspec.json.encode({"error": error.to_dict()}).decode() + "\n")
    else:
        click.echo(f"error: {error.message}", err=True)
        if error.hint:
            click.echo(f"  {error.hint}", err=True)
    return error.exit_code
