"""Random histories of many workloads on two clusters, with faults: drawn from a seed, run on a testbed, made smaller.

A history is a list of steps, and every step can be left out. What must be true at the end follows from what was
acknowledged while it ran, so it needs no model of Sentinel.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.errors import StoreUnavailable
from shared.models.lifecycle import Phase
from shared.models.stored import Workload
from shared.models.workload import workload_id
from shared.policy.documents import PolicyDocument
from tests.faults.proxies import COMMITS, WRITES, AnswerWith, Cut, Fault, Hang, LoseAnswer, Refuse, Slow
from tests.faults.testbed import CLUSTERS, UNAVAILABLE, Testbed

WORKLOADS = 10
CAPPED = "capped"
QUOTA = PolicyDocument.model_validate(
    {
        "name": "replicas",
        "selector": {"teams": [CAPPED]},
        "rules": [{"type": "quota", "scope": "team", "replicas": 6}],
    }
)
"""What no commit may exceed."""

EVERYWHERE: tuple[Fault, ...] = (Refuse(), Hang(), Cut(300), Slow(0.2))
HTTP: tuple[Fault, ...] = (
    LoseAnswer(WRITES),
    AnswerWith("429 Too Many Requests", ("Retry-After: 1",)),
    AnswerWith("500 Internal Server Error"),
)
FAULTS: dict[str, tuple[Fault, ...]] = {
    "kubernetes-local": EVERYWHERE + HTTP,
    "kubernetes-far": EVERYWHERE + HTTP,
    "functions": EVERYWHERE + HTTP,
    "ingress": EVERYWHERE + HTTP,
    "postgres": (*EVERYWHERE, LoseAnswer(COMMITS)),
}
KILLED = (
    "workload-intake",
    "policy-evaluation",
    "deployment-execution",
    "health-verification",
    "event-relay",
    "dead-letter",
    "postgres",
    "local",
    "everything",
)
STOPPED = ("workload-intake", "deployment-execution", "postgres", "broker", "far")


@dataclass(frozen=True)
class Submit:
    """good: whether its pods become ready."""

    workload: int
    replicas: int
    good: bool


@dataclass(frozen=True)
class Withdraw:
    workload: int


@dataclass(frozen=True)
class ChangePolicy:
    replicas: int


@dataclass(frozen=True)
class Fail:
    link: str
    fault: Fault


@dataclass(frozen=True)
class Mend:
    pass


@dataclass(frozen=True)
class Kill:
    process: str


@dataclass(frozen=True)
class Stop:
    process: str
    seconds: float


@dataclass(frozen=True)
class Wait:
    seconds: float


Step = Submit | Withdraw | ChangePolicy | Fail | Mend | Kill | Stop | Wait
History = Sequence[Step]


def draw(seed: int, length: int) -> History:
    """The history of a seed; it ends without a fault."""
    chance = random.Random(seed)
    kinds = {"submit": 10, "withdraw": 3, "policy": 1, "fail": 4, "mend": 3, "kill": 2, "stop": 1, "wait": 3}

    def step() -> Step:
        match chance.choices(list(kinds), list(kinds.values()))[0]:
            case "submit":
                return Submit(chance.randrange(WORKLOADS), chance.randint(1, 4), chance.random() < 0.85)
            case "withdraw":
                return Withdraw(chance.randrange(WORKLOADS))
            case "policy":
                return ChangePolicy(chance.randint(1000, 2000))
            case "fail":
                link = chance.choice(list(FAULTS))
                return Fail(link, chance.choice(FAULTS[link]))
            case "mend":
                return Mend()
            case "kill":
                return Kill(chance.choice(KILLED))
            case "stop":
                return Stop(chance.choice(STOPPED), round(chance.uniform(0.2, 2.0), 1))
            case _:
                return Wait(round(chance.uniform(0.2, 2.0), 1))

    return [*(step() for _ in range(length)), Mend()]


@dataclass
class _Acknowledged:
    """The last thing that was acknowledged for a workload."""

    generation: int = 0
    submission: Submit | None = None
    withdrawn: bool = False


@dataclass
class Run:
    """One history on a testbed. prefix: of its workloads' names, which no other run has."""

    testbed: Testbed
    prefix: str
    acknowledged: dict[int, _Acknowledged] = field(default_factory=dict)

    def run(self, history: History) -> float:
        """Runs it; the seconds until everything had converged. Raises AssertionError with what is wrong.

        At the end everything is withdrawn, so that the next history has the quota to itself.
        """
        try:
            for step in history:
                self._take(step)
                self._check_the_books()
        finally:
            self.testbed.mend()
        taken = self.testbed.converged(self.wrong)
        for number in self.acknowledged:
            self._withdraw(number)
        self.testbed.converged(self.wrong)
        return taken

    def wrong(self) -> list[str]:
        """What differs from what was acknowledged."""
        objects = self.testbed.objects()
        found = [problem for number in self.acknowledged for problem in self._wrong(number, objects)]
        known = {self._name(number) for number in self.acknowledged}
        return found + [f"{n} is on a cluster" for n in objects if n.startswith(self.prefix) and n not in known]

    def _take(self, step: Step) -> None:
        match step:
            case Submit():
                self._submit(step)
            case Withdraw(number):
                self._withdraw(number)
            case ChangePolicy(replicas):
                _ignoring_outages(lambda: self.testbed.put(_generous(replicas)))
            case Fail(link, fault):
                self.testbed.fail(link, fault)
            case Mend():
                self.testbed.mend()
            case Kill(process):
                self.testbed.kill(process)
            case Stop(process, seconds):
                with self.testbed.stopped(process):
                    time.sleep(seconds)
            case Wait(seconds):
                time.sleep(seconds)

    def _submit(self, step: Submit) -> None:
        """An edit carries its generation, for Triggers keep no order."""
        known = self.acknowledged.setdefault(step.workload, _Acknowledged())
        known.generation += 1
        image = "fate.test/ready" if step.good else "fate.test/crash"
        self.testbed.submit(
            self._name(step.workload),
            self._cluster(step.workload),
            team=_team(step.workload),
            image=f"{image}:{known.generation}",
            replicas=step.replicas,
            generation=known.generation,
            deadline="PT60S" if step.good else "PT10S",
        )
        known.submission, known.withdrawn = step, False

    def _withdraw(self, number: int) -> None:
        """Says which generation it means, and so may overtake the submission."""
        known = self.acknowledged.get(number)
        if known is None or known.withdrawn:
            return
        self.testbed.withdraw(self._name(number), _team(number), generation=known.generation)
        known.withdrawn = True

    def _row(self, number: int) -> Workload | None:
        try:
            return self.testbed.read(
                lambda work: work.workloads.get(workload_id(_team(number), "flows", self._name(number)))
            )
        except UNAVAILABLE:
            return None

    def _check_the_books(self) -> None:
        try:
            found = self.testbed.broken()
        except UNAVAILABLE:
            return
        assert not found, found

    def _wrong(self, number: int, objects: dict[str, list[tuple[str, dict[str, Any]]]]) -> list[str]:
        known, name, row = self.acknowledged[number], self._name(number), self._row(number)
        live = objects.get(name, [])
        places = [cluster for cluster, _ in live]
        if known.submission is None:
            return []
        if row is None:
            return (
                [] if known.withdrawn and not live else [f"{name} was acknowledged, is not known, and is on {places}"]
            )
        if known.withdrawn:
            gone = row.phase is Phase.REMOVED and not live
            return [] if gone else [f"{name} was withdrawn, is {row.phase}, and is on {places}"]
        if row.generation < known.generation:
            return [f"{name} is of generation {row.generation}; {known.generation} was acknowledged"]
        if len(live) > 1 or (live and places != [self._cluster(number)]):
            return [f"{name} is on {places}"]
        if row.phase is Phase.DENIED and _team(number) == CAPPED:
            return []
        if not known.submission.good:
            ended = row.phase in (Phase.ROLLED_BACK, Phase.FAILED)
            return [] if ended else [f"{name}, which crashes, is {row.phase}"]
        seen = [_shown(each) for _, each in live]
        expected = (known.submission.replicas, f"fate.test/ready:{known.generation}")
        if row.phase is Phase.HEALTHY and seen == [expected]:
            return []
        return [f"{name} is {row.phase} as {seen}, not {expected}: {row.reason}"]

    def _name(self, number: int) -> str:
        return f"{self.prefix}-{number}"

    @staticmethod
    def _cluster(number: int) -> str:
        return CLUSTERS[number % 2]


def shrunk(history: History, fails: Callable[[History], bool], tries: int) -> History:
    """A shorter history that fails too: parts are left out, ever smaller ones, in at most so many tries."""
    part = max(1, len(history) // 2)
    kept = list(history)
    while tries > 0:
        for start in range(0, len(kept), part):
            if tries == 0:
                break
            tries -= 1
            shorter = kept[:start] + kept[start + part :]
            if shorter and fails(shorter):
                kept = shorter
                break
        else:
            if part == 1:
                break
            part = max(1, part // 2)
    return kept


def _shown(deployment: dict[str, Any]) -> tuple[int, str]:
    """(replicas, image) of an object."""
    spec = deployment["spec"]
    return spec["replicas"], spec["template"]["spec"]["containers"][0]["image"]


def _team(number: int) -> str:
    return CAPPED if number % 3 == 0 else "free"


def _generous(replicas: int) -> PolicyDocument:
    rule = {"type": "quota", "scope": "team", "replicas": replicas}
    return PolicyDocument.model_validate({"name": "generous", "selector": {"teams": ["free"]}, "rules": [rule]})


def _ignoring_outages(act: Callable[[], object]) -> None:
    try:
        act()
    except (*UNAVAILABLE, StoreUnavailable):
        return
