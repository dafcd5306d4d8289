"""The group `everloop data`: a table of its commands, each imported when it is named."""

from __future__ import annotations

import click

from everloop.cli.main import LazyGroup

COMMANDS: dict[str, tuple[str, str]] = {
    "add": ("everloop.cli.data_versions:add", "make a version of a file, a folder or the answer to a query"),
    "list": ("everloop.cli.data_versions:list_", "all datasets, each with its newest version"),
    "log": ("everloop.cli.data_versions:log", "the versions of a dataset, newest first"),
    "show": ("everloop.cli.data_versions:show", "one version: its files, its columns, the verdicts on it"),
    "diff": ("everloop.cli.data_diff:diff", "what differs from one version to another"),
    "check": ("everloop.cli.checks:check", "check a version's rows"),
    "infer": ("everloop.cli.checks:infer", "propose checks that a version passes"),
    "contract": ("everloop.cli.checks:contract", "checks that every version of a dataset must pass"),
    "checkout": (
        "everloop.cli.data_versions:checkout",
        "write a version's files, or some of them, into a folder",
    ),
    "status": (
        "everloop.cli.data_versions:status",
        "what changed in a folder since it was added or checked out",
    ),
    "rm": ("everloop.cli.data_versions:remove", "take a version away, or a dataset with all its versions"),
    "profile": (
        "everloop.cli.profiles:profile",
        "what a version's table holds; what shifted since another one",
    ),
    "datasheet": ("everloop.cli.profiles:datasheet", "a datasheet of a version, to be finished by people"),
    "push": ("everloop.cli.data_stores:push", "bring versions to another store"),
    "pull": ("everloop.cli.data_stores:pull", "bring versions here from another store"),
    "gc": ("everloop.cli.data_stores:gc", "free the bytes that nothing needs"),
    "pin": ("everloop.cli.data_stores:pin", "keep a version whatever a retention says"),
    "unpin": ("everloop.cli.data_stores:unpin", "leave a version to the retention again"),
    "export-dvc": ("everloop.cli.data_stores:export_dvc", "write a version into a DVC repository"),
    "fsck": ("everloop.cli.data_stores:fsck", "look for damaged or missing bytes, and heal them"),
}
"""Command -> (where it is, one line of help). Reading this table imports none of them."""


@click.group(cls=LazyGroup, table=COMMANDS)
def data() -> None:
    """Dataset versions: add, compare, check, check out."""
