"""Log in with an external issuer's ID token, which the edge has verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.models.account import Account, AccountKind
from shared.models.actor import Actor, ActorKind
from shared.operations.identity import accounts, login

if TYPE_CHECKING:
    from shared.operations.identity.login import LoggedIn, Login
    from shared.store.unit_of_work import UnitOfWork


def log_in(work: UnitOfWork, attempt: Login, issuer: str, *, may_be_new: bool) -> LoggedIn | None:
    """The login of the user whom the issuer calls `attempt.name`; None for one that is unknown or disabled.

    may_be_new: an unknown one becomes a user, without any role. Either outcome is audited.
    """
    account = work.identity.account_named(AccountKind.USER, attempt.name, issuer)
    if account is None and may_be_new:
        account = _created(work, attempt.name, issuer)
    if account is None or account.disabled:
        login.fail(work, attempt, account)
        return None
    return login.succeed(work, attempt, account)


def _created(work: UnitOfWork, name: str, issuer: str) -> Account | None:
    work.identity.lock_changes()  # two first logins at once make one user
    known = work.identity.account_named(AccountKind.USER, name, issuer)
    if known is not None:
        return known
    themselves = Actor(ActorKind.USER, f"{name}@{issuer}")
    return accounts.create(work, AccountKind.USER, name, None, themselves, issuer)
