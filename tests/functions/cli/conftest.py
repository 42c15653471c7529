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
from typer.core import TyperGroup
from typer.main import get_group
from typer.testing import CliRunner

from functions.cli.main import app
from shared.store.unit_of_work import Store
from tests.support import brokers
from tests.support.brokers import Broker

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


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A broker's ingress over real HTTP."""
    with brokers.serving() as serving:
        yield serving


@pytest.fixture
def nowhere() -> dict[str, str | None]:
    """An environment that names no platform."""
    return {"DATABASE_URL": None, "K_SINK": None, "SENTINEL_STATE": None}


@pytest.fixture
def lost(nowhere: dict[str, str | None]) -> Sentinel:
    """The command where nothing says which platform is meant."""
    return Sentinel(dict(nowhere))


@pytest.fixture
def sentinel(store: Store, database_url: str, broker: Broker, nowhere: dict[str, str | None]) -> Sentinel:
    """The command on an emptied database with the cluster `local`, and with a broker."""
    return Sentinel({**nowhere, "DATABASE_URL": database_url, "K_SINK": broker.url})


@pytest.fixture
def state(tmp_path: Path, database_url: str, broker: Broker) -> Path:
    """The state directory of a running platform."""
    directory = tmp_path / "state"
    directory.mkdir()
    published = {"pid": 1, "broker": broker.url, "database_url": database_url, "kubeconfig": "", "port": 8080}
    (directory / "platform.json").write_text(json.dumps(published))
    return directory
