"""Whether a principal may do something to an object. Asked after the object was read, because its team decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import Forbidden
from shared.models.identity import Permission

if TYPE_CHECKING:
    from shared.errors import NotFound
    from shared.models.identity import Principal


def require(principal: Principal, permission: Permission, team: str | None) -> None:
    """Raises Forbidden, which names what is missing. team None: an object that belongs to no team."""
    if not principal.may(permission, team):
        raise denied(principal, permission, team)


def denied(principal: Principal, permission: Permission, team: str | None) -> Forbidden:
    """The denial of what a principal may not do."""
    where = "all teams" if team is None else f"team {team}"
    message = f"{principal.actor} has no role with {permission.value} for {where}; an admin can bind one"
    return Forbidden(message, permission.value, team)


def require_of_team(
    principal: Principal, read: Permission, permission: Permission, team: str | None, absent: NotFound
) -> None:
    """Like `require`, for an object of a team: who may not even read it is told what is said of one that is absent.

    The cause of that error is the denial, which is for the audit log alone.
    """
    try:
        require(principal, read, team)
    except Forbidden as denial:
        raise absent from denial
    require(principal, permission, team)
