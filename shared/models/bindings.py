"""Who may act for which team from outside, and which namespaces a team may use.

An event's `source` is an identity. A source binding says for which teams and namespaces events of a source are taken.
A namespace belongs to a team: a namespace binding says which a team may use; without one, it may use the namespace that
is named like the team. Both hold patterns, in which `*` stands for any text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import JsonValue

ANYTHING = "*"
MAX_PATTERN = 512
MAX_PATTERNS = 100
_LABEL_PATTERN = re.compile(r"[a-z0-9*-]{1,128}")
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

    def as_json(self) -> dict[str, JsonValue]:
        """As the command line and the API show it."""
        actions: list[JsonValue] = [action.value for action in self.actions]
        return {
            "name": self.name,
            "source": self.source,
            "teams": [*self.teams],
            "namespaces": [*self.namespaces],
            "actions": actions,
        }

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

    def as_json(self) -> dict[str, JsonValue]:
        """As the command line and the API show it."""
        return {"team": self.team, "namespaces": [*self.namespaces]}


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
        if is_forbidden(namespace):
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


def is_forbidden(namespace: str) -> bool:
    """Whether no team may use a namespace, whatever is bound."""
    return any(fits(one, namespace) for one in FORBIDDEN_NAMESPACES)


def bad_source(pattern: str) -> str | None:
    """What is wrong with a pattern of sources; None for a good one."""
    if not pattern or len(pattern) > MAX_PATTERN or not pattern.isprintable():
        return f"must have 1 to {MAX_PATTERN} printable characters; `*` stands for any text"
    return None


def bad_labels(patterns: Sequence[str]) -> str | None:
    """What is wrong with patterns of teams or namespaces, which are DNS labels; None for good ones."""
    if not 1 <= len(patterns) <= MAX_PATTERNS:
        return f"must hold 1 to {MAX_PATTERNS} patterns; `*` is all"
    if any(_LABEL_PATTERN.fullmatch(one) is None for one in patterns):
        return "a pattern must have 1 to 128 of a-z, 0-9, `-` and `*`, which stands for any text"
    return None
