"""Logins: passwords, refresh tokens and their families, limits, and what counts at once."""

from datetime import timedelta
from functools import partial

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher

from shared.errors import AlreadyExists, NotFound, OperationRefused, Unauthenticated
from shared.identity import keys
from shared.identity.passwords import Passwords, generated, problem_of
from shared.identity.tokens import ACCESS_LIFE, Tokens
from shared.models.account import Account, AccountKind
from shared.models.actor import Actor
from shared.models.identity import Permission, Role, RoleBinding
from shared.models.page import PageRequest
from shared.models.retention import DEFAULT_RETENTION
from shared.operations.identity import accounts, login
from shared.operations.identity.authenticate import authenticate
from shared.operations.identity.login import LoggedIn, Login, TooManyLogins
from shared.store.unit_of_work import Store
from tests.support.builders import TESTS, in_parallel, rows

PASSWORDS = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
SECRET = "correct horse battery"
HERE = "192.0.2.7"


def user(store: Store, name: str = "ada") -> Account:
    with store.begin() as work:
        return accounts.create(work, AccountKind.USER, name, PASSWORDS.hash(SECRET), TESTS)


def tried(store: Store, password: str = SECRET, name: str = "ada", address: str = HERE) -> LoggedIn | None:
    attempt = Login(name, password, address)
    with store.begin() as work:
        account, stored = login.check_attempt(work, attempt)
    matches = PASSWORDS.verify(stored, password)
    with store.begin() as work:
        if matches and account is not None:
            return login.succeed(work, attempt, account)
        login.fail(work, attempt, account)
    return None


def logged_in(store: Store) -> LoggedIn:
    found = tried(store)
    assert found is not None
    return found


def refreshed(store: Store, token: str) -> LoggedIn | None:
    with store.begin() as work:
        return login.refresh(work, token)


def actions(store: Store, subject: str) -> list[tuple[str, str]]:
    with store.begin() as work:
        return [(entry.action, entry.actor) for entry in work.audit_entries(subject)]


def test_a_password_logs_in_and_each_attempt_is_audited(store: Store) -> None:
    ada = user(store)
    assert tried(store, "wrong") is None
    assert tried(store, name="nobody") is None
    assert logged_in(store).account == ada
    of_ada = actions(store, f"account/{ada.id}")
    assert of_ada[-2:] == [("login.failed", "user:ada"), ("login.succeeded", "user:ada")]
    assert actions(store, "login") == [("login.failed", "user")]  # "nobody" may be a password in the wrong field


def test_a_refresh_token_counts_once_and_a_second_use_ends_its_family(store: Store) -> None:
    user(store)
    first = logged_in(store)
    second = refreshed(store, first.refresh_token)
    assert second is not None
    assert second.refresh_expires_at == first.refresh_expires_at
    other = logged_in(store)
    assert refreshed(store, first.refresh_token) is None
    with pytest.raises(Unauthenticated):
        refreshed(store, second.refresh_token)
    assert refreshed(store, other.refresh_token) is not None
    assert ("login.revoked", "user:ada") in actions(store, f"account/{first.account.id}")


def test_a_refresh_token_that_two_use_at_once_gives_one_of_them_the_next_and_ends_the_login(store: Store) -> None:
    user(store)
    token = logged_in(store).refresh_token
    found = in_parallel(*[partial(refreshed, store, token)] * 2)
    assert [one is None for one in found].count(True) == 1
    (next_one,) = [one.refresh_token for one in found if one is not None]
    with pytest.raises(Unauthenticated):
        refreshed(store, next_one)


def test_what_has_expired_is_forgotten(store: Store, owner_engine: sa.Engine) -> None:
    user(store)
    tried(store, "wrong", "nobody")
    token = logged_in(store).refresh_token
    with store.begin() as work:
        robot = accounts.create(work, AccountKind.SERVICE_ACCOUNT, "ci", None, TESTS)
        for days in (1, 300):
            accounts.create_token(work, robot, timedelta(days=days), str(days), TESTS)
    refreshed(store, token)
    with owner_engine.begin() as connection:
        for change in (
            "refresh_tokens SET expires_at = now() - interval '2 days' WHERE used_at IS NOT NULL",
            "account_tokens SET expires_at = expires_at - interval '200 days'",
            "login_attempts SET updated_at = now() - interval '2 days'",
        ):
            connection.execute(sa.text(f"UPDATE {change}"))
    with store.begin() as work:
        work.forget_old(DEFAULT_RETENTION, 10)
        assert [one.description for one in accounts.list_tokens(work, robot)] == ["300"]
    assert len(rows(owner_engine, "refresh_tokens")) == 1
    assert rows(owner_engine, "login_attempts") == []


def test_a_logout_ends_a_login(store: Store) -> None:
    user(store)
    token = logged_in(store).refresh_token
    for _ in range(2):
        with store.begin() as work:
            login.log_out(work, token)
    with pytest.raises(Unauthenticated):
        refreshed(store, token)


def test_failures_make_the_next_login_wait_from_there_and_lock_nobody_out_elsewhere(store: Store) -> None:
    user(store)
    for _ in range(login.FREE_FOR_ACCOUNT + 1):
        assert tried(store, "wrong") is None
    with pytest.raises(TooManyLogins) as refused:
        tried(store)
    assert timedelta(0) < refused.value.wait <= login.LONGEST_WAIT
    assert tried(store, address="192.0.2.8") is not None
    with pytest.raises(TooManyLogins):
        tried(store)


def test_an_address_that_guesses_names_waits_too(store: Store) -> None:
    for number in range(login.FREE_FOR_ADDRESS + 1):
        assert tried(store, name=f"user-{number}", address="2001:db8::1") is None
    with pytest.raises(TooManyLogins):
        tried(store, name="another", address="2001:db8::ffff")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    place = tmp_path_factory.mktemp("keys")
    keys.init(place)
    return Tokens("sentinel", lambda: keys.read(place))


def access_token(store: Store, tokens: Tokens, found: LoggedIn) -> str:
    with store.read() as work:
        return tokens.sign(found.account.id, work.now, work.now + ACCESS_LIFE, login=found.family)


def test_a_disabled_user_and_a_changed_role_count_at_once(store: Store, tokens: Tokens) -> None:
    ada = user(store)
    user(store, "root")
    found = logged_in(store)
    token = access_token(store, tokens, found)
    with store.begin() as work:
        assert not authenticate(work, token, tokens).may(Permission.READ_WORKLOADS, "search")
        accounts.bind(work, ada, RoleBinding(Role.VIEWER, "search"), TESTS)
        assert authenticate(work, token, tokens).may(Permission.READ_WORKLOADS, "search")
        root = accounts.bind(work, named(store, "root"), RoleBinding(Role.ADMIN), TESTS)
        accounts.unbind(work, ada, RoleBinding(Role.VIEWER, "search"), TESTS)
        assert not authenticate(work, token, tokens).may(Permission.READ_WORKLOADS, "search")
        accounts.set_disabled(work, ada, True, TESTS)
        with pytest.raises(Unauthenticated):
            authenticate(work, token, tokens)
    assert root.principal.may(Permission.WRITE_IDENTITY, None)
    assert tried(store) is None
    with pytest.raises(Unauthenticated):
        refreshed(store, found.refresh_token)


def test_an_access_token_ends_with_its_login(store: Store, tokens: Tokens) -> None:
    ada = user(store)
    first, second = logged_in(store), logged_in(store)
    of_first, of_second = (access_token(store, tokens, found) for found in (first, second))
    with store.begin() as work:
        login.log_out(work, first.refresh_token)
        with pytest.raises(Unauthenticated, match="revoked"):
            authenticate(work, of_first, tokens)
        assert authenticate(work, of_second, tokens).id == ada.id
        accounts.set_password(work, ada, PASSWORDS.hash("another good password"), TESTS)
        with pytest.raises(Unauthenticated, match="revoked"):
            authenticate(work, of_second, tokens)


def test_a_token_of_another_account_opens_nothing(store: Store, tokens: Tokens) -> None:
    with store.begin() as work:
        robot = accounts.create(work, AccountKind.SERVICE_ACCOUNT, "ci", None, TESTS)
        theirs = accounts.create_token(work, robot, timedelta(days=1), "", TESTS)
        other = accounts.create(work, AccountKind.SERVICE_ACCOUNT, "cd", None, TESTS)
        forged = tokens.sign(other.id, work.now, theirs.expires_at, token=theirs.id)
        with pytest.raises(Unauthenticated):
            authenticate(work, forged, tokens)


def test_who_asks_is_found_by_one_statement(store: Store, tokens: Tokens, engine: sa.Engine) -> None:
    ada = user(store)
    token = access_token(store, tokens, logged_in(store))
    with store.begin() as work:
        for team in ("search", "ads"):
            accounts.bind(work, ada, RoleBinding(Role.VIEWER, team), TESTS)
    seen: list[str] = []

    def count(*arguments: object) -> None:
        seen.append(str(arguments[2]))

    with store.read() as work:
        sa.event.listen(engine, "before_cursor_execute", count)
        try:
            assert len(authenticate(work, token, tokens).bindings) == 2
        finally:
            sa.event.remove(engine, "before_cursor_execute", count)
    assert len(seen) == 1


def test_two_admins_who_disable_each_other_take_turns_and_one_stays(store: Store) -> None:
    both = [user(store, name) for name in ("ada", "bob")]
    with store.begin() as work:
        for one in both:
            accounts.bind(work, one, RoleBinding(Role.ADMIN), TESTS)

    def disable(account: Account) -> bool:
        try:
            with store.begin() as work:
                accounts.set_disabled(work, account, True, TESTS)
        except OperationRefused:
            return False
        return True

    done = in_parallel(*(partial(disable, account) for account in both))
    assert sorted(done) == [False, True]


def named(store: Store, name: str) -> Account:
    with store.begin() as work:
        found = work.identity.account_named(AccountKind.USER, name)
    assert found is not None
    return found


def test_the_last_admin_stays(store: Store) -> None:
    with store.begin() as work:
        admin = accounts.create_first_admin(work, PASSWORDS.hash(SECRET), TESTS)
        assert admin is not None
        assert accounts.create_first_admin(work, PASSWORDS.hash(SECRET), TESTS) is None
    with pytest.raises(OperationRefused, match="nobody would be admin"), store.begin() as work:
        accounts.set_disabled(work, admin, True, TESTS)
    with pytest.raises(OperationRefused, match="nobody would be admin"), store.begin() as work:
        accounts.unbind(work, admin, RoleBinding(Role.ADMIN), TESTS)
    with store.begin() as work:
        assert accounts.get(work, AccountKind.USER, admin.id) == admin


def test_a_service_accounts_token_counts_until_it_is_revoked(store: Store, tokens: Tokens) -> None:
    with store.begin() as work:
        robot = accounts.create(work, AccountKind.SERVICE_ACCOUNT, "ci", None, TESTS)
        made = accounts.create_token(work, robot, timedelta(days=1), "pipeline", TESTS)
        token = tokens.sign(robot.id, work.now, made.expires_at, token=made.id)
        assert authenticate(work, token, tokens).actor == Actor(robot.actor.kind, "ci")
        accounts.revoke_token(work, robot, made.id, TESTS)
        with pytest.raises(Unauthenticated):
            authenticate(work, token, tokens)
        with pytest.raises(NotFound):
            accounts.revoke_token(work, robot, made.id, TESTS)
        with pytest.raises(OperationRefused, match="at most 365d"):
            accounts.create_token(work, robot, timedelta(days=366), "", TESTS)
        assert accounts.list_accounts(work, AccountKind.SERVICE_ACCOUNT, PageRequest(10, "name")).items == [robot]


@pytest.mark.parametrize("name", ["", "Ada", "a b", "-a", "a-", "a" * 129, "a\n", "ä"])
def test_a_name_that_others_could_not_tell_apart_is_refused(store: Store, name: str) -> None:
    with pytest.raises(OperationRefused, match="must be 1 to 128"), store.begin() as work:
        accounts.create(work, AccountKind.USER, name, None, TESTS)


def test_names_are_taken_once_and_pages_go_on_behind_the_last(store: Store) -> None:
    for name in ("b", "a", "c"):
        user(store, name)
    with pytest.raises(AlreadyExists, match="b is taken by another user"):
        user(store, "b")
    with store.begin() as work:
        page = accounts.list_accounts(work, AccountKind.USER, PageRequest(2, "name"))
        rest = accounts.list_accounts(work, AccountKind.USER, PageRequest(2, "name", after=page.next))
    assert [one.name for one in (*page.items, *rest.items)] == ["a", "b", "c"]
    assert rest.next is None


def test_a_password_is_long_enough_and_a_generated_one_is() -> None:
    assert problem_of("short") == "must have at least 12 characters"
    assert problem_of("é" * 600) == "must have at most 1024 bytes"
    assert problem_of(generated()) is None
    assert not PASSWORDS.verify("not a hash", "x")
