"""The base of all rules, and what a rule yields when a plan breaks it."""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from shared.policy.context import EvaluationContext
from shared.policy.facts import FactKinds
from shared.policy.resources import ScopedResource
from shared.policy.vocabulary import PolicyModel


@dataclass(frozen=True)
class ExceededLimit:
    """One limit that a plan exceeds.

    until: when the plan would pass because of time alone, if that is known. waits_for: the resources of which a
    released reservation must free some. approve_by: until when a person may approve the plan, which mends it.
    """

    field: str
    limit: str
    observed: str
    message: str
    until: datetime | None = None
    waits_for: frozenset[ScopedResource] = frozenset()
    approve_by: datetime | None = None


class RuleModel(PolicyModel):
    """Base of rules.

    exempts_harm_reduction: whether the rule never denies a rollback, a removal or a scale-down.
    exempts_scale_up: whether it never denies a scale-up either.
    """

    exempts_harm_reduction: ClassVar[bool] = True
    exempts_scale_up: ClassVar[bool] = False

    def fact_kinds(self) -> FactKinds:
        """The kinds of facts that the rule reads."""
        return FactKinds()

    @abstractmethod
    def check(self, context: EvaluationContext) -> Iterable[ExceededLimit]:
        """The limits that the plan exceeds. Raises MissingFact."""
