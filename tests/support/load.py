"""One of several processes that drive random workloads through intake, policy, execution and verification at once.

Everything is real but the cluster: what it does is drawn by lot, from the seed. A process remembers in a file which
step it is at; when it is killed, its successor does that step again, as a broker that got no answer would.
"""

import gc
import hashlib
import json
import logging
import random
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from shared.eventing import codec
from shared.eventing.processing import HttpAnswer
from shared.models.amounts import NOTHING
from shared.models.deployment import Deployment
from shared.models.lifecycle import RevisionStatus
from shared.models.stored import Workload
from shared.operations.apply import ClusterTask, TaskDone, TaskOutcome, TaskPostponed, TaskRefused
from shared.operations.observe import ObservationTask, Observed
from shared.rollout import occupancy
from shared.rollout.manifests import surge_replicas
from shared.rollout.observation import Observation
from shared.rollout.planning import scales
from shared.store import outbox
from shared.store.database import connect
from shared.store.unit_of_work import Store
from tests.support.builders import (
    APPROVED,
    POLICY,
    PROPOSED,
    SUBMITTED,
    WITHDRAWN,
    Deliver,
    Function,
    connection_of,
    id_of,
    request,
    withdrawal,
)
from tests.support.crashes import Crash, Crashes, Fate
from tests.support.functions import ChainFunctions

TEAMS = ("alpha", "beta", "gamma", "delta", "epsilon")
REGIONS = ("east", "west")
CAPPED = "north"
"""A region with few L4s and nothing else, to which only workloads go that queue."""
SKUS = ("H100", "L4", "L4", "", None)
"""None asks for no GPU, and "" for any."""

ALIKE = {"cpu": "4", "memory": "8Gi", "gpu": {"count": 1, "sku": "L4"}}
"""What every replica of the teams delta and epsilon asks for, so that their sums come in whole steps."""

_OWN, _SHARED = 6, 4
_TYPES = ("inference", "inference", "service", "training")
_DEFAULT_TRIES, _CRASHING_TRIES = 9, 2
_TICK = "dev.knative.sources.ping"
_STATEMENTS_OF_A_DELIVERY = 32

Message = tuple[dict[str, str], bytes]


@dataclass(frozen=True)
class Load:
    """What the processes do. steps: of each. crashes: how likely a delivery is cut off."""

    url: str
    directory: Path
    processes: int
    seed: int
    steps: int
    crashes: float

    def progress(self, number: int) -> Path:
        """The step that a process is at."""
        return self.directory / f"step-{number}"

    def delivery(self, number: int) -> Path:
        """The event that a process delivers right now, or delivered last."""
        return self.directory / f"delivery-{number}"

    def answers(self, number: int) -> Path:
        """What a process was answered, a line each: the function, the event's source and id, the answer's digest."""
        return self.directory / f"answers-{number}"

    def races(self, number: int) -> Path:
        """The events that a process handled while another did, and was too late with, a line each."""
        return self.directory / f"races-{number}"

    def findings(self, number: int) -> Path:
        """What a process found wrong, a line each."""
        return self.directory / f"findings-{number}"


def run(load: Load, number: int, again: int) -> None:
    """One process, from the step it was killed at; `again`: how often it was."""
    gc.disable()
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)  # it regrets every connection that was killed
    engine = connect(load.url, pool_size=2)
    process = _Process(load, number, Store(engine), Crashes(engine, load.url))
    progress = load.progress(number)
    first = int(progress.read_text()) if progress.exists() else 0
    for step in range(first, load.steps):
        progress.write_text(str(step))
        process.step(step, again if step == first else 0)
    progress.write_text(str(load.steps))
    engine.dispose()


class _Process:
    def __init__(self, load: Load, number: int, store: Store, crashes: Crashes) -> None:
        self._load, self._number, self._store, self._crashes = load, number, store, crashes
        self._deliver = Deliver(store)
        self._luck = self._fate = random.Random()
        self._joined = False
        self._own = [f"p{number}-{n}" for n in range(_OWN)]
        self._shared = [f"shared-{n}" for n in range(_SHARED)]
        self._ids = [id_of(name, self._shape(name)[0]) for name in (*self._own, *self._shared)]
        # Verification is told of each revision by its events; the tick here is for the queue alone.
        self._routes = {**ChainFunctions(self._perform, self._observe).routes, _TICK: POLICY}

    def step(self, step: int, again: int) -> None:
        """One submission, or one cue, and what follows from it."""
        key = f"{self._load.seed}/{self._number}/{step}"
        self._luck, self._fate = random.Random(key), random.Random(f"{key}/{again}")
        name, submission = self._workload()
        event: dict[str, Any] = {"event_id": f"{self._number}-{step}", "subject": None}
        match self._luck.choices(("submit", "withdraw", "scale", "join", "cue"), (52, 8, 30, 5, 5))[0]:
            case "submit":
                submission["replicas"] = self._luck.choice((1, 1, 2, 2, 3, 4, 6))
                submission["image"] = f"nginx:1.{self._luck.randrange(3)}"
                self._follow(request(SUBMITTED, submission, **event))
            case "withdraw":
                self._follow(request(WITHDRAWN, withdrawal(name, submission["team"]), **event))
            case "scale":
                self._scale(event)
            case "join":
                self._join()
            case _:
                self._follow(request(_TICK, {}, **event))
                self._relay()

    def _workload(self) -> tuple[str, dict[str, Any]]:
        """A workload of this process, or one that all share. What it asks for follows from its name."""
        name = self._luck.choice(self._own if self._luck.random() < 0.8 else self._shared)
        team, shape = self._shape(name)
        submission = {
            "name": name,
            "namespace": "search",
            "team": team,
            "resources": ALIKE if team in ("delta", "epsilon") else _resources(shape),
            "type": shape.choice(_TYPES),
            "clusters": {"matchLabels": {"region": shape.choice(REGIONS)}},
            "queue": shape.random() < 0.5,
            "priority": shape.randrange(3),
            "bake": "PT0S",
            "deadline": "PT0.000001S",
        }
        if shape.random() < 0.25:
            submission |= {"clusters": {"matchLabels": {"region": CAPPED}}, "queue": True}
        return name, submission

    def _shape(self, name: str) -> tuple[str, random.Random]:
        """The team of a workload, and what the rest of it is drawn from."""
        shape = random.Random(f"{self._load.seed}/{name}")
        return shape.choice(TEAMS), shape

    def _scale(self, event: dict[str, Any]) -> None:
        """A plan of a decision service, for any workload that it may scale."""
        with self._store.read() as work:
            known = work.workloads.get_many(self._ids)
            live = work.deployments.live_of(self._ids)
        runs = {one: [revision for revision in live if revision.workload_id == one] for one in self._ids}
        if not (scalable := [known[one] for one in self._ids if runs[one] and _may_scale(known[one], runs[one])]):
            return
        workload = self._luck.choice(scalable)
        decision = {"verb": "scale", "cluster": workload.cluster, "replicas": self._luck.randrange(5)}
        plan = uuid.uuid5(workload.id, event["event_id"])
        data = {"plan": str(plan), "workload": str(workload.id), "generation": workload.generation}
        self._follow(request(PROPOSED, {**data, "decisions": [decision]}, **{**event, "subject": str(workload.id)}))

    def _join(self) -> None:
        """Delivers the event that another process delivers right now; what follows from it is left to that one."""
        other = self._luck.choice([n for n in range(self._load.processes) if n != self._number])
        if (delivery := self._load.delivery(other)).exists():
            headers, body = json.loads(delivery.read_text())
            self._joined = True
            self._send(headers, body.encode())
            self._joined = False

    def _relay(self) -> None:
        """Some of what waits in the outbox; what a crash loses here, the next tick finds."""
        with self._store.begin() as work:
            pending = outbox.lock_pending(connection_of(work), 30)
            outbox.mark_published(connection_of(work), [one.id for one in pending])
        for one in pending:
            if one.event.attributes["type"] in POLICY.accepts:
                headers, body = codec.encode(one.event)
                self._follow((dict(headers), body))

    def _follow(self, message: Message) -> None:
        """Delivers an event and what is answered to it, until there is nothing left or chance says so."""
        waiting = deque([message])
        while waiting:
            headers, body = waiting.popleft()
            if headers["ce-type"] == APPROVED and not self._goes_on(body):
                continue
            answer = self._send({**headers, "prefer": "reply"}, body)
            if answer is not None and answer.headers.get("ce-type") in self._routes:
                waiting.append((dict(answer.headers), answer.body))

    def _goes_on(self, approval: bytes) -> bool:
        """Some approvals are never executed, and some only after their hold has expired."""
        chance = self._luck.random()
        if 0.3 < chance < 0.45:
            plan = json.loads(approval)["plan"]
            self._pass_time("UPDATE reservations SET expires_at = now() WHERE plan_id = :id AND state = 'held'", plan)
        return chance > 0.3

    def _send(self, headers: dict[str, str], body: bytes) -> HttpAnswer | None:
        """The answer, after as many deliveries as it takes; some are cut off, some are repeated."""
        function = self._routes[headers["ce-type"]]
        _replace(self._load.delivery(self._number), json.dumps([headers, body.decode()]))
        for attempt in range(_DEFAULT_TRIES):
            if attempt < _CRASHING_TRIES and self._fate.random() < self._load.crashes:
                self._crashes.arm(self._fate.choice(list(Fate)), self._fate.randrange(_STATEMENTS_OF_A_DELIVERY) + 1)
            try:
                answer = self._deliver.raw(function, headers, body)
            except Crash:
                continue
            finally:
                self._crashes.disarm()
            if answer.status < 300:
                self._answered(function, headers, answer)
                return self._again(function, headers, body, answer) if self._fate.random() < 0.05 else answer
            if "handled meanwhile" in answer.outcome:
                _append(self._load.races(self._number), headers["ce-id"])
            if "40P01" in answer.outcome or answer.status not in (409, 422, 503):
                self._found(answer.outcome)
            if answer.status == 422:  # a plan of a decision service that came too late
                return None
            self._pass_time(  # an event about the queue has no workload's id as its subject
                "UPDATE action_plans SET lease_until = now() WHERE lease_until > now() AND workload_id::text = :id",
                headers.get("ce-partitionkey") or headers.get("ce-subject"),
            )
        self._found(f"no answer to {headers['ce-type']} in {_DEFAULT_TRIES} deliveries: {answer.outcome}")
        return None

    def _answered(self, function: Function, headers: dict[str, str], answer: HttpAnswer) -> None:
        if headers["ce-type"] == _TICK:  # the inbox keeps no row of it
            return
        told = (function.name, headers["ce-source"], headers["ce-id"], hashlib.sha256(answer.body).hexdigest())
        _append(self._load.answers(self._number), " ".join(told))

    def _again(self, function: Function, headers: dict[str, str], body: bytes, first: HttpAnswer) -> HttpAnswer:
        second = self._deliver.raw(function, headers, body)
        if (second.status, second.body) != (first.status, first.body):
            self._found(f"another answer to the same event: {second.body!r} after {first.body!r}")
        return first

    def _perform(self, task: ClusterTask) -> TaskOutcome:
        chance = self._luck.random()
        if task.apply is None or chance < 0.9:
            return TaskDone(f"uid-{task.apply.revision}" if task.apply else None)
        return (
            TaskRefused("Invalid", "the cluster will not have it")
            if chance < 0.96
            else TaskPostponed("the cluster is away")
        )

    def _observe(self, task: ObservationTask) -> Observed:
        return Observed({deployment.id: self._seen(deployment) for deployment in task.revisions})

    def _seen(self, deployment: Deployment) -> Observation:
        if deployment.status is RevisionStatus.REMOVING:
            return Observation(None)
        good = self._luck.random() < 0.7 or self._rolls_back_to_more(deployment)
        if deployment.reference.kind == "Job":
            status: dict[str, Any] = {
                "conditions": [{"type": "Complete" if good else "Failed", "status": "True", "reason": "Drawn"}]
            }
        else:
            n = deployment.manifest["spec"]["replicas"]
            counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
            status = dict.fromkeys(counts, n) if good else {"replicas": n}
        return Observation({**deployment.manifest, "status": status})

    def _rolls_back_to_more(self, deployment: Deployment) -> bool:
        """Whether a rollback would take more than the workload holds: never denied, it would exceed limits by design.

        Of what several processes work on nobody can tell, and so that is never rolled back.
        """
        with self._store.read() as work:
            workload = work.workloads.get(deployment.workload_id)
            target = work.deployments.last_good(deployment.workload_id, deployment.revision)
            held = work.ledger.reserved(deployment.workload_id, deployment.cluster)
            live = work.deployments.live(deployment.workload_id)
        if workload is None or deployment.reference.kind == "Job" or target is None:
            return False
        standing = occupancy.occupied_by(live).get(target.sku, NOTHING)
        surge = target.amounts.per_replica().times(surge_replicas(target.reference.kind))
        needed = standing.largest(target.amounts) + surge
        return self._joined or _is_shared(workload) or not needed.within(held.get(target.sku, NOTHING))

    def _pass_time(self, statement: str, key: str | None) -> None:
        with self._store.begin() as work:
            connection_of(work).execute(sa.text(statement), {"id": key})

    def _found(self, text: str) -> None:
        _append(self._load.findings(self._number), f"process {self._number}: {text}")


def _resources(shape: random.Random) -> dict[str, Any]:
    sku = shape.choice(SKUS)
    gpu = {} if sku is None else {"gpu": {"count": shape.choice((1, 1, 2)), **({"sku": sku} if sku else {})}}
    return {"cpu": f"{shape.randrange(1, 9) * 500}m", "memory": f"{shape.randrange(1, 9)}Gi", **gpu}


def _may_scale(workload: Workload, live: Sequence[Deployment]) -> bool:
    return not workload.withdrawn and scales(workload.spec, live)


def _is_shared(workload: Workload) -> bool:
    return workload.spec.name.startswith("shared-")


def _append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(f"{line}\n")


def _replace(path: Path, text: str) -> None:
    """So that who reads it meanwhile finds the old text or the new one."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)
