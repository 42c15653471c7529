"""Who may ask the platform's API: its signing keys, the first admin, and the token of the command line.

Everything here is for the owner of the state directory alone. Whoever can read it can read the database as well, so the
token gives nobody more than they have.
"""

from __future__ import annotations

import getpass
import os
from datetime import timedelta
from pathlib import Path

from shared.identity import keys
from shared.identity.passwords import Passwords, generated
from shared.identity.tokens import Tokens
from shared.models.account import Account, AccountKind
from shared.models.actor import Actor
from shared.models.identity import Role, RoleBinding
from shared.operations import audit_export
from shared.operations.identity import accounts
from shared.settings import DEFAULT_ISSUER
from shared.store.unit_of_work import Store, UnitOfWork

KEYS = "signing-keys"
AUDIT_KEY = "audit-key.pem"
PASSWORD = "admin-password"  # noqa: S105 - the name of a file
TOKEN = "token"  # noqa: S105 - the name of a file
_ACCOUNT = "command-line"
_TOKEN_LIFE = timedelta(days=90)


def prepare(store: Store, state: Path) -> None:
    """Makes what is missing of keys and admin, and a new token. Raises ConfigurationError, StoreUnavailable, OSError.

    The password of a new admin is in a file until a terminal has shown it.
    """
    keys.init(state / KEYS)
    audit_export.make_key(state / AUDIT_KEY)
    _make_admin(store, state)
    _make_token(store, state)


def show_password(state: Path) -> str | None:
    """The password of the first admin, once; None when it was shown before."""
    try:
        password = (state / PASSWORD).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    (state / PASSWORD).unlink()
    return password


def _make_admin(store: Store, state: Path) -> None:
    with store.read() as work:
        if accounts.anyone(work):
            return
    password = generated()
    _write(state / PASSWORD, password)  # before the admin exists: a crash in between costs nobody the access
    hashed = Passwords().hash(password)
    with store.begin() as work:
        accounts.create_first_admin(work, hashed, _operator())


def _make_token(store: Store, state: Path) -> None:
    """The command line's own token. Those of earlier starts do not count any more."""
    tokens = Tokens(DEFAULT_ISSUER, lambda: keys.read(state / KEYS))
    with store.begin() as work:
        account = _command_line(work)
        for old in accounts.list_tokens(work, account):
            if old.revoked_at is None:
                accounts.revoke_token(work, account, old.id, _operator())
        made = accounts.create_token(work, account, _TOKEN_LIFE, "of this platform", _operator())
        token = tokens.sign(account.id, work.now, made.expires_at, token=made.id)
    _write(state / TOKEN, token)


def _command_line(work: UnitOfWork) -> Account:
    account = work.identity.account_named(AccountKind.SERVICE_ACCOUNT, _ACCOUNT)
    if account is None:
        account = accounts.create(work, AccountKind.SERVICE_ACCOUNT, _ACCOUNT, None, _operator())
        account = accounts.bind(work, account, RoleBinding(Role.ADMIN), _operator())
    return account


def _operator() -> Actor:
    try:
        return Actor.operator(getpass.getuser())
    except (KeyError, OSError):  # a user without a name
        return Actor.operator(str(os.getuid()))


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and for the owner alone."""
    scratch = path.with_name(f".{path.name}.new")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{text}\n")
    scratch.replace(path)
