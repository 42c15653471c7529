"""Accounts and what they may do: add, disable, passwords, roles, tokens of service accounts, the first admin."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.errors import AlreadyExists, NotFound, OperationRefused
from shared.models.account import NAME, NAME_RULE, Account, AccountKind, AccountRole, AccountToken
from shared.models.changes import changes
from shared.models.identity import Role, RoleBinding

if TYPE_CHECKING:
    from pydantic import JsonValue

    from shared.models.actor import Actor
    from shared.models.page import Page, PageRequest
    from shared.store.unit_of_work import UnitOfWork

LONGEST_TOKEN = timedelta(days=365)
FIRST_ADMIN = "admin"
MAX_DESCRIPTION = 200


def list_accounts(work: UnitOfWork, kind: AccountKind, request: PageRequest, name: str | None = None) -> Page[Account]:
    """A page of accounts, sorted by `name`. name: only accounts of this name, at whatever issuer."""
    return work.identity.page(kind, request, name)


def get(work: UnitOfWork, kind: AccountKind, account_id: uuid.UUID, *, lock: bool = False) -> Account:
    """An account. lock: nobody else changes it until this transaction ends. Raises NotFound."""
    if lock:
        work.identity.lock_changes()
    account = work.identity.account(account_id)
    if account is None or account.kind is not kind:
        raise NotFound(f"there is no {_WORD[kind]} {account_id}")
    return account


def find(work: UnitOfWork, account_id: uuid.UUID) -> Account | None:
    """An account of either kind."""
    return work.identity.account(account_id)


def create(
    work: UnitOfWork, kind: AccountKind, name: str, password_hash: str | None, actor: Actor, issuer: str = ""
) -> Account:
    """Adds an account without any role. Raises OperationRefused (a bad name) and AlreadyExists (a taken one).

    issuer: an external one, where `name` is what its tokens call `sub`.
    """
    if not issuer and not NAME.fullmatch(name):
        raise OperationRefused("name", NAME_RULE)
    for field, text in (("name", name), ("issuer", issuer)):
        if not text.isprintable():
            raise OperationRefused(field, "must not hold control characters or line breaks")
    account = Account(uuid.uuid4(), kind, name, issuer)
    if not work.identity.add(account, password_hash):
        raise AlreadyExists(f"the name {name} is taken by another {_WORD[kind]}")
    made = get(work, kind, account.id)
    new = changes(None, made.as_json())
    work.audit(f"{kind.value}.created", _subject(account), actor, name=name, issuer=issuer, changes=new)
    return made


def set_disabled(work: UnitOfWork, account: Account, disabled: bool, actor: Actor) -> Account:
    """Disables an account, whose tokens count no more from now on; or enables it. Raises OperationRefused.

    The last admin cannot be disabled: nobody could undo it.
    """
    if account.disabled != disabled:
        if disabled:
            _refuse_last_admin(work, account, "disabled")
            work.identity.revoke_logins(account.id)
        work.identity.set_disabled(account.id, disabled)
        return _changed(work, account, f"{account.kind.value}.{'disabled' if disabled else 'enabled'}", actor)
    return account


def set_password(work: UnitOfWork, account: Account, password_hash: str, actor: Actor) -> Account:
    """Replaces a password, and ends every login of before. Raises OperationRefused where there can be none."""
    if account.kind is not AccountKind.USER or account.issuer:
        raise OperationRefused("password", "only a user of this server has one")
    work.identity.set_password(account.id, password_hash)
    work.identity.revoke_logins(account.id)
    return _changed(work, account, "user.password_changed", actor)


def bind(work: UnitOfWork, account: Account, binding: RoleBinding, actor: Actor) -> Account:
    """Binds a role to an account; one that is bound already is left alone."""
    if work.identity.bind(account.id, binding):
        role = _binding(binding)
        work.audit("role.bound", _subject(account), actor, name=account.name, **role, changes=changes(None, role))
    return get(work, account.kind, account.id)


def list_roles(
    work: UnitOfWork,
    request: PageRequest,
    *,
    account_id: uuid.UUID | None = None,
    team: str | None = None,
    teams: frozenset[str] | None = None,
) -> Page[AccountRole]:
    """A page of role bindings, sorted by `createdAt`. teams: only those to one of these; None for all."""
    return work.identity.roles(request, account_id=account_id, team=team, teams=teams)


def get_role(work: UnitOfWork, binding_id: uuid.UUID) -> AccountRole:
    """One role binding. Raises NotFound."""
    found = work.identity.role(binding_id)
    if found is None:
        raise NotFound(f"there is no role binding {binding_id}")
    return found


def role_of(work: UnitOfWork, account: Account, binding: RoleBinding) -> AccountRole:
    """The binding of a role to an account. Raises NotFound."""
    found = work.identity.role_of(account.id, binding)
    if found is None:
        raise NotFound(f"{account.name} has no role {_named(binding)}")
    return found


def unbind(work: UnitOfWork, account: Account, binding: RoleBinding, actor: Actor) -> Account:
    """Takes a role away. Raises OperationRefused for the last admin's, and NotFound for one that is not bound."""
    if binding == RoleBinding(Role.ADMIN):
        _refuse_last_admin(work, account, "role")
    if not work.identity.unbind(account.id, binding):
        raise NotFound(f"{account.name} has no role {_named(binding)}")
    role = _binding(binding)
    work.audit("role.unbound", _subject(account), actor, name=account.name, **role, changes=changes(role, None))
    return get(work, account.kind, account.id)


def list_tokens(work: UnitOfWork, account: Account) -> list[AccountToken]:
    """The tokens of a service account, the newest first."""
    return work.identity.tokens(account.id)


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
    token = AccountToken(uuid.uuid4(), account.id, description, work.now + life, created_at=work.now)
    work.identity.add_token(token)
    work.audit("token.created", _subject(account), actor, token=str(token.id), expires_at=token.expires_at.isoformat())
    return token


def revoke_token(work: UnitOfWork, account: Account, token_id: uuid.UUID, actor: Actor) -> None:
    """Revokes a token of a service account. Raises NotFound."""
    if not work.identity.revoke_token(account.id, token_id):
        raise NotFound(f"{account.name} has no token {token_id} that counts")
    work.audit("token.revoked", _subject(account), actor, token=str(token_id))


def anyone(work: UnitOfWork) -> bool:
    """Whether there is any account."""
    return work.identity.anyone()


def create_first_admin(work: UnitOfWork, password_hash: str, actor: Actor) -> Account | None:
    """The admin of an installation that has no account yet; None where it has one."""
    work.identity.lock_changes()
    if work.identity.anyone():
        return None
    account = create(work, AccountKind.USER, FIRST_ADMIN, password_hash, actor)
    return bind(work, account, RoleBinding(Role.ADMIN), actor)


_WORD = {AccountKind.USER: "user", AccountKind.SERVICE_ACCOUNT: "service account"}


def _changed(work: UnitOfWork, before: Account, action: str, actor: Actor) -> Account:
    """The account as it is now, and the audit row of what changed."""
    after = get(work, before.kind, before.id)
    changed = changes(before.as_json(), after.as_json())
    work.audit(action, _subject(after), actor, name=after.name, changes=changed)
    return after


def _subject(account: Account) -> str:
    return f"account/{account.id}"


def _named(binding: RoleBinding) -> str:
    return f"{binding.role.value} for {'all teams' if binding.team is None else f'team {binding.team}'}"


def _binding(binding: RoleBinding) -> dict[str, JsonValue]:
    return {"role": binding.role.value, "team": binding.team}


def _refuse_last_admin(work: UnitOfWork, account: Account, field: str) -> None:
    work.identity.lock_changes()
    if work.identity.admins() == [account.id]:
        raise OperationRefused(field, "nobody would be admin any more; bind that role to another account first")
