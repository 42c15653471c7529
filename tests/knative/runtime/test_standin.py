"""The stand-in Kubernetes API as a child of the platform."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from knative.local.cluster import kubeconfig
from knative.local.runtime.standin import StandInApi, StandInFailed

pytestmark = pytest.mark.slow


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[StandInApi]:
    found = StandInApi(tmp_path, "none")
    await found.start()
    yield found
    await found.stop()


async def nodes(api: StandInApi) -> tuple[str, int]:
    """(server, number of nodes) of what its kubeconfig leads to."""
    access = await asyncio.to_thread(kubeconfig.access, api.kubeconfig)
    assert access.tls is not None
    headers = {"authorization": access.authorization} if access.authorization else {}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(access.server + "/api/v1/nodes", ssl=access.tls, raise_for_status=True) as response,
    ):
        return access.server, len((await response.json())["items"])


def process(state: Path) -> psutil.Process:
    """The child that serves this state: other tests of this process may keep stand-ins of their own."""
    (child,) = (each for each in psutil.Process(os.getpid()).children() if str(state) in each.cmdline())
    return child


async def test_its_kubeconfig_leads_to_it(api: StandInApi) -> None:
    assert (await nodes(api))[1] == 0


async def test_after_a_crash_it_comes_back_at_the_same_address(api: StandInApi, tmp_path: Path) -> None:
    before, _ = await nodes(api)
    process(tmp_path).send_signal(signal.SIGKILL)
    assert await api.exited() == -signal.SIGKILL
    await api.start()
    assert (await nodes(api))[0] == before


async def test_one_that_does_not_start_is_said_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    api = StandInApi(tmp_path / "state", "none")
    with pytest.raises(StandInFailed, match=r"did not start: .+"):
        await api.start()
    await api.stop()
