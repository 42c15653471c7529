"""The schema of policy suites, which test policies. shared.policy.cases runs them.

A suite is YAML or JSON. It has policies, and cases; every case is a plan, facts and a time, and what is expected of
the decision:

    policies:
      - {name: team-gpus, rules: [{type: quota, scope: team, gpus: 16}]}
      - file: policies/images.yaml                  # beside the suite
    plan: {team: search, takes: {gpus: 1}}          # what the cases share
    facts: {usage: {team: {gpus: 15}}}
    cases:
      - name: the last GPU is for whoever asks first
        expect: {decision: approved}
      - name: one more than there is
        plan: {takes: {gpus: 2}}
        expect: {decision: denied, violations: [{policy: team-gpus, field: gpus, limit: 16, observed: 17}]}

A case's plan and facts are laid over the suite's as a JSON merge patch (RFC 7396): maps are merged, anything else is
replaced, and null takes away. A fact that is left out is not known.
"""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator

from shared.models.fields import Bytes, DnsLabel, LabelKey, LabelValue, Millicores, Text
from shared.models.plan import Verb
from shared.models.pod import Security
from shared.models.workload import WorkloadType
from shared.policy.documents import PolicyDocument
from shared.policy.vocabulary import Count, Moment, PolicyModel, ScopeKind, Sku, Usd, Window

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
"""The time of a case that names none."""

_AGO = re.compile(r"(\d{1,9}) (second|minute|hour|day|week)s? ago", re.ASCII)


def _when(value: object) -> object:
    """A time, or how long before the case's `now` it was."""
    if isinstance(value, timedelta):
        return value
    if value == "now":
        return timedelta(0)
    if isinstance(value, str) and (ago := _AGO.fullmatch(value)):
        return timedelta(**{f"{ago[2]}s": int(ago[1])})
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(
            "must be a time with a time zone such as 2026-01-15T12:00:00Z, or such as 10 minutes ago, or now"
        )
    return moment.astimezone(UTC)


def _text(value: object) -> object:
    """Numbers and booleans as findings spell them."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


When = Annotated[datetime | timedelta, BeforeValidator(_when), WithJsonSchema({"type": "string"})]
Shown = Annotated[
    str, BeforeValidator(_text), WithJsonSchema({"anyOf": [{"type": t} for t in ("string", "number", "boolean")]})
]


def _counted(kind: ScopeKind) -> ScopeKind:
    if kind is ScopeKind.PLAN:
        raise ValueError("must be workload, team, cluster or global: what the plan takes is said by the plan")
    return kind


Counted = Annotated[ScopeKind, AfterValidator(_counted)]


class Sums(PolicyModel):
    """Amounts; what is left out is nothing. usd_per_hour: of all together."""

    replicas: Count | None = None
    cpu: Millicores | None = None
    memory: Bytes | None = None
    gpus: Count | None = None
    usd_per_hour: Usd | None = None


class Holding(Sums):
    """What is held: amounts by GPU SKU, and beside them what asks for no SKU."""

    by_sku: dict[Sku, Sums | None] | None = None


class Usage(Holding):
    """What a scope holds, the plan's own workload included, and what it has cost this calendar month."""

    month_to_date_usd: Usd | None = None


class Action(PolicyModel):
    """An action that was approved; one without a verb counts as any."""

    at: When
    verb: Verb | None = None


AnyAction = Annotated[
    Annotated[Action, Tag("action")] | Annotated[When, Tag("at")],
    Discriminator(lambda value: "action" if isinstance(value, dict | Action) else "at"),
]


class SuiteService(PolicyModel):
    """What telemetry says over a window. newest: when the newest sample was taken; now, unless given."""

    uptime: float | None = None
    requests: Annotated[float, Field(ge=0)] | None = None
    errors: Annotated[float, Field(ge=0)] | None = None
    latency_seconds: dict[Literal[50, 95, 99], float | None] | None = None
    newest: When = timedelta(0)


class SuiteApproval(PolicyModel):
    """What a person was asked for. granted_by: who has approved the plan."""

    requested_at: When = timedelta(0)
    granted_by: Text | None = None


class SuitePrices(PolicyModel):
    """priced_on: the date of the oldest price that the plan's cost rests on."""

    priced_on: date | None = None


class PlanPart(PolicyModel):
    """A plan, or what is different about it.

    takes: what it will hold. holds: what its workload holds there now. queue: its workload would rather wait than be
    denied. tolerations: keys of taints, "" for every taint. node_selector: keys.
    """

    name: DnsLabel | None = None
    verb: Verb | None = None
    type: WorkloadType | None = None
    team: DnsLabel | None = None
    namespace: DnsLabel | None = None
    cluster: DnsLabel | None = None
    labels: dict[LabelKey, LabelValue | None] | None = None
    image: Text | None = None
    security: Security | None = None
    host_paths: tuple[str, ...] | None = None
    takes: Holding | None = None
    holds: Holding | None = None
    queue: bool | None = None
    tolerations: tuple[str, ...] | None = None
    node_selector: tuple[str, ...] | None = None


class FactsPart(PolicyModel):
    """What is known, or what is different about it.

    usage and actions are by scope: the plan's own workload, team or cluster, or global. An action is a time, or one
    with its verb. service is by window, such as PT1H. capacity: the GPUs of the plan's cluster by SKU, to which the
    usage of the cluster belongs. created_at: when the workload was first taken in; one without is new. approval: what a
    person was asked for; without it nobody was.
    """

    usage: dict[Counted, Usage | None] | None = None
    actions: dict[Counted, tuple[AnyAction, ...] | None] | None = None
    service: dict[Window, SuiteService | None] | None = None
    prices: SuitePrices | None = None
    capacity: dict[Sku, Count | None] | None = None
    created_at: When | None = None
    approval: SuiteApproval | None = None


class ExpectedFinding(PolicyModel):
    """What is said of one finding; what is left out may be anything. message: a part of it."""

    policy: str | None = None
    rule: str | None = None
    field: str | None = None
    limit: Shown | None = None
    observed: Shown | None = None
    message: str | None = None
    until: Moment | None = None


class Expectation(PolicyModel):
    """What the decision must be. A list that is given is complete: every finding and warning matches one of it.

    warnings: parts of them. determining: names of policies, in their order. waits: whether room may come for it.
    awaits_approval: whether the plan awaits a person's approval.
    """

    decision: Literal["approved", "denied"]
    violations: tuple[ExpectedFinding, ...] | None = None
    warnings: tuple[str, ...] | None = None
    dry_run: tuple[ExpectedFinding, ...] | None = None
    determining: tuple[str, ...] | None = None
    waits: bool | None = None
    awaits_approval: bool | None = None


class Case(PolicyModel):
    """One decision. Without `now` it is the suite's, or noon on 15 January 2026 in UTC."""

    name: Text
    plan: PlanPart = PlanPart()
    facts: FactsPart = FactsPart()
    now: Moment | None = None
    expect: Expectation


class PolicyFile(PolicyModel):
    """Policies in a file of their own; the path is relative to the suite's."""

    file: Annotated[str, Field(min_length=1)]


class UnreadablePolicy(PolicyModel):
    """The name of a policy that is stored and can no longer be read, as after an upgrade."""

    unreadable: DnsLabel


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return next((key for key in ("file", "unreadable") if key in value), "policy")
    return "policy"


PolicyEntry = Annotated[
    Annotated[PolicyDocument, Tag("policy")]
    | Annotated[PolicyFile, Tag("file")]
    | Annotated[UnreadablePolicy, Tag("unreadable")],
    Discriminator(_kind),
]


class Suite(PolicyModel):
    """Policies, and cases that show what they do. plan, facts and now are what the cases share."""

    name: Text | None = None
    policies: tuple[PolicyEntry, ...]
    plan: PlanPart = PlanPart()
    facts: FactsPart = FactsPart()
    now: Moment = NOON
    cases: Annotated[tuple[Case, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [case.name for case in self.cases]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two cases have the name {twice[0]!r}")
        return self
