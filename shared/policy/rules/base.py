"""What every rule is."""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from shared.policy.context import EvaluationContext
from shared.policy.facts import Wants
from shared.policy.resources import ScopedResource
from shared.policy.vocabulary import PolicyModel


@dataclass(frozen=True)
class Breach:
    """One limit that a plan goes over. until: when time mends it. waits_for: what a release must free."""

    field: str
    limit: str
    observed: str
    message: str
    until: datetime | None = None
    waits_for: frozenset[ScopedResource] = frozenset()


class RuleModel(PolicyModel):
    """Base of rules.

    spares_reducing: whether rollback, remove and scale-down are never denied by it. spares_scale_up: and scale-ups.
    """

    spares_reducing: ClassVar[bool] = True
    spares_scale_up: ClassVar[bool] = False

    def wants(self) -> Wants:
        """The facts that it reads."""
        return Wants()

    @abstractmethod
    def check(self, context: EvaluationContext) -> Iterable[Breach]:
        """What the plan breaks. Raises MissingFact."""
