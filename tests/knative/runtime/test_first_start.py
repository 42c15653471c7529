"""The first start of a platform: an admin whose password is shown once, keys, and the command line's token."""

from pathlib import Path

import pytest

from knative.local.runtime import first_start
from shared.errors import Unauthenticated
from shared.identity import keys
from shared.identity.passwords import Passwords
from shared.identity.tokens import Tokens
from shared.models.account import AccountKind
from shared.models.identity import Permission
from shared.operations.identity.authenticate import authenticate
from shared.settings import DEFAULT_ISSUER
from shared.store.unit_of_work import Store


def test_the_password_is_in_a_file_of_the_owner_until_it_is_shown_once(store: Store, tmp_path: Path) -> None:
    first_start.prepare(store, tmp_path)
    assert (tmp_path / first_start.PASSWORD).stat().st_mode & 0o777 == 0o600
    password = first_start.show_password(tmp_path)
    assert password is not None
    assert first_start.show_password(tmp_path) is None
    with store.read() as work:
        admin = work.identity.account_named(AccountKind.USER, "admin")
        assert admin is not None
        assert admin.principal.may(Permission.WRITE_IDENTITY, None)
        assert Passwords().verify(work.identity.password_hash(admin.id), password)
    first_start.prepare(store, tmp_path)
    assert first_start.show_password(tmp_path) is None


def test_every_start_makes_a_token_and_the_one_of_before_counts_no_more(store: Store, tmp_path: Path) -> None:
    made = []
    for _ in range(2):
        first_start.prepare(store, tmp_path)
        made.append((tmp_path / first_start.TOKEN).read_text().strip())
    assert (tmp_path / first_start.TOKEN).stat().st_mode & 0o777 == 0o600
    tokens = Tokens(DEFAULT_ISSUER, lambda: keys.read(tmp_path / first_start.KEYS))
    with store.read() as work:
        assert str(authenticate(work, made[1], tokens).actor) == "service_account:command-line"
        with pytest.raises(Unauthenticated, match="revoked"):
            authenticate(work, made[0], tokens)


def test_the_keys_are_made_once(store: Store, tmp_path: Path) -> None:
    first_start.prepare(store, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.pem")}
    first_start.prepare(store, tmp_path)
    assert {path.name for path in before} == {"audit-key.pem", "current.pem", "next.pem"}
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.pem")} == before
