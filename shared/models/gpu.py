"""GPUs by one name each, whatever a user or a node calls them.

A product is the value of the node label `nvidia.com/gpu.product`, which NVIDIA GPU Feature Discovery writes: the
driver's name of the GPU with '-' for spaces, such as "NVIDIA-H100-80GB-HBM3". Labels are compared case by case. A SKU
is Sentinel's name ("H100"); prices, policies, quotas and the ledger compare SKUs and nothing else.

    A product is                                        its SKU is
    NVIDIA-H100-80GB-HBM3, a row of gpus.csv            H100
    NVIDIA-GeForce-RTX-6090, in no row                  NVIDIA-GEFORCE-RTX-6090
    NVIDIA-A30-MIG-1g.6gb, a slice of a divided GPU     A30-MIG-1g.6gb
    NVIDIA-A30-SHARED, a GPU that pods share            A30-SHARED
    NVIDIA-A30-MIG-1g.6gb-SHARED                        A30-MIG-1g.6gb-SHARED

A slice and a shared GPU are SKUs of their own: whoever asks for an A30 gets a whole one. Nodes show slices as products
with MIG strategy "single", and shared GPUs with time-slicing or MPS. With strategy "mixed" a slice is a resource, see
`resource_name`.
"""

import csv
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

PRODUCT_LABEL = "nvidia.com/gpu.product"
NVIDIA_PREFIX = "nvidia.com/"
GPU_RESOURCE = "nvidia.com/gpu"
MIG_PROFILE = re.compile(r"[1-9]g\.[0-9]{1,3}gb(\.gfx|\.me|\.me\.all|-me)?", re.ASCII)
"""A MIG profile as resources and labels spell it; the driver writes '+' for the second '.'."""

_BRANDS = ("NVIDIA-", "Tesla-", "Quadro-")
_NAME = re.compile(rf"(?P<gpu>.+?)(-MIG-(?P<mig>{MIG_PROFILE.pattern.upper()}))?(?P<shared>-SHARED)?", re.ASCII)
_LONGEST_LABEL = 63


@dataclass(frozen=True)
class GpuName:
    """A SKU in its parts: the SKU of the whole GPU, the MIG profile of a slice of it, and whether pods share it."""

    gpu: str
    mig: str | None = None
    shared: bool = False

    @property
    def suffix(self) -> str:
        """What follows the GPU, in SKUs and in products alike."""
        return (f"-MIG-{self.mig}" if self.mig else "") + ("-SHARED" if self.shared else "")

    def __str__(self) -> str:
        return self.gpu + self.suffix


def normalise_sku(name: str) -> str:
    """The SKU for any spelling: "NVIDIA H100 80GB HBM3", "h100", "H100_SXM5" -> "H100"."""
    return str(parse_sku(name))


def parse_sku(name: str) -> GpuName:
    """The parts of the SKU for any spelling."""
    key = _key(name)
    found = _NAME.fullmatch(key)
    if found is None:
        return GpuName(key)
    row = _by_key().get(found["gpu"])
    mig = found["mig"].lower() if found["mig"] else None
    return GpuName(row.sku if row else found["gpu"], mig, found["shared"] is not None)


def product_named(text: str) -> str | None:
    """The product that a text spells out, None for any other name of a SKU.

    "NVIDIA-H100-80GB-HBM3" -> itself; "h100", "nvidia-h100-80gb-hbm3" -> None. A GPU in no row of the table is taken as
    it is written: "NVIDIA GeForce RTX 6090" -> "NVIDIA-GeForce-RTX-6090".
    """
    label, sku = "-".join(text.replace("+", ".").split()), parse_sku(text)
    if label == str(sku) or len(label) > _LONGEST_LABEL:
        return None
    published = published_products(str(sku))
    return label if not published or (label in published and label.startswith(_BRANDS)) else None


def published_products(sku: str) -> tuple[str, ...]:
    """The products that drivers are known to call a SKU, the newest drivers' first; none for an unknown SKU."""
    name = parse_sku(sku)
    row = _by_key().get(name.gpu)
    return tuple(product + name.suffix for product in row.products) if row else ()


def product_of(sku: str) -> str:
    """The product that most nodes with this SKU show."""
    return next(iter(published_products(sku)), sku)


def matching_products(sku: str, named: str | None, on_nodes: Iterable[str]) -> list[str]:
    """The products that a request for a SKU accepts, sorted.

    named: the product that the request spells out; it accepts only this one. on_nodes: the products on the cluster's
    nodes, as far as they are known. A SKU that neither the table nor a node knows is matched as it was written.
    """
    known = {*published_products(sku), *(product for product in on_nodes if normalise_sku(product) == sku)}
    if named is not None and (named in known or not known):
        return [named]
    return sorted(known) or [sku]


def resource_name(mig_profile: str | None) -> str:
    """The extended resource to ask for: whole GPUs, or slices of one MIG profile ("1g.10gb")."""
    return f"nvidia.com/mig-{mig_profile}" if mig_profile else GPU_RESOURCE


@dataclass(frozen=True)
class _Row:
    sku: str
    products: tuple[str, ...]


def _key(name: str) -> str:
    return re.sub(r"[\s_]+", "-", name.replace("+", ".").strip()).upper()


@functools.cache
def _by_key() -> dict[str, _Row]:
    """The rows of gpus.csv by every name of a SKU.

    products: as NVIDIA's drivers and the README of its open kernel modules spell them; drivers before R470 left the
    vendor out of some.
    """
    table: dict[str, _Row] = {}
    with files("shared.models").joinpath("gpus.csv").open(encoding="utf-8") as source:
        for line in csv.DictReader(source):
            row = _Row(line["sku"], tuple(line["products"].split("|")))
            bare = [product.removeprefix("NVIDIA-") for product in row.products]
            names = [row.sku, f"NVIDIA-{row.sku}", *row.products, *bare, *filter(None, line["aliases"].split("|"))]
            for name in names:
                table.setdefault(_key(name), row)
    return table
