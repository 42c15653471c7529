"""The command as a user runs it, with its platform."""

import functools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi import FastAPI
from typer.core import TyperGroup
from typer.main import get_group
from typer.testing import CliRunner

from functions.api.session import Services
from functions.cli.main import app
from shared.eventing.publishing import HttpPublisher, PublisherAfterCommit
from shared.store.unit_of_work import Store
from tests.support import brokers
from tests.support.brokers import Broker
from tests.support.rest import Rest

INSTALLED = Path(sys.executable).with_name("sentinel")
"""The command as pip installs it."""


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def yaml(self) -> Any:
        return yaml.safe_load(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@dataclass(frozen=True)
class Sentinel:
    """Runs `sentinel` in this process with an environment of its own."""

    environment: dict[str, str | None]

    def __call__(self, *arguments: object, stdin: str | bytes | None = None, **environment: str | None) -> Ran:
        with CliRunner().isolation(stdin, {**self.environment, **environment}) as (out, err, _):
            with pytest.raises(SystemExit) as ended:
                command().main([str(argument) for argument in arguments], prog_name="sentinel")
            sys.stdout.flush()
            sys.stderr.flush()
            return Ran(_code(ended.value), out.getvalue().decode(), err.getvalue().decode())


@functools.cache
def command() -> TyperGroup:
    """The command, put together once: that takes longer than most of what it is asked to do."""
    return get_group(app)


def _code(ended: SystemExit) -> int:
    return ended.code if isinstance(ended.code, int) else int(ended.code is not None)


@dataclass(frozen=True)
class Api:
    """The API on the emptied store; the token `admin` may do everything, and `rest.bind` makes others."""

    app: FastAPI
    port: int
    rest: Rest

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A broker's ingress over real HTTP."""
    with brokers.serving() as serving:
        yield serving


@pytest.fixture
def api(application: tuple[FastAPI, int], store: Store, broker: Broker) -> Api:
    app, port = application
    found = Api(app, port, Rest(port))
    app.state.services = Services(
        store, found.rest.authenticate, PublisherAfterCommit(store, HttpPublisher(broker.url))
    )
    return found


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str | None]:
    """An environment that names no platform and no server, and has no configuration."""
    names = ("DATABASE_URL", "K_SINK", "SENTINEL_STATE", "SENTINEL_SERVER", "SENTINEL_TOKEN")
    return {**dict.fromkeys(names), "XDG_CONFIG_HOME": str(tmp_path / "config")}


@pytest.fixture
def lost(nowhere: dict[str, str | None]) -> Sentinel:
    """The command where nothing says which platform is meant."""
    return Sentinel(dict(nowhere))


@pytest.fixture
def sentinel(api: Api, database_url: str, broker: Broker, nowhere: dict[str, str | None]) -> Sentinel:
    """The command on an emptied database with the cluster `local`: as admin of its API, and beside its broker."""
    server = {"SENTINEL_SERVER": api.url, "SENTINEL_TOKEN": "admin"}
    return Sentinel({**nowhere, **server, "DATABASE_URL": database_url, "K_SINK": broker.url})


@pytest.fixture
def state(tmp_path: Path, database_url: str, broker: Broker, api: Api) -> Path:
    """The state directory of a running platform."""
    directory = tmp_path / "state"
    directory.mkdir()
    where = {"broker": broker.url, "database_url": database_url, "api": api.url}
    (directory / "platform.json").write_text(json.dumps({"pid": 1, "kubeconfig": "", "port": 8080, **where}))
    (directory / "token").write_text("admin\n")
    return directory
