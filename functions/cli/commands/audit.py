"""`sentinel audit`: whether the audit log is whole, and a copy of it with signed heads."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from functions.cli.connection import open_store
from functions.cli.errors import BadInput, CommandFailed
from functions.cli.options import PLAIN, platform_of
from shared.errors import OperationRefused
from shared.operations import audit_export

app = typer.Typer(help="The audit log: verify it, export it.", **PLAIN)


@app.command()
def verify(
    context: typer.Context,
    heads: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An earlier export, or its last line: finds what was cut.")
    ] = None,
    public_key: Annotated[
        str | None,
        typer.Option(metavar="BASE64", help="Who must have signed it.  [default: the key it names]"),
    ] = None,
) -> None:
    """Check the chains of hashes: every changed, deleted, swapped or inserted row shows.

    Rows that were cut off at the end show only against an earlier export. Exits with 1 when anything is wrong.
    """
    if public_key is not None and heads is None:
        raise BadInput("--public-key needs --heads")
    try:
        exported = None if heads is None else _last_line(heads)
        key = None if public_key is None else audit_export.public_key(public_key)
        with open_store(platform_of(context)) as store, store.read() as work:
            problems = audit_export.verify(work, exported, key)
    except OperationRefused as refused:
        raise BadInput(str(refused)) from None
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise CommandFailed(f"the audit log is not what was written: {len(problems)} problems")
    typer.echo("the audit log is whole")


@app.command()
def export(
    context: typer.Context,
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="An Ed25519 key in PEM.  [env: AUDIT_SIGNING_KEY]"),
    ] = None,
) -> None:
    """Print every row as a line of JSON, and in the last line the heads of the chains, signed.

    Keep the last line, or all of it, where nobody who can write to the database can write too.
    """
    platform = platform_of(context)
    signing = audit_export.private_key(key or _usual_key(platform.clusters))
    with open_store(platform) as store, store.read() as work:
        for line in audit_export.export(work, signing):
            typer.echo(json.dumps(line))


def _usual_key(clusters: Path | None) -> Path:
    named = os.environ.get("AUDIT_SIGNING_KEY")
    if named:
        return Path(named)
    if clusters is not None and (found := clusters.parent / "audit-key.pem").exists():
        return found
    raise BadInput("set AUDIT_SIGNING_KEY, or --key, to an Ed25519 key in PEM: `openssl genpkey -algorithm ed25519`")


def _last_line(file: Path) -> dict[str, Any]:
    last = ""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            last = line if line.strip() else last
    try:
        found = json.loads(last)
    except ValueError:
        raise BadInput(f"{file}: the last line is not JSON") from None
    if not isinstance(found, dict):
        raise BadInput(f"{file}: the last line is not an object")
    return found
