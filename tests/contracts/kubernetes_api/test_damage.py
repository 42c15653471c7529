"""No body, however damaged, gets anything but an answer of the API from the stand-in."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contracts.kubernetes_api.api import APPLY, MERGE, STRATEGIC, Api, Object, container, deployment

_DAMAGE: tuple[Any, ...] = (None, -1, 1.5, "x", [], {}, [[1]], [None], {"a": None}, 10**12, True)


def _whole() -> Object:
    body = deployment("damaged", replicas=0, strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}})
    body["metadata"]["labels"] = {"a": "b"}
    container(body).update(
        env=[{"name": "A", "value": "b"}],
        ports=[{"containerPort": 80}],
        resources={"limits": {"cpu": "1", "nvidia.com/gpu": 1}},
        readinessProbe={"httpGet": {"path": "/", "port": 80}},
    )
    terms = [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    body["spec"]["template"]["spec"]["affinity"] = {"nodeAffinity": required}
    body["status"] = {"conditions": [{"type": "Available", "status": "True"}]}
    return body


def _places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*path, key))


@pytest.mark.parametrize("media", [APPLY, MERGE, STRATEGIC])
@pytest.mark.parametrize("subresource", ["", "/status"])
def test_a_damaged_body_is_answered_with_a_status_or_an_object(stand_in: Api, media: str, subresource: str) -> None:
    collection = "/apis/apps/v1/namespaces/default/deployments"
    stand_in("POST", collection, _whole())
    for path in _places(_whole()):
        for damage in _DAMAGE:
            body = _whole()
            target: Any = body
            for part in path[:-1]:
                target = target[part]
            target[path[-1]] = copy.deepcopy(damage)
            address = f"{collection}/damaged{subresource}"
            options = {"fieldManager": "m", "dryRun": "All"} | ({"force": "true"} if media == APPLY else {})
            answer = stand_in("PATCH", address, body, media, **options)
            assert answer.body.get("kind") in ("Status", "Deployment"), (path, damage, answer)
            assert answer.code in (200, 400, 409, 422, 500), (path, damage, answer)
            if answer.code == 500:
                assert answer.message.startswith(("failed to create typed", "failed to convert", "map: ")), answer
