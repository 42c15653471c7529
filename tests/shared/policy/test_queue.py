"""The queue before quotas and clusters: nobody waits for ever, nothing idles that fits, nobody else is held up."""

import uuid
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.models.amounts import Amounts
from shared.models.plan import Verb
from shared.policy.decision import Finding
from shared.policy.policy_set import StoredPolicy
from shared.policy.queue import (
    MAX_OVERTAKES,
    QUEUE_RULE,
    Demand,
    QueueEntry,
    QueueScan,
    blocking_finding,
    competitors_ahead,
    left_of,
)
from shared.policy.resources import CAPACITY, SUMS, Resource, ScopedResource, keys_of, parse, released
from shared.policy.vocabulary import CountingScope, ScopeKind
from tests.support.policies import COUNTED, NOW, known, stored, view
from tests.support.queue_model import Lines, Platform, cores, foresee, gpus

GPUS = 16
TEAM = CountingScope(ScopeKind.TEAM, "search")

# What competes --------------------------------------------------------------------------------------------------------


def demand(lines: Lines, **fields: Any) -> Demand:
    plan = view(lines=lines, **fields)
    return Demand(plan, frozenset(plan.counting(kind) for kind in COUNTED))


def place(number: int, *waits_for: str, priority: int = 0, overtaken: int = 0) -> QueueEntry:
    wanted = frozenset[ScopedResource]().union(*map(parse, waits_for or ("team/search gpus",)))
    return QueueEntry(uuid.UUID(int=number), priority, NOW + timedelta(seconds=number), overtaken, wanted)


@pytest.mark.parametrize(
    ("waits_for", "mine", "competes"),
    [
        ("team/search gpus", demand(gpus(1, "H100")), True),
        ("team/search gpus", demand(gpus(1, "")), True),
        ("team/search gpus", demand(cores(9)), False),
        ("team/search gpus[H100]", demand(gpus(1, "H100")), True),
        ("team/search gpus[H100]", demand(gpus(1, "L4")), False),
        ("team/search gpus[H100]", demand(cores(9)), False),
        ("team/search gpus[H100]", demand(gpus(1, "")), True),
        ("team/search cpu", demand(cores(1)), True),
        ("team/search memory", demand(cores(1)), False),
        ("team/search replicas", demand({"": Amounts(1)}), True),
        ("team/ads gpus", demand(gpus(1)), False),
        ("cluster/eu gpus", demand(gpus(1)), True),
        ("cluster/us gpus", demand(gpus(1)), False),
        ("global/ gpus", demand(gpus(1)), True),
        ("team/search gpus", demand(gpus(2), held=gpus(2)), False),
        ("team/search gpus", demand(gpus(3), held=gpus(2)), True),
        ("team/search cpu", demand(gpus(2, cpu=2), held=gpus(2)), True),
        ("team/search gpus", demand(gpus(2, "H100"), held=gpus(2, "L4")), False),
        ("team/search gpus[H100]", demand(gpus(2, "H100"), held=gpus(2, "L4")), True),
        ("team/search gpus[L4]", demand(gpus(2, "H100"), held=gpus(2, "L4")), False),
        ("team/search gpus[H100]", demand(gpus(2, "H100"), held=gpus(2, "")), False),
        ("team/search gpus", demand(gpus(3), held=gpus(2), verb=Verb.ROLLBACK), False),
        ("team/search", demand(cores(1)), True),
        ("team/search", demand({"H100": Amounts(memory=1)}), True),
        ("team/search", demand(cores(1), held=cores(1)), False),
        ("team/ads", demand(cores(1)), False),
    ],
)
def test_a_plan_competes_for_what_it_takes_more_of(waits_for: str, mine: Demand, *, competes: bool) -> None:
    assert bool(mine.contended(place(1, waits_for))) is competes
    assert bool(competitors_ahead([place(1, waits_for)], place(2), mine)) is competes
    assert found_by_keys(waits_for, mine) is competes


def found_by_keys(waits_for: str, mine: Demand) -> bool:
    """Whether an index of keys finds a plan that waits, as the store looks it up."""
    keys = set(keys_of([waits_for]))
    anything = set(map(str, mine.takes_any_gpu))
    exact = set(map(str, mine.takes)) - anything
    return bool(keys & exact) or bool(keys & anything and any(mine.takes_of(key) for key in keys if " " in key))


def test_what_is_released_is_said_by_scope_and_resource() -> None:
    changes = {
        ("search", "eu", "H100"): Amounts(-2, -2000, 0, -2),
        ("search", "us", "H100"): Amounts(1, 3000, 0, 1),
        ("search", "eu", ""): Amounts(0, 0, 0, -1),
    }
    assert released(changes, [uuid.UUID(int=7)]) == {
        "team/search replicas": 1,
        "team/search gpus": 2,
        "team/search gpus[H100]": 2,
        "team/search gpus[]": 1,
        "cluster/eu replicas": 2,
        "cluster/eu cpu": 2000,
        "cluster/eu gpus": 3,
        "cluster/eu gpus[H100]": 3,
        "cluster/eu gpus[]": 1,
        "global/ replicas": 1,
        "global/ gpus": 2,
        "global/ gpus[H100]": 2,
        "global/ gpus[]": 1,
        f"workload/{uuid.UUID(int=7)}": None,
    }
    assert released({("search", "us", "H100"): Amounts(1, 0, 0, 1)}, [uuid.UUID(int=7)]) == {}


def test_a_release_lasts_until_those_that_it_lets_go_have_taken_it() -> None:
    freed = {"team/search gpus[H100]": 3, "team/ads gpus[H100]": 3, "team/search cpu": None}
    took = view(lines=gpus(2), held=gpus(1))
    assert left_of(freed, [took, took]) == {**freed, "team/search gpus[H100]": 1}
    assert left_of(freed, [took] * 3) == {"team/ads gpus[H100]": 3, "team/search cpu": None}
    with pytest.raises(ValueError, match="names no scope"):
        left_of({"search": 1}, [])


def test_a_plan_competes_for_nothing_that_no_rule_on_it_counts() -> None:
    plan = view()
    waiting = place(1, "team/search gpus")
    assert Demand(plan, frozenset([plan.counting(ScopeKind.TEAM)])).contended(waiting) == waiting.waits_for
    assert not Demand(plan, frozenset([plan.counting(ScopeKind.CLUSTER)])).contended(waiting)
    assert not Demand(plan, frozenset()).competes


@given(
    st.sampled_from(["team/search", "cluster/eu", "global/", f"workload/{uuid.UUID(int=7)}"]),
    st.sampled_from(
        [
            *SUMS,
            Resource(CAPACITY),
            Resource(CAPACITY, "L4"),
            Resource("gpus", "H100"),
            Resource("gpus", "RTX-A6000"),
            Resource("gpus", "A.1_B"),
        ]
    ),
)
def test_what_is_waited_for_survives_as_text(where: str, resource: Resource) -> None:
    [wanted] = parse(f"{where} {resource}")
    assert (str(wanted.scope), wanted.resource, str(wanted)) == (where, resource, f"{where} {resource}")


def test_a_text_without_a_resource_stands_for_all_of_its_scope() -> None:
    assert parse("team/search") == {ScopedResource(TEAM, resource) for resource in SUMS}
    for text in ("", "search", "planet/earth gpus"):
        with pytest.raises(ValueError, match=r"names no scope|not a valid"):
            parse(text)


@pytest.mark.parametrize(
    ("waits_for", "mine", "competes"),
    [
        ("cluster/eu gpus", gpus(1), True),
        ("cluster/eu gpus[H100]", gpus(1), True),
        ("cluster/eu gpus[H100]", gpus(1, ""), True),
        ("cluster/eu gpus[H100]", gpus(1, "L4"), False),
        ("cluster/eu gpus", cores(1), False),
        ("cluster/eu cpu", gpus(1), False),
        ("cluster/us gpus", gpus(1), False),
        ("team/search gpus", gpus(1), False),
        ("cluster/eu capacity[H100]", gpus(1), False),
        ("cluster/eu capacity", gpus(1), False),
    ],
)
def test_who_takes_gpus_of_a_cluster_competes_for_these_alone(waits_for: str, mine: Lines, *, competes: bool) -> None:
    plan = view(lines=mine)
    on_capped = Demand(plan, frozenset(), plan.counting(ScopeKind.CLUSTER))
    assert bool(on_capped.contended(place(1, waits_for))) is competes
    assert not Demand(plan, frozenset()).contended(place(1, waits_for))


def test_nobody_competes_for_the_growth_of_a_cluster_in_which_a_rule_counts() -> None:
    assert not demand(gpus(1)).contended(place(1, "cluster/eu capacity[H100]", "cluster/eu capacity"))


def test_only_those_that_compete_and_came_before_are_ahead() -> None:
    mine = place(5)
    queue = [place(6), place(4, "team/ads gpus"), place(3), place(7, priority=1), place(2, "team/search cpu"), mine]
    taking = demand({"H100": Amounts(gpus=1)})
    assert [p.plan_id.int for p in competitors_ahead(queue, mine, taking)] == [7, 3]


def test_the_first_that_was_overtaken_often_enough_is_in_the_way_and_it_is_said_for_what() -> None:
    wants = ("team/search gpus[H100]", "team/search replicas", "team/search memory", "cluster/us gpus")
    starved = place(2, *wants, overtaken=MAX_OVERTAKES)
    almost = place(1, overtaken=MAX_OVERTAKES - 1)
    finding = blocking_finding([almost, starved, place(3, overtaken=99)], demand(gpus(1)))
    assert finding is not None
    assert (finding.rule, finding.message) == (
        "queue",
        f"plan {starved.plan_id} was overtaken 8 times and goes first; "
        "this plan would take team/search gpus[H100], team/search replicas, which it waits for",
    )
    assert sorted(map(str, finding.waits_for)) == ["team/search gpus[H100]", "team/search replicas"]
    assert blocking_finding([almost], demand(gpus(1))) is None
    assert blocking_finding([], demand(gpus(1))) is None


def test_the_order_is_priority_then_time_then_id() -> None:
    places = [place(3, priority=5), place(1), replace(place(2), queued_at=place(9).queued_at), place(9)]
    assert sorted([places[n] for n in (2, 0, 3, 1)], key=lambda p: p.order) == places


# Looked at again ------------------------------------------------------------------------------------------------------


def lacks(*texts: str, rule: str = "quota") -> list[Finding]:
    return [Finding("p", rule, "", "", "", "", waits_for=parse(text)) for text in texts]


def test_a_plan_waits_for_what_it_lacks_now_and_has_been_overtaken_by_who_took_what_it_did_not_lack() -> None:
    first = place(1, "team/search gpus", "team/search cpu", overtaken=3)
    fewer = first.updated(lacks("team/search cpu"))
    assert fewer == place(1, "team/search cpu", overtaken=3)
    assert fewer.updated(lacks("team/search cpu")) == fewer
    assert fewer.updated(lacks("team/search gpus", "team/search cpu")) == replace(first, overtaken=4)


def test_who_is_only_held_back_has_lost_nothing() -> None:
    held_back = lacks("team/search replicas", rule=QUEUE_RULE)
    assert place(1, overtaken=3).updated(held_back) == place(1, "team/search replicas", overtaken=3)


def test_who_is_starved_keeps_what_it_has_found() -> None:
    starved = place(1, "team/search gpus", overtaken=MAX_OVERTAKES)
    both = starved.updated(lacks("team/search cpu"))
    assert both == place(1, "team/search gpus", "team/search cpu", overtaken=MAX_OVERTAKES)
    assert both.updated(lacks("team/search gpus")) == both


def test_who_waits_for_a_cluster_to_grow_waits_for_nothing_else_and_has_lost_nothing() -> None:
    both = lacks("team/search gpus", "cluster/eu capacity[H100]")
    for overtaken in (3, MAX_OVERTAKES):
        waiting = place(1, "team/search cpu", overtaken=overtaken).updated(both)
        assert waiting == place(1, "cluster/eu capacity[H100]", overtaken=overtaken)


# A cue ----------------------------------------------------------------------------------------------------------------


def test_what_a_cue_found_counts_for_those_behind_by_resource() -> None:
    policies = [stored("team", {"type": "quota", "gpus_by_sku": {"H100": 4}, "cpu": 8})]
    cue = QueueScan()

    def look(number: int, lines: Lines, **fields: Any) -> bool:
        mine = demand(lines, **fields)
        return foresee(cue, [], place(number), mine, policies, known(mine.view)).approved

    assert look(1, gpus(3))
    assert not look(2, gpus(2))
    assert look(3, gpus(2, "L4"))
    assert not look(4, cores(4))
    assert look(5, gpus(1))
    assert not look(6, gpus(1))
    assert look(7, cores(1), held=gpus(3))  # gives its GPUs back
    assert look(8, gpus(3))


def test_what_a_cue_found_counts_for_the_gpus_of_its_cluster() -> None:
    cue = QueueScan()

    def look(number: int, lines: Lines, **fields: Any) -> bool:
        plan = view(lines=lines, queue=True, **fields)
        mine = Demand(plan, frozenset(), plan.counting(ScopeKind.CLUSTER))
        facts = replace(known(plan), capacity={"H100": 4})
        return foresee(cue, [], place(number), mine, [], facts).approved

    assert look(1, gpus(3), team="ads")
    assert not look(2, gpus(2))
    assert look(3, gpus(1))
    assert not look(4, gpus(1, ""))
    assert look(5, gpus(4), cluster="us")


def test_a_starved_plan_that_a_cue_found_is_in_nobodys_way_any_more() -> None:
    policies = [stored("team", {"type": "quota", "gpus": 4})]
    starved, later = place(1, overtaken=MAX_OVERTAKES), place(2)
    large, small = demand(gpus(3)), demand(gpus(1))
    queue = [starved, later]
    assert not foresee(QueueScan(), queue, later, small, policies, known(small.view)).approved
    cue = QueueScan()
    assert foresee(cue, queue, starved, large, policies, known(large.view)).approved
    assert foresee(cue, queue, later, small, policies, known(small.view)).approved


# For any quotas and plans ---------------------------------------------------------------------------------------------

LIMITS: dict[str, st.SearchStrategy[Any]] = {
    "gpus": st.integers(3, 6),
    "cpu": st.integers(4, 8),
    "replicas": st.integers(4, 8),
    "gpus_by_sku": st.dictionaries(st.sampled_from(["H100", "L4"]), st.integers(2, 4), min_size=1),
}
QUOTAS = st.sets(st.sampled_from(sorted(LIMITS)), min_size=1, max_size=2).flatmap(
    lambda names: st.fixed_dictionaries({"type": st.just("quota"), **{name: LIMITS[name] for name in sorted(names)}})
)
POLICIES = st.builds(
    lambda team, wide, scope, where: [stored("team", team), stored("wide", {**wide, "scope": scope}, selector=where)],
    QUOTAS,
    QUOTAS,
    st.sampled_from(["team", "cluster", "global"]),
    st.sampled_from([{}, {"teams": ["search"]}, {"skus": ["H100"]}]),
)
ASKED = st.one_of(
    st.integers(1, 4).map(cores),
    st.builds(gpus, st.integers(1, 4), st.sampled_from(["H100", "L4", ""]), st.integers(0, 2)),
)
COMES = st.fixed_dictionaries(
    {
        "lines": ASKED,
        "team": st.sampled_from(["search", "search", "search", "ads"]),
        "cluster": st.sampled_from(["eu", "eu", "us"]),
        "priority": st.sampled_from([0, 0, 0, 1]),
        "overtaken": st.sampled_from([MAX_OVERTAKES, MAX_OVERTAKES - 1, 0]),
        "grows": st.sampled_from([False, False, True]),
        "queue": st.sampled_from([True, True, True, False]),
    }
)
CAPACITIES = st.dictionaries(
    st.sampled_from(["eu", "us"]), st.dictionaries(st.sampled_from(["H100", "L4"]), st.integers(1, 5), min_size=1)
)
"""Of the clusters of which it is known."""
STEPS = st.lists(st.one_of(COMES, COMES, st.integers(0, 20)), min_size=10, max_size=30)
"""A plan comes, or what runs at that place ends."""


def step(platform: Platform, what: dict[str, Any] | int) -> None:
    running = sorted(platform.running)
    if isinstance(what, int):
        if running:
            platform.end(running[what % len(running)])
        return
    fields = dict(what)
    if fields.pop("grows") and running:  # an update of what runs, which stays where it is
        plan = platform.running[running[platform.clock % len(running)]]
        fields |= {"workload_id": plan.workload_id, "team": plan.team, "cluster": plan.cluster, "verb": Verb.UPDATE}
    platform.arrive(**fields)


@given(POLICIES, CAPACITIES, STEPS)
def test_no_plan_is_overtaken_more_often_than_that_by_plans_that_compete(
    policies: list[StoredPolicy], capacity: dict[str, dict[str, int]], steps: list[dict[str, Any] | int]
) -> None:
    platform = Platform(policies, capacity)
    for what in steps:
        step(platform, what)
        for waiting in platform.waiting.values():
            assert waiting.overtaken <= waiting.place.overtaken <= MAX_OVERTAKES


@given(POLICIES, CAPACITIES, STEPS)
def test_what_fits_waits_only_for_a_starved_plan_ahead_that_waits_for_what_it_takes(
    policies: list[StoredPolicy], capacity: dict[str, dict[str, int]], steps: list[dict[str, Any] | int]
) -> None:
    platform = Platform(policies, capacity)
    for what in steps:
        step(platform, what)
        for waiting in platform.waiting.values():
            plan = platform.as_held(waiting.view)
            if platform.judge(plan).approved:
                assert platform.starved_competitors(waiting.place, plan)


@given(POLICIES, CAPACITIES, STEPS)
def test_a_cue_finds_something_while_anything_fits_and_is_behind_no_starved_competitor(
    policies: list[StoredPolicy], capacity: dict[str, dict[str, int]], steps: list[dict[str, Any] | int]
) -> None:
    platform = Platform(policies, capacity)
    for what in steps:
        step(platform, what)
        for workload_id in list(platform.running)[:2]:  # room is made, and nobody has been told yet
            kept = platform.running.pop(workload_id)
            places = {plan_id: waiting.place for plan_id, waiting in platform.waiting.items()}
            ready = [
                waiting
                for waiting in platform.waiting.values()
                if platform.judge(plan := platform.as_held(waiting.view)).approved
                and not platform.starved_competitors(waiting.place, plan)
            ]
            assert bool(platform.found()) is bool(ready)
            for plan_id, before in places.items():
                platform.waiting[plan_id].place = before
            platform.running[workload_id] = kept


# In the long run ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 10))])
def test_everything_that_came_has_run_when_the_last_has_ended(seed: int) -> None:
    random = Random(seed)
    quotas = {"type": "quota", "gpus": GPUS, "gpus_by_sku": {"H100": 8}, "cpu": 24}
    platform = Platform(
        [stored("team", quotas), stored("global", {"type": "quota", "scope": "global", "replicas": 20})]
    )
    for _ in range(120):
        if platform.running and random.random() < 0.5:
            platform.end(random.choice(sorted(platform.running)))
        else:
            size = random.choice([1, 1, 1, 2, 4, 8])
            lines = random.choice([gpus(size, "H100"), gpus(size, "L4"), gpus(size, ""), cores(2 * size)])
            platform.arrive(lines, random.choice([0, 0, 0, 5]), team=random.choice(["search", "ads"]))
        for waiting in platform.waiting.values():
            plan = platform.as_held(waiting.view)
            assert not platform.judge(plan).approved or platform.starved_competitors(waiting.place, plan)
            assert waiting.overtaken <= waiting.place.overtaken <= MAX_OVERTAKES
    while platform.running:
        platform.end(random.choice(sorted(platform.running)))
    assert not platform.waiting


def test_a_plan_as_large_as_the_quota_goes_in_under_a_stream_of_small_ones() -> None:
    platform = Platform([stored("team", {"type": "quota", "gpus": GPUS})])
    small = [platform.arrive(gpus(1)) for _ in range(GPUS)]
    large = platform.arrive(gpus(GPUS))
    for _ in range(GPUS + MAX_OVERTAKES):  # each ends, and one more comes that would fit
        platform.end(small.pop(0))
        if large in platform.running:
            break
        small.append(platform.arrive(gpus(1)))
    assert list(platform.running) == [large]


def test_small_plans_go_past_a_large_one_while_they_fit() -> None:
    platform = Platform([stored("team", {"type": "quota", "gpus": GPUS})])
    platform.arrive(gpus(10))
    large = platform.arrive(gpus(8))
    small = [platform.arrive(gpus(1)) for _ in range(6)]
    [waiting] = platform.waiting.values()
    assert (waiting.view.workload_id, waiting.place.overtaken) == (large, 6)
    assert set(small) < set(platform.running)


def test_what_needs_none_of_it_runs_on_for_ever_beside_a_starved_plan() -> None:
    platform = Platform([stored("team", {"type": "quota", "gpus_by_sku": {"H100": 4}, "replicas": 40})])
    platform.arrive(gpus(2))
    large = platform.arrive(gpus(4), overtaken=MAX_OVERTAKES)
    others = [platform.arrive(lines) for lines in [gpus(1, "L4"), cores(3)] * (MAX_OVERTAKES + 1)]
    held_back = [platform.arrive(gpus(1, "H100")), platform.arrive(gpus(1, ""))]
    assert set(others) < set(platform.running)
    assert [one.view.workload_id for one in platform.waiting.values()] == [large, *held_back]


def test_a_plan_that_needs_two_things_is_not_kept_waiting_for_each_in_turn() -> None:
    """All GPUs are taken while it waits for CPU, and all CPU while it waits for GPUs, by plans that need only that."""
    platform = Platform([stored("team", {"type": "quota", "gpus": 4, "cpu": 4})])
    runs = [platform.arrive({"H100": Amounts(1, gpus=4)})]
    large = platform.arrive(gpus(4))
    takers: list[Lines] = [cores(4), {"H100": Amounts(1, gpus=4)}]
    for turn in range(4 * MAX_OVERTAKES):
        runs.append(platform.arrive(takers[turn % 2]))
        platform.end(runs.pop(0))
        if large in platform.running:
            break
    assert large in platform.running


def test_a_plan_as_large_as_its_cluster_goes_in_under_a_stream_of_small_ones_that_do_not_queue() -> None:
    platform = Platform([], {"eu": {"H100": GPUS}})
    small = [platform.arrive(gpus(1), team=f"team-{n}", queue=False) for n in range(GPUS)]
    large = platform.arrive(gpus(GPUS))
    for n in range(GPUS + MAX_OVERTAKES):
        platform.end(small.pop(0))
        if large in platform.running:
            break
        came = platform.arrive(gpus(1), team=f"more-{n}", queue=False)
        small += [came] if came in platform.running else []
    assert list(platform.running) == [large]


def test_a_plan_that_is_larger_than_its_cluster_is_in_nobodys_way_until_that_grows() -> None:
    platform = Platform([stored("team", {"type": "quota", "gpus": 40})], {"eu": {"H100": GPUS}})
    large = platform.arrive(gpus(GPUS + 1))
    for n in range(2 * MAX_OVERTAKES):
        small = platform.arrive(gpus(GPUS), queue=n % 2 == 0)
        assert list(platform.running) == [small]
        platform.end(small)
    [waiting] = platform.waiting.values()
    assert list(map(str, waiting.place.waits_for)) == ["cluster/eu capacity[H100]"]
    platform.capacity["eu"]["H100"] += 1
    platform.cue()
    assert list(platform.running) == [large]
