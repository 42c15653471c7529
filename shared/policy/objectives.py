"""Which success rates policies promise for a workload, and whether its error budget burns too fast for them. Pure.

An objective is the min_success_rate of an `slo` rule, whatever the verbs that its policy selects. Its pairs of windows
are the rule's burn_rates, or the workbook's where the rule names none. A policy in dry_run promises nothing.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from shared.models.plan import Verb
from shared.models.slo import Crossing
from shared.policy.rules.service import FRESH, WORKBOOK, Slo
from shared.policy.vocabulary import Mode
from shared.telemetry.burn import burn_rate_over

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime, timedelta

    from shared.policy.decision import PlanView
    from shared.policy.facts import ServiceLevel
    from shared.policy.policy_set import PolicySet, StoredPolicy


def promise_anything(policies: Iterable[StoredPolicy]) -> bool:
    """Whether some policy has an objective."""
    return any(True for _ in _objectives(policies))


def crossings(policies: PolicySet, workload: PlanView, now: datetime) -> dict[Crossing, str]:
    """What a workload is held to at `now`, each with the first policy that says so.

    workload: any plan of it; the verb does not matter.
    """
    found: dict[Crossing, str] = {}
    for verb in Verb:
        for crossing, policy in _objectives(policies.matching(replace(workload, verb=verb), now)):
            found.setdefault(crossing, policy)
    return found


def burn_rate_of(
    crossing: Crossing, levels: Mapping[timedelta, ServiceLevel], created_at: datetime | None, now: datetime
) -> Decimal | None:
    """How fast the budget burns over both windows: the lower of their rates.

    None where that is not known: the workload is younger than the longer window, or its telemetry has ended within it.
    Without any telemetry in that window nothing burns.
    """
    if created_at is None or now - created_at <= crossing.long:
        return None
    newest = levels[crossing.long].newest
    if newest is None:
        return Decimal(0)
    if now - newest > FRESH:
        return None
    long, short = levels[crossing.long], levels[crossing.short]
    return burn_rate_over(crossing.target, (long.errors, long.requests), (short.errors, short.requests))


def _objectives(policies: Iterable[StoredPolicy]) -> Iterator[tuple[Crossing, str]]:
    for policy in policies:
        if policy.document is None or policy.document.mode is Mode.DRY_RUN:
            continue
        for rule in policy.document.rules:
            if isinstance(rule, Slo) and rule.min_success_rate is not None:
                for pair in rule.pairs or WORKBOOK:
                    yield Crossing(rule.min_success_rate, pair.factor, pair.long, pair.short), policy.name
