"""From a token that counts to the principal that a request acts as, with the roles of now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import Unauthenticated

if TYPE_CHECKING:
    from shared.identity.tokens import Claims
    from shared.models.account import Account
    from shared.models.identity import Principal
    from shared.store.unit_of_work import UnitOfWork


def authenticate(work: UnitOfWork, claims: Claims) -> Principal:
    """The principal of a token. Raises Unauthenticated for an account that is gone or disabled, or a revoked token."""
    return account_of(work, claims).principal


def account_of(work: UnitOfWork, claims: Claims) -> Account:
    """The account of a token. Raises Unauthenticated as `authenticate` does."""
    account = work.identity.account(claims.account, claims.token)
    if account is None or account.disabled:
        raise Unauthenticated("the token does not count any more: its account is disabled, or it was revoked")
    return account
