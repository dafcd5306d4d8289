"""A datasheet for a dataset version, to be finished by people.

The sections and questions are those of Gebru et al., *Datasheets for datasets*, Communications of the ACM 64 (12), 2021.
"""

from __future__ import annotations

from everloop.domain.checks import CheckReport
from everloop.domain.datasets import VersionRecord
from everloop.domain.profiles import ColumnProfile, Profile

_QUESTIONS = {
    "Motivation": [
        "For what purpose was the dataset created?",
        "Who created it, on behalf of whom, and who paid for it?",
    ],
    "Composition": [
        "What does one row stand for?",
        "Is it a sample of something larger? How was it drawn, and whom does it represent?",
        "Which columns are labels, and who or what made them?",
        "Why are values missing?",
        "Can people be identified from it, directly or together with other data?",
    ],
    "Collection": [
        "How was each column acquired: measured, reported, derived?",
        "Over what time was it collected?",
        "Did people know of it, and did they agree?",
    ],
    "Preprocessing, cleaning, labelling": ["What was done to the raw data, and is that still at hand?"],
    "Uses": [
        "What has it been used for, and what should it not be used for?",
        "What in its composition might lead to unfair treatment of groups?",
    ],
    "Distribution": ["Who may have it, under which licence and conditions?"],
    "Maintenance": ["Who answers for it, how are errors reported, and when is it updated or retired?"],
}


def datasheet(record: VersionRecord, profile: Profile | None, reports: list[CheckReport]) -> str:
    """The sheet in Markdown: facts of the ledger first in each section, then the questions that are left."""
    known = {
        "Composition": _composition(record, profile),
        "Collection": _collection(record, profile),
        "Preprocessing, cleaning, labelling": _checks(reports),
        "Maintenance": [f"- This is version {record.version} of `{record.name}`; a version never changes."],
    }
    lines = [
        f"# Datasheet: {_plain(record.name)} v{record.version}",
        "",
        f"`{record.reference}`, files `{record.digest}`, made {record.created:%Y-%m-%d} by {_plain(record.user)}."
        + (f" {_plain(record.message)}" if record.message else ""),
    ]
    for section, questions in _QUESTIONS.items():
        lines += ["", f"## {section}", ""]
        lines += [*known.get(section, []), *([""] if known.get(section) else [])]
        for question in questions:
            lines += [f"**{question}**", "", "_To be answered._", ""]
        lines.pop()
    return "\n".join(lines) + "\n"


def _composition(record: VersionRecord, profile: Profile | None) -> list[str]:
    facts = [f"- {record.files:,} files, {record.bytes:,} bytes."]
    if profile is None:
        return [*facts, "- The files are not one table."]
    about = "" if profile.duplicates_exact else "about "
    facts.append(f"- {profile.rows:,} rows, {about}{profile.duplicates:,} of them equal to an earlier one.")
    if profile.constant:
        facts.append(
            f"- Columns with one value only: {', '.join(f'`{_plain(name)}`' for name in profile.constant)}."
        )
    for name, found in profile.personal:
        facts.append(
            f"- Column `{_plain(name)}` seems to hold personal data: {found.what} ({found.confidence} confidence, "
            f"by {found.because})."
        )
    facts += ["", "| column | type | missing | distinct | range or most frequent |", "|---|---|---|---|---|"]
    facts += [_row(column) for column in profile.columns]
    return facts


def _row(column: ColumnProfile) -> str:
    about = "≈" if column.distinct_error else ""
    cells = [
        _plain(column.name),
        column.type,
        f"{column.missing:.2%}",
        f"{about}{column.distinct:,}",
        _range(column),
    ]
    return f"| {' | '.join(cells)} |"


def _range(column: ColumnProfile) -> str:
    if column.number is not None and column.number.low is not None:
        return f"{column.number.low:.6g} to {column.number.high:.6g}"
    if column.time is not None and column.time.low is not None:
        return f"{column.time.low} to {column.time.high}"
    return ", ".join(_plain(str(each.value))[:30] for each in column.top[:3])


def _collection(record: VersionRecord, profile: Profile | None) -> list[str]:
    facts = [f"- Made by {record.producer or _plain(record.user)} on {record.created:%Y-%m-%d}."]
    if record.parent is not None:
        facts.append(f"- The version before it is `{record.parent}`.")
    for column in profile.columns if profile is not None else []:
        if column.time is not None and column.time.low is not None:
            gaps = f", {column.time.gap_count:,} gaps" if column.time.gap_count else ", without a gap"
            facts.append(
                f"- `{_plain(column.name)}` goes from {column.time.low} to {column.time.high}: rows in "
                f"{column.time.covered:,} of {column.time.spanned:,} {column.time.unit}s{gaps}."
            )
    return facts


def _checks(reports: list[CheckReport]) -> list[str]:
    if not reports:
        return ["- Nobody has checked this version."]
    latest = reports[0]
    verdict = "passed" if latest.passed else "did not pass"
    failed = ", ".join(_plain(each.name) for each in latest.failed)
    return [
        f"- It {verdict} the checks {_plain(latest.suite)} on {latest.time:%Y-%m-%d}"
        + (f": {failed}." if failed else ".")
    ]


def _plain(text: str) -> str:
    """Text that Markdown takes for nothing else, in one line."""
    escaped = "".join("\\" + each if each in "\\`*_{}[]<>|#" else each for each in text)
    return " ".join(escaped.split())
