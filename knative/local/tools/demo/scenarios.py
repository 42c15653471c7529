"""The scenarios, each with what must come of it."""

from __future__ import annotations

from typing import Any

from knative.local.tools.demo.stage import Stage
from shared.models.amounts import NOTHING
from shared.models.lifecycle import Phase
from shared.policy.documents import PolicyDocument

THRIFTY, SMALL, TEAM = "thrifty", "small", "search"
CEILING_USD, QUOTA_GPUS = "10", 4
_READY, _NEVER_READY = "fate.test/ready", "fate.test/never-ready:v2"
_DEADLINE, _SHORT_DEADLINE = "PT30S", "PT5S"

POLICIES = tuple(
    PolicyDocument.model_validate(document)
    for document in (
        {
            "name": "thrifty-budget",
            "selector": {"teams": [THRIFTY]},
            "rules": [{"type": "cost_ceiling", "scope": "workload", "usd_per_hour": CEILING_USD}],
        },
        {
            "name": "small-gpus",
            "selector": {"teams": [SMALL]},
            "rules": [{"type": "quota", "scope": "team", "gpus": QUOTA_GPUS}],
        },
    )
)


async def healthy(stage: Stage) -> None:
    stage.timeline.heading("An inference workload: approved, applied, healthy")
    replicas = max(1, min(2, stage.fleet.count))
    wanted = _workload("chat", team=TEAM, replicas=replicas, resources=_gpus(stage, 1 if stage.fleet.sku else 0))
    chat = await stage.submit(wanted)
    for kind in ("plan.approved", "deployment.applied", "deployment.healthy"):
        await stage.told(kind, "chat")
    workload = await stage.reaches(chat, Phase.HEALTHY)
    held, live = await stage.held(workload), await stage.deployment("chat")
    gpus = replicas if stage.fleet.sku else 0
    stage.expect(f"it holds {replicas} replicas with {gpus} GPUs", (held.replicas, held.gpus) == (replicas, gpus), held)
    ready = live["status"].get("readyReplicas") if live else None
    stage.expect(f"the cluster has {replicas} ready replicas", ready == replicas, ready)


async def too_dear(stage: Stage) -> None:
    stage.timeline.heading(f"A workload over its cost ceiling of {CEILING_USD} USD an hour: denied")
    await _denied(stage, "dear", THRIFTY, "cost_ceiling")


async def too_many_gpus(stage: Stage) -> None:
    stage.timeline.heading(f"A workload over its team's quota of {QUOTA_GPUS} GPUs: denied")
    await _denied(stage, "greedy", SMALL, "quota")


async def rolled_back(stage: Stage) -> None:
    stage.timeline.heading(f"A new image that is never ready (deadline {_SHORT_DEADLINE}): rolled back")
    ranker = await stage.submit(_workload("ranker", team=TEAM, image=_READY))
    await stage.told("deployment.healthy", "ranker")
    await stage.reaches(ranker, Phase.HEALTHY)
    await stage.submit(_workload("ranker", team=TEAM, image=_NEVER_READY, deadline=_SHORT_DEADLINE))
    for kind in ("deployment.unhealthy", "deployment.rolledback"):
        await stage.told(kind, "ranker")
    workload = await stage.reaches(ranker, Phase.ROLLED_BACK)
    live = await stage.deployment("ranker")
    image = live["spec"]["template"]["spec"]["containers"][0]["image"] if live else None
    stage.expect(f"the cluster has the image {_READY} again", image == _READY, image)
    held = await stage.held(workload)
    stage.expect("it holds 1 replica", held.replicas == 1, held)


async def removed(stage: Stage) -> None:
    stage.timeline.heading("A removal: the object goes, and the reservation returns")
    chat = await stage.withdraw("chat", TEAM)
    await stage.told("deployment.removed", "chat")
    workload = await stage.reaches(chat, Phase.REMOVED)
    stage.expect("the cluster has no Deployment chat", await stage.deployment("chat") is None)
    held = await stage.held(workload)
    stage.expect("it holds nothing", held == NOTHING, held)


SCENARIOS = (healthy, too_dear, too_many_gpus, rolled_back, removed)


async def _denied(stage: Stage, name: str, team: str, rule: str) -> None:
    wanted = _workload(name, team=team, replicas=2, resources=_gpus(stage, 8))
    denied = await stage.submit(wanted)
    await stage.told("plan.denied", name)
    workload = await stage.reaches(denied, Phase.DENIED)
    rules = await stage.broken_rules(denied)
    stage.expect(f"it was denied by a {rule}", set(rules) == {rule}, rules)
    held = await stage.held(workload)
    stage.expect("it holds nothing", held == NOTHING, held)
    stage.expect(f"the cluster has no Deployment {name}", await stage.deployment(name) is None)


def _workload(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "inference", "image": _READY, "deadline": _DEADLINE, "bake": "PT0S", **more}


def _gpus(stage: Stage, count: int) -> dict[str, Any]:
    """The resources of one replica."""
    gpu = {"count": count} if stage.fleet.sku is None or not count else {"count": count, "sku": stage.fleet.sku}
    return {"cpu": "500m", "memory": "256Mi", "gpu": gpu}
