"""All policies, compiled so that a decision costs what the policies that match cost, not those that exist.

An index maps what selectors name, such as team=search, to policies. A policy is indexed under one dimension of its
selector: the one whose values the fewest policies share. A plan looks up its own team, labels, verb and so on, and
checks only the policies that it finds there. Example: of 10,000 policies for a team each, a plan checks one.
"""

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from pydantic import JsonValue

from shared.policy.decision import PlanView
from shared.policy.documents import PolicyDocument, Selector
from shared.policy.resources import ANY_SKU

Bucket = tuple[str, str]
_NO_ID = uuid.UUID(int=0)


@dataclass(frozen=True)
class StoredPolicy:
    """A policy as stored: a document, or why it cannot be read any more (which denies, unless it is disabled).

    raw_document: what is stored instead of a document, with the keys of the version that wrote it.
    """

    name: str
    document: PolicyDocument | None
    problem: str = ""
    id: uuid.UUID = _NO_ID
    version: int = 1
    raw_document: Mapping[str, JsonValue] = field(default_factory=dict, hash=False)

    @property
    def enabled(self) -> bool:
        """One that cannot be read is, unless it says `"enabled": false` in so many words."""
        return self.raw_document.get("enabled") is not False if self.document is None else self.document.enabled

    def as_json(self) -> dict[str, JsonValue]:
        """The document as it can be put again; of one that cannot be read, what is stored."""
        if self.document is None:
            return dict(self.raw_document)
        written: dict[str, JsonValue] = self.document.model_dump(mode="json", by_alias=True, exclude_none=True)
        return written

    @property
    def order(self) -> tuple[bool, int, str, uuid.UUID]:
        """Unreadable ones first; then priority, higher first; then name; then id."""
        return (self.document is not None, -(self.document.priority if self.document else 0), self.name, self.id)


class _Entry(NamedTuple):
    """A policy in a bucket. rank: its place in the order. timed, selector: what is left to check, None for nothing."""

    rank: int
    policy: StoredPolicy
    timed: PolicyDocument | None
    selector: Selector | None


class PolicySet:
    """The policies of one revision. Immutable; build it once and ask often."""

    def __init__(self, policies: Iterable[StoredPolicy]) -> None:
        live = [policy for policy in policies if policy.enabled]
        live.sort(key=lambda policy: policy.order)
        named = [_index_buckets(policy.document) for policy in live]
        shared_by = Counter(bucket for things in named for buckets in things for bucket in buckets)
        self.policies = tuple(live)
        self._buckets: dict[Bucket, list[_Entry]] = {}
        for rank, (policy, things) in enumerate(zip(live, named, strict=True)):
            entry = _Entry(rank, policy, _with_validity(policy.document), _selector_to_check(policy.document, things))
            rarest = min(things, key=lambda buckets: max(shared_by[b] for b in buckets), default=[_UNSCOPED])
            for bucket in rarest:
                self._buckets.setdefault(bucket, []).append(entry)
        self._sku_buckets = [bucket for bucket in self._buckets if bucket[0] == _SKU]

    def matching(self, plan: PlanView, now: datetime) -> list[StoredPolicy]:
        """The policies that have a say on a plan at `now`, in their order."""
        found: dict[int, StoredPolicy] = {}
        for bucket in self._buckets_of(plan):
            for rank, policy, timed, selector in self._buckets.get(bucket, ()):
                if (timed is None or timed.in_force(now)) and (selector is None or selects(selector, plan)):
                    found[rank] = policy
        return [found[rank] for rank in sorted(found)]

    def _buckets_of(self, plan: PlanView) -> Iterator[Bucket]:
        yield _UNSCOPED
        for key, value in plan.labels.items():
            yield _LABEL, f"{key}={value}"
        yield "team", plan.team
        yield "namespace", plan.namespace
        yield "cluster", plan.cluster
        yield "type", plan.type
        yield "verb", plan.verb
        skus = _skus_of(plan)
        yield from self._sku_buckets if ANY_SKU in skus else ((_SKU, sku) for sku in skus)


def selects(selector: Selector, plan: PlanView) -> bool:
    """Whether everything that a selector names matches the plan.

    A plan that asks for GPUs of no SKU may get any: policies for a SKU select it.
    """
    return (
        (not selector.teams or plan.team in selector.teams)
        and (not selector.namespaces or plan.namespace in selector.namespaces)
        and (not selector.clusters or plan.cluster in selector.clusters)
        and (not selector.types or plan.type in selector.types)
        and (not selector.verbs or plan.verb in selector.verbs)
        and all(plan.labels.get(key) == value for key, value in selector.match_labels.items())
        and all(expression.matches(plan.labels) for expression in selector.match_expressions)
        and (not selector.skus or any(sku in selector.skus or sku == ANY_SKU for sku in _skus_of(plan)))
    )


_UNSCOPED: Bucket = ("", "")
_LABEL, _SKU = "label", "sku"


def _skus_of(plan: PlanView) -> list[str]:
    return [sku for sku, amounts in plan.lines.items() if amounts.gpus]


def _index_buckets(document: PolicyDocument | None) -> list[list[Bucket]]:
    """For each thing that a selector names, the buckets of a plan that has it. A plan without is not selected."""
    if document is None:
        return []
    selector = document.selector
    things = [[(_LABEL, f"{key}={value}")] for key, value in selector.match_labels.items()]
    things += [
        [(_LABEL, f"{expression.key}={value}") for value in expression.values]
        for expression in selector.match_expressions
        if expression.operator == "In"
    ]
    dimensions: dict[str, tuple[str, ...]] = {
        "team": selector.teams,
        "namespace": selector.namespaces,
        "cluster": selector.clusters,
        "type": selector.types,
        "verb": selector.verbs,
        _SKU: selector.skus,
    }
    return things + [[(name, value) for value in values] for name, values in dimensions.items() if values]


def _with_validity(document: PolicyDocument | None) -> PolicyDocument | None:
    return document if document and (document.valid_from or document.valid_until) else None


def _selector_to_check(document: PolicyDocument | None, things: list[list[Bucket]]) -> Selector | None:
    """The selector, unless being in a bucket says it all."""
    if document is None:
        return None
    unindexed = any(expression.operator != "In" for expression in document.selector.match_expressions)
    return document.selector if unindexed or len(things) > 1 else None
