"""What pods and nodes of a trace become."""

from decimal import Decimal

import pytest

from events.workload import WorkloadWithdrawn
from knative.local.tools.replay.trace import Node, Pod, TraceError
from knative.local.tools.replay.workloads import (
    id_of,
    invented_prices,
    node_object,
    node_status,
    require_prices,
    withdrawal_of,
    workload_of,
)
from shared.models.workload import WorkloadSpec
from shared.rollout.pricing import default_prices

CAPACITY = {"T4": 4, "V100-16GB": 8}


def pod(**changes: object) -> Pod:
    fields: dict[str, object] = {
        "name": "openb-pod-1",
        "cpu": 6500,
        "memory_mib": 12288,
        "gpus": 1,
        "models": (),
        "qos": "LS",
        "created": 0,
        "deleted": None,
    }
    return Pod(**{**fields, **changes})  # type: ignore[arg-type]  # the fields are those of Pod


def test_a_pod_becomes_a_valid_workload_of_one_replica() -> None:
    spec = WorkloadSpec.model_validate(workload_of(pod(), CAPACITY))
    assert (spec.type, spec.replicas, spec.team, spec.labels) == ("inference", 1, "ls", {"qos": "LS"})
    assert (spec.resources.cpu, spec.resources.memory, spec.resources.gpu.count) == (6500, 12288 * 1024**2, 1)
    assert spec.resources.gpu.sku is None


def test_a_pod_without_gpus_is_a_service() -> None:
    spec = WorkloadSpec.model_validate(workload_of(pod(gpus=0, models=("T4",)), CAPACITY))
    assert (spec.type, spec.resources.gpu.count, spec.resources.gpu.sku) == ("service", 0, None)


def test_of_several_models_the_most_plentiful_is_asked_for() -> None:
    wanted = workload_of(pod(models=("T4", "V100M16", "P100")), CAPACITY)
    assert WorkloadSpec.model_validate(wanted).resources.gpu.sku == "V100-16GB"


def test_equally_plentiful_models_are_told_apart_by_name() -> None:
    for models in (("T4", "A10"), ("A10", "T4")):
        assert workload_of(pod(models=models), {"T4": 4, "A10": 4})["resources"]["gpu"]["sku"] == "A10"


def test_the_withdrawal_names_the_same_workload() -> None:
    withdrawal = WorkloadWithdrawn.model_validate(withdrawal_of(pod()))
    assert WorkloadSpec.model_validate(workload_of(pod(), CAPACITY)).id == id_of(pod())
    assert (withdrawal.team, withdrawal.namespace, withdrawal.name) == ("ls", "replay", "openb-pod-1")


def test_a_node_is_labelled_with_its_product_and_states_what_it_has() -> None:
    node = Node("node-1", 64000, 262144, 2, "P100")
    assert node_object(node)["metadata"]["labels"]["nvidia.com/gpu.product"] == "Tesla-P100-PCIE-16GB"
    status = node_status(node)["status"]
    assert status["allocatable"] == {"cpu": "64000m", "memory": "262144Mi", "pods": "110", "nvidia.com/gpu": "2"}


def test_a_node_without_gpus_offers_none() -> None:
    node = Node("node-1", 64000, 262144, 0, "none")
    assert "nvidia.com/gpu.product" not in node_object(node)["metadata"]["labels"]
    assert "nvidia.com/gpu" not in node_status(node)["status"]["allocatable"]


def test_every_price_that_the_replay_brings_says_that_it_is_invented() -> None:
    assert invented_prices()
    assert all("invented" in price.source for price in invented_prices())
    assert all(price.usd_per_hour > Decimal(0) for price in invented_prices())


def test_the_replay_invents_no_price_that_the_catalogue_has() -> None:
    assert not {p.sku for p in invented_prices()} & {p.sku for p in default_prices()}


def test_a_model_without_a_price_is_an_error_at_the_start() -> None:
    require_prices(["T4", "G2"], default_prices() + invented_prices())
    with pytest.raises(TraceError, match="no price for the GPU models G9; add them to"):
        require_prices(["T4", "G9"], default_prices() + invented_prices())
