"""GPUs as they are used now, over REST."""

from datetime import timedelta

import pytest

from shared.models.identity import Role
from shared.store.unit_of_work import Store
from tests.functions.telemetry_ingestion.conftest import Telemetry, gpu
from tests.support.builders import Deliver, id_of
from tests.support.rest import Rest


@pytest.fixture
def telemetry(store: Store, deliver: Deliver) -> Telemetry:
    with store.begin() as work:
        return Telemetry(store, deliver, work.now)


def test_the_newest_sample_of_each_node_says_how_its_gpus_are_used(rest: Rest, telemetry: Telemetry) -> None:
    telemetry.send(gpu(0, metrics={"utilization_percent": 1.0}), gpu(1), at=telemetry.now - timedelta(minutes=1))
    slice_ = gpu(1, gpu="MIG-1", index=0, parent="GPU-0", profile="1g.10gb", state="hung", metrics={})
    telemetry.send(gpu(0, product="NVIDIA H100", metrics={"utilization_percent": 87.5, "power_watts": 400.0}), slice_)
    telemetry.send(gpu(0), node="gpu-1")
    first, part, other = rest("GET", "/gpus").json["items"]
    assert {name: first[name] for name in ("cluster", "node", "gpu", "index", "product", "state")} == {
        "cluster": "local",
        "node": "gpu-0",
        "gpu": "GPU-0",
        "index": 0,
        "product": "NVIDIA H100",
        "state": "ok",
    }
    assert (first["utilizationPercent"], first["powerWatts"], first["temperatureCelsius"]) == (87.5, 400.0, None)
    assert (first["allocated"], first["workload"], first["name"]) == (False, None, None)
    assert (part["gpu"], part["parent"], part["profile"], part["state"]) == ("MIG-1", "GPU-0", "1g.10gb", "hung")
    assert other["node"] == "gpu-1"
    assert [one["node"] for one in rest("GET", "/gpus?node=gpu-1&cluster=local").json["items"]] == ["gpu-1"]
    page = rest("GET", "/gpus?limit=1").json
    rest_of_it = rest("GET", f"/gpus?limit=5&cursor={page['next']}").json["items"]
    assert [one["gpu"] for one in (*page["items"], *rest_of_it)] == ["GPU-0", "MIG-1", "GPU-0"]


def test_the_workload_of_a_gpu_is_named_to_those_who_may_read_it(
    rest: Rest, telemetry: Telemetry, deliver: Deliver, store: Store
) -> None:
    deliver.submit("chat")
    telemetry.send(gpu(0), at=telemetry.now - timedelta(minutes=1))
    with store.begin() as work:
        work.telemetry.remember_workloads("local", "gpu-0", {("search", "chat-abc-1"): id_of("chat")})
    telemetry.send(gpu(0, containers=[{"namespace": "search", "pod": "chat-abc-1", "container": "main"}]))
    [seen] = rest("GET", "/gpus").json["items"]
    assert (seen["allocated"], seen["workload"], seen["team"], seen["name"]) == (
        True,
        str(id_of("chat")),
        "search",
        "search/search/chat",
    )
    rest.bind("bob", Role.VIEWER, "ads")
    [hidden] = rest("GET", "/gpus", user="bob").json["items"]
    assert (hidden["allocated"], hidden["workload"], hidden["team"], hidden["name"]) == (True, None, None, None)
    assert rest("GET", "/gpus", user="nobody").status == 401
