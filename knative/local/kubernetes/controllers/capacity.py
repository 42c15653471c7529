"""Which node has room for a pod: the free capacity of every node, pure and in memory.

Placement, in this order:

1. A node is eligible when it is schedulable, the pod tolerates its taints, and node selector and required node
   affinity match. Pods that ask the same share the answer until a node changes.
2. Among eligible nodes with room for all resources, the one with the fewest free devices of the scarcest kind that
   the pod asks for is taken (GPUs when it asks for none), so that whole nodes stay free for those who need them; ties
   by arrival.

Amounts are integers in thousandths of the resource's unit.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from knative.local.kubernetes import quantity, selectors
from knative.local.kubernetes.selectors import Requirement, Selector

Object = dict[str, Any]

GPU = "nvidia.com/gpu"
_HARD = ("NoSchedule", "NoExecute")


@dataclass(frozen=True)
class Toleration:
    key: str
    operator: str
    value: str
    effect: str

    def tolerates(self, taint: Mapping[str, Any]) -> bool:
        if self.effect and self.effect != taint.get("effect"):
            return False
        if not self.key:
            return self.operator == "Exists"
        if self.key != taint.get("key"):
            return False
        return self.operator == "Exists" or self.value == taint.get("value", "")


@dataclass(frozen=True)
class Placement:
    """Which nodes a pod accepts, whatever their load. `terms` are alternatives; empty means any."""

    selector: Selector
    terms: tuple[Selector, ...]
    tolerations: tuple[Toleration, ...]


@dataclass(frozen=True)
class Demand:
    """All that decides where a pod can go; equal demands are interchangeable."""

    placement: Placement
    amounts: tuple[tuple[str, int], ...]

    @property
    def scarce(self) -> str:
        return next((name for name, _ in self.amounts if "/" in name), GPU)


def demand_of(pod: Object) -> Demand:
    spec = pod["spec"]
    totals: Counter[str] = Counter({"pods": 1000})
    for container in spec.get("containers") or ():
        for name, text in ((container.get("resources") or {}).get("requests") or {}).items():
            totals[name] += quantity.milli(text)
    return Demand(_placement(spec), tuple(sorted((name, n) for name, n in totals.items() if n)))


def _placement(spec: Object) -> Placement:
    selector = tuple(Requirement(k, "In", (v,)) for k, v in sorted((spec.get("nodeSelector") or {}).items()))
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = tuple(
        selectors.expressions(term.get("matchExpressions")) for term in required.get("nodeSelectorTerms") or ()
    )
    tolerations = tuple(
        Toleration(t.get("key", ""), t.get("operator", "Equal"), t.get("value", ""), t.get("effect", ""))
        for t in spec.get("tolerations") or ()
    )
    return Placement(selector, terms, tolerations)


@dataclass
class _Node:
    name: str
    labels: Mapping[str, str]
    taints: list[Mapping[str, Any]]
    unschedulable: bool
    total: dict[str, int]
    free: dict[str, int]

    def refusal(self, placement: Placement) -> str:
        """Why the node is not eligible, in the scheduler's words; "" when it is."""
        tolerates = placement.tolerations
        cordon = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
        if self.unschedulable and not any(t.tolerates(cordon) for t in tolerates):
            return "node(s) were unschedulable"
        for taint in self.taints:
            if taint.get("effect") in _HARD and not any(t.tolerates(taint) for t in tolerates):
                return "node(s) had untolerated taint(s)"
        if not selectors.matches(placement.selector, self.labels) or not self._matches(placement):
            return "node(s) didn't match Pod's node affinity/selector"
        return ""

    def _matches(self, placement: Placement) -> bool:
        return not placement.terms or any(term and selectors.matches(term, self.labels) for term in placement.terms)

    def has_room(self, demand: Demand) -> bool:
        for name, amount in demand.amounts:  # noqa: SIM110  # a generator doubles the time of every placement
            if self.free.get(name, 0) < amount:
                return False
        return True

    def lacking(self, demand: Demand) -> list[str]:
        return [
            "Too many pods" if name == "pods" else f"Insufficient {name}"
            for name, amount in demand.amounts
            if self.free.get(name, 0) < amount
        ]


@dataclass
class Capacity:
    _nodes: dict[str, _Node] = field(default_factory=dict)
    _placed: dict[str, tuple[str, Demand]] = field(default_factory=dict)
    _eligible: dict[Placement, dict[str, None]] = field(default_factory=dict)

    def put_node(self, node: Object) -> bool:
        """Adds or updates a node; says whether anything that matters for placement changed."""
        name = node["metadata"]["name"]
        allocatable = node.get("status", {}).get("allocatable") or {}
        spec = node.get("spec") or {}
        fresh = _Node(
            name,
            node["metadata"].get("labels") or {},
            spec.get("taints") or [],
            bool(spec.get("unschedulable")),
            {resource: quantity.milli(text) for resource, text in allocatable.items()},
            {},
        )
        old = self._nodes.get(name)
        if old is not None and (old.labels, old.taints, old.unschedulable, old.total) == (
            fresh.labels,
            fresh.taints,
            fresh.unschedulable,
            fresh.total,
        ):
            return False
        self.remove_node(name)
        fresh.free = dict(fresh.total)
        self._nodes[name] = fresh
        for placed, demand in self._placed.values():
            if placed == name:
                self._shift(name, demand, -1)
        self._eligible.clear()
        return True

    def remove_node(self, name: str) -> None:
        self._nodes.pop(name, None)
        self._eligible.clear()

    def knows(self, name: str) -> bool:
        return name in self._nodes

    def assign(self, uid: str, node: str, demand: Demand) -> None:
        """Takes what the pod asks for from the node, which may be over-committed by that, or unknown."""
        if uid not in self._placed:
            self._placed[uid] = (node, demand)
            self._shift(node, demand, -1)

    def release(self, uid: str) -> str:
        """Gives back what the pod took; returns the node, or "" when the pod had none."""
        node, demand = self._placed.pop(uid, ("", None))
        if demand is None:
            return ""
        self._shift(node, demand, 1)
        return node

    def _shift(self, name: str, demand: Demand, sign: int) -> None:
        if (node := self._nodes.get(name)) is not None:
            for resource, amount in demand.amounts:
                node.free[resource] = node.free.get(resource, 0) + sign * amount

    def find(self, demand: Demand, among: Iterable[str] | None = None) -> str | None:
        """The node to take, or None; `among` limits the search to some nodes."""
        eligible, scarce = self._eligible_for(demand.placement), demand.scarce
        names = eligible if among is None else [name for name in among if name in eligible]
        fitting = [node for name in names if (node := self._nodes[name]).has_room(demand)]
        return min(fitting, key=lambda node: node.free.get(scarce, 0)).name if fitting else None

    def _eligible_for(self, placement: Placement) -> dict[str, None]:
        found = self._eligible.get(placement)
        if found is None:
            found = {node.name: None for node in self._nodes.values() if not node.refusal(placement)}
            self._eligible[placement] = found
        return found

    def explain(self, demand: Demand) -> str:
        """Why there is no node, as the real scheduler words it."""
        total = len(self._nodes)
        if not total:
            return "no nodes available to schedule pods"
        reasons: Counter[str] = Counter()
        hopeless = 0
        for node in self._nodes.values():
            refusal = node.refusal(demand.placement)
            lacking = [refusal] if refusal else node.lacking(demand)
            reasons.update(lacking)
            never = any(node.total.get(name, 0) < amount for name, amount in demand.amounts)
            hopeless += bool(refusal) or never
        words = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
        victims = total - hopeless
        outlook = [f"{hopeless} Preemption is not helpful for scheduling"] if hopeless else []
        outlook += [f"{victims} No preemption victims found for incoming pod"] if victims else []
        after = ", ".join(sorted(outlook))
        return f"0/{total} nodes are available: {words}. preemption: 0/{total} nodes are available: {after}."
