"""`sentinel login`, `logout` and `whoami`: tokens that the server made, kept for one user, renewed in silence."""

import threading
from functools import partial
from pathlib import Path

import pytest

from functions.api.identity import Identity
from functions.api.session import Services
from functions.cli.client import Client, Server
from functions.cli.credentials import Login
from functions.cli.errors import ProblemAnswer
from shared.models.account import AccountKind
from shared.models.identity import Role, RoleBinding
from shared.operations.identity import accounts
from shared.operations.identity.authenticate import authenticate
from shared.store.unit_of_work import Store
from tests.functions.cli.conftest import Api, Sentinel
from tests.support.builders import TESTS

PASSWORD = "correct horse battery"


@pytest.fixture
def far(api: Api, store: Store, identity: Identity, nowhere: dict[str, str | None], tmp_path: Path) -> Sentinel:
    """The command beside a server that knows the user ada, an operator of team search."""
    api.app.state.services = Services(store, partial(authenticate, tokens=identity.tokens), identity=identity)
    with store.begin() as work:
        ada = accounts.create(work, AccountKind.USER, "ada", identity.passwords.hash(PASSWORD), TESTS)
        accounts.bind(work, ada, RoleBinding(Role.OPERATOR, "search"), TESTS)
    return Sentinel(nowhere)


@pytest.fixture
def kept(tmp_path: Path, api: Api, monkeypatch: pytest.MonkeyPatch) -> Login:
    """What is kept of a login at the server."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return Login(f"127.0.0.1-{api.port}", api.url)


def log_in(far: Sentinel, api: Api) -> None:
    ran = far("--server", api.url, "login", "ada", "--password-stdin", stdin=f"{PASSWORD}\n")
    said = f"sentinel: logged in as ada at {api.url}, context 127.0.0.1-{api.port}\n"
    assert (ran.code, ran.out, ran.err) == (0, "", said)


def test_a_login_is_used_by_the_commands_that_follow(far: Sentinel, api: Api) -> None:
    log_in(far, api)
    assert [line.split() for line in far("whoami").lines] == [
        ["ACTOR", "ROLE", "TEAM"],
        ["user:ada", "operator", "search"],
    ]
    assert far("--server", api.url, "whoami", "-o", "json").json["roles"] == [{"role": "operator", "team": "search"}]
    assert far("whoami", SENTINEL_TOKEN="forged").code == 1
    assert far("get").code == 0


def test_a_wrong_password_keeps_nothing(far: Sentinel, api: Api, kept: Login) -> None:
    ran = far("--server", api.url, "login", "ada", "--password-stdin", stdin="guess\n")
    assert (ran.code, ran.out) == (1, "")
    assert "the user or the password is wrong" in ran.err
    assert "guess" not in ran.err
    assert kept.read() is None
    assert far("config", "get-contexts").lines[1:] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "there is no terminal to ask for the password: give it with --password-stdin"),
        (("--password-stdin",), "the password is empty"),
    ],
)
def test_a_password_comes_from_a_terminal_or_from_stdin(
    far: Sentinel, api: Api, arguments: tuple[str, ...], said: str
) -> None:
    ran = far("--server", api.url, "login", "ada", *arguments, stdin="")
    assert (ran.code, ran.err) == (2, f"sentinel: {said}\n")


def spoil(kept: Login) -> None:
    """What the time does: the access token does not count any more."""
    tokens = kept.read()
    assert tokens is not None
    kept.keep(tokens._replace(access="expired"))


def test_a_token_that_does_not_count_any_more_is_renewed_in_silence(far: Sentinel, api: Api, kept: Login) -> None:
    log_in(far, api)
    first = kept.read()
    spoil(kept)
    ran = far("whoami")
    assert (ran.code, ran.err) == (0, "")
    second = kept.read()
    assert first is not None
    assert second is not None
    assert (second.user, second.server) == ("ada", api.url)
    assert second.refresh != first.refresh
    assert second.access != "expired"


def test_two_commands_that_find_an_expired_token_renew_it_once(far: Sentinel, api: Api, kept: Login) -> None:
    log_in(far, api)
    spoil(kept)
    start = threading.Barrier(2)
    statuses: list[int] = []

    def ask() -> None:
        client = Client(Server("there", api.url, Login(f"127.0.0.1-{api.port}", api.url)))
        start.wait()
        statuses.append(client.get("/auth/me").status)
        client.close()

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200, 200]
    assert far("whoami").code == 0


def test_a_login_that_was_ended_asks_for_another(far: Sentinel, api: Api, kept: Login, store: Store) -> None:
    log_in(far, api)
    with store.begin() as work:
        ada = work.identity.account_named(AccountKind.USER, "ada")
        assert ada is not None
        accounts.set_disabled(work, ada, True, TESTS)
    ran = far("whoami")
    assert ran.code == 1
    assert ran.err.endswith(f": log in with `sentinel --context 127.0.0.1-{api.port} login`\n")


def test_a_logout_ends_the_login_at_the_server_and_here(far: Sentinel, api: Api, kept: Login) -> None:
    log_in(far, api)
    tokens = kept.read()
    assert tokens is not None
    assert far("logout").code == 0
    assert kept.read() is None
    client = Client(Server("there", api.url, Login("x", api.url)))
    with pytest.raises(ProblemAnswer):
        client.send_unauthenticated("/auth/refresh", {"refreshToken": tokens.refresh})
    client.close()
    assert far("logout").err == f"sentinel: nobody is logged in at {api.url}\n"
    assert far("whoami").code == 1


def test_a_platform_on_this_machine_needs_no_login(state: Path, lost: Sentinel) -> None:
    ran = lost("--state", state, "login", "admin", "--password-stdin", stdin="x\n")
    said = f"sentinel: the platform in {state} needs no login; log in elsewhere with --server or --context\n"
    assert (ran.code, ran.err) == (1, said)
