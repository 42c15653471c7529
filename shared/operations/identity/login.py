"""Log in with a password, go on with a refresh token, log out.

A refresh token counts once, and using it gives the next one: those that follow from one login are a family. One that is
used again is known to somebody else, so its whole family is revoked (RFC 9700, section 4.14.2).

Failed logins make the next ones wait: from one address, and for one account from one address. There is no limit on an
account from anywhere, because whoever knows a name could lock its owner out with it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from shared.errors import SentinelError, Unauthenticated
from shared.models.account import Account, AccountKind, RefreshToken
from shared.models.actor import Actor, ActorKind

if TYPE_CHECKING:
    from shared.store.unit_of_work import UnitOfWork

REFRESH_LIFE = timedelta(days=30)
WINDOW = timedelta(hours=1)
LONGEST_WAIT = timedelta(minutes=15)
FREE_FOR_ADDRESS = 20
FREE_FOR_ACCOUNT = 5
_WRONG = "the user or the password is wrong"
_REFRESH_REFUSED = "the refresh token does not count; log in again"


class TooManyLogins(SentinelError):
    """Too many logins have failed from here; `wait` is how long the next one has to wait."""

    def __init__(self, wait: timedelta) -> None:
        self.wait = wait
        super().__init__("too many logins have failed from your address; wait before the next one")


@dataclass(frozen=True)
class Login:
    """Who wants to log in. address: the client's, as the server sees it."""

    name: str
    password: str
    address: str


@dataclass(frozen=True)
class LoggedIn:
    """A login, or what follows from one. family: its id. refresh_token: shown once, stored as a digest only."""

    account: Account
    family: uuid.UUID
    refresh_token: str
    refresh_expires_at: datetime


def check_attempt(work: UnitOfWork, login: Login) -> tuple[Account | None, str | None]:
    """The account that is meant and the hash of its password, if there is one. Raises TooManyLogins.

    The caller compares the password outside the transaction, because that takes long, and then calls `succeed` or
    `fail`. A disabled account has no hash.
    """
    check_limits(work, login)
    account = work.identity.account_named(AccountKind.USER, login.name)
    if account is None or account.disabled:
        return account, None
    return account, work.identity.password_hash(account.id)


def check_limits(work: UnitOfWork, login: Login) -> None:
    """Raises TooManyLogins for a login that has to wait."""
    if (until := work.identity.blocked_until(_keys(login))) is not None:
        raise TooManyLogins(max(until - work.now, timedelta(seconds=1)))


def fail(work: UnitOfWork, login: Login, account: Account | None) -> None:
    """Counts a login that has failed, and audits it. account: the one that was meant, if there is one."""
    for key, free in zip(_keys(login), (FREE_FOR_ADDRESS, FREE_FOR_ACCOUNT), strict=True):
        work.identity.count_failure(key, free, WINDOW, LONGEST_WAIT)
    if account is None:  # what was typed may be a password in the wrong field, so it is not written down
        work.audit("login.failed", "login", Actor(ActorKind.USER, ""), address=login.address)
    else:
        work.audit("login.failed", _subject(account), account.actor, address=login.address)


def succeed(work: UnitOfWork, login: Login, account: Account) -> LoggedIn:
    """Begins a family of refresh tokens for an account whose password was right."""
    work.identity.forget_failures(_keys(login)[1:])
    work.audit("login.succeeded", _subject(account), account.actor, address=login.address)
    return _issue(work, account, uuid.uuid4(), work.now + REFRESH_LIFE)


def refresh(work: UnitOfWork, token: str) -> LoggedIn | None:
    """The next refresh token of a login; None for one that was used before, whose family ends with this transaction.

    Raises Unauthenticated for one that never counted, or counts no more.
    """
    known = work.identity.lock_refresh_token(_digest(token))
    if known is None or known.revoked_at is not None or known.expires_at <= work.now:
        raise Unauthenticated(_REFRESH_REFUSED)
    account = work.identity.account(known.account_id)
    if account is None or account.disabled:
        raise Unauthenticated(_REFRESH_REFUSED)
    if known.used_at is not None:
        work.identity.revoke_family(known.family)
        work.audit("login.revoked", _subject(account), account.actor, why="a refresh token was used twice")
        return None
    work.identity.use_refresh_token(known.id)
    return _issue(work, account, known.family, known.expires_at)


def log_out(work: UnitOfWork, token: str) -> None:
    """Ends a login. One that is unknown or over is left alone: there is nothing to tell about it."""
    known = work.identity.lock_refresh_token(_digest(token))
    if known is None or known.revoked_at is not None:
        return
    account = work.identity.account(known.account_id)
    work.identity.revoke_family(known.family)
    if account is not None:
        work.audit("logout", _subject(account), account.actor)


def wrong() -> Unauthenticated:
    """What a failed login is told, whatever was wrong."""
    return Unauthenticated(_WRONG)


def reused() -> Unauthenticated:
    """What is told to whoever used a refresh token twice."""
    return Unauthenticated(_REFRESH_REFUSED)


def _issue(work: UnitOfWork, account: Account, family: uuid.UUID, expires_at: datetime) -> LoggedIn:
    """The life of a family ends where it was meant to at login: it does not grow with its use."""
    secret = secrets.token_urlsafe(32)
    work.identity.add_refresh_token(RefreshToken(uuid.uuid4(), family, account.id, expires_at), _digest(secret))
    return LoggedIn(account, family, secret, expires_at)


def _subject(account: Account) -> str:
    return f"account/{account.id}"


def _digest(token: str) -> bytes:
    """A token has 256 random bits, so a plain hash cannot be searched for it."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def _keys(login: Login) -> list[str]:
    """What failures are counted by: the address, and the account from that address."""
    network = network_of(login.address)
    account = hashlib.sha256(login.name.encode(errors="surrogatepass")).hexdigest()
    return [f"address/{network}", f"account/{account}/{network}"]


def network_of(address: str) -> str:
    """An IPv4 address; of an IPv6 address the /64, which one subscriber has whole (RFC 6177)."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address):
        return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))
    return str(found)
