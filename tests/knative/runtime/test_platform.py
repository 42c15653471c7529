"""The platform as a whole: a real process with a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
import sqlalchemy as sa

from knative.local.runtime.platform import Platform
from tests.support import databases, platforms
from tests.support.platforms import Running, alive, refusal, running, service, stop, trigger
from tests.support.subscribers import eventually

pytestmark = pytest.mark.slow


@pytest.fixture
def received(tmp_path: Path) -> Path:
    """Where the function writes down what it received, an id a line."""
    return tmp_path / "received"


@pytest.fixture
def manifests(tmp_path: Path, received: Path) -> Path:
    return platforms.write(
        tmp_path / "manifests",
        service("echo", RECEIVED=str(received)),
        service("slow", RECEIVED=str(received), START_SECONDS="3600"),
        trigger("echo", "k", retry=10, backoffDelay="PT0.05S"),
        trigger("slow", "later", retry=10, timeout="PT600S"),
        platforms.SINK_BINDING,
    )


@pytest.fixture
def migrated(migrated_data: Path, state: Path) -> Path:
    """A state directory whose PostgreSQL needs no `initdb` and no migrations: most of what a start takes."""
    databases.copy(migrated_data, state / "postgres")
    return state


def ids(received: Path) -> Counter[str]:
    return Counter(received.read_text().split()) if received.exists() else Counter()


async def post(session: aiohttp.ClientSession, platform: Running | Platform, kind: str, number: str) -> int:
    base = platform.url if isinstance(platform, Running) else platform.base_url
    headers = {"ce-specversion": "1.0", "ce-id": number, "ce-source": "/t", "ce-type": kind, "ce-subject": "s"}
    async with session.post(f"{base}/sentinel/default", headers=headers) as response:
        return response.status


async def env(session: aiohttp.ClientSession, platform: Running) -> dict[str, Any]:
    async with session.get(platform.url + "/env", headers={"host": "echo.sentinel.localhost"}) as response:
        found: dict[str, Any] = json.loads(await response.read())
        return found


async def test_from_start_to_stop(
    session: aiohttp.ClientSession, tmp_path: Path, state: Path, manifests: Path, received: Path
) -> None:
    async with running(manifests, state) as platform:
        async with session.get(platform.url + "/") as response:
            index = await response.text()
        assert f"http://localhost:{platform.port}/sentinel/default" in index
        assert f"http://echo.sentinel.localhost:{platform.port}/" in index
        assert f"kubectl --kubeconfig {manifests}/kubeconfig get" in index
        assert "an event of any source may act for any team" in index

        assert await post(session, platform, "k", "first") == 202
        await eventually(lambda: ids(received)["first"] == 1)

        seen = await env(session, platform)
        assert seen["K_SINK"] == f"http://127.0.0.1:{platform.port}/sentinel/default"
        assert seen["CLUSTERS_DIR"] == str(state / "clusters")
        assert seen["DATABASE_URL"] == platform.published["database_url"]
        assert "KUBECONFIG" not in seen

        engine = sa.create_engine(platform.published["database_url"])
        with engine.connect() as connection:
            assert connection.execute(sa.text("SELECT name FROM clusters")).scalars().all() == ["local"]
        engine.dispose()
        assert stat.S_IMODE((state / "clusters" / "local").stat().st_mode) == 0o600

        status, said = await refusal(manifests, state)
        assert status == 1
        assert said.strip() == (
            f"sentinel: {state} is in use by a running platform (pid {platform.process.pid}); "
            "stop that one, or choose another STATE"
        )
        status, said = await refusal(manifests, tmp_path / "other", "--port", str(platform.port))
        assert (status, said.strip()) == (
            1,
            f"sentinel: port {platform.port} is taken by another program; choose another PORT",
        )

        children = platform.children()
        assert await stop(platform, signal.SIGTERM) == 0
        assert alive(children) == []
    assert not (state / "platform.json").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("migrated")
async def test_what_was_acknowledged_survives_a_kill_of_the_platform(
    session: aiohttp.ClientSession, state: Path, manifests: Path, received: Path
) -> None:
    numbers = [f"e{number}" for number in range(200)]
    async with running(manifests, state) as platform:
        posted = await asyncio.gather(*(post(session, platform, "later", number) for number in numbers))
        assert set(posted) == {202}
        await eventually(lambda: any("echo_function.py" in " ".join(each.cmdline()) for each in platform.children()))
        await stop(platform, signal.SIGKILL)  # its children are still ending when the next one starts
    assert not received.exists()

    quick = (manifests / "all.yaml").read_text().replace("'3600'", "'0'")
    (manifests / "all.yaml").write_text(quick)
    async with running(manifests, state) as platform:
        await eventually(lambda: set(ids(received)) == set(numbers))
        assert await stop(platform, signal.SIGINT) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("migrated")
async def test_a_killed_postgresql_comes_back_and_functions_learn_its_address(
    session: aiohttp.ClientSession, state: Path, manifests: Path
) -> None:
    async with running(manifests, state) as platform:
        before = (await env(session, platform))["DATABASE_URL"]
        server = next(each for each in platform.children() if each.name() == "postgres")
        server.kill()

        async def is_new() -> bool:
            return bool((await env(session, platform))["DATABASE_URL"] == platform.published["database_url"] != before)

        await eventually(is_new)
        assert await stop(platform, signal.SIGTERM) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("migrated")
async def test_a_postgresql_that_does_not_come_back_ends_the_platform_with_the_reason(
    state: Path, manifests: Path
) -> None:
    async with running(manifests, state) as platform:
        (state / "postgres" / "data" / "PG_VERSION").write_text("9\n")
        server = next(each for each in platform.children() if each.name() == "postgres")
        server.kill()
        async with asyncio.timeout(platforms.BOUND_SECONDS):
            assert await platform.process.wait() == 1
    assert "sentinel: PostgreSQL is gone and does not start again: " in await platform.output


@pytest.mark.usefixtures("migrated")
async def test_in_this_process(session: aiohttp.ClientSession, state: Path, manifests: Path, received: Path) -> None:
    kubeconfig, others = manifests / "kubeconfig", psutil.Process().children()
    platform = Platform(state, manifests=manifests, kubeconfig=kubeconfig)
    async with platform:
        assert await post(session, platform, "k", "x") == 202
        await eventually(lambda: ids(received)["x"] == 1)
        assert platform.broker_url == f"{platform.base_url}/sentinel/default"
        assert platform.database_url.startswith("postgresql+pg8000://")
        assert platform.kubeconfig == kubeconfig
        started = [each for each in psutil.Process().children() if each not in others]
        started += [each for parent in started for each in parent.children(recursive=True)]
    assert started
    assert alive(started) == []


@pytest.mark.slow
@pytest.mark.usefixtures("migrated")
async def test_as_json_every_line_is_an_object(state: Path, manifests: Path) -> None:
    async with (
        asyncio.timeout(platforms.BOUND_SECONDS),
        platforms.started(manifests, state, env={"LOG_FORMAT": "json", "LOG_LEVEL": "info"}) as process,
    ):
        assert process.stdout is not None
        serving = json.loads(await process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        rest, _ = await process.communicate()
    assert serving["message"] == "serving"
    assert serving["state"] == str(state)
    assert [json.loads(line)["message"] for line in rest.splitlines()] == ["stopping"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"LOG_FORMAT": "xml"}, "LOG_FORMAT is 'xml'; it must be one of text, json"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL is 'loud'; it must be one of debug, info, warning, error"),
    ],
)
async def test_a_setting_that_does_not_exist_is_one_line(
    state: Path, manifests: Path, setting: dict[str, str], message: str
) -> None:
    assert await refusal(manifests, state, env=setting) == (1, f"sentinel: {message}\n")


async def test_a_manifest_that_is_refused_is_one_line(state: Path, manifests: Path) -> None:
    text = (manifests / "all.yaml").read_text().replace("PT0.05S", "soon")
    (manifests / "all.yaml").write_text(text)
    status, said = await refusal(manifests, state)
    assert status == 1
    assert said.startswith(f"sentinel: {manifests}/all.yaml: Trigger echo-on-k: spec.delivery.backoffDelay: 'soon' is")
    assert len(said.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("migrated")
async def test_a_broken_broker_log_is_one_line_and_leaves_nothing_running(state: Path, manifests: Path) -> None:
    log = state / "broker" / "sentinel" / "default" / "log.sqlite"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"something else" * 100)
    assert await refusal(manifests, state) == (
        1,
        f"sentinel: the broker's log in {log.parent} cannot be opened: file is not a database; "
        "make room, repair it, or choose another STATE\n",
    )
    assert not (state / "postgres" / "data" / "postmaster.pid").exists()


async def test_a_kubeconfig_that_cannot_be_read_is_one_line_and_leaves_nothing_running(
    tmp_path: Path, state: Path, manifests: Path
) -> None:
    status, said = await refusal(manifests, state, kubeconfig=tmp_path / "gone")
    assert (status, said.count("\n")) == (1, 1)
    assert said.startswith(f"sentinel: kubeconfig {tmp_path}/gone: ")
    assert said.endswith("No such file or directory\n")
