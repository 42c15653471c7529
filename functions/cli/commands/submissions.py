"""`sentinel submit` and `sentinel remove`: submissions and withdrawals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from functions.cli.errors import BadInput, CommandFailed, ProblemAnswer, complain
from functions.cli.options import PLAIN, Files, Format, Name, Output, Timeout, Wait, client_of, patience
from functions.cli.references import Reference, resolve
from functions.cli.views.printing import print_ids
from functions.cli.views.workloads import full_name
from functions.cli.waiting import GONE, RUNS, AcceptedRequest, follow
from shared.models.lifecycle import Phase

if TYPE_CHECKING:
    from functions.cli.client import Answer, Client
    from shared.models.workload import WorkloadSpec

app = typer.Typer(**PLAIN)

_ATTEMPTS = 3


@app.command()
def submit(
    context: typer.Context, file: Files, wait: Wait = False, timeout: Timeout = None, output: Output = Format.TABLE
) -> None:
    """Submit workloads, and print their ids, in order.

    One that there is already gets a new generation. Nothing is sent unless every document in the files is valid.
    """
    from functions.cli.documents import read_models
    from shared.models.workload import WorkloadSpec

    seconds = patience(wait, timeout)
    client = client_of(context)
    documents = read_models(file, WorkloadSpec)
    _refuse_repeats(documents)
    accepted: list[AcceptedRequest] = []
    try:
        for where, spec in documents:
            accepted.append(_submitted(client, where, spec))
    finally:
        _print(accepted, output)
    if seconds is not None:
        follow(client, accepted, seconds)


@app.command()
def remove(
    context: typer.Context,
    name: Name,
    team: Annotated[str, typer.Option(help="The workload's team.")] = "default",
    namespace: Annotated[str, typer.Option(help="The workload's namespace.")] = "default",
    generation: Annotated[
        int | None, typer.Option(min=1, help="Leave the workload alone if its generation is higher than this.")
    ] = None,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = Format.TABLE,
) -> None:
    """Withdraw a workload: what it runs is deleted. One that is removed already is left alone."""
    seconds = patience(wait, timeout)
    client = client_of(context)
    removed = _removed(client, resolve(client, Reference(name, team, namespace)), generation)
    _print([removed] if removed else [], output)
    if removed is not None and seconds is not None:
        follow(client, [removed], seconds)


def _submitted(client: Client, where: str, spec: WorkloadSpec) -> AcceptedRequest:
    """Creates the workload, or replaces the one that there is. Raises BadInput, CommandFailed and ServerAway."""
    document = spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    for attempt in range(_ATTEMPTS):
        try:
            return _accepted(_created_or_replaced(client, spec, document), RUNS)
        except ProblemAnswer as problem:
            if problem.status not in (404, 409) or attempt == _ATTEMPTS - 1:
                said = "\n".join(f"{where}: {line}" for line in str(problem).splitlines())
                raise (BadInput if problem.status in (400, 422) else CommandFailed)(said) from None
    raise AssertionError("the last attempt returns or raises")


def _created_or_replaced(client: Client, spec: WorkloadSpec, document: Any) -> Answer:
    try:
        return client.send("POST", "/workloads", document)
    except ProblemAnswer as problem:
        if problem.status != 409:
            raise
    return client.send("PUT", f"/workloads/{spec.id}", document, if_match="*")


def _removed(client: Client, workload_id: str, generation: int | None) -> AcceptedRequest | None:
    """The withdrawal that the server took; None when there is nothing left to remove. Raises CommandFailed."""
    path = f"/workloads/{workload_id}"
    for _ in range(_ATTEMPTS):
        seen = client.get(path)
        workload = seen.document
        if workload["withdrawn"] and workload["phase"] == Phase.REMOVED:
            complain(f"{full_name(workload)} is removed already")
            return None
        if generation is not None and workload["generation"] > generation:
            raise CommandFailed(
                f"{full_name(workload)} was left alone: it is at generation {workload['generation']}, not {generation}"
            )
        try:
            return _accepted(client.send("DELETE", path, if_match=seen.headers["etag"]), GONE)
        except ProblemAnswer as problem:
            if problem.status != 412:
                raise
    raise CommandFailed(f"{full_name(workload)} changes again and again; try again")


def _accepted(answer: Answer, goal: frozenset[Phase]) -> AcceptedRequest:
    workload = answer.document
    return AcceptedRequest(workload["id"], full_name(workload), workload["generation"], workload["plan"], goal)


def _print(requests: Sequence[AcceptedRequest], output: Format) -> None:
    """Ids alone, a line each; programs also get the workload, and the generation and the plan of the request."""
    print_ids(
        [
            {"id": one.workload_id, "workload": one.label, "generation": one.generation, "plan": one.plan}
            for one in requests
        ],
        output,
    )


def _refuse_repeats(documents: Sequence[tuple[str, WorkloadSpec]]) -> None:
    """Nobody knows which of two documents for one workload is meant."""
    counts = Counter(spec.full_name for _, spec in documents)
    repeats = [
        f"{where}: {spec.full_name} is in there twice" for where, spec in documents if counts[spec.full_name] > 1
    ]
    if repeats:
        raise BadInput("\n".join(repeats))
