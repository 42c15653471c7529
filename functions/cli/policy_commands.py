"""`sentinel policy`: every command on policies with its arguments and options. See functions.cli.main."""

from __future__ import annotations

from typing import Annotated

import typer

from functions.cli.options import PLAIN, Author, Files, Format, Limit, Output, platform_of, seconds

policies = typer.Typer(help="Policies that plans are held against.", **PLAIN)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A policy's name.")]


@policies.command("add")
def add_policies(context: typer.Context, file: Files, author: Author = None) -> None:
    """Add policies, all in the files or none; one of the same name is replaced."""
    from functions.cli.commands import policies as work

    work.add(platform_of(context), file, author)


@policies.command("list")
def list_policies(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List the policies."""
    from functions.cli.commands import policies as work

    work.show_all(platform_of(context), output)


@policies.command("show")
def show_policy(context: typer.Context, name: Name, output: Output = Format.TABLE) -> None:
    """Show one policy with its document."""
    from functions.cli.commands import policies as work

    work.show(platform_of(context), name, output)


@policies.command("enable")
def enable_policy(context: typer.Context, name: Name, author: Author = None) -> None:
    """Put a policy into force."""
    from functions.cli.commands import policies as work

    work.switch(platform_of(context), name, author, enabled=True)


@policies.command("disable")
def disable_policy(context: typer.Context, name: Name, author: Author = None) -> None:
    """Take a policy out of force; it is kept, with its history."""
    from functions.cli.commands import policies as work

    work.switch(platform_of(context), name, author, enabled=False)


@policies.command("history")
def show_history(context: typer.Context, name: Name, output: Output = Format.TABLE) -> None:
    """Show every version of a policy, oldest first: when, who, and what became different."""
    from functions.cli.commands import policy_history as work

    work.show(platform_of(context), name, output)


@policies.command("schema")
def show_schema() -> None:
    """Print the JSON Schema of policy documents."""
    from functions.cli.commands import policies as work

    work.schema()


@policies.command("test")
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

    policy_suites.run_all(path, output, fail_on_warn=fail_on_warn)


@policies.command("simulate")
def simulate(context: typer.Context, file: Files, output: Output = Format.TABLE) -> None:
    """Show what policy would decide on workloads now, on every cluster that could take them. Leaves no trace.

    Exits with 0 when some cluster would approve each of them, with 1 otherwise.
    """
    from functions.cli.commands import simulation

    simulation.simulate(platform_of(context), file, output)


@policies.command("backtest")
def backtest(
    context: typer.Context,
    file: Files,
    since: Annotated[str, typer.Option(metavar="DURATION", help="How far back: 12h, 30d.")] = "30d",
    only: Annotated[bool, typer.Option("--only", help="The candidates alone, without today's other policies.")] = False,
    limit: Limit = 1000,
    output: Output = Format.TABLE,
) -> None:
    """Replay recorded decisions against candidate policies, and list what would have been different.

    Candidates replace today's policies of the same name, as if they had always been in force. Each plan is judged on
    the facts that were recorded with its decision; what another verdict would have changed for later plans is not
    carried on.
    """
    reach = seconds("--since", since, "m|h|d", "12h or 30d")
    from functions.cli.commands import backtest as backtesting

    backtesting.backtest(platform_of(context), file, reach, backtesting.How(only, limit), output)
