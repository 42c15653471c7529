"""Accounts and what they may do: add, disable, passwords, roles, tokens of service accounts, the first admin."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.errors import NotFound, OperationRefused
from shared.models.account import NAME, NAME_RULE, Account, AccountKind, AccountToken
from shared.models.identity import Role, RoleBinding

if TYPE_CHECKING:
    from pydantic import JsonValue

    from shared.models.actor import Actor
    from shared.store.unit_of_work import UnitOfWork

LONGEST_TOKEN = timedelta(days=365)
FIRST_ADMIN = "admin"
MAX_DESCRIPTION = 200


@dataclass(frozen=True)
class AccountPage:
    """Accounts in the order of their names. next: what the next page begins after; None on the last."""

    accounts: list[Account]
    next: str | None


def list_accounts(work: UnitOfWork, kind: AccountKind, after: str, limit: int) -> AccountPage:
    """At most `limit` accounts behind `after`, which is "" for the first page."""
    found = work.identity.accounts(kind, after, limit + 1)
    last = found[limit - 1] if len(found) > limit else None
    return AccountPage(found[:limit], None if last is None else f"{last.name}\x1f{last.issuer}")


def get(work: UnitOfWork, kind: AccountKind, account_id: uuid.UUID, *, lock: bool = False) -> Account:
    """An account. lock: nobody else changes it until this transaction ends. Raises NotFound."""
    if lock:
        work.identity.lock_changes()
    account = work.identity.account(account_id)
    if account is None or account.kind is not kind:
        raise NotFound(f"there is no {_WORD[kind]} {account_id}")
    return account


def create(
    work: UnitOfWork, kind: AccountKind, name: str, password_hash: str | None, actor: Actor, issuer: str = ""
) -> Account:
    """Adds an account without any role. Raises OperationRefused for a name that is bad or taken.

    issuer: an external one, where `name` is what its tokens call `sub`.
    """
    if not issuer and not NAME.fullmatch(name):
        raise OperationRefused("name", NAME_RULE)
    account = Account(uuid.uuid4(), kind, name, issuer)
    if not work.identity.add(account, password_hash):
        raise OperationRefused("name", f"{name} is taken by another {_WORD[kind]}")
    work.audit(f"{kind.value}.created", _subject(account), actor, name=name, issuer=issuer)
    return get(work, kind, account.id)


def set_disabled(work: UnitOfWork, account: Account, disabled: bool, actor: Actor) -> Account:
    """Disables an account, whose tokens count no more from now on; or enables it. Raises OperationRefused.

    The last admin cannot be disabled: nobody could undo it.
    """
    if account.disabled != disabled:
        if disabled:
            _refuse_last_admin(work, account, "disabled")
            work.identity.revoke_logins(account.id)
        work.identity.set_disabled(account.id, disabled)
        verb = "disabled" if disabled else "enabled"
        work.audit(f"{account.kind.value}.{verb}", _subject(account), actor, name=account.name)
    return get(work, account.kind, account.id)


def set_password(work: UnitOfWork, account: Account, password_hash: str, actor: Actor) -> Account:
    """Replaces a password, and ends every login of before. Raises OperationRefused where there can be none."""
    if account.kind is not AccountKind.USER or account.issuer:
        raise OperationRefused("password", "only a user of this server has one")
    work.identity.set_password(account.id, password_hash)
    work.identity.revoke_logins(account.id)
    work.audit("user.password_changed", _subject(account), actor, name=account.name)
    return get(work, account.kind, account.id)


def bind(work: UnitOfWork, account: Account, binding: RoleBinding, actor: Actor) -> Account:
    """Binds a role to an account; one that is bound already is left alone."""
    if work.identity.bind(account.id, binding):
        work.audit("role.bound", _subject(account), actor, name=account.name, **_binding(binding))
    return get(work, account.kind, account.id)


def unbind(work: UnitOfWork, account: Account, binding: RoleBinding, actor: Actor) -> Account:
    """Takes a role away. Raises OperationRefused for the last admin's, and NotFound for one that is not bound."""
    if binding == RoleBinding(Role.ADMIN):
        _refuse_last_admin(work, account, "role")
    if not work.identity.unbind(account.id, binding):
        where = "all teams" if binding.team is None else f"team {binding.team}"
        raise NotFound(f"{account.name} has no role {binding.role.value} for {where}")
    work.audit("role.unbound", _subject(account), actor, name=account.name, **_binding(binding))
    return get(work, account.kind, account.id)


def create_token(work: UnitOfWork, account: Account, life: timedelta, description: str, actor: Actor) -> AccountToken:
    """Records a token of a service account; the edge signs it. Raises OperationRefused."""
    if account.kind is not AccountKind.SERVICE_ACCOUNT:
        raise OperationRefused("", "only service accounts have tokens; users log in")
    if account.disabled:
        raise OperationRefused("", f"{account.name} is disabled")
    if not timedelta(0) < life <= LONGEST_TOKEN:
        raise OperationRefused("expiresIn", f"must be more than 0s and at most {LONGEST_TOKEN.days}d")
    if len(description) > MAX_DESCRIPTION:
        raise OperationRefused("description", f"must have at most {MAX_DESCRIPTION} characters")
    token = AccountToken(uuid.uuid4(), account.id, description, work.now + life)
    work.identity.add_token(token)
    work.audit("token.created", _subject(account), actor, token=str(token.id), expires_at=token.expires_at.isoformat())
    return token


def revoke_token(work: UnitOfWork, account: Account, token_id: uuid.UUID, actor: Actor) -> None:
    """Revokes a token of a service account. Raises NotFound."""
    if not work.identity.revoke_token(account.id, token_id):
        raise NotFound(f"{account.name} has no token {token_id} that counts")
    work.audit("token.revoked", _subject(account), actor, token=str(token_id))


def create_first_admin(work: UnitOfWork, password_hash: str, actor: Actor) -> Account | None:
    """The admin of an installation that has no account yet; None where it has one."""
    work.identity.lock_changes()
    if work.identity.anyone():
        return None
    account = create(work, AccountKind.USER, FIRST_ADMIN, password_hash, actor)
    return bind(work, account, RoleBinding(Role.ADMIN), actor)


_WORD = {AccountKind.USER: "user", AccountKind.SERVICE_ACCOUNT: "service account"}


def _subject(account: Account) -> str:
    return f"account/{account.id}"


def _binding(binding: RoleBinding) -> dict[str, JsonValue]:
    return {"role": binding.role.value, "team": binding.team}


def _refuse_last_admin(work: UnitOfWork, account: Account, field: str) -> None:
    work.identity.lock_changes()
    if work.identity.admins() == [account.id]:
        raise OperationRefused(field, "nobody would be admin any more; bind that role to another account first")
