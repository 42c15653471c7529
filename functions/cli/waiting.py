"""Waiting for what becomes of a submission or a withdrawal.

The server answered with the generation that it made, so a later submission is never taken for this one. Then the
workload's phase counts, through rollbacks, until it settles.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from functions.cli.client import Client
from functions.cli.errors import CommandFailed, Interrupted, complain
from shared.models.lifecycle import SETTLED_PHASES, Phase

RUNS = frozenset({Phase.HEALTHY, Phase.COMPLETED})
GONE = frozenset({Phase.REMOVED})
_POLL_SECONDS = 0.25


class AcceptedRequest(NamedTuple):
    """A submission or a withdrawal that the server took. goal: the phases that mean that it succeeded."""

    workload_id: str
    label: str
    generation: int
    plan: str
    goal: frozenset[Phase]


class Progress(NamedTuple):
    """How far a request has come, in words. succeeded: None while that is open."""

    text: str
    succeeded: bool | None = None


def follow(client: Client, requests: Sequence[AcceptedRequest], seconds: float) -> None:
    """Returns when every request succeeded; each step is a line on stderr.

    Raises CommandFailed with a line for each request that failed or did not settle in time, and Interrupted on Ctrl-C.
    """
    end = time.monotonic() + seconds
    known: dict[str, Progress] = {}
    try:
        while True:
            for request in requests:
                _update(client, request, known)
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


def _update(client: Client, request: AcceptedRequest, known: dict[str, Progress]) -> None:
    before = known.get(request.label)
    if before is not None and before.succeeded is not None:
        return
    now = _progress(client, request)
    known[request.label] = now
    if now != before and now.succeeded is not False:
        complain(f"{request.label}: {now.text}")


def _progress(client: Client, request: AcceptedRequest) -> Progress:
    workload = client.get(f"/workloads/{request.workload_id}").document
    phase = workload["phase"]
    if workload["withdrawn"] is not (request.goal is GONE) or workload["generation"] > request.generation:
        return Progress(f"overtaken by a later submission or withdrawal; now {phase}", succeeded=False)
    if phase not in SETTLED_PHASES:
        return Progress(phase)
    text = f"{phase}: {workload['reason']}" if workload["reason"] else phase
    return Progress(text, succeeded=phase in request.goal)
