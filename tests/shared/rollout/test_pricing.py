"""Prices: what one replica costs, and that nothing is ever free because its price is missing."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import UnknownMigProfile, UnknownPrice
from shared.models.amounts import Amounts
from shared.models.cluster import Cluster
from shared.models.gpu import normalise_sku
from shared.models.mig import profiles_of
from shared.models.workload import WorkloadSpec
from shared.rollout.pricing import USD_STEP, Price, PriceKind, Prices, default_prices, replica_amounts
from tests.support.strategies import workloads

HERE = Cluster("here")
PRICES = Prices(
    gpus={"H100": Decimal("2.95"), "L4": Decimal("0.805"), "B200": Decimal("5.50")},
    cpu_core=Decimal("0.03"),
    memory_gib=Decimal("0.004"),
)


def spec(**gpu: object) -> WorkloadSpec:
    wire = {"name": "w", "type": "inference", "image": "i", "resources": {"cpu": "4", "memory": "8Gi", "gpu": gpu}}
    return WorkloadSpec.model_validate(wire)


CORES_AND_MEMORY = Decimal("0.152")  # 4 x 0.03 + 8 x 0.004


@pytest.mark.parametrize(
    ("gpu", "usd"),
    [
        ({}, Decimal(0)),
        ({"count": 2, "sku": "H100"}, Decimal("5.90")),
        ({"count": 2, "sku": "nvidia h100 80gb hbm3"}, Decimal("5.90")),
        ({"count": 1, "sku": "H100", "mig": "1g.10gb"}, Decimal("0.421429")),  # a seventh, rounded up
        ({"count": 1, "sku": "B200", "mig": "1g.23gb"}, Decimal("0.785715")),  # not to the nearest: 0.7857142...
        ({"count": 7, "sku": "H100", "mig": "1g.10gb"}, Decimal("2.95")),
        ({"count": 1, "sku": "H100", "mig": "3g.40gb"}, Decimal("1.475")),  # half of the memory
        ({"count": 1, "sku": "H100", "mig": "1g.20gb"}, Decimal("0.7375")),  # a quarter of the memory
        ({"count": 1, "sku": "H100", "mig": "1g.10gb+me"}, Decimal("0.421429")),
        ({"count": 1, "sku": "H100", "mig": "7g.80gb"}, Decimal("2.95")),
        ({"count": 2, "sku": "NVIDIA-H100-80GB-HBM3-MIG-3g.40gb"}, Decimal("2.95")),
        ({"count": 1, "sku": "L4-SHARED"}, Decimal("0.805")),  # as much as a whole one
        ({"count": 1, "sku": "NVIDIA-H100-80GB-HBM3-MIG-3g.40gb-SHARED"}, Decimal("1.475")),
    ],
)
def test_a_replica_costs_its_gpus_cores_and_memory(gpu: dict[str, object], usd: Decimal) -> None:
    assert replica_amounts(spec(**gpu), PRICES, HERE).usd_per_hour == usd + CORES_AND_MEMORY


def test_amounts_are_of_one_replica() -> None:
    amounts = replica_amounts(spec(count=2, sku="L4"), PRICES, HERE)
    assert amounts == Amounts(1, 4000, 8 * 1024**3, 2, Decimal("1.762000"))


@pytest.mark.parametrize(
    ("gpus", "usd"),
    [
        (None, "5.50"),  # unknown capacity: the dearest in the catalogue
        ({}, "5.50"),
        ({"L4": 8}, "0.805"),
        ({"L4": 8, "H100": 2}, "2.95"),
        ({"L4": 8, "H100": 0}, "0.805"),
    ],
)
def test_without_a_sku_the_dearest_gpu_that_it_may_get_counts(gpus: dict[str, int] | None, usd: str) -> None:
    amounts = replica_amounts(spec(count=1), PRICES, Cluster("here", gpus=gpus))
    assert amounts.usd_per_hour == Decimal(usd) + CORES_AND_MEMORY


def test_a_sku_without_a_price_is_named_beside_those_with_one() -> None:
    with pytest.raises(UnknownPrice, match="GPU V100-32GB has no price on cluster here; priced GPUs: B200, H100, L4"):
        replica_amounts(spec(count=1, sku="V100-32GB"), PRICES, HERE)


def test_a_cluster_that_also_has_gpus_without_a_price_cannot_be_priced_without_a_sku() -> None:
    with pytest.raises(UnknownPrice, match="V100-32GB"):
        replica_amounts(spec(count=1), PRICES, Cluster("here", gpus={"L4": 1, "V100-32GB": 1}))


@pytest.mark.parametrize(
    ("prices", "what"),
    [
        (Prices(cpu_core=Decimal(1)), "a GiB of memory"),
        (Prices(memory_gib=Decimal(1)), "a CPU core"),
        (Prices(cpu_core=Decimal(1), memory_gib=Decimal(1)), "no GPU"),
    ],
)
def test_any_missing_price_denies(prices: Prices, what: str) -> None:
    with pytest.raises(UnknownPrice, match=what):
        replica_amounts(spec(count=1), prices, HERE)


def test_a_whole_gpu_in_one_slice_costs_a_whole_gpu() -> None:
    prices = replace(PRICES, gpus={"A30": Decimal("0.70")})
    amounts = replica_amounts(spec(count=1, sku="A30", mig="4g.24gb"), prices, HERE)
    assert amounts.usd_per_hour == Decimal("0.70") + CORES_AND_MEMORY


@pytest.mark.parametrize(
    ("gpu", "words"),
    [
        ({"sku": "H100", "mig": "1g.5gb"}, "GPU H100 has no MIG profile 1g.5gb; it has 1g.10gb, 1g.10gb.me, 1g.20gb"),
        ({"sku": "L4", "mig": "1g.6gb"}, "GPU L4 has no MIG profile 1g.6gb; no profile of it is known"),
        ({"sku": "H100-MIG-1g.10gb", "mig": "1g.10gb"}, "GPU H100-MIG-1g.10gb is a slice already; leave mig out"),
        ({"sku": "H100-MIG-1g.11gb"}, "GPU H100 has no MIG profile 1g.11gb"),
        ({"mig": "1g.99gb"}, "no GPU that cluster here may have has the MIG profile 1g.99gb"),
    ],
)
def test_a_slice_that_its_gpu_does_not_have_is_refused(gpu: dict[str, object], words: str) -> None:
    with pytest.raises(UnknownMigProfile) as refused:
        replica_amounts(spec(count=1, **gpu), PRICES, HERE)
    assert str(refused.value).startswith(words)


def test_without_a_sku_a_slice_costs_its_largest_share_of_a_gpu_that_has_it() -> None:
    prices = replace(PRICES, gpus={"A100-40GB": Decimal(2), "H100": Decimal(3), "L4": Decimal(9)})
    assert replica_amounts(spec(count=1, mig="1g.10gb"), prices, HERE).usd_per_hour == (
        Decimal("0.5") + CORES_AND_MEMORY  # a quarter of an A100-40GB, and a seventh of an H100
    )
    here = Cluster("here", gpus={"H100": 8, "L4": 8})
    assert replica_amounts(spec(count=7, mig="1g.10gb"), prices, here).usd_per_hour == 3 + CORES_AND_MEMORY


def test_a_price_of_a_slice_goes_before_the_share_of_its_gpu() -> None:
    prices = replace(PRICES, gpus={"L4": Decimal(8), "L4-SHARED": Decimal(1), "H100-MIG-1g.10gb": Decimal(2)})
    for sku, usd in (("NVIDIA-L4-SHARED", 1), ("H100-MIG-1g.10gb", 2)):
        assert replica_amounts(spec(count=1, sku=sku), prices, HERE).usd_per_hour == usd + CORES_AND_MEMORY


def row(kind: PriceKind, usd: str, sku: str = "", cluster: str = "") -> Price:
    return Price(kind, Decimal(usd), "test", date(2025, 1, 1), sku, cluster)


def test_a_clusters_own_prices_go_before_the_general_ones() -> None:
    prices = Prices.of(
        [
            row(PriceKind.GPU, "9", "H100", "here"),
            row(PriceKind.GPU, "2", "H100"),
            row(PriceKind.GPU, "1", "L4"),
            row(PriceKind.CPU, "0"),
            row(PriceKind.CPU, "0.5", cluster="here"),
            row(PriceKind.MEMORY, "0"),
        ]
    )
    assert replica_amounts(spec(count=1, sku="H100"), prices, HERE).usd_per_hour == 11
    assert replica_amounts(spec(count=1, sku="L4"), prices, HERE).usd_per_hour == 3
    assert replica_amounts(spec(count=1, sku="H100"), prices, Cluster("there")).usd_per_hour == 2


def test_the_shipped_catalogue_prices_every_sku_it_names_by_our_own_name() -> None:
    rows = default_prices()
    skus = [row.sku for row in rows if row.kind is PriceKind.GPU]
    assert len(set(skus)) == len(skus) == 14
    assert all(normalise_sku(sku) == sku for sku in skus)
    assert all(row.usd_per_hour > 0 and row.source and not row.cluster for row in rows)
    assert "V100-32GB" not in skus
    prices = Prices.of(rows)
    assert prices.cpu_core is not None
    assert prices.memory_gib is not None


@given(workloads, st.integers(1, 10_000))
def test_costs_are_exact_and_never_below_the_sum_of_their_parts(spec: WorkloadSpec, replicas: int) -> None:
    prices = Prices.of(default_prices())
    gpu = spec.resources.gpu
    if gpu.count and gpu.sku is not None:
        priced = gpu.sku in prices.gpus
        if not priced or (gpu.mig is not None and gpu.mig not in profiles_of(gpu.sku)):
            with pytest.raises(UnknownMigProfile if priced else UnknownPrice):
                replica_amounts(spec, prices, HERE)
            return
    amounts = replica_amounts(spec, prices, HERE)
    assert amounts.usd_per_hour % USD_STEP == 0
    assert amounts.times(replicas).usd_per_hour == sum([amounts.usd_per_hour] * replicas)
    if gpu.count:
        assert amounts.usd_per_hour >= gpu.count * min(prices.gpus.values()) / 7
