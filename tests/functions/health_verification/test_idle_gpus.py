"""Idle GPUs are taken from a workload only where an operator wants that, and after it was told."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from functions.health_verification import function as health_verification
from functions.health_verification import handler
from functions.health_verification.handler import perform
from shared.models.idle import IdleGpu, IdleRules, ReclaimRules
from shared.models.lifecycle import Phase
from shared.models.plan import Verb
from shared.settings import DEFAULT_IMAGE_PULL_GRACE
from shared.store.idle import IdleRows
from shared.store.tables import idle_warnings
from tests.support.builders import connection_of
from tests.support.chain import Chain

RULES = ReclaimRules(IdleRules(timedelta(hours=6)), timedelta(hours=24))


@pytest.fixture
def idle(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> list[IdleGpu]:
    """What the rollups say: tests put GPUs here. The tick takes idle GPUs, and looks for them each time."""
    found: list[IdleGpu] = []
    monkeypatch.setattr(IdleRows, "gpus", lambda *_: list(found))
    monkeypatch.setattr(handler, "LOOK_SECONDS", 60)
    with_rules(chain, RULES)
    return found


def with_rules(chain: Chain, reclaim: ReclaimRules | None) -> None:
    built = health_verification.build(
        partial(perform, chain.site), pull_grace=DEFAULT_IMAGE_PULL_GRACE, reclaim=reclaim
    )
    chain.routes = {**chain.routes, **dict.fromkeys(built.accepts, built)}


def gpu(chain: Chain, name: str = "web", holds: int = 1) -> IdleGpu:
    usd = Decimal("1.5")
    who = (chain.id(name), "search", f"search/search/{name}")
    return IdleGpu("local", "gpu-1", "GPU-1", "NVIDIA L4", None, *who, holds, 3.0, usd, 6 * usd)


def pass_warning(chain: Chain, hours: int = 24) -> None:
    with chain.store.begin() as work:
        past = idle_warnings.update().values(warned_at=idle_warnings.c.warned_at - timedelta(hours=hours))
        connection_of(work).execute(past)


def told(chain: Chain) -> int:
    return chain.told_types("web").count("gpu.idle")


def test_a_workload_is_told_and_later_scaled_to_nothing(chain: Chain, idle: list[IdleGpu]) -> None:
    chain.submit()
    chain.workload_is(Phase.HEALTHY)
    idle.append(gpu(chain))
    for _ in range(2):
        chain.tick()
    pass_warning(chain, 23)
    chain.tick()
    assert (told(chain), chain.plan().decision.verb) == (1, Verb.DEPLOY)
    pass_warning(chain, 1)
    chain.tick()
    assert (chain.plan().decision.verb, chain.plan().decision.replicas) == (Verb.SCALE, 0)
    chain.workload_is(Phase.HEALTHY)
    chain.tick()
    assert (len(chain.revisions()), chain.site.object()["spec"]["replicas"]) == (2, 0)
    chain.until(lambda: chain.gpus(), lambda held: held == 0)
    idle.clear()
    chain.tick()
    chain.submit()
    chain.workload_is(Phase.HEALTHY)
    assert chain.site.object()["spec"]["replicas"] == 1
    assert [one for one in chain.actions() if one.startswith("gpu.")] == ["gpu.idle.warned", "gpu.idle.over"]


def test_what_is_used_in_time_is_told_anew_before_it_is_taken(chain: Chain, idle: list[IdleGpu]) -> None:
    chain.submit()
    chain.workload_is(Phase.HEALTHY)
    for shown in ([gpu(chain)], [], [gpu(chain)]):
        idle[:] = shown
        chain.tick()
        pass_warning(chain, 12)
    chain.tick()
    assert (told(chain), len(chain.revisions())) == (2, 1)


def test_a_workload_that_uses_one_of_its_gpus_keeps_them_all(chain: Chain, idle: list[IdleGpu]) -> None:
    idle += [gpu(chain, holds=3), replace(gpu(chain, holds=3), gpu="GPU-2")]
    chain.tick()
    assert told(chain) == 0


@pytest.mark.parametrize(
    "fields",
    [{"type": "training", "image": "fate.test/slow"}, {"image": "fate.test/never-ready"}],
    ids=["a Job", "not healthy"],
)
def test_a_job_and_what_is_not_healthy_is_left_as_it_is(chain: Chain, idle: list[IdleGpu], fields: Any) -> None:
    chain.submit(**fields)
    idle.append(gpu(chain))
    chain.tick()
    pass_warning(chain)
    chain.tick()
    assert (told(chain), len(chain.revisions())) == (1, 1)


def test_by_default_nothing_is_looked_for(chain: Chain, idle: list[IdleGpu]) -> None:
    with_rules(chain, None)
    idle.append(gpu(chain))
    chain.tick()
    assert told(chain) == 0
