"""A chain of functions in process, on the stand-in Kubernetes API as the laptop platform runs it."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI

from functions.api.identity import Identity
from shared.clusters.kubeconfig import read_connection
from shared.identity import keys
from shared.identity.keys import KeyDirectory
from shared.identity.passwords import Passwords
from shared.identity.tokens import Tokens
from shared.store.unit_of_work import Store
from tests.support import rest
from tests.support.chain import Chain
from tests.support.cluster import Site
from tests.support.someone import Someone
from tests.support.stand_ins import StandIn


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of a stand-in Kubernetes API in a process of its own."""
    stand_in = StandIn(tmp_path_factory.mktemp("kubernetes"))
    yield stand_in.kubeconfig
    stand_in.end()


@pytest.fixture(scope="session")
def application() -> Iterator[tuple[FastAPI, int]]:
    """The API and its port. Building it takes long, so one serves all tests of a process, which set its services."""
    with rest.serving() as found:
        yield found


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """Keys, and passwords whose hashes cost little."""
    place = tmp_path_factory.mktemp("keys")
    keys.init(place)
    quick = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    return Identity(Tokens("sentinel", KeyDirectory(place).current), quick)


@pytest.fixture
def site(kubeconfig: Path, tmp_path: Path) -> Iterator[Site]:
    someone = Someone(read_connection(kubeconfig))
    found = Site(tmp_path / "clusters", kubeconfig, someone, f"test-{uuid.uuid4().hex[:12]}")
    yield found
    found.clean()
    someone.close()


@pytest.fixture
def chain(store: Store, site: Site) -> Chain:
    """The nodes of its cluster were read just now, so that a tick asks the cluster for revisions alone."""
    with store.begin() as work:
        work.catalogue.take_unread(work.now, work.now, 10)
    return Chain(store, site)
