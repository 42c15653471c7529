"""Resources of a scope: quotas and capacity limit them, and plans in the queue wait for them.

A request for any GPU counts as a GPU of every SKU, because nobody knows which one it will get. A MIG slice counts as
one GPU of its SKU. Money is no resource, because no plan waits for it.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from shared.models.amounts import NOTHING, Amounts
from shared.policy.vocabulary import CountingScope, ScopeKind

ANY_SKU = ""
"""The ledger's SKU for what asks for no SKU: for no GPU, or for any."""


CAPACITY = "capacity"
"""The name of the resource that no plan takes and no release frees: GPUs that a cluster would have to be given."""


@dataclass(frozen=True)
class Resource:
    """A field of `Amounts` but money, or CAPACITY.

    sku: only GPUs that count as this SKU, ANY_SKU for those that count as every SKU, None for the sum over all.
    """

    name: str
    sku: str | None = None

    def __str__(self) -> str:
        return self.name if self.sku is None else f"{self.name}[{self.sku}]"

    def of(self, by_sku: Mapping[str, Amounts]) -> int:
        """How much of it these lines come to."""
        if self.name == CAPACITY:
            return 0
        if self.sku == ANY_SKU:
            return by_sku.get(ANY_SKU, NOTHING).gpus
        if self.sku is not None:
            return by_sku.get(self.sku, NOTHING).gpus + by_sku.get(ANY_SKU, NOTHING).gpus
        total: int = sum(getattr(amounts, self.name) for amounts in by_sku.values())
        return total


SUMS = tuple(Resource(name) for name in ("replicas", "cpu", "memory", "gpus"))
"""The resources that have no SKU."""

ANY_GPU = Resource("gpus", ANY_SKU)
"""GPUs of every SKU at once: what a request for any GPU takes, and gives back."""


@dataclass(frozen=True)
class ScopedResource:
    """A resource in a scope, as text "team/search gpus[H100]"."""

    scope: CountingScope
    resource: Resource

    def __str__(self) -> str:
        return f"{self.scope} {self.resource}"


@lru_cache(maxsize=4096)
def parse(text: str) -> frozenset[ScopedResource]:
    """What a stored text stands for. Raises ValueError for what no version has written.

    A text with a scope alone was written by a release that did not distinguish resources. It stands for all of the
    scope.
    """
    where, _, what = text.partition(" ")
    kind, separator, key = where.partition("/")
    if not separator:
        raise ValueError(f"{text!r} names no scope")
    scope = CountingScope(ScopeKind(kind), key)
    if not what:
        return frozenset(ScopedResource(scope, resource) for resource in SUMS)
    name, bracket, sku = what.removesuffix("]").partition("[")
    return frozenset([ScopedResource(scope, Resource(name, sku if bracket else None))])


def keys_of(texts: Iterable[str]) -> list[str]:
    """What a plan that waits for these is found by, sorted: its scopes, its resources, and any GPU for one of a SKU.

    For instance "team/search gpus[H100]" gives "team/search", "team/search gpus[H100]" and "team/search gpus[]".
    """
    keys = set()
    for wanted in frozenset[ScopedResource]().union(*map(parse, texts)):
        keys |= {str(wanted.scope), str(wanted)}
        if wanted.resource.name == ANY_GPU.name and wanted.resource.sku:
            keys.add(str(ScopedResource(wanted.scope, ANY_GPU)))
    return sorted(keys)


def released(
    changes: Mapping[tuple[str, str, str], Amounts], workload_ids: Iterable[uuid.UUID]
) -> dict[str, int | None]:
    """How much less of each resource is held in each scope, by text; nothing when nowhere is less held.

    changes: what the lines of (team, cluster, GPU SKU) have grown by. workload_ids: whose lines these are. What a
    workload's own scope holds is not told apart: its text is the scope alone, and its amount None, for not known.
    """
    by_scope: dict[CountingScope, dict[str, Amounts]] = {}
    for (team, cluster, sku), change in changes.items():
        for kind, key in ((ScopeKind.TEAM, team), (ScopeKind.CLUSTER, cluster), (ScopeKind.GLOBAL, "")):
            by_sku = by_scope.setdefault(CountingScope(kind, key), {})
            by_sku[sku] = by_sku.get(sku, NOTHING) + change
    found: dict[str, int | None] = {
        str(ScopedResource(scope, resource)): -grown
        for scope, by_sku in by_scope.items()
        for resource in (*SUMS, *(Resource("gpus", sku) for sku in sorted(by_sku)))
        if (grown := resource.of(by_sku)) < 0
    }
    if found:
        found |= {str(CountingScope(ScopeKind.WORKLOAD, str(one))): None for one in workload_ids}
    return found
