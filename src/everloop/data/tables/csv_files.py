"""CSV and JSON as users have them: read whole, or refused with the line that stands in the way.

Arrow reads a CSV file quickly but forgivingly: a quote that nobody closes swallows the rest of the file into one value, and text
that is not UTF-8 becomes bytes. So what it read is held against a count of lines and quotes, which costs next to nothing; only a
file that looks wrong by it, or that Arrow refuses, is read a second time, slowly, to name the line.
"""

from __future__ import annotations

import csv
import mmap
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn

import msgspec
import pyarrow as pa
import pyarrow.csv

from everloop.data.tables.formats import BOM, Format, format_of
from everloop.domain.names import shown
from everloop.errors import InvalidInput

BLOCK = 1 << 22
LONGEST_VALUE = 1 << 30
"""Characters in one value that the slow reader takes: as many as Arrow does."""
LINES = (".jsonl", ".ndjson")
JSON = (".json", *LINES)
PARSING = {
    Format.CSV: pyarrow.csv.ParseOptions(newlines_in_values=True),
    Format.TSV: pyarrow.csv.ParseOptions(newlines_in_values=True, delimiter="\t"),
}
"""How a file is cut into rows, wherever it is read: a quoted value may go on in the next line."""
_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}

_CONVERSION = re.compile(r"In CSV column #(\d+): .*?to (\w+).*?: invalid value '(.*)'", re.DOTALL)
_BYTE = re.compile(r"\(byte (\d+)\)")


def inspect_csv(name: str, file: Path) -> tuple[pa.Schema, int]:
    """Schema and rows of a CSV file, or one with tabs, that will be called `name`. A header alone is a table without rows. Raises
    InvalidInput with the line that is wrong."""
    lines, quotes = _counts(file)
    try:
        if lines == 1 and (only := _unended_header(name, file)):
            return only, 0
        with pa.csv.open_csv(file, parse_options=_parsing(name)) as reader:
            schema, rows = reader.schema, sum(batch.num_rows for batch in reader)
            _ = schema.names  # they are decoded here, which may fail
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError) as error:
        _refuse(name, file, str(error))
    _require_separated(name, schema.names)
    if (
        any(pa.types.is_binary(field.type) for field in schema)
        or quotes % 2
        or (quotes and rows + 1 != lines)
    ):
        _require_well_formed(name, file)
    return schema, rows


def require_json(name: str, file: Path) -> None:
    """A file called ``.json`` must hold a JSON document, one called ``.jsonl`` a document a line. Raises InvalidInput with the
    line that is wrong."""
    if file.suffix.lower() in LINES or name.lower().endswith(LINES):
        _require_json_lines(name, file)
        return
    with file.open("rb") as opened:
        try:
            text = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # nothing can be mapped of an empty file
            raise _unreadable(name, "it is empty", "fill it", as_what="JSON") from None
        with text:
            try:
                with memoryview(text) as seen:
                    msgspec.json.decode(seen[len(BOM) :] if text[: len(BOM)] == BOM else seen)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                if "trailing" in str(error):  # many documents, a line each, are called .json by many
                    _require_json_lines(name, file)
                    return
                at = _BYTE.search(str(error))
                line = text[: int(at[1])].count(b"\n") + 1 if at else 1
                what = f"line {line}: {_lowered(error)}"
                raise _unreadable(name, what, "mend it", as_what="JSON") from None


def _require_json_lines(name: str, file: Path) -> None:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                msgspec.json.decode(line.removeprefix(BOM) if number == 1 else line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise _unreadable(
                    name, f"line {number}: {_lowered(error)}", "mend the line", as_what="JSON"
                ) from None


def _counts(file: Path) -> tuple[int, int]:
    """Lines that are not empty as Arrow counts them (nearly: see the caller), and quotation marks."""
    lines = quotes = 0
    last = b"\n"
    with file.open("rb") as opened:
        while block := opened.read(BLOCK):
            lines += block.count(b"\n")
            quotes += block.count(b'"')
            last = block[-1:]
    return lines + (last != b"\n"), quotes


def _parsing(name: str) -> pyarrow.csv.ParseOptions:
    return PARSING[Format.TSV if format_of(name) is Format.TSV else Format.CSV]


def _unended_header(name: str, file: Path) -> pa.Schema | None:
    """The columns of a file that is one line without an end, which Arrow takes for none."""
    if file.stat().st_size > BLOCK:
        return None
    line = file.read_bytes()
    if b"\r" in line or line.endswith(b"\n") or not line.strip():  # a return alone ends a line too
        return None
    return pa.csv.read_csv(pa.BufferReader(line + b"\n"), parse_options=_parsing(name)).schema


def _refuse(name: str, file: Path, said: str) -> NoReturn:
    """Say why Arrow could not read a file."""
    found = _CONVERSION.search(said)
    column, kind, value = (int(found[1]), found[2], found[3]) if found else (-1, "", "")
    width = _require_well_formed(name, file, column, value)
    if width is None:
        raise _unreadable(name, "it is empty", "give it a header at least")
    if isinstance(width, int):
        raise _unreadable(name, said.splitlines()[0], "mend it")
    line, title = width
    raise _unreadable(
        name,
        f"line {line}: {shown(value)} in the column {shown(title)} is no {kind}, as the values above it are",
        "make the column of one kind, or write Parquet, where each column says its type",
    )


def _require_well_formed(
    name: str, file: Path, column: int = -1, value: str = ""
) -> int | tuple[int, str] | None:
    """Read a file slowly: UTF-8, quotes closed, as many fields in every line as in the header. Gives how many those are (None: it
    is empty), or where `value` stands first in the column of that number: its line and the column's title."""
    with file.open("rb") as opened, _any_length():
        _require_text(name, opened)
        reader = csv.reader(_text_lines(name, opened), strict=True, delimiter=_parsing(name).delimiter)
        header: list[str] | None = None
        begins = 1
        try:
            for fields in reader:
                if header is None:
                    header = fields or None
                    _require_separated(name, fields)
                elif fields and len(fields) != len(header):
                    several = "" if len(fields) == 1 else "s"
                    what = f"line {begins} has {len(fields)} field{several}, the header has {len(header)}"
                    raise _unreadable(name, what, "mend the line")
                elif 0 <= column < len(fields) and fields[column] == value:
                    return begins, header[column]
                begins = reader.line_num + 1
        except csv.Error as error:
            if "end of data" in str(error):
                what = f"a quote that is opened in line {begins} is never closed"
            elif "expected after" in str(error):
                what = f"line {reader.line_num}: a value goes on after its closing quote"
            else:  # the two readers differ over what a line is; then Arrow's word counts
                return len(header or ())
            raise _unreadable(name, what, 'close it; a quote within a quoted value is written ""') from None
    return None if header is None else len(header)


def _require_separated(name: str, header: Sequence[str]) -> None:
    """What spreadsheets write where the comma is in numbers would be a table of one column."""
    wanted = _parsing(name).delimiter
    for separator, what in _SEPARATORS.items():
        if len(header) == 1 and separator != wanted and separator in header[0]:
            to_do = "write it with commas, and numbers with points"
            if wanted == "\t":
                to_do = "write it with tabs"
            elif separator == "\t":
                to_do = "end its name in .tsv"
            raise _unreadable(name, f"its fields are separated by {what}", to_do)


def _require_text(name: str, opened: BinaryIO) -> None:
    beginning = opened.read(BLOCK)
    opened.seek(0)
    if b"\0" in beginning:
        wide = beginning.startswith((b"\xff\xfe", b"\xfe\xff"))
        line = beginning[: beginning.index(b"\0")].count(b"\n") + 1
        what = "it is UTF-16" if wide else f"line {line} holds a zero byte: it is no text"
        raise _unreadable(name, what, "write it in UTF-8" if wide else "is it another kind of file?")


def _text_lines(name: str, opened: BinaryIO) -> Iterator[str]:
    for number, line in enumerate(opened, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            what = f"line {number} is not UTF-8 (byte 0x{line[error.start]:02x})"
            raise _unreadable(name, what, "convert it, such as: iconv -f latin1 -t utf-8") from None
        yield text


@contextmanager
def _any_length() -> Iterator[None]:
    """The module csv refuses values of more than 128 KB; its only limit is the whole process's, so it is put back."""
    before = csv.field_size_limit(LONGEST_VALUE)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _lowered(error: Exception) -> str:
    text = str(error)
    return text[:1].lower() + text[1:] if not text.startswith("JSON") else text


def _unreadable(name: str, what: str, to_do: str, *, as_what: str = "a table") -> InvalidInput:
    return InvalidInput(
        f"{name} cannot be read as {as_what}: {what}",
        hint=f"{to_do}; or keep its bytes as they are with --as-file (as_file=True)",
    )
