"""`sentinel plan`: action plans, and the answer of a person to one that awaits approval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from functions.cli.client import Answer, Client
from functions.cli.errors import BadInput, CommandFailed, ProblemAnswer, complain
from functions.cli.options import PLAIN, Format, Limit, Output, Team, client_of
from functions.cli.references import Reference, resolve
from functions.cli.views import plans as views
from functions.cli.views.printing import print_data, print_ids, print_table
from functions.cli.views.workloads import full_name
from shared.models.lifecycle import PlanStatus

app = typer.Typer(help="Action plans, and the answer of a person to one that awaits approval.", **PLAIN)

Plan = Annotated[str, typer.Argument(metavar="ID", help="A plan's id.")]
Reason = Annotated[str, typer.Option(help="Why: for the audit log, and for who proposed the plan.")]


@app.command("list")
def list_plans(
    context: typer.Context,
    workload: Annotated[str | None, typer.Option(metavar="NAME|ID", help="Only this workload's.")] = None,
    team: Team = None,
    status: Annotated[PlanStatus | None, typer.Option(help="Only with this status.")] = None,
    limit: Limit = 1000,
    output: Output = Format.TABLE,
) -> None:
    """List action plans, newest first. `--status awaiting_approval` lists those that a person has to answer."""
    client = client_of(context)
    workload_id = None if workload is None else resolve(client, Reference(workload, team))
    page = client.pages(
        "/action-plans", limit, workload=workload_id, team=team, status=status and status.value, sort="-createdAt"
    )
    if output is Format.TABLE:
        print_table(views.HEADER, [views.cells(plan, page.now) for plan in page.items])
    else:
        print_data(page.items, output)
    if page.more:
        complain(f"only the newest {limit} are shown; see the rest with --limit, or narrow with --status or --workload")


@app.command()
def show(context: typer.Context, plan: Plan, output: Output = Format.TABLE) -> None:
    """Show one plan with the decision on it: the violations, and what would pass instead."""
    client = client_of(context)
    answer = _known(lambda: client.get(_path(plan)))
    found = answer.document
    if output is not Format.TABLE:
        print_data(found, output)
        return
    workload = client.get(f"/workloads/{found['workload']}").document
    print_table(
        (*views.HEADER, "NAME", "REASON"), [(*views.cells(found, answer.now), full_name(workload), found["reason"])]
    )
    if details := views.details(found):
        typer.echo("")
        print_table(views.DETAIL_HEADER, details)


@app.command()
def approve(context: typer.Context, plan: Plan, reason: Reason = "", output: Output = Format.TABLE) -> None:
    """Approve a plan that awaits approval; policy then decides it again. Not for who proposed it."""
    _answer(client_of(context), plan, "approve", reason, output)


@app.command()
def reject(context: typer.Context, plan: Plan, reason: Reason = "", output: Output = Format.TABLE) -> None:
    """Deny a plan that awaits approval. Not for who proposed it: they remove what they submitted."""
    _answer(client_of(context), plan, "reject", reason, output)


def _answer(client: Client, plan: str, verb: str, reason: str, output: Format) -> None:
    answered = _known(lambda: client.send("POST", f"{_path(plan)}/{verb}", {"reason": reason}))
    print_ids([answered.document], output)


def _known(ask: Callable[[], Answer]) -> Answer:
    """The answer. Raises CommandFailed when there is no such plan."""
    try:
        return ask()
    except ProblemAnswer as problem:
        if problem.status != 404:
            raise
        raise CommandFailed(f"{problem}: see `sentinel plan list`") from None


def _path(plan: str) -> str:
    """Raises BadInput."""
    import uuid

    try:
        return f"/action-plans/{uuid.UUID(plan)}"
    except ValueError:
        raise BadInput(f"{plan[:80]} is not the id of a plan: see `sentinel plan list`") from None
