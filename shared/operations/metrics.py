"""What the metrics say: what the store measures, and the limits that policies set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.policy.rules.amounts import CostCeiling, Quota
from shared.policy.vocabulary import Mode
from shared.telemetry.metrics import Measurement

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from shared.policy.documents import PolicyDocument
    from shared.store.unit_of_work import UnitOfWork


class Limits:
    """The quotas and ceilings of policies, kept until policies change."""

    def __init__(self) -> None:
        self._known: tuple[uuid.UUID | None, tuple[PolicyDocument, ...]] | None = None

    def measure(self, work: UnitOfWork) -> Iterator[Measurement]:
        """One measurement for each limit that is enforced now."""
        revision = work.policies.revision()
        known = self._known  # another thread may put another revision there meanwhile
        if known is None or known[0] != revision:
            self._known = known = (revision, tuple(_enforcing(work)))
        return _limits(known[1], work.now)


def measure(work: UnitOfWork, limits: Limits) -> list[Measurement]:
    """Everything that is measured, in no order."""
    return [*work.measurements.all(), *limits.measure(work)]


def _enforcing(work: UnitOfWork) -> Iterator[PolicyDocument]:
    for policy in work.policies.all():
        document = policy.document
        if document is not None and document.mode is Mode.ENFORCE:
            yield document


def _limits(documents: Iterable[PolicyDocument], now: datetime) -> Iterator[Measurement]:
    for document in documents:
        if not document.in_force(now):
            continue
        for rule in document.rules:
            for key in document.selector.teams or ("",):
                match rule:
                    case Quota():
                        for resource, limit in rule.limits:
                            if resource.name == "gpus":
                                labels = (document.name, rule.scope.value, key, resource.sku or "")
                                yield Measurement("sentinel_quota_gpus", labels, float(limit))
                    case CostCeiling(usd_per_month=usd) if usd is not None:
                        scope = (document.name, rule.scope.value, key)
                        yield Measurement("sentinel_ceiling_usd_per_month", scope, float(usd))
