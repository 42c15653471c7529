"""What one replica costs an hour.

A replica costs its GPUs, its CPU cores and its GiB of memory, each at the price of its cluster, or at the
general price where the cluster has none of its own. A missing price denies: nothing is priced at zero
because nobody knew better. The defaults in `prices.csv` are public on-demand list prices; where a source
gives only a year, the date is its first of January. Prices of whole instances stay as they are, so CPU
beside such a GPU counts twice: the safe side for a ceiling.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from importlib.resources import files

from pydantic import JsonValue

from shared.errors import UnknownMigProfile, UnknownPrice
from shared.models.amounts import Amounts
from shared.models.cluster import Cluster
from shared.models.gpu import parse_sku
from shared.models.mig import profiles_of, share_of
from shared.models.resources import GpuRequest
from shared.models.workload import WorkloadSpec

USD_STEP = Decimal("0.000001")
"""Amounts are rounded up to this, the scale that the ledger stores: a sum of them never hides a cent."""

_GIB = 1024**3


class PriceKind(StrEnum):
    """What a price is for: one GPU, one CPU core or one GiB of memory, for one hour."""

    GPU = "gpu"
    CPU = "cpu"
    MEMORY = "memory"


@dataclass(frozen=True)
class Price:
    """One row of a catalogue. `sku` is empty unless the kind is GPU; an empty `cluster` means all clusters."""

    kind: PriceKind
    usd_per_hour: Decimal
    source: str
    priced_on: date
    sku: str = ""
    cluster: str = ""

    def as_json(self) -> dict[str, JsonValue]:
        """The price for machines; money is text."""
        return {
            "kind": self.kind.value,
            "sku": self.sku,
            "cluster": self.cluster,
            "usdPerHour": f"{self.usd_per_hour:f}",
            "pricedOn": self.priced_on.isoformat(),
            "source": self.source,
        }


@dataclass(frozen=True)
class Prices:
    """Prices of one place: US dollars an hour, GPUs by SKU. None means that nobody has said."""

    gpus: Mapping[str, Decimal] = field(default_factory=dict)
    cpu_core: Decimal | None = None
    memory_gib: Decimal | None = None
    overrides: Mapping[str, "Prices"] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[Price]) -> "Prices":
        """The catalogue that rows make; their order does not matter."""
        places: dict[str, list[Price]] = {"": []}
        for row in rows:
            places.setdefault(row.cluster, []).append(row)
        overrides = {cluster: _one_place(rows) for cluster, rows in places.items() if cluster}
        general = _one_place(places[""])
        return cls(general.gpus, general.cpu_core, general.memory_gib, overrides)

    def at(self, cluster: str) -> "Prices":
        """What holds on one cluster: its own prices over the general ones."""
        own = self.overrides.get(cluster)
        if own is None:
            return self
        return Prices(
            {**self.gpus, **own.gpus},
            self.cpu_core if own.cpu_core is None else own.cpu_core,
            self.memory_gib if own.memory_gib is None else own.memory_gib,
        )


def _one_place(rows: Iterable[Price]) -> Prices:
    by_kind: dict[PriceKind, dict[str, Decimal]] = {kind: {} for kind in PriceKind}
    for row in rows:
        by_kind[row.kind][row.sku] = row.usd_per_hour
    return Prices(by_kind[PriceKind.GPU], by_kind[PriceKind.CPU].get(""), by_kind[PriceKind.MEMORY].get(""))


def default_prices() -> list[Price]:
    """The rows of the catalogue that is shipped, for seeding the store."""
    with files("shared.rollout").joinpath("prices.csv").open() as source:
        return [
            Price(
                kind=PriceKind(row["kind"]),
                sku=row["sku"],
                usd_per_hour=Decimal(row["usd_per_hour"]),
                source=row["source"],
                priced_on=date.fromisoformat(row["priced_on"]),
            )
            for row in csv.DictReader(source)
        ]


def replica_amounts(spec: WorkloadSpec, prices: Prices, cluster: Cluster) -> Amounts:
    """What ONE replica takes up on this cluster; `usd_per_hour` is rounded up to USD_STEP.

    A MIG slice costs its share of the GPU, see shared.models.mig. The SKU of a slice or of a shared GPU may have a
    price of its own. Without one a slice costs its share, and a shared GPU as much as a whole one, because it is not
    known how many pods share it. Without a SKU the price is that of the dearest GPU that the
    cluster is known to have, or of the dearest in the catalogue when its capacity is not known.
    Raises UnknownPrice, naming what has no price and what has one, and UnknownMigProfile.
    """
    here = prices.at(cluster.name)
    resources = spec.resources
    cores = Decimal(resources.cpu) / 1000 * _stated(here.cpu_core, "a CPU core", cluster)
    memory = Decimal(resources.memory) / _GIB * _stated(here.memory_gib, "a GiB of memory", cluster)
    usd = cores + memory + _gpu_usd(resources.gpu, here, cluster)
    return Amounts(
        replicas=1,
        cpu=resources.cpu,
        memory=resources.memory,
        gpus=resources.gpu.count,
        usd_per_hour=usd.quantize(USD_STEP, rounding=ROUND_CEILING),
    )


def _gpu_usd(request: GpuRequest, prices: Prices, cluster: Cluster) -> Decimal:
    if request.count == 0:
        return Decimal(0)
    return request.count * max(_one_usd(sku, request.mig, prices, cluster) for sku in _skus(request, prices, cluster))


def _one_usd(sku: str, mig: str | None, prices: Prices, cluster: Cluster) -> Decimal:
    """The price of one GPU, or of one slice of it with the profile `mig`."""
    name = parse_sku(sku)
    if mig is not None and name.mig is not None:
        raise UnknownMigProfile(f"GPU {sku} is a slice already; leave mig out")
    if sku in prices.gpus:
        whole, profile = prices.gpus[sku], mig
    else:
        whole, profile = _gpu_price(name.gpu, sku, prices, cluster), mig or name.mig
    if profile is None:
        return whole
    share = share_of(name.gpu, profile)
    return whole * share.numerator / share.denominator


def _skus(request: GpuRequest, prices: Prices, cluster: Cluster) -> list[str]:
    """The SKUs that a request may get."""
    if request.sku is not None:
        return [request.sku]
    present = sorted(sku for sku, count in (cluster.gpus or {}).items() if count > 0)
    skus = present or sorted(prices.gpus)
    if not skus:
        raise UnknownPrice("no GPU has a price; add one to the catalogue")
    if request.mig is None:
        return skus
    if not (divided := [sku for sku in skus if request.mig in profiles_of(sku)]):
        raise UnknownMigProfile(f"no GPU that cluster {cluster.name} may have has the MIG profile {request.mig}")
    return divided


def _gpu_price(gpu: str, asked: str, prices: Prices, cluster: Cluster) -> Decimal:
    if gpu not in prices.gpus:
        known = ", ".join(sorted(prices.gpus)) or "none"
        raise UnknownPrice(f"GPU {asked} has no price on cluster {cluster.name}; priced GPUs: {known}")
    return prices.gpus[gpu]


def _stated(price: Decimal | None, what: str, cluster: Cluster) -> Decimal:
    if price is None:
        raise UnknownPrice(f"{what} has no price on cluster {cluster.name}; add one to the catalogue")
    return price
