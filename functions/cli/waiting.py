"""Waiting for what becomes of a wish.

A wish is known by its event, so an older state of the workload is never taken for the answer: first intake must have
answered this very event, and then the workload's own phase counts, through rollbacks, until it settles.
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
from shared.store import inbox
from shared.store.unit_of_work import Store, UnitOfWork

INTAKE = "workload-intake"
RUNS = frozenset({Phase.HEALTHY, Phase.COMPLETED})
GONE = frozenset({Phase.REMOVED})
_POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Wish:
    """A submission or a withdrawal that was sent, and the phases that mean that it came true."""

    workload_id: uuid.UUID
    label: str
    event: WireEvent
    goal: frozenset[Phase]


@dataclass(frozen=True)
class Progress:
    """How far a wish has come; `done` says whether it came true, None as long as that is open."""

    said: str
    done: bool | None = None


def follow(store: Store, wishes: Sequence[Wish], seconds: float) -> None:
    """Returns when every wish came true, telling each step on stderr.

    Raises CommandFailed, one line for each wish that did not or not in time, and Interrupted on Ctrl-C.
    """
    end = time.monotonic() + seconds
    known: dict[str, Progress] = {}
    try:
        while True:
            for wish in wishes:
                _update(store, wish, known)
            pending = [wish for wish in wishes if known[wish.label].done is None]
            if not pending or time.monotonic() >= end:
                break
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        raise Interrupted("stopped waiting; the workloads go on, and `sentinel get` shows how far they are") from None
    failed = [f"{wish.label}: {known[wish.label].said}" for wish in wishes if known[wish.label].done is False]
    late = [f"{wish.label}: still {known[wish.label].said} after {seconds:g} s; it goes on" for wish in pending]
    if failed or late:
        raise CommandFailed("\n".join([*failed, *late]))


def _update(store: Store, wish: Wish, known: dict[str, Progress]) -> None:
    before = known.get(wish.label)
    if before is not None and before.done is not None:
        return
    with store.begin() as work:
        now = _progress(work, wish)
    known[wish.label] = now
    if now != before and now.done is not False:
        complain(f"{wish.label}: {now.said}")


def _progress(work: UnitOfWork, wish: Wish) -> Progress:
    source, event_id = wish.event.attributes["source"], wish.event.attributes["id"]
    answered = inbox.answer(work.connection, INTAKE, source, event_id)
    if answered is None:
        letters = work.dead_letters.of_event(source, event_id)
        if letters:
            return Progress(f"not taken in: {letters[0].reason} (dead letter {letters[0].id})", done=False)
        return Progress("on its way to intake")
    said = answered.reply
    if said is not None and said.attributes["type"] == CATALOGUE.name_of(WorkloadRejected):
        rejected = WorkloadRejected.model_validate_json(said.body)
        return Progress("rejected: " + "; ".join(f"{e.field}: {e.message}" for e in rejected.errors), done=False)
    generation = PlanProposed.model_validate_json(said.body).generation if said is not None else None
    return _standing(work, wish, generation)


def _standing(work: UnitOfWork, wish: Wish, generation: int | None) -> Progress:
    workload = work.workloads.get(wish.workload_id)
    if workload is None:
        raise CommandFailed(f"{wish.label}: intake answered, and yet there is no such workload")
    if workload.withdrawn is not (wish.goal is GONE) or (generation and workload.generation > generation):
        return Progress(f"overtaken by a later wish; now {workload.phase}", done=False)
    if workload.phase not in SETTLED_PHASES:
        return Progress(workload.phase)
    told = f"{workload.phase}: {workload.reason}" if workload.reason else str(workload.phase)
    return Progress(told, done=workload.phase in wish.goal)
