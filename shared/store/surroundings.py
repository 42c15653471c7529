"""What is recorded with a decision besides the facts that it needed: what else was true at that moment.

Policies of tomorrow are tried on it: the first quota of a team has nothing to be tried on if nobody wrote down what
the team held. It decides nothing, so it needs to be no more than an observation of its transaction, and is made
before the scopes are locked: what it takes to add up everything that is held, nobody waits for.
"""

import sqlalchemy as sa

from shared.policy.decision import PlanView
from shared.policy.facts import Facts, Needs
from shared.policy.vocabulary import ScopeKind
from shared.store import facts
from shared.store.ledger import Ledger, WorkloadHoldings


def load(connection: sa.Connection, plan: PlanView, needs: Needs, holdings: WorkloadHoldings) -> Facts:
    """The usage of what the plan does not count in (of team, cluster and everything), and the oldest price.

    And that of the plan's workload in any case: its own lock protects it.
    """
    counted = {plan.counting(kind) for kind in (ScopeKind.TEAM, ScopeKind.CLUSTER, ScopeKind.GLOBAL)}
    around = Ledger(connection).usage(counted - needs.counted)
    return Facts(
        usage={plan.counting(ScopeKind.WORKLOAD): holdings.usage, **around},
        priced_on=facts.oldest_price(connection, plan),
    )
