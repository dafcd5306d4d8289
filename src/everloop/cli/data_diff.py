"""The command data diff: what differs between two dataset versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from everloop.cli.frame import command, counted, emit, workspace

if TYPE_CHECKING:
    from everloop.domain.dataset_diffs import DatasetDiff


@command()
@click.argument("first")
@click.argument("second")
@click.option("--key", default="", help="Columns, by comma, that tell a row: changed rows are found then.")
@click.option(
    "--sample",
    default=10,
    show_default=True,
    type=click.IntRange(0, 10_000),
    help="Rows to show of each kind.",
)
@click.option(
    "--distributions", is_flag=True, help="Say what shifted in the columns that changed, whatever it takes."
)
def diff(first: str, second: str, key: str, sample: int, distributions: bool) -> None:
    """What differs from one version to another: files, columns, rows, distributions."""
    room = workspace(write=distributions).data
    names = [name.strip() for name in key.split(",") if name.strip()]
    emit(room.diff(first, second, key=names, sample=sample, distributions=distributions or None), shown_diff)


def shown_diff(found: DatasetDiff) -> Any:
    """A difference, for people."""
    from rich.console import Group
    from rich.text import Text

    if found.same:
        return "nothing differs"
    files = (("+", found.added), ("-", found.removed), ("~", found.changed))
    lines = [f"{sign} {path}" for sign, paths in files for path in paths]
    lines += [f"{each.before} → {each.after}" for each in found.renamed]
    lines += [f"column {c.name}: {c.before or 'absent'} → {c.after or 'absent'}" for c in found.columns]
    if found.reordered:
        lines.append("columns stand in another order")
    if found.rows_added is not None:
        changed = f", {found.rows_changed:,} changed" if found.key else ""
        lines.append(f"rows: {found.rows_added:,} added, {found.rows_removed or 0:,} removed{changed}")
    for name, count in found.changed_cells.items():
        lines.append(f"  {name} changed in {counted(count, 'row')}")
    lines += [f"  + {_cells(row)}" for row in found.sample.added]
    lines += [f"  - {_cells(row)}" for row in found.sample.removed]
    for row in found.sample.changed:
        cells = ", ".join(f"{cell.column} {cell.before} → {cell.after}" for cell in row.cells)
        lines.append(f"  {_cells(row.key)}: {cells}")
    if found.distributions is None:
        return Text("\n".join(lines))
    from everloop.cli.profiles import shown_shifts

    return Group(Text("\n".join(lines)), shown_shifts(found.distributions))


def _cells(row: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in row.items())
