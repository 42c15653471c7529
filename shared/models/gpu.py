"""GPU SKUs under one name each, whatever a user or a node calls them.

A SKU is our short name ("H100"); a product is what NVIDIA GPU Feature Discovery writes into the
node label `nvidia.com/gpu.product` ("NVIDIA-H100-80GB-HBM3"). The table `gpus.csv` holds both, with
aliases. A name that the table does not know is kept as it is, upper-cased: a cluster may have
GPUs that we have never heard of, and whether one can be priced is the price catalogue's business.
"""

import csv
import functools
import re
from dataclasses import dataclass
from importlib.resources import files

PRODUCT_LABEL = "nvidia.com/gpu.product"
NVIDIA_PREFIX = "nvidia.com/"
GPU_RESOURCE = "nvidia.com/gpu"


@dataclass(frozen=True)
class Gpu:
    """One row of the table; memory in GiB."""

    sku: str
    product: str
    memory_gib: int


def normalise_sku(name: str) -> str:
    """The SKU for any spelling: "NVIDIA H100 80GB HBM3", "h100", "H100_SXM5" -> "H100"."""
    key = _key(name)
    known = _by_key().get(key)
    return known.sku if known else key


def product_of(sku: str) -> str:
    """The value of the node label `nvidia.com/gpu.product` for a normalised SKU."""
    known = _by_key().get(sku)
    return known.product if known else sku


def resource_name(mig_profile: str | None) -> str:
    """The extended resource to ask for: whole GPUs, or slices of one MIG profile ("1g.10gb")."""
    return f"nvidia.com/mig-{mig_profile}" if mig_profile else GPU_RESOURCE


def _key(name: str) -> str:
    return re.sub(r"[\s_]+", "-", name.strip()).upper()


@functools.cache
def _by_key() -> dict[str, Gpu]:
    table: dict[str, Gpu] = {}
    with files("shared.models").joinpath("gpus.csv").open() as source:
        for row in csv.DictReader(source):
            gpu = Gpu(row["sku"], row["product"], int(row["memory_gib"]))
            names = [gpu.sku, gpu.product, f"NVIDIA-{gpu.sku}", *filter(None, row["aliases"].split("|"))]
            for name in names:
                table.setdefault(_key(name), gpu)
    return table
