"""What commands print: a table for people, JSON or YAML for programs.

Nothing is ever truncated: a line that is too long is the terminal's to wrap. Without a terminal there are no colours
and no other bytes than the columns, so that `cut`, `awk` and `grep` work.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum

import typer
import yaml
from pydantic import JsonValue
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from functions.cli.errors import printable
from functions.cli.options import Format

_GAP = "  "


class Style(StrEnum):
    """How a cell looks on a terminal; each is a style of rich."""

    PLAIN = ""
    HEADER = "bold"
    GOOD = "green"
    BAD = "red"
    BUSY = "yellow"


Cell = str | tuple[str, Style]


def print_data(value: JsonValue, form: Format) -> None:
    """Prints JSON or YAML."""
    if form is Format.JSON:
        typer.echo(json.dumps(value, indent=2))
    else:
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
    widths = [max(cell_len(line[column][0]) for line in lines) for column in range(len(header))]
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    for line in lines:
        text = Text()
        for (content, style), width in zip(line[:-1], widths, strict=False):
            text.append(content, style)
            text.append(" " * (width - cell_len(content)) + _GAP)
        text.append(*line[-1])
        text.rstrip()
        console.print(text)


def moment(value: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the millisecond."""
    return None if value is None else value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def age(since: datetime | None, now: datetime) -> str:
    """How long ago, in the largest unit that says something: 45s, 12m, 5h, 3d."""
    seconds = max(0, int((now - since).total_seconds())) if since else 0
    for unit, size, least in (("d", 86_400, 2 * 86_400), ("h", 3_600, 2 * 3_600), ("m", 60, 120)):
        if seconds >= least:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _styled(cell: Cell) -> tuple[str, Style]:
    content, style = (cell, Style.PLAIN) if isinstance(cell, str) else cell
    return printable(content), style
