"""A workload as a user names it, and the id that is meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from functions.cli.errors import CommandFailed

if TYPE_CHECKING:
    from functions.cli.client import Client

_LISTED = 5  # how many workloads a message lists


class WorkloadAbsent(CommandFailed):
    """No workload has the name that was given."""


class Reference(NamedTuple):
    """By id, or by name within a team and a namespace (None: any)."""

    text: str
    team: str | None = None
    namespace: str | None = None


def resolve(client: Client, reference: Reference) -> str:
    """The id of the workload that is meant. Raises WorkloadAbsent, and CommandFailed when a name fits several."""
    import uuid

    try:
        return str(uuid.UUID(reference.text))
    except ValueError:
        found: str = _find(client, *reference)["id"]
        return found


def _find(client: Client, name: str, team: str | None, namespace: str | None) -> Mapping[str, Any]:
    found = client.pages("/workloads", _LISTED + 1, name=name, team=team, namespace=namespace).items
    if len(found) == 1:
        workload: Mapping[str, Any] = found[0]
        return workload
    if found:
        raise CommandFailed(f"{name} may mean {_listed(found)}: give --team and --namespace, or the id")
    others = client.pages("/workloads", _LISTED + 1, name=name).items if team or namespace else []
    hint = f"; of that name there is {_listed(others)}" if others else ""
    where = f" in team {team}" * (team is not None) + f" in namespace {namespace}" * (namespace is not None)
    raise WorkloadAbsent(f"there is no workload {name}{where}{hint}")


def _listed(workloads: Sequence[Mapping[str, Any]]) -> str:
    names = [f"{one['team']}/{one['namespace']}/{one['name']} ({one['id']})" for one in workloads[:_LISTED]]
    return ", ".join(names) + " and more" * (len(workloads) > _LISTED)
