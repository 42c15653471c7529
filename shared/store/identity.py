"""Accounts with their roles and tokens, and how often a login failed."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.models.account import Account, AccountKind, AccountRole, AccountToken, RefreshToken
from shared.models.identity import Role, RoleBinding
from shared.models.page import Page, PageRequest
from shared.store import pages
from shared.store.rows import IDENTITY_LOCK
from shared.store.tables import account_tokens, accounts, login_attempts, refresh_tokens, role_bindings

_BINDINGS = (
    sa.select(
        sa.func.coalesce(
            sa.func.jsonb_agg(sa.func.jsonb_build_array(role_bindings.c.role, role_bindings.c.team)),
            sa.text("'[]'::jsonb"),
        )
    )
    .where(role_bindings.c.account_id == accounts.c.id)
    .correlate(accounts)
    .scalar_subquery()
    .label("bindings")
)
_LOCK_CHANGES = sa.select(sa.func.pg_advisory_xact_lock(IDENTITY_LOCK))
_ACCOUNT: sa.Select[Any] = sa.select(accounts, _BINDINGS)
_ROLE: sa.Select[Any] = sa.select(
    role_bindings.c.id,
    role_bindings.c.role,
    role_bindings.c.team,
    role_bindings.c.created_at,
    *(accounts.c[name].label(f"account_{name}") for name in ("id", "kind", "name", "issuer")),
).join(accounts, accounts.c.id == role_bindings.c.account_id)
SORTS = {"name": (accounts.c.name, accounts.c.issuer)}
ROLE_SORTS = {"createdAt": (role_bindings.c.created_at, role_bindings.c.id)}
_BY_ID = _ACCOUNT.where(accounts.c.id == sa.bindparam("account"))
_BY_NAME = _ACCOUNT.where(
    accounts.c.kind == sa.bindparam("kind"),
    accounts.c.issuer == sa.bindparam("issuer"),
    accounts.c.name == sa.bindparam("name"),
)
_OF_LOGIN = _BY_ID.where(
    ~sa.exists().where(refresh_tokens.c.family == sa.bindparam("login"), refresh_tokens.c.revoked_at.is_not(None))
)
_WITH_TOKEN = _BY_ID.where(
    sa.exists().where(
        account_tokens.c.id == sa.bindparam("token"),
        account_tokens.c.account_id == accounts.c.id,
        account_tokens.c.revoked_at.is_(None),
        account_tokens.c.expires_at > sa.func.now(),
    )
)


@dataclass(frozen=True)
class IdentityRows:
    """Accounts and tokens, inside one transaction."""

    connection: sa.Connection

    def account(self, account_id: uuid.UUID) -> Account | None:
        """An account."""
        row = self.connection.execute(_BY_ID, {"account": account_id}).one_or_none()
        return None if row is None else _account(row)

    def account_of(self, account_id: uuid.UUID, login: uuid.UUID | None, token_id: uuid.UUID | None) -> Account | None:
        """The account of a token: while its login has not ended, or while the service account's own token counts."""
        if login is not None:
            row = self.connection.execute(_OF_LOGIN, {"account": account_id, "login": login}).one_or_none()
        else:
            row = self.connection.execute(_WITH_TOKEN, {"account": account_id, "token": token_id}).one_or_none()
        return None if row is None else _account(row)

    def account_named(self, kind: AccountKind, name: str, issuer: str = "") -> Account | None:
        """An account by its name at an issuer."""
        values = {"kind": kind.value, "name": name, "issuer": issuer}
        row = self.connection.execute(_BY_NAME, values).one_or_none()
        return None if row is None else _account(row)

    def lock_changes(self) -> None:
        """Nobody else changes accounts and roles until this transaction ends.

        One lock for all: two admins who take away each other's role at once would leave none.
        """
        self.connection.execute(_LOCK_CHANGES)

    def password_hash(self, account_id: uuid.UUID) -> str | None:
        """The hash of an account's password; None for one that has none here."""
        statement = sa.select(accounts.c.password_hash).where(accounts.c.id == account_id)
        return self.connection.execute(statement).scalar_one_or_none()

    def page(self, kind: AccountKind, request: PageRequest, name: str | None = None) -> Page[Account]:
        """A page of accounts, sorted by `name`. name: only accounts of this name."""
        statement = _ACCOUNT.where(accounts.c.kind == kind.value)
        if name is not None:
            statement = statement.where(accounts.c.name == name)
        return pages.fetch(self.connection, statement, SORTS, request, _account)

    def roles(
        self, request: PageRequest, *, account_id: uuid.UUID | None, team: str | None, teams: frozenset[str] | None
    ) -> Page[AccountRole]:
        """A page of role bindings, sorted by `createdAt`. teams: only those to one of these; None for all."""
        statement = _ROLE
        if account_id is not None:
            statement = statement.where(role_bindings.c.account_id == account_id)
        if team is not None:
            statement = statement.where(role_bindings.c.team == team)
        if teams is not None:
            statement = statement.where(role_bindings.c.team.in_(sorted(teams)))
        return pages.fetch(self.connection, statement, ROLE_SORTS, request, _role)

    def role(self, binding_id: uuid.UUID) -> AccountRole | None:
        """One role binding."""
        row = self.connection.execute(_ROLE.where(role_bindings.c.id == binding_id)).one_or_none()
        return None if row is None else _role(row)

    def role_of(self, account_id: uuid.UUID, binding: RoleBinding) -> AccountRole | None:
        """The binding of a role to an account."""
        theirs = _ROLE.where(
            role_bindings.c.account_id == account_id,
            role_bindings.c.role == binding.role.value,
            role_bindings.c.team == (binding.team or ""),
        )
        row = self.connection.execute(theirs).one_or_none()
        return None if row is None else _role(row)

    def anyone(self) -> bool:
        """Whether there is any account."""
        return bool(self.connection.execute(sa.select(sa.exists().select_from(accounts))).scalar_one())

    def add(self, account: Account, password_hash: str | None) -> bool:
        """Adds an account; False when its name is taken."""
        statement = insert(accounts).values(
            id=account.id,
            kind=account.kind.value,
            name=account.name,
            issuer=account.issuer,
            password_hash=password_hash,
            disabled=account.disabled,
        )
        added = self.connection.execute(statement.on_conflict_do_nothing().returning(accounts.c.id)).one_or_none()
        return added is not None

    def set_disabled(self, account_id: uuid.UUID, disabled: bool) -> None:
        """Disables an account, or enables it."""
        self._change(account_id, disabled=disabled)

    def set_password(self, account_id: uuid.UUID, password_hash: str) -> None:
        """Replaces an account's password."""
        self._change(account_id, password_hash=password_hash)

    def bind(self, account_id: uuid.UUID, binding: RoleBinding) -> bool:
        """Binds a role; False when it is bound already."""
        statement = insert(role_bindings).values(
            account_id=account_id, role=binding.role.value, team=binding.team or ""
        )
        bound = statement.on_conflict_do_nothing().returning(role_bindings.c.id)
        if self.connection.execute(bound).one_or_none() is None:
            return False
        self._change(account_id)
        return True

    def unbind(self, account_id: uuid.UUID, binding: RoleBinding) -> bool:
        """Takes a role away; False when it was not bound."""
        theirs = role_bindings.delete().where(
            role_bindings.c.account_id == account_id,
            role_bindings.c.role == binding.role.value,
            role_bindings.c.team == (binding.team or ""),
        )
        if self.connection.execute(theirs).rowcount == 0:
            return False
        self._change(account_id)
        return True

    def admins(self) -> list[uuid.UUID]:
        """The accounts that are admin of everything and not disabled."""
        statement = (
            sa.select(accounts.c.id)
            .join(role_bindings, role_bindings.c.account_id == accounts.c.id)
            .where(role_bindings.c.role == Role.ADMIN.value, role_bindings.c.team == "", ~accounts.c.disabled)
        )
        return list(self.connection.execute(statement).scalars())

    def add_token(self, token: AccountToken) -> None:
        """Records a token of a service account."""
        statement = account_tokens.insert().values(
            id=token.id, account_id=token.account_id, description=token.description, expires_at=token.expires_at
        )
        self.connection.execute(statement)

    def tokens(self, account_id: uuid.UUID) -> list[AccountToken]:
        """The tokens of a service account, newest first."""
        statement = (
            sa.select(account_tokens)
            .where(account_tokens.c.account_id == account_id)
            .order_by(account_tokens.c.created_at.desc(), account_tokens.c.id)
        )
        return [
            AccountToken(row.id, row.account_id, row.description, row.expires_at, row.revoked_at, row.created_at)
            for row in self.connection.execute(statement)
        ]

    def revoke_token(self, account_id: uuid.UUID, token_id: uuid.UUID) -> bool:
        """Revokes one token of an account; False when there is none that counts."""
        theirs = account_tokens.update().where(
            account_tokens.c.id == token_id,
            account_tokens.c.account_id == account_id,
            account_tokens.c.revoked_at.is_(None),
        )
        return self.connection.execute(theirs.values(revoked_at=sa.func.now())).rowcount > 0

    def add_refresh_token(self, token: RefreshToken, digest: bytes) -> None:
        """Records a refresh token by its digest."""
        statement = refresh_tokens.insert().values(
            id=token.id,
            family=token.family,
            account_id=token.account_id,
            digest=digest,
            expires_at=token.expires_at,
        )
        self.connection.execute(statement)

    def lock_refresh_token(self, digest: bytes) -> RefreshToken | None:
        """A refresh token that nobody else uses until this transaction ends."""
        statement = sa.select(refresh_tokens).where(refresh_tokens.c.digest == digest).with_for_update()
        row = self.connection.execute(statement).one_or_none()
        if row is None:
            return None
        return RefreshToken(row.id, row.family, row.account_id, row.expires_at, row.used_at, row.revoked_at)

    def use_refresh_token(self, token_id: uuid.UUID) -> None:
        """Marks a refresh token as used: it counts once."""
        theirs = refresh_tokens.update().where(refresh_tokens.c.id == token_id)
        self.connection.execute(theirs.values(used_at=sa.func.now()))

    def revoke_family(self, family: uuid.UUID) -> None:
        """Ends a login with all that follows from it."""
        theirs = refresh_tokens.update().where(refresh_tokens.c.family == family, refresh_tokens.c.revoked_at.is_(None))
        self.connection.execute(theirs.values(revoked_at=sa.func.now()))

    def revoke_logins(self, account_id: uuid.UUID) -> None:
        """Ends every login of an account."""
        theirs = refresh_tokens.update().where(
            refresh_tokens.c.account_id == account_id, refresh_tokens.c.revoked_at.is_(None)
        )
        self.connection.execute(theirs.values(revoked_at=sa.func.now()))

    def blocked_until(self, keys: list[str]) -> datetime | None:
        """Until when the next login under one of these keys has to wait, if that is later than now."""
        statement = sa.select(sa.func.max(login_attempts.c.blocked_until)).where(
            login_attempts.c.key.in_(keys), login_attempts.c.blocked_until > sa.func.clock_timestamp()
        )
        found: datetime | None = self.connection.execute(statement).scalar_one()
        return found

    def count_failure(self, key: str, free: int, window: timedelta, longest: timedelta) -> None:
        """Counts a failed login. Beyond `free` in a window, each doubles the wait for the next, up to `longest`."""
        old = login_attempts.c.updated_at < sa.func.clock_timestamp() - window
        failures = sa.case((old, 1), else_=login_attempts.c.failures + 1)
        over = sa.func.least(failures - free, 20)
        seconds = sa.func.least(sa.func.power(2.0, over), longest.total_seconds())
        wait = sa.func.clock_timestamp() + sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)
        statement = insert(login_attempts).values(key=key, failures=1)
        self.connection.execute(
            statement.on_conflict_do_update(
                index_elements=["key"],
                set_={
                    "failures": failures,
                    "blocked_until": sa.case((failures > free, wait), else_=None),
                    "updated_at": sa.func.clock_timestamp(),
                },
            )
        )

    def forget_failures(self, keys: list[str]) -> None:
        """A login has succeeded: what failed before it counts no more."""
        self.connection.execute(login_attempts.delete().where(login_attempts.c.key.in_(keys)))

    def _change(self, account_id: uuid.UUID, **values: Any) -> None:
        changed = {"revision": accounts.c.revision + 1, "updated_at": sa.func.now(), **values}
        self.connection.execute(accounts.update().where(accounts.c.id == account_id).values(**changed))


def _account(row: sa.Row[Any]) -> Account:
    bindings = tuple(sorted((RoleBinding(Role(role), team or None) for role, team in row.bindings), key=_order))
    return Account(
        row.id,
        AccountKind(row.kind),
        row.name,
        row.issuer,
        row.disabled,
        row.revision,
        bindings,
        row.created_at,
    )


def _order(binding: RoleBinding) -> tuple[str, str]:
    return (binding.role.value, binding.team or "")


def _role(row: sa.Row[Any]) -> AccountRole:
    account = Account(row.account_id, AccountKind(row.account_kind), row.account_name, row.account_issuer)
    return AccountRole(row.id, account, RoleBinding(Role(row.role), row.team or None), row.created_at)
