"""No body, however damaged, gets anything but an answer of the API from the stand-in."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contracts.kubernetes_api.api import APPLY, MERGE, STRATEGIC, Api, Object, config_map, container, deployment

pytestmark = pytest.mark.slow

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


def _damaged(whole: Object) -> Iterator[tuple[tuple[str | int, ...], Any, Object]]:
    """Each damage at each place of `whole`, and the body that comes of it."""
    for path in _places(whole):
        for damage in _DAMAGE:
            body = copy.deepcopy(whole)
            target: Any = body
            for part in path[:-1]:
                target = target[part]
            target[path[-1]] = copy.deepcopy(damage)
            yield path, damage, body


@pytest.mark.parametrize("media", [APPLY, MERGE, STRATEGIC])
@pytest.mark.parametrize("subresource", ["", "/status"])
def test_a_damaged_body_is_answered_with_a_status_or_an_object(stand_in: Api, media: str, subresource: str) -> None:
    collection = "/apis/apps/v1/namespaces/default/deployments"
    stand_in("POST", collection, _whole())
    options = {"fieldManager": "m", "dryRun": "All"} | ({"force": "true"} if media == APPLY else {})
    for path, damage, body in _damaged(_whole()):
        answer = stand_in("PATCH", f"{collection}/damaged{subresource}", body, media, **options)
        assert answer.body.get("kind") in ("Status", "Deployment"), (path, damage, answer)
        assert answer.code in (200, 400, 409, 422, 500), (path, damage, answer)
        if answer.code == 500:
            assert answer.message.startswith(("failed to create typed", "failed to convert", "map: ")), answer


def test_a_damaged_scale_is_answered_with_a_status_or_a_scale(stand_in: Api) -> None:
    collection = "/apis/apps/v1/namespaces/default/deployments"
    stand_in("POST", collection, deployment("scaled", replicas=0))
    whole: Object = {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": "scaled", "namespace": "default", "labels": {"a": "b"}},
        "spec": {"replicas": 0},
        "status": {"replicas": 0, "selector": "app=scaled"},
    }
    for path, damage, body in _damaged(whole):
        answer = stand_in("PATCH", f"{collection}/scaled/scale", body, MERGE, fieldManager="m", dryRun="All")
        assert answer.body.get("kind") in ("Status", "Scale"), (path, damage, answer)
        assert answer.code in (200, 400, 409, 422, 500), (path, damage, answer)


def test_damaged_options_of_a_delete_are_answered(stand_in: Api) -> None:
    path = "/api/v1/namespaces/default/configmaps/kept"
    stand_in("POST", "/api/v1/namespaces/default/configmaps", config_map("kept"))
    whole: Object = {
        "gracePeriodSeconds": 1,
        "preconditions": {"uid": "x", "resourceVersion": "1"},
        "propagationPolicy": "Orphan",
        "dryRun": ["All"],
    }
    for place, damage, body in _damaged(whole):
        answer = stand_in("DELETE", path, body, dryRun="All")
        assert answer.body.get("kind") in ("Status", "ConfigMap"), (place, damage, answer)
        assert answer.code in (200, 400, 409, 422), (place, damage, answer)
