"""The scenarios, each with what must come of it."""

from __future__ import annotations

from typing import Any

from knative.local.tools.demo.session import DemoSession
from shared.models.amounts import NOTHING
from shared.models.lifecycle import Phase
from shared.policy.documents import PolicyDocument

THRIFTY, SMALL, TEAM = "thrifty", "small", "search"
CEILING_USD, QUOTA_GPUS = "10", 4
_READY, _NEVER_READY = "fate.test/ready", "fate.test/never-ready:v2"
_APPLICATION_XID, _HARDWARE_XID = 31, 79
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


async def healthy(session: DemoSession) -> None:
    session.timeline.heading("An inference workload: approved, applied, healthy")
    replicas = max(1, min(2, session.fleet.count))
    wanted = _workload("chat", team=TEAM, replicas=replicas, resources=_gpus(session, 1 if session.fleet.sku else 0))
    chat = await session.submit(wanted)
    for kind in ("plan.approved", "deployment.applied", "deployment.healthy"):
        await session.emitted(kind, "chat")
    workload = await session.reaches(chat, Phase.HEALTHY)
    held, live = await session.held(workload), await session.deployment("chat")
    gpus = replicas if session.fleet.sku else 0
    session.expect(
        f"it holds {replicas} replicas with {gpus} GPUs", (held.replicas, held.gpus) == (replicas, gpus), held
    )
    ready = live["status"].get("readyReplicas") if live else None
    session.expect(f"the cluster has {replicas} ready replicas", ready == replicas, ready)


async def too_dear(session: DemoSession) -> None:
    session.timeline.heading(f"A workload over its cost ceiling of {CEILING_USD} USD an hour: denied")
    await _denied(session, "dear", THRIFTY, "cost_ceiling")


async def too_many_gpus(session: DemoSession) -> None:
    session.timeline.heading(f"A workload over its team's quota of {QUOTA_GPUS} GPUs: denied")
    await _denied(session, "greedy", SMALL, "quota")


async def rolled_back(session: DemoSession) -> None:
    session.timeline.heading(f"A new image that is never ready (deadline {_SHORT_DEADLINE}): rolled back")
    ranker = await session.submit(_workload("ranker", team=TEAM, image=_READY))
    await session.emitted("deployment.healthy", "ranker")
    await session.reaches(ranker, Phase.HEALTHY)
    await session.submit(_workload("ranker", team=TEAM, image=_NEVER_READY, deadline=_SHORT_DEADLINE))
    for kind in ("deployment.unhealthy", "deployment.rolledback"):
        await session.emitted(kind, "ranker")
    workload = await session.reaches(ranker, Phase.ROLLED_BACK)
    live = await session.deployment("ranker")
    image = live["spec"]["template"]["spec"]["containers"][0]["image"] if live else None
    session.expect(f"the cluster has the image {_READY} again", image == _READY, image)
    held = await session.held(workload)
    session.expect("it holds 1 replica", held.replicas == 1, held)


async def removed(session: DemoSession) -> None:
    session.timeline.heading("A removal: the object goes, and the reservation returns")
    chat = await session.withdraw("chat", TEAM)
    await session.emitted("deployment.removed", "chat")
    workload = await session.reaches(chat, Phase.REMOVED)
    session.expect("the cluster has no Deployment chat", await session.deployment("chat") is None)
    held = await session.held(workload)
    session.expect("it holds nothing", held == NOTHING, held)


async def application_xid(session: DemoSession) -> None:
    session.timeline.heading(f"A program's error on a GPU (XID {_APPLICATION_XID}): a note, and nothing moves")
    node = session.reported_node()
    if node is None:
        session.timeline.note("there is no simulated GPU node, so there is no agent to report it")
        return
    async with session.only(node):
        vision = await session.submit(_workload("vision", team=TEAM, resources=_gpus(session, 1)))
        await session.emitted("deployment.healthy", "vision")
    before = await session.reaches(vision, Phase.HEALTHY)
    pod = await session.pod("vision")
    await session.throw_xid(node, pod["metadata"]["name"], _APPLICATION_XID)
    await session.emitted("gpu.fault", node)
    after = await session.reaches(vision, Phase.HEALTHY)
    session.expect("the workload has no other plan", after.plan_id == before.plan_id, after.reason)
    session.expect(f"its pod is still on {node}", await session.pod("vision") == pod)


async def hardware_xid(session: DemoSession) -> None:
    session.timeline.heading(
        f"A GPU falls off the bus (XID {_HARDWARE_XID}): its workload moves, and its node is excluded"
    )
    node = session.reported_node()
    if node is None:
        session.timeline.note("there is no simulated GPU node, so there is no agent to report it")
        return
    pod = await session.pod("vision")
    await session.throw_xid(node, pod["metadata"]["name"], _HARDWARE_XID)
    await session.emitted("gpu.fault", node)
    for kind in ("plan.approved", "deployment.applied", "deployment.healthy"):
        await session.emitted(kind, "vision")
    moved = await session.pod("vision")
    session.expect(f"its pod has left {node}", moved["spec"]["nodeName"] != node, moved["spec"]["nodeName"])
    session.expect(f"{node} is excluded", node in await session.excluded_nodes())


SCENARIOS = (healthy, too_dear, too_many_gpus, rolled_back, removed, application_xid, hardware_xid)


async def _denied(session: DemoSession, name: str, team: str, rule: str) -> None:
    wanted = _workload(name, team=team, replicas=2, resources=_gpus(session, 8))
    denied = await session.submit(wanted)
    await session.emitted("plan.denied", name)
    workload = await session.reaches(denied, Phase.DENIED)
    rules = await session.broken_rules(denied)
    session.expect(f"it was denied by a {rule}", set(rules) == {rule}, rules)
    held = await session.held(workload)
    session.expect("it holds nothing", held == NOTHING, held)
    session.expect(f"the cluster has no Deployment {name}", await session.deployment(name) is None)


def _workload(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "inference", "image": _READY, "deadline": _DEADLINE, "bake": "PT0S", **more}


def _gpus(session: DemoSession, count: int) -> dict[str, Any]:
    """The resources of one replica."""
    gpu = {"count": count} if session.fleet.sku is None or not count else {"count": count, "sku": session.fleet.sku}
    return {"cpu": "500m", "memory": "256Mi", "gpu": gpu}
