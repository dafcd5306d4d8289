"""Commands about what a version holds: data profile, data datasheet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everloop.cli.frame import command, emit, table, workspace

if TYPE_CHECKING:
    from everloop.domain.profiles import ColumnProfile, Profile, ProfileComparison


@command()
@click.argument("reference")
@click.option("--against", metavar="REF", help="Say what shifted since this version, the furthest first.")
@click.option("--again", is_flag=True, help="Read all files, whatever is kept of them.")
def profile(reference: str, against: str | None, again: bool) -> None:
    """What a version's table holds: types, missing values, distributions, duplicates, likely personal data."""
    room = workspace(write=True).data
    if again or against is None:
        made = room.profile(reference, again=again)
    if against is None:
        emit(made, _profile)
    else:
        emit(room.compare_profiles(against, reference), shown_shifts)


@command()
@click.argument("reference")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it into this file.")
def datasheet(reference: str, out: Path | None) -> None:
    """A datasheet in Markdown: what is known of a version filled in, the rest as questions to people."""
    from everloop.errors import StorageError

    text = workspace(write=True).data.datasheet(reference)
    if out is None:
        emit({"datasheet": text}, lambda _: click.echo(text, nl=False))
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"{out} cannot be written: {error.strerror}", hint="may you write there?"
        ) from None
    emit({"path": str(out)}, lambda _: f"written to {out}")


def _profile(found: Profile) -> Any:
    from rich.console import Group

    about = "" if found.duplicates_exact else "about "
    head = f"{found.reference}: {found.rows:,} rows, {len(found.columns):,} columns"
    lines = [f"{head}, {about}{found.duplicates:,} rows equal to an earlier one"]
    lines += [f"{name} has one value in all rows" for name in found.constant]
    for name, each in found.personal:
        share = f"; {each.share:.0%} of {each.of} values looked at" if each.matching else ""
        lines.append(
            f"{name} seems to hold personal data: {each.what} ({each.confidence} confidence, by {each.because}{share})"
        )
    rows = [
        (
            column.name,
            column.type,
            f"{column.missing:.2%}" if column.missing else "",
            ("about " if column.distinct_error else "") + f"{column.distinct:,}",
            *_facts(column),
        )
        for column in found.columns
    ]
    heads = ["column", "type", "missing", "distinct", "low", "median", "high", "most frequent"]
    return Group("\n".join(lines), table(heads, rows, right=["missing", "distinct", "low", "median", "high"]))


def _facts(column: ColumnProfile) -> tuple[str, str, str, str]:
    often = ", ".join(f"{each.value} ({each.count:,})" for each in column.top[:3])
    if column.number is not None:
        middle = column.number.quantiles.get("0.5")
        return _number(column.number.low), _number(middle), _number(column.number.high), often
    if column.time is not None:
        return column.time.low or "", column.time.quantiles.get("0.5", ""), column.time.high or "", often
    if column.text is not None and column.text.longest is not None:
        middle = column.text.lengths.get("0.5")
        return f"{column.text.shortest} chars", f"{middle:.0f}", f"{column.text.longest}", often
    return "", "", "", often


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def shown_shifts(found: ProfileComparison) -> Any:
    """What shifted, for people."""
    from rich.console import Group

    shifted = [each for each in found.shifts if each.shifted]
    head = (
        f"{len(found.columns)} columns shifted from {found.first} to {found.second}"
        if shifted
        else f"nothing shifted from {found.first} to {found.second}"
    )
    parts: list[Any] = [head]
    if shifted:
        rows = [(each.column, each.said, f"{each.effect:.4g}", f"{each.floor:.4g}") for each in shifted]
        parts.append(table(["column", "what", "effect", "floor"], rows, right=["effect", "floor"]))
    parts += [f"{name} was not compared: {why}" for name, why in found.not_compared.items()]
    return Group(*parts)
