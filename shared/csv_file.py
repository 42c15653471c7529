"""CSV as spreadsheets and data tools write it, read strictly: RFC 4180 with a header, in UTF-8.

Taken silently, because it changes no value: a byte order mark, any line ends, blank lines, blanks around cells, empty
cells after the last column. Everything else that is wrong is an error that names the file, the line and the column.
Columns are found by name.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_OTHER_SEPARATORS = {";": "';'", "\t": "a tab", "|": "'|'"}
_NUMBER = re.compile(r"[0-9]{1,40}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,2})?", re.ASCII)


class CsvError(Exception):
    """The file cannot be taken; the message names the file, the line and the column."""


@dataclass(frozen=True)
class Row:
    """One line; `cells` by the name of their column, without blanks around them."""

    label: str
    line: int
    cells: dict[str, str]

    def whole(self, column: str, largest: int) -> int:
        """A whole number from 0 to `largest`; 60.0 and 6e1 are whole, as data tools write them. Raises CsvError."""
        text = self.cells[column]
        value = Decimal(text) if _NUMBER.fullmatch(text) else None
        if value is None or value > largest or value != value.to_integral_value():
            raise self.error(column, f"{text[:40]!r} must be a whole number from 0 to {largest}")
        return int(value)

    def matching(self, column: str, pattern: re.Pattern[str], rule: str) -> str:
        """A text that the whole pattern matches; `rule` completes "must be". Raises CsvError."""
        text = self.cells[column]
        if not pattern.fullmatch(text):
            raise self.error(column, f"{text[:80]!r} must be {rule}")
        return text

    def error(self, column: str, message: str) -> CsvError:
        return CsvError(f"{self.label}, line {self.line}, column {column}: {message}")


def decoded(body: bytes, label: str) -> str:
    """The text of a file's bytes, without its byte order mark. Raises CsvError."""
    if body.startswith(_UTF16):
        raise CsvError(f"{label}: is UTF-16; save it as CSV in UTF-8")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise CsvError(f"{label}, line {line}: byte {error.start} is not UTF-8; save it as CSV in UTF-8") from None


def rows(text: str, label: str, required: Sequence[str]) -> Iterator[Row]:
    """The lines below the header, one at a time. Raises CsvError, also on the way."""
    numbered = _numbered(text, label)
    header_line, header = next(numbered, (1, []))
    _check_header(header, f"{label}, line {header_line}", required)
    for line, cells in numbered:
        if len(cells) < len(header):
            raise CsvError(
                f"{label}, line {line}, column {header[len(cells)]}: is missing; "
                f"the line has {len(cells)} cells, and the header has {len(header)}"
            )
        if len(cells) > len(header):
            raise CsvError(
                f"{label}, line {line}: has {len(cells)} cells, and the header has {len(header)}; "
                f"the cell {cells[len(header)][:40]!r} belongs to no column"
            )
        yield Row(label, line, dict(zip(header, cells, strict=True)))


def _numbered(text: str, label: str) -> Iterator[tuple[int, list[str]]]:
    """Lines that are not blank, with the number of their first one and the header's empty tail cut off."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line, width = 1, None
    try:
        for found in reader:
            cells = [cell.strip() for cell in found]
            start, line = line, reader.line_num + 1
            if not any(cells):
                continue
            width = width or max(index for index, cell in enumerate(cells, start=1) if cell)
            while len(cells) > width and not cells[-1]:
                cells.pop()
            yield start, cells
    except csv.Error as error:
        raise CsvError(f"{label}, line {line}: not CSV: {error}") from None


def _check_header(header: Sequence[str], where: str, required: Sequence[str]) -> None:
    missing = [column for column in required if column not in header]
    if not missing:
        if twice := [column for column in header if header.count(column) > 1]:
            raise CsvError(f"{where}: the column {twice[0]} is there twice")
        return
    for separator, name in _OTHER_SEPARATORS.items():
        names = {each.strip() for cell in header for each in cell.split(separator)}
        if any(separator in cell for cell in header) and names & set(required):
            raise CsvError(f"{where}: the columns are separated by {name}; separate them by ','")
    raise CsvError(f"{where}: there is no column {missing[0]}; needed are {', '.join(required)}")
