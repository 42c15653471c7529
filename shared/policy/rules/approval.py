"""approval: a person must approve a plan before it is carried out.

The rule binds a plan that does one of `verbs` and that reaches beyond a threshold; without verbs any verb, without
thresholds any amount. What the plan holds counts, its surge included. Example: with `gpus: 8` a plan that holds 8 GPUs
passes, and one that holds 9 awaits approval.

Nobody has to approve what reduces harm. One approval is enough, however many policies ask for it. It belongs to its
plan: what is submitted next is another plan. A plan that nobody approves within `expires_after` is denied.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Literal

from shared.models.plan import Verb
from shared.policy.context import EvaluationContext
from shared.policy.rules.base import ExceededLimit, RuleModel
from shared.policy.vocabulary import Count, Usd, Window


class ApprovalRule(RuleModel):
    """A plan with more than these amounts awaits a person's approval for `expires_after`, and is denied then."""

    type: Literal["approval"]
    usd_per_hour: Usd | None = None
    gpus: Count | None = None
    verbs: tuple[Verb, ...] = ()
    expires_after: Window = timedelta(hours=24)

    def check(self, context: EvaluationContext) -> Iterator[ExceededLimit]:
        plan, now = context.plan, context.now
        if self.verbs and plan.verb not in self.verbs:
            return
        exceeded = self._exceeded(context)
        if exceeded is None or (plan.approval is not None and plan.approval.granted_by):
            return
        field, limit, observed, described = exceeded
        expires_at = (plan.approval.requested_at if plan.approval else now) + self.expires_after
        if now < expires_at:
            message = f"{described}: a person must approve it by {expires_at.isoformat()}"
            yield ExceededLimit(field, limit, observed, message, approve_by=expires_at)
        else:
            message = f"{described}: nobody has approved it within {self.expires_after}"
            yield ExceededLimit(field, limit, observed, message)

    def _exceeded(self, context: EvaluationContext) -> tuple[str, str, str, str] | None:
        """The field, its limit, what was observed, and a phrase; None for a plan that is within every threshold."""
        takes = context.takes.total
        if self.usd_per_hour is None and self.gpus is None:
            return "verb", "", context.plan.verb, f"to {context.plan.verb} this workload needs approval"
        if self.usd_per_hour is not None and takes.usd_per_hour > self.usd_per_hour:
            limit, observed = f"{self.usd_per_hour:f}", f"{takes.usd_per_hour:f}"
            return "usd_per_hour", limit, observed, f"more than {limit} USD an hour ({observed}) needs approval"
        if self.gpus is not None and takes.gpus > self.gpus:
            limit, observed = str(self.gpus), str(takes.gpus)
            return "gpus", limit, observed, f"more than {limit} GPUs ({observed}) needs approval"
        return None
