"""The chain in one process: every function behind its real endpoint core, on PostgreSQL and a Kubernetes API.

Events travel as a broker and the relay would carry them: replies and outbox rows are delivered to whom the type is for,
409 and 503 are delivered again. Nothing happens by itself: the tick comes when a test says so, and time passes when a
test moves the timestamps that Sentinel recorded.
"""

import itertools
import random
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa

from events import CATALOGUE
from events.deployment import DeploymentApplied, DeploymentRemoved
from events.foreign import Tick
from events.plan import PlanApproved
from functions.health_verification.handler import perform
from shared.eventing import codec
from shared.eventing.event import WireEvent
from shared.eventing.processing import HttpAnswer
from shared.models.amounts import Amounts
from shared.models.deployment import Deployment
from shared.models.lifecycle import SETTLED_PHASES, Phase
from shared.models.plan import ActionPlan
from shared.models.stored import Workload
from shared.models.workload import workload_id
from shared.operations.apply import carry_out
from shared.operations.lease import LeaseRenewal
from shared.policy.documents import PolicyDocument
from shared.store import outbox
from shared.store.rows import AMOUNT_COLUMNS, amounts_from
from shared.store.tables import action_plans, audit_log, clusters, deployments, inbox, reservations, sweeps, usage
from shared.store.unit_of_work import Store
from tests.support.builders import SUBMITTED, WITHDRAWN, Deliver, Function, connection_of, request
from tests.support.cluster import Crash, Gate, Site
from tests.support.functions import ChainFunctions

APPLIED = CATALOGUE.name_of(DeploymentApplied)
REMOVED = CATALOGUE.name_of(DeploymentRemoved)
PLAN_APPROVED = CATALOGUE.name_of(PlanApproved)
TICK = CATALOGUE.name_of(Tick)
PATIENCE_SECONDS = 30.0

T = TypeVar("T")

_LEASES = LeaseRenewal(lambda _: True)
"""No execution notices that its lease has ended, which it does when a test says so."""

Message = tuple[Mapping[str, str], bytes]


@dataclass
class Chain:
    """Intake, policy, execution and verification. `told` is every event that any of them has told, in order."""

    store: Store
    site: Site
    told: list[WireEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._known: set[str] = set()
        self.deliver = Deliver(self.store)
        functions = ChainFunctions(partial(carry_out, self.site, _LEASES), partial(perform, self.site))
        self.execution, self.verification, self.routes = functions.execution, functions.verification, functions.routes

    # -- what tests do

    def submit(self, name: str = "web", **fields: Any) -> None:
        """Posts a workload and lets its events run dry."""
        self.run([self.submitted(name, **fields)])

    def submitted(self, name: str = "web", **fields: Any) -> Message:
        submission = {
            "name": name,
            "type": "inference",
            "image": "fate.test/ready",
            "team": "search",
            "namespace": self.site.namespace,
            "resources": {"cpu": "100m", "memory": "64Mi", "gpu": {"count": 1, "sku": "L4"}},
            "bake": "PT0S",
            **fields,
        }
        return request(SUBMITTED, submission, subject=None)

    def limit_gpus(self, most: int) -> None:
        """A policy: no team may hold more GPUs."""
        document = {"name": "gpus", "rules": [{"type": "quota", "scope": "team", "gpus": most}]}
        with self.store.begin() as work:
            work.policies.put(PolicyDocument.model_validate(document), "tests")

    def apply(self, name: str = "web", **fields: Any) -> HttpAnswer:
        """Posts a workload and stops at execution's answer: the deployment.applied that nobody has looked at."""
        return self.forward(self.until_approved(name, **fields))

    def forward(self, answer: HttpAnswer) -> HttpAnswer:
        """Delivers the event that an answer carries, and nothing that follows."""
        return self.send((answer.headers, answer.body))

    def follow(self, answer: HttpAnswer) -> None:
        """Delivers the event that an answer carries, and all that follows."""
        self.run([(answer.headers, answer.body)])

    @contextmanager
    def held_up(self, answer: HttpAnswer) -> Iterator[Gate]:
        """A delivery of that event has begun and hangs at the cluster, until the gate is opened or the block ends."""
        gate = Gate()
        self.site.gates.append(gate)
        with ThreadPoolExecutor(1) as thread:
            slow = thread.submit(self.forward, answer)
            try:
                assert gate.reached.wait(30)
                yield gate
            finally:
                gate.opened.set()
        slow.result()

    def withdraw(self, name: str = "web") -> None:
        self.run([self.withdrawn(name)])

    def withdrawn(self, name: str = "web", team: str = "search", **fields: Any) -> Message:
        withdrawal = {"name": name, "team": team, "namespace": self.site.namespace, **fields}
        return request(WITHDRAWN, withdrawal, subject=None)

    def until_approved(self, name: str = "web", **fields: Any) -> HttpAnswer:
        """Posts a workload and stops at policy's answer: the plan.approved that nobody has acted on."""
        return self.forward(self.send(self.submitted(name, **fields)))

    def until_removal_approved(self, name: str = "web") -> HttpAnswer:
        return self.forward(self.send(self.withdrawn(name)))

    def tick(self, run: bool = True, **how: Any) -> HttpAnswer:
        """One tick to verification, after what was looked at has become due; and what follows, if `run`."""
        self.pass_time(3, observed_at=True)
        message = request(TICK, {}, subject=None, **how)
        return self.run([message]) if run else self.send(message)

    def sweep(self) -> None:
        """A tick that begins a sweep of the cluster, and another that looks at what it found."""
        with self.store.begin() as work:
            connection_of(work).execute(sweeps.update().values(next_page_at=work.now, reading_until=None))
        self.tick()
        self.tick()

    def pass_time(self, seconds: float, **columns: bool) -> None:
        """Moves recorded moments of revisions back; all of them unless columns are named."""
        names = columns or ("applied_at", "deadline_at", "ready_since", "observed_at")
        past = sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)
        with self.store.begin() as work:
            connection_of(work).execute(
                deployments.update().values({name: deployments.c[name] - past for name in names})
            )

    def pass_plan_time(self, seconds: float) -> None:
        """Moves the moments back at which plans are due, leases lapse, holds expire and clusters are probed."""
        past = sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)
        with self.store.begin() as work:
            moved = {action_plans: ("next_attempt_at", "lease_until"), clusters: ("away_until",)}
            for table, names in {**moved, reservations: ("expires_at",)}.items():
                connection_of(work).execute(table.update().values({name: table.c[name] - past for name in names}))

    def settle(self, name: str = "web", *, team: str = "search") -> Workload:
        """Ticks until Sentinel has nothing left to do for a workload."""
        return self.until(lambda: self.workload(name, team=team), lambda w: w.phase in SETTLED_PHASES)

    def until(self, look: Callable[[], T], accept: Callable[[T], bool]) -> T:
        """Ticks until what `look` returns is acceptable; fails with the last thing seen."""

        def tick_and_look() -> T:
            self.pass_plan_time(1)
            self.tick()
            return look()

        first = look()
        return first if accept(first) else self.until_seen(tick_and_look, accept)

    def until_seen(self, look: Callable[[], T], accept: Callable[[T], bool]) -> T:
        """Waits without ticking: Sentinel sees nothing of what happens meanwhile.

        The longer it takes, the rarer the looks: what pods of the stand-in need seconds for is not looked at for ever.
        """
        end, pause = time.monotonic() + PATIENCE_SECONDS, 0.02
        while not accept(seen := look()):
            assert time.monotonic() < end, f"still {seen!r}"
            time.sleep(pause)
            pause = min(1.5 * pause, 0.25)
        return seen

    def workload_is(self, phase: Phase, name: str = "web") -> Workload:
        return self.until(lambda: self.workload(name), lambda w: w.phase is phase)

    # -- how events travel

    def send(self, message: Message, function: Function | None = None) -> HttpAnswer:
        """Delivers one message; its reply and the outbox stay where they are.

        A tick or notice has no reply: the first event that it put into the outbox is returned in place of one.
        """
        headers, body = message
        target = function or self.routes[headers["ce-type"]]
        answer = self.deliver.raw(target, {**headers, "prefer": "reply"}, body)
        if CATALOGUE[headers["ce-type"]].repeated and (published := self._published(1)):
            headers, body = codec.encode(published[0])
            answer = HttpAnswer(200, headers, body, answer.outcome)
        if answer.status == 200 and answer.headers["ce-id"] not in self._known:
            self._known.add(answer.headers["ce-id"])
            event = codec.decode(answer.headers, answer.body)
            self.told.append(WireEvent(event.attributes, event.body))
        return answer

    def run(self, messages: list[Message], shuffle: random.Random | None = None, copies: int = 1) -> HttpAnswer:
        """Delivers messages and all that follows from them, and returns the first answer.

        With `shuffle` in random order, and each event `copies` times.
        """
        queue = deque(messages * copies)
        first: HttpAnswer | None = None
        for _ in itertools.repeat(None, max(20_000, 200 * len(messages))):
            if not queue:
                queue.extend(self.relayed() * copies)
                if not queue:
                    break
            if shuffle is not None:
                queue.rotate(shuffle.randrange(len(queue)))
            message = queue.popleft()
            known = len(self._known)
            try:
                answer = self.send(message)
            except Crash:
                queue.append(message)
                self.pass_plan_time(60)
                continue
            first = first or answer
            if answer.status in (409, 503):
                queue.append(message)
            elif answer.status == 200 and answer.headers["ce-type"] in self.routes and len(self._known) > known:
                queue.extend([(answer.headers, answer.body)] * copies)
        else:
            raise AssertionError("the events go round in circles")
        assert first is not None
        return first

    def relayed(self) -> list[Message]:
        """What waits in the outbox for somebody in this chain, as the relay would publish it."""
        pending = self._published(10_000)
        self.told += pending
        return [codec.encode(event) for event in pending if event.attributes["type"] in self.routes]

    def _published(self, limit: int) -> list[WireEvent]:
        with self.store.begin() as work:
            pending = outbox.lock_pending(connection_of(work), limit)
            outbox.mark_published(connection_of(work), [one.id for one in pending])
        return [one.event for one in pending]

    # -- what tests look at

    def id(self, name: str = "web", team: str = "search") -> uuid.UUID:
        return workload_id(team, self.site.namespace, name)

    def workload(self, name: str = "web", *, team: str = "search") -> Workload:
        with self.store.begin() as work:
            found = work.workloads.get(self.id(name, team))
        assert found is not None
        return found

    def plan(self, name: str = "web") -> ActionPlan:
        """The newest plan of a workload."""
        newest = self.workload(name).plan_id
        with self.store.begin() as work:
            found = work.plans.get(newest)
        assert found is not None
        return found

    def revisions(self, name: str = "web") -> list[Deployment]:
        with self.store.begin() as work:
            return work.deployments.of_workload(self.id(name))

    def reserved(self, name: str = "web") -> dict[str, Amounts]:
        """The workload's lines in the ledger; every test's lines add up to the usage that policy counts."""
        with self.store.begin() as work:
            held = work.ledger.reserved(self.id(name), "local")
            sums = [
                sa.func.coalesce(sa.func.sum(table.c[c]), 0) for table in (reservations, usage) for c in AMOUNT_COLUMNS
            ]
            lines = connection_of(work).execute(sa.select(*sums[: len(AMOUNT_COLUMNS)])).one()
            counted = connection_of(work).execute(sa.select(*sums[len(AMOUNT_COLUMNS) :])).one()
        assert tuple(lines) == tuple(counted)
        return held

    def gpus(self, name: str = "web") -> int:
        return sum(amounts.gpus for amounts in self.reserved(name).values())

    def usage(self) -> Amounts:
        """What all teams hold together."""
        sums = [sa.func.coalesce(sa.func.sum(usage.c[name]), 0).label(name) for name in AMOUNT_COLUMNS]
        with self.store.begin() as work:
            return amounts_from(connection_of(work).execute(sa.select(*sums)).mappings().one())

    def told_types(self, name: str | None = None) -> list[str]:
        """The last two words of every event told, of one workload or of all: "plan.approved" """
        subject = None if name is None else str(self.id(name))
        types = [e.attributes["type"] for e in self.told if subject in (None, e.attributes["subject"])]
        return [".".join(type_name.split(".")[2:4]) for type_name in types]

    def actions(self, name: str = "web") -> list[str]:
        """The audited actions on a workload, in order."""
        statement = sa.select(audit_log.c.action).where(audit_log.c.subject == str(self.id(name)))
        with self.store.begin() as work:
            return list(connection_of(work).execute(statement.order_by(audit_log.c.sequence)).scalars())

    def attempts(self, message: Message, consumer: str) -> int:
        """How often an event was tried."""
        with self.store.begin() as work:
            statement = sa.select(inbox.c.attempts).where(
                inbox.c.consumer == consumer, inbox.c.event_id == message[0]["ce-id"]
            )
            return int(connection_of(work).execute(statement).scalar_one())
