"""`sentinel submit` and `sentinel remove`: submissions and withdrawals, as events for intake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import typer

from events.workload import WorkloadSubmitted, WorkloadWithdrawn
from functions.cli import waiting
from functions.cli.connection import PlatformReference, open_store
from functions.cli.documents import read_models
from functions.cli.errors import BadInput, complain
from functions.cli.options import PLAIN, Files, Format, Name, Output, Timeout, Wait, patience, platform_of
from functions.cli.publishing import event_about, publish
from functions.cli.references import naming_hint
from functions.cli.views.printing import print_ids
from functions.cli.waiting import SentRequest
from shared.models.lifecycle import Phase
from shared.models.stored import Workload
from shared.operations import workloads
from shared.operations.workloads import WorkloadReference
from shared.store.unit_of_work import Store, UnitOfWork

app = typer.Typer(**PLAIN)

MAX_BYTES = 900_000
"""The largest submission: an event has to fit into 1 MiB, with its attributes and what brokers add to them."""


@app.command()
def submit(
    context: typer.Context, file: Files, wait: Wait = False, timeout: Timeout = None, output: Output = Format.TABLE
) -> None:
    """Submit workloads, all in the files or none, and print their ids, in order."""
    seconds = patience(wait, timeout)
    platform = platform_of(context)
    documents = read_models(file, WorkloadSubmitted)
    _refuse_repeats(documents)
    with open_store(platform) as store:
        with store.begin() as work:
            requests = [_submission(where, spec, work) for where, spec in documents]
            work.add_to_outbox([request.event for request in requests])
        _send(store, platform, requests, seconds, output)


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
    platform = platform_of(context)
    with open_store(platform) as store:
        with store.begin() as work:
            with naming_hint():
                workload = workloads.get(work, WorkloadReference(name, team, namespace))
            if workload.withdrawn and workload.phase is Phase.REMOVED and workload.generation >= (generation or 0):
                complain(f"{workload.spec.full_name} is removed already")
                _print([], output)
                return
            request = _withdrawal(workload, generation, work)
            work.add_to_outbox([request.event])
        _send(store, platform, [request], seconds, output)


def _send(
    store: Store, platform: PlatformReference, requests: Sequence[SentRequest], seconds: float | None, output: Format
) -> None:
    _print(requests, output)
    publish(store, platform, [request.event for request in requests])
    if seconds is not None:
        waiting.follow(store, requests, seconds)


def _print(requests: Sequence[SentRequest], output: Format) -> None:
    """Ids alone, a line each; programs also get the workload and the event of each."""
    print_ids(
        [
            {"id": str(one.workload_id), "workload": one.label, "eventId": one.event.attributes["id"]}
            for one in requests
        ],
        output,
    )


def _submission(where: str, spec: WorkloadSubmitted, work: UnitOfWork) -> SentRequest:
    event = event_about(spec.id, spec, work.now)
    if len(event.body) > MAX_BYTES:
        raise BadInput(f"{where}: has {len(event.body)} bytes as an event; at most {MAX_BYTES} fit into one")
    return SentRequest(spec.id, spec.full_name, event, waiting.RUNS)


def _withdrawal(workload: Workload, generation: int | None, work: UnitOfWork) -> SentRequest:
    spec = workload.spec
    numbered = {} if generation is None else {"generation": generation}
    data = WorkloadWithdrawn(name=spec.name, team=spec.team, namespace=spec.namespace, **numbered)
    return SentRequest(workload.id, spec.full_name, event_about(workload.id, data, work.now), waiting.GONE)


def _refuse_repeats(documents: Sequence[tuple[str, WorkloadSubmitted]]) -> None:
    """Events are not ordered, so nobody knows which of two submissions of one workload would be the later one."""
    counts = Counter(spec.full_name for _, spec in documents)
    repeats = [
        f"{where}: {spec.full_name} is in there twice" for where, spec in documents if counts[spec.full_name] > 1
    ]
    if repeats:
        raise BadInput("\n".join(repeats))
