"""What commands print: a table for people, JSON or YAML for programs.

Nothing is ever truncated: a line that is too long is the terminal's to wrap. Without a terminal there are no colours
and no other bytes than the columns, so that `cut`, `awk` and `grep` work. rich and PyYAML are imported where they are
needed: most commands that read need neither, and both take longer to import than a table takes to print.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

import typer

from functions.cli.errors import printable
from functions.cli.options import Format

if TYPE_CHECKING:
    from pydantic import JsonValue

_GAP = "  "


class Style(StrEnum):
    """How a cell looks on a terminal: the number of an ANSI attribute (ECMA-48, Select Graphic Rendition)."""

    PLAIN = ""
    HEADER = "1"
    GOOD = "32"
    BAD = "31"
    BUSY = "33"


Cell = str | tuple[str, Style]


def print_data(value: JsonValue, form: Format) -> None:
    """Prints JSON or YAML."""
    if form is Format.JSON:
        typer.echo(json.dumps(value, indent=2))
    else:
        import yaml

        typer.echo(yaml.safe_dump(value, sort_keys=False, default_flow_style=False), nl=False)


def print_ids(objects: Sequence[dict[str, JsonValue]], form: Format) -> None:
    """Prints what was done to which objects: their ids for people and pipes, a line each; all of them for programs."""
    if form is not Format.TABLE:
        print_data(list(objects), form)
        return
    for one in objects:
        typer.echo(one["id"])


def print_table(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Prints columns that are as wide as their widest cell, the last one excepted."""
    lines = [[(name, Style.HEADER) for name in header], *([_styled(cell) for cell in row] for row in rows)]
    widths = [max(_width(line[column][0]) for line in lines) for column in range(len(header))]
    colours = _wants_colours(os.environ)
    for line in lines:
        last = max((at for at, (text, _) in enumerate(line) if text.strip()), default=-1)
        cells = [
            _coloured(text, style, colours) + " " * (width - _width(text)) + _GAP
            for (text, style), width in zip(line[: max(last, 0)], widths, strict=False)
        ]
        if last >= 0:
            cells.append(_coloured(line[last][0].rstrip(), line[last][1], colours))
        typer.echo("".join(cells), color=colours)


def moment(value: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the millisecond."""
    return None if value is None else value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def age(since: datetime | str | None, now: datetime) -> str:
    """How long ago, in the largest unit that says something: 45s, 12m, 5h, 3d. since: also as RFC 3339."""
    if isinstance(since, str):
        since = datetime.fromisoformat(since)
    seconds = max(0, int((now - since).total_seconds())) if since else 0
    for unit, size, least in (("d", 86_400, 2 * 86_400), ("h", 3_600, 2 * 3_600), ("m", 60, 120)):
        if seconds >= least:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def money(amount: str) -> str:
    """Dollars to the cent."""
    return f"{Decimal(amount):.2f}"


def _styled(cell: Cell) -> tuple[str, Style]:
    content, style = (cell, Style.PLAIN) if isinstance(cell, str) else cell
    return printable(content), style


def _coloured(text: str, style: Style, colours: bool) -> str:
    return f"\x1b[{style}m{text}\x1b[0m" if colours and text and style is not Style.PLAIN else text


def _wants_colours(environment: Mapping[str, str]) -> bool:
    """On a terminal that knows colours, or with FORCE_COLOR; never with NO_COLOR (no-color.org)."""
    if environment.get("NO_COLOR"):
        return False
    if environment.get("TERM", "").lower() in ("dumb", "unknown"):
        return False
    return bool(environment.get("FORCE_COLOR")) or sys.stdout.isatty()


def _width(text: str) -> int:
    """How many columns a terminal takes for the text."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
