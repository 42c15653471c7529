"""`sentinel policy`: the policies that plans are held against, and what they would decide.

Every change is one transaction with its audit row and a policy.changed event: what waits in the queue is evaluated
again when a policy changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from events.policy import PolicyChanged
from functions.cli.commands import backtest, policy_suites, simulation
from functions.cli.connection import open_store
from functions.cli.errors import BadInput, CommandFailed, complain, printable
from functions.cli.operator import login, operator
from functions.cli.options import PLAIN, Author, Files, Format, Output, platform_of
from functions.cli.policy_files import read_policies
from functions.cli.publishing import event_about, publish
from functions.cli.views import policies as views
from functions.cli.views.printing import moment, print_data, print_table
from shared.errors import NotFound, PolicyUnreadable
from shared.eventing.event import WireEvent
from shared.operations import policies as operations
from shared.operations.policies import ChangedPolicy
from shared.policy.documents import PolicyDocument
from shared.store.unit_of_work import UnitOfWork

app = typer.Typer(help="Policies that plans are held against.", **PLAIN)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A policy's name.")]
_LONGEST_AUTHOR = 253
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


@app.command()
def add(context: typer.Context, file: Files, author: Author = None) -> None:
    """Add policies, all in the files or none; one of the same name is replaced."""
    documents = read_policies(file)
    who = _author(author)
    platform = platform_of(context)
    with open_store(platform) as store:
        with store.begin() as work:
            changes = [(one.name, operations.put(work, one, who, operator())) for one in documents]
            events = _announce(work, [change for _, change in changes])
        for name, change in changes:
            typer.echo(views.change_line(name, change))
        publish(store, platform, events)


@app.command()
def enable(context: typer.Context, name: Name, author: Author = None) -> None:
    """Put a policy into force."""
    _switch(context, name, author, enabled=True)


@app.command()
def disable(context: typer.Context, name: Name, author: Author = None) -> None:
    """Take a policy out of force; it is kept, with its history."""
    _switch(context, name, author, enabled=False)


@app.command("list")
def list_policies(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List the policies. One that can no longer be read says so, and whether it denies."""
    with open_store(platform_of(context)) as store, store.begin() as work:
        policies = operations.list_policies(work)
        now = work.now
    if output is Format.TABLE:
        print_table(views.HEADER, [views.cells(policy, now) for policy in policies])
    else:
        print_data([views.as_json(policy) for policy in policies], output)


@app.command()
def show(context: typer.Context, name: Name, output: Output = Format.TABLE) -> None:
    """Show one policy with its document, which can be added again.

    One that cannot be read is printed as it is stored, to be corrected, and the problem on stderr.
    """
    with open_store(platform_of(context)) as store, store.begin() as work:
        with _listing_hint():
            detail = operations.get(work, name)
        now = work.now
    policy, newest = detail.policy, detail.newest
    if policy.document is None:
        complain(f"policy {name} {views.problem(policy)}")
    if output is not Format.TABLE:
        print_data(policy.as_json(), output)
        return
    print_table(views.HEADER, [views.cells(policy, now)])
    typer.echo(f"\n# {newest.change} by {printable(newest.author)} at {moment(newest.changed_at)}")
    print_data(policy.as_json(), Format.YAML)


@app.command()
def history(context: typer.Context, name: Name, output: Output = Format.TABLE) -> None:
    """Show every version of a policy, oldest first: when, who, and what became different."""
    with open_store(platform_of(context)) as store, store.begin() as work, _listing_hint():
        entries = operations.history(work, name)
    if output is Format.TABLE:
        print_table(views.HISTORY_HEADER, [views.history_cells(entry) for entry in entries])
    else:
        print_data([views.history_as_json(entry) for entry in entries], output)


@app.command()
def schema() -> None:
    """Print the JSON Schema of policy documents, for editors and for checks before a commit."""
    typer.echo(json.dumps({"$schema": _DIALECT, **PolicyDocument.model_json_schema()}, indent=2))


app.command("test")(policy_suites.run_suites)
app.command("simulate")(simulation.simulate)
app.command("backtest")(backtest.backtest)


def _switch(context: typer.Context, name: str, author: str | None, *, enabled: bool) -> None:
    """Raises CommandFailed for a policy that is not there, or that cannot be read and is to be enabled."""
    who = _author(author)
    platform = platform_of(context)
    switch = operations.enable if enabled else operations.disable
    with open_store(platform) as store:
        with store.begin() as work:
            try:
                with _listing_hint():
                    change = switch(work, name, who, operator())
            except PolicyUnreadable:
                stored = operations.get(work, name).policy
                hint = "replace it with `sentinel policy add`"
                raise CommandFailed(f"policy {name} {views.problem(stored)}; {hint}") from None
            events = _announce(work, [change])
        typer.echo(views.change_line(name, change))
        publish(store, platform, events)


def _announce(work: UnitOfWork, changes: Sequence[ChangedPolicy | None]) -> list[WireEvent]:
    """Puts an event about each change into the outbox, in the transaction of the change."""
    events = [
        event_about(
            f"policy/{one.name}",
            PolicyChanged(name=one.name, version=one.version, change=one.change, author=one.author),
            work.now,
        )
        for one in changes
        if one is not None
    ]
    work.add_to_outbox(events)
    return events


def _author(given: str | None) -> str:
    """Who is named in the history; without --author the operator."""
    if given is None:
        return login()
    if not given.strip() or len(given) > _LONGEST_AUTHOR:
        raise BadInput(f"--author must have 1 to {_LONGEST_AUTHOR} characters")
    return given.strip()


@contextmanager
def _listing_hint() -> Iterator[None]:
    """Says of a policy that is not there how to see those that are."""
    try:
        yield
    except NotFound as error:
        raise CommandFailed(f"{error}: see `sentinel policy list`") from None
