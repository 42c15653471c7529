"""From a token to the principal that a request acts as, with the roles of now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import Unauthenticated

if TYPE_CHECKING:
    from shared.identity.tokens import Tokens
    from shared.models.account import Account
    from shared.models.identity import Principal
    from shared.store.unit_of_work import UnitOfWork


def authenticate(work: UnitOfWork, token: str, tokens: Tokens) -> Principal:
    """The principal of a token, by one statement.

    Raises Unauthenticated for a token that does not count, an account that is disabled, a token that was revoked, and a
    login that has ended.
    """
    return account_of(work, token, tokens).principal


def account_of(work: UnitOfWork, token: str, tokens: Tokens) -> Account:
    """The account of a token. Raises Unauthenticated as `authenticate` does."""
    claims = tokens.verify(token, work.now)
    account = work.identity.account_of(claims.account, claims.login, claims.token)
    if account is None or account.disabled:
        raise Unauthenticated("the token does not count any more: its account is disabled, or it was revoked")
    return account
