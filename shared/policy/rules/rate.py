"""rate_limit: at most so many approved actions in a sliding window.

An action leaves the window when it is exactly as old as the window is long.
"""

from bisect import bisect_right
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from shared.models.plan import Verb
from shared.policy.context import EvaluationContext, MissingFact
from shared.policy.facts import ActionQuery, FactKinds
from shared.policy.rules.base import ExceededLimit, RuleModel
from shared.policy.vocabulary import ScopeKind, Window

_LISTED = 1_000
"""Of a limit up to this, all actions that count are read: a decision can be replayed later with a lower limit. Of a
higher limit N, only the N-th newest action is read, and the one before it.
"""


class RateLimit(RuleModel):
    """At most `actions` in any `window`; no verbs means any. What reduces harm spends nothing."""

    type: Literal["rate_limit"]
    scope: Literal[ScopeKind.WORKLOAD, ScopeKind.TEAM, ScopeKind.CLUSTER, ScopeKind.GLOBAL] = ScopeKind.TEAM
    actions: Annotated[int, Field(ge=1, strict=True)]
    window: Window
    verbs: tuple[Verb, ...] = ()

    def fact_kinds(self) -> FactKinds:
        most = self.actions + 1 - self._skip
        return FactKinds(actions={(self.scope, self.verbs, self.window, self._skip): most})

    def check(self, context: EvaluationContext) -> Iterator[ExceededLimit]:
        plan, now = context.plan, context.now
        if self.verbs and plan.verb not in self.verbs:
            return
        query = ActionQuery(plan.counting(self.scope), self.verbs, self.window, skip=self._skip)
        known = context.facts.actions.get(query)
        if known is None:
            raise MissingFact(f"the recent actions of {plan.described(self.scope)} are not known")
        times = known[bisect_right(known, now - self.window) :]
        taken = self._skip + len(times)
        if times and taken >= self.actions:
            free = times[taken - self.actions] + self.window
            count = str(taken) if taken == self.actions else f"more than {self.actions}"
            message = (
                f"{plan.described(self.scope)} had {count} actions within {self.window}; "
                f"{self.actions} are allowed, the next one at {free.isoformat()}"
            )
            yield ExceededLimit("actions", str(self.actions), str(taken + 1), message, until=free)

    @property
    def _skip(self) -> int:
        return 0 if self.actions <= _LISTED else self.actions - 1
