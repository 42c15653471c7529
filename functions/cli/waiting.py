"""Waiting for what becomes of a submission or a withdrawal.

It is known by its event, so an older state of the workload is never taken for its outcome. First intake must have
answered this very event. Then the workload's own phase counts, through rollbacks, until it settles.
"""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from events import CATALOGUE
from events.plan import PlanProposed
from events.workload import WorkloadRejected
from functions.cli.errors import CommandFailed, Interrupted, complain
from shared.eventing.event import WireEvent
from shared.models.lifecycle import SETTLED_PHASES, Phase
from shared.store.unit_of_work import Store, UnitOfWork

INTAKE = "workload-intake"
RUNS = frozenset({Phase.HEALTHY, Phase.COMPLETED})
GONE = frozenset({Phase.REMOVED})
_POLL_SECONDS = 0.25


@dataclass(frozen=True)
class SentRequest:
    """A submission or a withdrawal that was sent. goal: the phases that mean that it succeeded."""

    workload_id: uuid.UUID
    label: str
    event: WireEvent
    goal: frozenset[Phase]


@dataclass(frozen=True)
class Progress:
    """How far a request has come, in words. succeeded: None while that is open."""

    text: str
    succeeded: bool | None = None


def follow(store: Store, requests: Sequence[SentRequest], seconds: float) -> None:
    """Returns when every request succeeded; each step is a line on stderr.

    Raises CommandFailed with a line for each request that failed or did not settle in time, and Interrupted on Ctrl-C.
    """
    end = time.monotonic() + seconds
    known: dict[str, Progress] = {}
    try:
        while True:
            for request in requests:
                _update(store, request, known)
            pending = [request for request in requests if known[request.label].succeeded is None]
            if not pending or time.monotonic() >= end:
                break
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        raise Interrupted("stopped waiting; the workloads go on, and `sentinel get` shows how far they are") from None
    failed = [
        f"{request.label}: {known[request.label].text}"
        for request in requests
        if known[request.label].succeeded is False
    ]
    late = [
        f"{request.label}: still {known[request.label].text} after {seconds:g} s; it goes on" for request in pending
    ]
    if failed or late:
        raise CommandFailed("\n".join([*failed, *late]))


def _update(store: Store, request: SentRequest, known: dict[str, Progress]) -> None:
    before = known.get(request.label)
    if before is not None and before.succeeded is not None:
        return
    with store.begin() as work:
        now = _progress(work, request)
    known[request.label] = now
    if now != before and now.succeeded is not False:
        complain(f"{request.label}: {now.text}")


def _progress(work: UnitOfWork, request: SentRequest) -> Progress:
    source, event_id = request.event.attributes["source"], request.event.attributes["id"]
    answered = work.answer(INTAKE, source, event_id)
    if answered is None:
        letters = work.dead_letters.of_event(source, event_id)
        if letters:
            return Progress(f"not taken in: {letters[0].reason} (dead letter {letters[0].id})", succeeded=False)
        return Progress("on its way to intake")
    reply = answered.reply
    if reply is not None and reply.attributes["type"] == CATALOGUE.name_of(WorkloadRejected):
        rejected = WorkloadRejected.model_validate_json(reply.body)
        return Progress("rejected: " + "; ".join(f"{e.field}: {e.message}" for e in rejected.errors), succeeded=False)
    generation = PlanProposed.model_validate_json(reply.body).generation if reply is not None else None
    return _phase_progress(work, request, generation)


def _phase_progress(work: UnitOfWork, request: SentRequest, generation: int | None) -> Progress:
    workload = work.workloads.get(request.workload_id)
    if workload is None:
        raise CommandFailed(f"{request.label}: intake answered, and yet there is no such workload")
    if workload.withdrawn is not (request.goal is GONE) or (generation and workload.generation > generation):
        return Progress(f"overtaken by a later submission or withdrawal; now {workload.phase}", succeeded=False)
    if workload.phase not in SETTLED_PHASES:
        return Progress(workload.phase)
    text = f"{workload.phase}: {workload.reason}" if workload.reason else str(workload.phase)
    return Progress(text, succeeded=workload.phase in request.goal)
