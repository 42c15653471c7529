"""The policy document: what a platform team writes, as YAML or JSON.

A policy selects plans and holds rules. Rules count in a scope: the plan itself, its workload, its team, its
cluster, or everything ("global"). Money is text or a number in US dollars, quantities are Kubernetes quantities,
durations are ISO 8601 or Go's form; see shared.models.durations.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from shared.models.fields import DnsLabel, LabelKey, LabelValue, without_nul
from shared.models.kubernetes_object import refuse_as_policy
from shared.models.plan import Verb
from shared.models.workload import WorkloadType
from shared.policy.facts import FactKinds, most_of
from shared.policy.rules import Rule
from shared.policy.vocabulary import Mode, Moment, PolicyModel, Sku

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist"]
_NAME = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"  # a DNS-1123 label, which teams, namespaces and workloads have
_GRANTEE = re.compile(rf"(team:{_NAME}|namespace:{_NAME}|workload:{_NAME}/{_NAME}/{_NAME})")


def _grantee(value: str) -> str:
    if not _GRANTEE.fullmatch(value):
        raise ValueError("must be team:NAME, namespace:NAME or workload:TEAM/NAMESPACE/NAME, in lower case")
    return value


class LabelExpression(PolicyModel):
    """As in a Kubernetes label selector."""

    key: LabelKey
    operator: Operator
    values: tuple[LabelValue, ...] = ()

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        if (self.operator in ("In", "NotIn")) != bool(self.values):
            raise ValueError("In and NotIn need values; Exists and DoesNotExist take none")
        return self

    def matches(self, labels: Mapping[str, str]) -> bool:
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels


class Selector(PolicyModel):
    """The plans that a policy is for: all that is given must match; an empty list or map selects all."""

    match_labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, alias="matchLabels")
    match_expressions: tuple[LabelExpression, ...] = Field(default=(), alias="matchExpressions")
    verbs: tuple[Verb, ...] = ()
    types: tuple[WorkloadType, ...] = ()
    teams: tuple[DnsLabel, ...] = ()
    namespaces: tuple[DnsLabel, ...] = ()
    clusters: tuple[DnsLabel, ...] = ()
    skus: tuple[Sku, ...] = ()

    @model_validator(mode="after")
    def _satisfiable(self) -> Self:
        for key in {e.key for e in self.match_expressions}:
            expressions = [e for e in self.match_expressions if e.key == key]
            if not _can_match(self.match_labels.get(key), expressions):
                raise ValueError(f"no workload can match what is asked of the label {key!r}")
        return self


class PolicyException(PolicyModel):
    """Until it ends, the findings of the policy for its grantee are warnings.

    who: "team:search", "namespace:prod" or "workload:team/namespace/name".
    """

    who: Annotated[str, AfterValidator(_grantee)]
    why: Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(without_nul)]
    until: Moment


class PolicyDocument(PolicyModel):
    """One policy. Policies are read by priority (higher first), then name, then id.

    deny_unmatched: also deny a plan that no other policy matches. Policies in dry_run are no match.
    """

    name: DnsLabel
    description: Annotated[str, Field(max_length=4096), AfterValidator(without_nul)] = ""
    priority: Annotated[int, Field(ge=0, le=1000, strict=True)] = 0
    mode: Mode = Mode.ENFORCE
    enabled: bool = True
    selector: Selector = Selector()
    valid_from: Moment | None = None
    valid_until: Moment | None = None
    exceptions: Annotated[tuple[PolicyException, ...], Field(max_length=1000)] = ()
    deny_unmatched: bool = False
    rules: Annotated[tuple[Rule, ...], Field(max_length=100)] = ()

    @model_validator(mode="before")
    @classmethod
    def _no_kubernetes_object(cls, data: Any) -> Any:
        return refuse_as_policy(data)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.rules and not self.deny_unmatched:
            raise ValueError("a policy needs rules, or deny_unmatched: true to deny what no other policy matches")
        if self.valid_from and self.valid_until and self.valid_until <= self.valid_from:
            raise ValueError("valid_until must be later than valid_from")
        return self

    @cached_property
    def fact_kinds(self) -> FactKinds:
        """The facts that its rules read."""
        wanted = [rule.fact_kinds() for rule in self.rules]
        return FactKinds(
            frozenset().union(*(one.usage for one in wanted)),
            most_of(one.actions for one in wanted),
            frozenset().union(*(one.windows for one in wanted)),
            any(one.prices for one in wanted),
        )

    def in_force(self, now: datetime) -> bool:
        """Whether it is enabled and valid at `now`; the end is outside."""
        return (
            self.enabled
            and (self.valid_from is None or self.valid_from <= now)
            and (self.valid_until is None or now < self.valid_until)
        )


def _can_match(exact: str | None, expressions: Iterable[LabelExpression]) -> bool:
    """Whether one value, or the absence, of a label satisfies all of them."""
    expressions = list(expressions)
    named = {value for e in expressions for value in e.values}
    candidates: set[str | None] = {exact} if exact is not None else {*named, None, "\x00 any other value"}
    return any(
        all(e.matches({} if candidate is None else {e.key: candidate}) for e in expressions) for candidate in candidates
    )
