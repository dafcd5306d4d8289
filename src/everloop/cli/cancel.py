"""`cancel`: stop a run of a pipeline or a sweep, wherever it is at work."""

from __future__ import annotations

import click

from everloop.cli.frame import command, emit, workspace


@command()
@click.argument("run")
def cancel(run: str) -> None:
    """Stop a run of a pipeline, or a sweep with the trials that are at work: steps are killed with all they started. `everloop
    resume` goes on with it."""
    stopped = workspace(write=True).pipelines.cancel(run)
    emit({"run": stopped}, lambda _: f"run:{stopped} is asked to stop; go on with: everloop resume {stopped}")
