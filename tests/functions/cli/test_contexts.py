"""`sentinel config`, and which server a command asks."""

import json
import stat
from pathlib import Path

import pytest

from functions.cli import servers
from functions.cli.client import address_of
from functions.cli.credentials import Login, LoginTokens
from functions.cli.errors import BadInput, CommandFailed
from functions.cli.options import Chosen
from shared.errors import ConfigurationError
from tests.functions.cli.conftest import Sentinel

FAR, NEAR = "https://sentinel.example.com", "http://127.0.0.1:8080"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where config.toml is to be."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "sentinel" / "config.toml"


def logged_in(name: str, server: str) -> None:
    Login(name, server).keep(LoginTokens(server, "ada", "access-1", "refresh-1"))


def test_contexts_are_added_chosen_listed_and_deleted(lost: Sentinel, file: Path) -> None:
    assert lost("config", "set-context", "prod", "--server", f"{FAR}/").code == 0
    assert lost("config", "set-context", "near", "--server", NEAR).code == 0
    assert lost("config", "current-context").out == "prod\n"
    assert lost("config", "use-context", "near").code == 0
    logged_in("near", NEAR)
    assert [line.split() for line in lost("config", "get-contexts").lines] == [
        ["CURRENT", "NAME", "SERVER", "USER"],
        ["*", "near", NEAR, "ada"],
        ["prod", FAR],
    ]
    assert lost("config", "get-contexts", "-o", "json").json[1] == {
        "name": "prod",
        "current": False,
        "server": FAR,
        "user": None,
    }
    assert lost("config", "delete-context", "near").code == 0
    assert Login("near", NEAR).token() is None
    ran = lost("config", "current-context")
    assert (ran.code, ran.err) == (1, "sentinel: no context is the current one: see `sentinel config use-context`\n")


def test_the_configuration_is_shown_without_tokens_and_only_its_owner_can_read_it(lost: Sentinel, file: Path) -> None:
    lost("config", "set-context", "prod", "--server", FAR)
    logged_in("prod", FAR)
    shown = lost("config", "view")
    assert shown.yaml == {
        "current-context": "prod",
        "contexts": {"prod": {"server": FAR, "user": "ada", "token": "REDACTED"}},
    }
    assert "access-1" not in shown.out
    for path in (file, file.parent / "credentials" / "prod.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_change_keeps_what_the_user_wrote_around_it(lost: Sentinel, file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(f'# mine\ncurrent-context = "prod"\n\n[contexts.prod]\nserver = "{FAR}"  # the real one\n')
    assert lost("config", "set-context", "near", "--server", NEAR).code == 0
    assert lost("config", "set-context", "prod", "--certificate-authority", "/ca.pem").code == 0
    text = file.read_text()
    assert text.startswith('# mine\ncurrent-context = "prod"')
    shown = lost("config", "view", "-o", "json").json["contexts"]
    assert shown == {"near": {"server": NEAR}, "prod": {"server": FAR, "certificate-authority": "/ca.pem"}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("current-context = ", "Invalid value"),
        ('colour = "red"', "colour is unknown; there are contexts and current-context"),
        ('current-context = "prod"', "current-context names 'prod', which is not among the contexts"),
        ("[contexts.prod]", "contexts.prod must be a table with a server"),
        ('[contexts.prod]\nserver = "x"\ntoken = "t"', "contexts.prod.token is unknown; there are server,"),
        ('[contexts.prod]\nserver = "x"\ninsecure = "no"', "contexts.prod.insecure must be true or false"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_named(lost: Sentinel, file: Path, text: str, said: str) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(text)
    ran = lost("config", "get-contexts")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"sentinel: {file}: {said}")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("set-context", "new"), 1, "there is no context new: give --server to add it"),
        (("set-context", "../x", "--server", FAR), 2, "a context's name has up to 100 letters, digits"),
        (("set-context", "x", "--server", "example.com"), 2, "'example.com' is not the address of a server"),
        (("set-context", "x", "--server", "http://example.com"), 2, "http://example.com: http:// to another host"),
        (("use-context", "x"), 1, "there is no context x: see `sentinel config get-contexts`"),
    ],
)
def test_a_context_that_cannot_be_is_refused(
    lost: Sentinel, file: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ran = lost("config", *arguments)
    assert ran.code == code
    assert ran.err.startswith(f"sentinel: {said}")
    assert not file.exists()


def test_an_option_comes_first_then_the_environment_then_this_machine_then_the_current_context(
    lost: Sentinel, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lost("config", "set-context", "prod", "--server", FAR)
    state = tmp_path / "state"

    def url(chosen: Chosen = Chosen(), **environment: str) -> str:  # noqa: B008 - a tuple
        return servers.locate(chosen, environment).url

    with pytest.raises(CommandFailed, match=r"^no platform is running on .*state: start one with `make run`$"):
        url(SENTINEL_STATE=str(state))
    assert url() == FAR
    for directory in (state, Path(".sentinel")):
        directory.mkdir()
        published = {"api": f"http://{directory.name.strip('.')}.localhost", "broker": "", "database_url": ""}
        (directory / "platform.json").write_text(json.dumps(published))
    (state / "token").write_text("made-by-the-platform\n")
    assert url() == "http://sentinel.localhost"
    assert url(SENTINEL_STATE=str(state)) == "http://state.localhost"
    assert url(SENTINEL_STATE=str(state), SENTINEL_SERVER=NEAR) == NEAR
    assert url(Chosen(state=state), SENTINEL_SERVER=NEAR) == "http://state.localhost"
    assert url(Chosen(context="prod"), SENTINEL_SERVER=NEAR) == FAR
    assert url(Chosen(server=FAR), SENTINEL_SERVER=NEAR) == FAR
    assert servers.locate(Chosen(state=state), {}).credentials.token() == "made-by-the-platform"
    assert servers.locate(Chosen(state=state), {"SENTINEL_TOKEN": "given"}).credentials.token() == "given"
    with pytest.raises(BadInput, match="give one of --server, --context and --state"):
        url(Chosen(server=FAR, context="prod"))


def test_without_any_server_the_fix_is_named(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CommandFailed, match=r"^no server is known: start one with `make run`, or `sentinel --server"):
        servers.locate(Chosen(), {})


def test_tokens_go_to_the_server_that_gave_them_alone(lost: Sentinel, file: Path) -> None:
    lost("config", "set-context", "prod", "--server", FAR)
    logged_in("prod", FAR)
    assert servers.locate(Chosen(), {}).credentials.token() == "access-1"
    assert servers.locate(Chosen(server=FAR), {}).credentials.token() == "access-1"
    assert servers.locate(Chosen(server=NEAR), {}).credentials.token() is None
    lost("config", "set-context", "prod", "--server", "https://elsewhere.example.com")
    assert servers.locate(Chosen(), {}).credentials.token() is None


@pytest.mark.parametrize("url", ["http://localhost:1", "http://api.sentinel.localhost", "http://[::1]:80", NEAR, FAR])
def test_plain_http_is_for_this_machine(url: str) -> None:
    assert address_of(url, insecure=False).path == ""


@pytest.mark.parametrize(
    "url",
    ["http://example.com", "http://127.0.0.1.example.com", "http://localhost.example.com", "http://10.0.0.1:80"],
)
def test_plain_http_to_another_host_must_be_asked_for(url: str) -> None:
    with pytest.raises(ConfigurationError, match="use https://, or --insecure"):
        address_of(url, insecure=False)
    assert address_of(url, insecure=True).scheme == "http"


@pytest.mark.parametrize(
    "url", ["", "host", "ftp://host", "https://", "https://me:pw@host", "https://host:x", "https://host/?a=b"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        address_of(url, insecure=True)
    assert "me:pw" not in str(refused.value)
