"""The queue on one quota: nobody waits for ever, and nothing idles that fits.

A simulation: plans of random sizes come, end, and are let in by the rule of shared.policy.queue in the way that the
deciding function does it. The quota is a quota rule, evaluated.
"""

import uuid
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random

import pytest

from shared.policy.decision import PlanView
from shared.policy.facts import Facts
from shared.policy.queue import MAX_OVERTAKES, Place, ahead, blocker
from shared.policy.vocabulary import ScopeKind
from tests.shared.policy.builders import NOW, amounts, decide, stored, usage, view

GPUS = 16
QUOTA = stored("team-gpus", {"type": "quota", "gpus": GPUS})
SCOPE = frozenset({"team/search"})


@dataclass
class Quota:
    """One team's quota, what runs in it, and who waits for it."""

    running: dict[uuid.UUID, int] = field(default_factory=dict)
    waiting: dict[uuid.UUID, tuple[Place, int]] = field(default_factory=dict)
    overtaken: dict[uuid.UUID, int] = field(default_factory=dict)
    clock: int = 0

    @property
    def held(self) -> int:
        return sum(self.running.values())

    def arrive(self, gpus: int, priority: int = 0) -> uuid.UUID:
        self.clock += 1
        plan_id = uuid.UUID(int=self.clock)
        place = Place(plan_id, priority, NOW + timedelta(seconds=self.clock), 0, SCOPE)
        if not self._let_in(place, gpus):
            self.waiting[plan_id] = (place, gpus)
        return plan_id

    def end(self, plan_id: uuid.UUID) -> None:
        """Releases what a plan holds, and lets in, in the order of the queue, what may go in."""
        del self.running[plan_id]
        for place, gpus in sorted(self.waiting.values(), key=lambda waits: waits[0].order):
            if place.plan_id in self.waiting and self._let_in(self.waiting[place.plan_id][0], gpus):
                self.waiting.pop(place.plan_id)

    def fits(self, gpus: int) -> bool:
        plan: PlanView = view(lines={"L4": amounts(gpus)})
        facts = Facts({plan.counting(ScopeKind.TEAM): usage(self.held)})
        decision = decide(plan, [QUOTA], facts)
        assert decision.approved or decision.waits
        return decision.approved

    def _let_in(self, mine: Place, gpus: int) -> bool:
        if not self.fits(gpus):
            return False
        earlier = ahead([place for place, _ in self.waiting.values()], mine, SCOPE)
        if blocker(earlier) is not None:
            return False
        for place in earlier:
            again = replace(place, overtaken=place.overtaken + 1)
            self.waiting[place.plan_id] = (again, self.waiting[place.plan_id][1])
            self.overtaken[place.plan_id] = again.overtaken
        self.running[mine.plan_id] = gpus
        assert self.held <= GPUS
        return True


def assert_nothing_idles(quota: Quota) -> None:
    """A waiting plan that fits has somebody starved ahead of it."""
    places = [place for place, _ in quota.waiting.values()]
    for place, gpus in quota.waiting.values():
        assert not quota.fits(gpus) or blocker(ahead(places, place, SCOPE)) is not None


@pytest.mark.parametrize("seed", range(20))
def test_nobody_is_overtaken_too_often_and_nothing_idles_that_fits(seed: int) -> None:
    random = Random(seed)
    quota = Quota()
    for _ in range(150):
        if quota.running and random.random() < 0.5:
            quota.end(random.choice(sorted(quota.running)))
        else:
            quota.arrive(random.choice([1, 1, 1, 2, 4, 8, 16]), random.choice([0, 0, 0, 5]))
        assert_nothing_idles(quota)
        assert all(times <= MAX_OVERTAKES for times in quota.overtaken.values())
    while quota.running:
        quota.end(random.choice(sorted(quota.running)))
    assert not quota.waiting


def test_a_plan_as_large_as_the_quota_goes_in_under_a_stream_of_small_ones() -> None:
    quota = Quota()
    small = [quota.arrive(1) for _ in range(GPUS)]
    large = quota.arrive(GPUS)
    for _ in range(GPUS + MAX_OVERTAKES):  # each ends, and one more comes that would fit
        quota.end(small.pop(0))
        if large in quota.running:
            break
        small.append(quota.arrive(1))
    assert quota.running == {large: GPUS}
    assert quota.overtaken[large] == MAX_OVERTAKES


def test_small_plans_go_past_a_large_one_while_they_fit() -> None:
    quota = Quota()
    quota.arrive(10)
    large = quota.arrive(8)
    small = [quota.arrive(1) for _ in range(6)]
    assert set(quota.waiting) == {large}
    assert set(small) < set(quota.running)
    assert quota.overtaken[large] == 6


def place(number: int, priority: int = 0, overtaken: int = 0, waits_for: str = "team/search") -> Place:
    return Place(uuid.UUID(int=number), priority, NOW + timedelta(seconds=number), overtaken, frozenset({waits_for}))


def test_the_order_is_priority_then_time_then_id() -> None:
    places = [place(3, 5), place(1), replace(place(2), queued_at=place(9).queued_at), place(9)]
    assert sorted([places[n] for n in (2, 0, 3, 1)], key=lambda p: p.order) == places


def test_only_those_that_compete_and_came_before_are_ahead() -> None:
    mine = place(5)
    queue = [place(6), place(4, waits_for="team/ads"), place(3), place(7, priority=1), mine]
    assert [p.plan_id.int for p in ahead(queue, mine, SCOPE)] == [7, 3]


def test_the_first_that_was_overtaken_often_enough_blocks() -> None:
    starved = place(2, overtaken=MAX_OVERTAKES)
    assert blocker([place(1, overtaken=MAX_OVERTAKES - 1), starved, place(3, overtaken=99)]) is starved
    assert blocker([place(1, overtaken=MAX_OVERTAKES - 1)]) is None
    assert blocker([]) is None
