"""`sentinel policy`: the policies that plans are held against, and what they would decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from functions.cli.errors import CommandFailed, ProblemAnswer, complain, printable
from functions.cli.options import PLAIN, Files, Format, Output, client_of
from functions.cli.views import policies as views
from functions.cli.views.printing import print_data, print_table

if TYPE_CHECKING:
    from functions.cli.client import Answer, Client

app = typer.Typer(help="Policies that plans are held against.", **PLAIN)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A policy's name.")]
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_MOST = 1_000_000
_MOST_LISTED = 10_000  # by the server, in one report


@app.command()
def add(context: typer.Context, file: Files) -> None:
    """Add policies; one of the same name is replaced. Nothing is sent unless every document in the files is valid."""
    from functions.cli.policy_files import read_policies

    policies = read_policies(file)
    client = client_of(context)
    for policy in policies:
        document = policy.model_dump(mode="json", by_alias=True, exclude_none=True)
        typer.echo(f"{policy.name} {_put(client, policy.name, document)}")


@app.command()
def enable(context: typer.Context, name: Name) -> None:
    """Put a policy into force."""
    client = client_of(context)
    before = _get(client, name)
    if "problem" in before.document and not before.document["enabled"]:
        hint = "replace it with `sentinel policy add`"
        raise CommandFailed(f"policy {name} {views.problem(before.document)}; {hint}")
    after = client.send("POST", f"{_path(name)}/enable")
    typer.echo(f"{name} {_change(client, name, before, after)}")


@app.command()
def disable(context: typer.Context, name: Name) -> None:
    """Take a policy out of force; it is kept, with its history."""
    client = client_of(context)
    before = _get(client, name)
    after = client.send("POST", f"{_path(name)}/disable")
    typer.echo(f"{name} {_change(client, name, before, after)}")


@app.command("list")
def list_policies(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List the policies. One that can no longer be read says so, and whether it denies."""
    page = client_of(context).pages("/policies", _MOST)
    if output is Format.TABLE:
        print_table(views.HEADER, [views.cells(policy, page.now) for policy in page.items])
    else:
        print_data(page.items, output)


@app.command()
def show(context: typer.Context, name: Name, output: Output = Format.TABLE) -> None:
    """Show one policy with its document, which can be added again.

    One that cannot be read is printed as it is stored, to be corrected, and the problem on stderr.
    """
    client = client_of(context)
    found = _get(client, name)
    policy = found.document
    if "problem" in policy:
        complain(f"policy {name} {views.problem(policy)}")
    if output is not Format.TABLE:
        print_data(views.document_of(policy), output)
        return
    newest = _history(client, name)[-1]
    print_table(views.HEADER, [views.cells(policy, found.now)])
    typer.echo(f"\n# {newest['change']} by {printable(newest['author'])} at {newest['changedAt']}")
    print_data(views.document_of(policy), Format.YAML)


@app.command()
def history(context: typer.Context, name: Name, output: Output = Format.TABLE) -> None:
    """Show every version of a policy, oldest first: when, who, and what became different."""
    entries = _history(client_of(context), name)
    if output is Format.TABLE:
        print_table(views.HISTORY_HEADER, [views.history_cells(entry) for entry in entries])
    else:
        print_data(entries, output)


@app.command()
def schema() -> None:
    """Print the JSON Schema of policy documents, for editors and for checks before a commit."""
    import json

    from shared.policy.documents import PolicyDocument

    typer.echo(json.dumps({"$schema": _DIALECT, **PolicyDocument.model_json_schema()}, indent=2))


@app.command()
def simulate(context: typer.Context, file: Files, output: Output = Format.TABLE) -> None:
    """Show what policy would decide on workloads now, on every cluster that could take them. Leaves no trace.

    Each workload is decided as if it were posted alone. Exits with 0 when some cluster would approve each of them,
    with 1 otherwise.
    """
    from functions.cli.commands import simulation

    simulation.simulate(client_of(context), file, output)


@app.command("test")
def run_suites(
    path: Annotated[list[str], typer.Argument(metavar="FILE|DIR|-...", help="Suites; a directory is searched.")],
    fail_on_warn: Annotated[
        bool, typer.Option("--fail-on-warn", help="Fail cases with warnings that they do not expect.")
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Run suites of cases against the policies in them, without a platform.

    Exits with 1 when a case fails, with 2 when a suite or a policy is bad.
    """
    from functions.cli.commands import policy_suites

    policy_suites.run_suites(path, fail_on_warn, output)


@app.command()
def backtest(
    context: typer.Context,
    file: Files,
    since: Annotated[str, typer.Option(metavar="DURATION", help="How far back: 12h, 30d, P30D.")] = "30d",
    only: Annotated[bool, typer.Option("--only", help="The candidates alone, without today's other policies.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=_MOST_LISTED, help="List at most this many.")] = 1000,
    output: Output = Format.TABLE,
) -> None:
    """Replay recorded decisions against candidate policies, and list what would have been different.

    Candidates replace today's policies of the same name, as if they had always been in force. Each plan is evaluated on
    the facts that were recorded with its decision; what another decision would have changed for later plans is not
    carried on. Ctrl-C ends it, and prints what was found up to then.
    """
    from functions.cli.commands import backtest as command

    command.backtest(client_of(context), file, since, only, limit, output)


def _put(client: Client, name: str, document: Any) -> str:
    """Adds a policy, or replaces the one of its name; says which."""
    try:
        client.send("POST", "/policies", document)
    except ProblemAnswer as problem:
        if problem.status != 409:
            raise
        before = _get(client, name)
        after = client.send("PUT", _path(name), document, if_match=before.headers["etag"])
        return _change(client, name, before, after)
    return "added, version 1"


def _change(client: Client, name: str, before: Answer, after: Answer) -> str:
    """What became of a policy, in words."""
    if before.headers["etag"] == after.headers["etag"]:
        return "unchanged"
    newest = _history(client, name)[-1]
    return f"{newest['change']}, version {newest['version']}"


def _get(client: Client, name: str) -> Answer:
    """Raises CommandFailed when there is no such policy."""
    return _found(client, _path(name))


def _history(client: Client, name: str) -> list[Any]:
    entries: list[Any] = _found(client, f"{_path(name)}/history").document["items"]
    return entries


def _found(client: Client, path: str) -> Answer:
    try:
        return client.get(path)
    except ProblemAnswer as problem:
        if problem.status != 404:
            raise
        raise CommandFailed(f"{problem}: see `sentinel policy list`") from None


def _path(name: str) -> str:
    return f"/policies/{quote(name, safe='')}"
