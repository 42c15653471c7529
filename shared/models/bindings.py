"""Who may act for which team from outside, and which namespaces a team may use.

An event's `source` is an identity. A source binding says for which teams and namespaces events of a source are taken.
A namespace belongs to a team: a namespace binding says which a team may use; without one, it may use the namespace that
is named like the team. Both hold patterns, in which `*` stands for any text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

ANYTHING = "*"
MAX_PATTERN = 512
FORBIDDEN_NAMESPACES = ("kube-*", "knative-*", "kourier-system", "istio-system", "sentinel")
"""Namespaces that no team may use, whatever is bound: of Kubernetes itself, whose names begin with `kube-`
(kubernetes.io, Namespaces), of Knative and its networks, and Sentinel's own."""


class SourceAction(StrEnum):
    """What an event from outside may ask for. PROPOSE: a plan of a decision service."""

    SUBMIT = "submit"
    WITHDRAW = "withdraw"
    PROPOSE = "propose"


@dataclass(frozen=True)
class SourceBinding:
    """Events whose source fits one pattern may do these things for these teams in these namespaces."""

    name: str
    source: str
    teams: tuple[str, ...] = (ANYTHING,)
    namespaces: tuple[str, ...] = (ANYTHING,)
    actions: tuple[SourceAction, ...] = (SourceAction.SUBMIT, SourceAction.WITHDRAW)

    def allows(self, source: str, action: SourceAction, team: str, namespace: str) -> bool:
        """Whether this binding lets an event of `source` do that."""
        return (
            action in self.actions
            and fits(self.source, source)
            and any(fits(one, team) for one in self.teams)
            and any(fits(one, namespace) for one in self.namespaces)
        )


@dataclass(frozen=True)
class NamespaceBinding:
    """The namespaces that a team may use. team: a pattern too."""

    team: str
    namespaces: tuple[str, ...]


@dataclass(frozen=True)
class Bindings:
    """Everything that is bound."""

    sources: tuple[SourceBinding, ...] = ()
    namespaces: tuple[NamespaceBinding, ...] = ()

    def refuse_source(self, source: str, action: SourceAction, team: str, namespace: str) -> str | None:
        """Why an event of a source may not do that, with the fix; None when it may."""
        if any(one.allows(source, action, team, namespace) for one in self.sources):
            return None
        return (
            f"events of source {source[:200]} may not {action.value} for team {team} in namespace {namespace};"
            " an admin can bind the source (PUT /api/v1/source-bindings/NAME)"
        )

    def refuse_namespace(self, team: str, namespace: str) -> str | None:
        """Why a team may not use a namespace, with the fix; None when it may."""
        if any(fits(one, namespace) for one in FORBIDDEN_NAMESPACES):
            return f"{namespace} belongs to Kubernetes, Knative or Sentinel, and no team may use it"
        patterns = self._patterns_of(team)
        if any(fits(one, namespace) for one in patterns):
            return None
        return (
            f"team {team} may use {', '.join(patterns)}, not {namespace};"
            f" an admin can bind it to the team (PUT /api/v1/namespace-bindings/{team})"
        )

    def _patterns_of(self, team: str) -> tuple[str, ...]:
        bound = [pattern for one in self.namespaces if fits(one.team, team) for pattern in one.namespaces]
        return tuple(dict.fromkeys(bound)) or (team,)

    @cached_property
    def allows_everything(self) -> bool:
        """Whether any source may do anything for any team."""
        return any(
            one.source == ANYTHING and ANYTHING in one.teams and ANYTHING in one.namespaces for one in self.sources
        )


ALLOW_ALL = Bindings(
    (SourceBinding("everything", ANYTHING, actions=tuple(SourceAction)),),
    (NamespaceBinding(ANYTHING, (ANYTHING,)),),
)
"""What a laptop starts with."""


def fits(pattern: str, text: str) -> bool:
    """Whether a text is what a pattern means: `*` stands for any text, everything else for itself."""
    first, *rest = pattern.split(ANYTHING)
    if not rest:
        return pattern == text
    *middle, last = rest
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    # The first place of each part is the best: no text takes longer than its length times the pattern's.
    at, end = len(first), len(text) - len(last)
    for part in middle:
        if (at := text.find(part, at, end)) < 0:
            return False
        at += len(part)
    return True


def bad_patterns(patterns: Iterable[str]) -> str | None:
    """What is wrong with a list of patterns; None for good ones."""
    found = list(patterns)
    if not found:
        return "must have at least one pattern; `*` is all"
    if any(not one or len(one) > MAX_PATTERN or not one.isprintable() for one in found):
        return f"patterns must have 1 to {MAX_PATTERN} printable characters"
    return None
