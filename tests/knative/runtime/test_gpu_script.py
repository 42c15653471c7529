"""The script of a simulated node: who has which GPU, and the XID errors that were thrown."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from knative.local.cluster.gpu_nodes import GpuContainer, SimulatedGpuNode
from knative.local.runtime import gpu_script
from knative.local.runtime.gpu_script import SimulatedGpus, XidOrder
from shared.telemetry.fields import GPU_FIELDS

NODE = SimulatedGpuNode("h100-1", "NVIDIA-H100-80GB-HBM3", 4, 81559 * 2**20)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def container(pod: str, gpus: int = 1) -> GpuContainer:
    return GpuContainer(f"uid-{pod}", "search", pod, "main", gpus)


def holders(gpus: SimulatedGpus) -> list[list[str]]:
    """The pods on each GPU, by index."""
    return [[each["pod"] for each in gpu["containers"]] for gpu in gpus.document()["gpus"]]


def test_what_it_holds() -> None:
    gpus = SimulatedGpus(NODE)
    gpus.assign([container("chat")])
    document = gpus.document()
    assert document["gpus"][0] == {
        "gpu": gpus.uuid(0),
        "index": 0,
        "product": "NVIDIA H100 80GB HBM3",
        "load": 0.8,
        "metrics": {"memory_total_bytes": 81559 * 2**20},
        "containers": [{"namespace": "search", "pod": "chat", "container": "main"}],
    }
    assert document["gpus"][1] | {"load": 0.0, "containers": []} == document["gpus"][1]
    assert set(document["gpus"][0]["metrics"]) <= set(GPU_FIELDS)


def test_a_gpu_is_the_same_at_every_start_and_no_others() -> None:
    first, again = SimulatedGpus(NODE), SimulatedGpus(NODE)
    other = SimulatedGpus(SimulatedGpuNode("h100-2", NODE.product, 4, 0))
    assert [first.uuid(index) for index in range(4)] == [again.uuid(index) for index in range(4)]
    assert len({each.uuid(index) for each in (first, other) for index in range(4)}) == 8


def test_a_container_keeps_its_gpus_and_a_new_one_gets_the_lowest_free_ones() -> None:
    gpus = SimulatedGpus(NODE)
    gpus.assign([container("a"), container("b", 2)])
    assert holders(gpus) == [["a"], ["b"], ["b"], []]
    gpus.assign([container("b", 2), container("c", 2)])
    assert holders(gpus) == [["c"], ["b"], ["b"], ["c"]]


def test_a_container_that_comes_before_another_has_gone_waits_for_its_gpus() -> None:
    gpus = SimulatedGpus(NODE)
    gpus.assign([container("a", 4), container("b", 4)])
    assert holders(gpus) == [["a"]] * 4
    gpus.assign([container("b", 4)])
    assert holders(gpus) == [["b"]] * 4


def test_an_xid_is_thrown_on_a_gpu_at_a_time() -> None:
    gpus = SimulatedGpus(NODE)
    gpus.throw(XidOrder.parse("1:79"), NOW)
    assert gpus.document()["xids"] == [{"gpu": gpus.uuid(1), "xid": 79, "at": "2026-01-01T00:00:00.000000Z"}]
    with pytest.raises(ValueError, match="h100-1 has no GPU 4; it has 4"):
        gpus.throw(XidOrder(4, 79), NOW)


@pytest.mark.parametrize("text", ["79", "0:", "0:79:1", "a:79", "-1:79", "0:123456"])
def test_an_order_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not <index of the GPU>:<XID>, such as 0:79"):
        XidOrder.parse(text)


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "gpus.json"
    documents: list[dict[str, Any]] = [{"xids": [1]}, {"xids": []}]
    for document in documents:
        gpu_script.write(file, document)
        found: Any = json.loads(file.read_text())
        assert found == document
    assert list(tmp_path.iterdir()) == [file]
