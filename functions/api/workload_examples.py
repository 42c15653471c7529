"""What /openapi.json shows of workloads, and of what belongs to them."""

from __future__ import annotations

from typing import Any

WORKLOAD = {
    "id": "9403eeb2-8848-53a3-90c2-1095c047864f",
    "name": "chat",
    "team": "search",
    "namespace": "search",
    "type": "inference",
    "phase": "proposed",
    "reason": "",
    "generation": 1,
    "revision": 0,
    "replicas": 2,
    "gpus": 2,
    "usdPerHour": "2.24",
    "cluster": "local",
    "image": "nginx:1.29",
    "plan": "5f0c3f6e-7a53-5c5a-9d57-0e6f6f1b6a11",
    "withdrawn": False,
    "createdAt": "2026-11-29T09:00:00.000Z",
    "updatedAt": "2026-11-29T09:00:00.000Z",
}
SPEC = {
    "name": "chat",
    "type": "inference",
    "image": "nginx:1.29",
    "team": "search",
    "namespace": "search",
    "replicas": 2,
    "resources": {"cpu": "4", "memory": "8Gi", "gpu": {"count": 1, "sku": "L4"}},
}
TIMELINE_ENTRY = {
    "at": "2026-11-29T09:00:00.000Z",
    "what": "plan.approved",
    "detail": {"plan": "5f0c3f6e-7a53-5c5a-9d57-0e6f6f1b6a11", "policies": ["gpus"], "warnings": []},
}
PLAN = {
    "id": "5f0c3f6e-7a53-5c5a-9d57-0e6f6f1b6a11",
    "workload": "9403eeb2-8848-53a3-90c2-1095c047864f",
    "team": "search",
    "generation": 1,
    "source": "user",
    "status": "executed",
    "reason": "",
    "verb": "deploy",
    "cluster": "local",
    "replicas": 2,
    "revision": None,
    "gpus": 2,
    "sku": "L4",
    "usdPerHour": "2.24",
    "priority": 0,
    "proposedBy": "user:ada",
    "createdAt": "2026-11-29T09:00:00.000Z",
    "queuedAt": None,
    "waitsFor": [],
    "approval": None,
}
REVISION = {
    "revision": 1,
    "generation": 1,
    "plan": "5f0c3f6e-7a53-5c5a-9d57-0e6f6f1b6a11",
    "cluster": "local",
    "object": "Deployment search/chat",
    "image": "nginx:1.29",
    "replicas": 2,
    "rollbackOf": None,
    "status": "healthy",
    "reason": "",
    "intendedAt": "2026-11-29T09:00:01.000Z",
    "appliedAt": "2026-11-29T09:00:01.200Z",
    "deadlineAt": "2026-11-29T09:10:01.200Z",
    "readySince": "2026-11-29T09:00:09.000Z",
    "healthyAt": "2026-11-29T09:00:19.000Z",
    "observedAt": "2026-11-29T09:00:19.000Z",
}
EXPLANATION = {
    "id": "9403eeb2-8848-53a3-90c2-1095c047864f",
    "phase": "denied",
    "reason": "team search would hold 6 H100; the limit is 4",
    "decisions": [
        {
            "plan": "5f0c3f6e-7a53-5c5a-9d57-0e6f6f1b6a11",
            "decidedAt": "2026-11-29T09:00:00.000Z",
            "approved": False,
            "violations": [{"policy": "gpus", "rule": "quota", "message": "team search would hold 6 H100"}],
            "warnings": [],
        }
    ],
    "wouldPass": [{"message": "4 replicas", "replicas": 4, "sku": None, "cluster": None, "at": None}],
}

_DESCRIPTIONS = {200: "As it is now", 202: "Taken in: the chain carries it out"}
_ETAG = "What If-Match takes"


def answer(example: object, *statuses: int, **headers: str) -> dict[int | str, dict[str, Any]]:
    """What a route declares of its own answers. headers: what each header of the answer says."""
    described = {name: {"schema": {"type": "string"}, "description": said} for name, said in headers.items()}
    return {
        status: {
            "description": _DESCRIPTIONS[status],
            "content": {"application/json": {"example": example}},
            "headers": described,
        }
        for status in statuses
    }


def page(example: object) -> dict[int | str, dict[str, Any]]:
    """What a route declares that answers with a page of a list."""
    return answer({"items": [example], "next": None}, 200, Link='The next page, as rel="next"')


READ = answer({**WORKLOAD, "spec": SPEC}, 200, ETag=_ETAG)
CHANGED = answer({**WORKLOAD, "spec": SPEC}, 200, 202, ETag=_ETAG, Location="The workload")
