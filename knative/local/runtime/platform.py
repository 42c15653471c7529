"""The laptop platform: the composition root.

Order: the port and the state directory are taken first, so a second platform fails before it starts anything.
PostgreSQL and the Kubernetes API start side by side. Then the brokers take up what an earlier run left, and requests
are served. The agents of simulated nodes start last. Stopping goes the other way round: agents end and send what they
have, no new requests, deliveries in flight are drained, functions end, PostgreSQL last.

A child that must live and dies is started again: the stand-in API on the same port, PostgreSQL with a new address,
for which the functions are started anew. What cannot be started again ends the platform: see `failed`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
from collections.abc import Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from knative.local.broker.addressables import new_session
from knative.local.broker.broker import Broker
from knative.local.broker.http_server import http_server
from knative.local.broker.ingress import Ingress
from knative.local.broker.log import LogUnavailable
from knative.local.cluster import heartbeats
from knative.local.cluster.kubeconfig import CLUSTER, flatten
from knative.local.resources import loader
from knative.local.resources.loader import Name
from knative.local.runtime import assembly, first_start, secrets
from knative.local.runtime.database import Database
from knative.local.runtime.node_daemons import NodeDaemons
from knative.local.runtime.secrets import Secrets
from knative.local.runtime.standin import StandInApi, StandInFailed
from knative.local.runtime.state_directory import PlatformAddress, StateDirectory, listen
from knative.local.serving.gateway import Gateway
from knative.local.serving.services import LocalService, LocalServiceSpec
from knative.local.sources import apiserver, ping
from shared.errors import SentinelError

_log = logging.getLogger(__name__)
BASE = Path(__file__).resolve().parents[2] / "base"
_API = "api"
_CONSOLE = "console"
"""Another host name of the api, as knative/components/console has it on a cluster: the page of its root."""
_DRAIN_SECONDS = 5.0
_OPEN_TO_ALL = "  sources     an event of any source may act for any team; an admin can change the binding `everything`"


class StartFailed(Exception):
    """Something that the platform needs did not start; the message says what."""


class Platform:
    """Runs the manifests; an async context manager. Start it in the main thread: children die with that thread.

    `port` 0 takes any free one. `kubeconfig` names a real cluster to use instead of the stand-in API, whose `nodes` are
    `default` or `none`. `agents` are variables for the processes of DaemonSets, which run on simulated GPU nodes; with
    None, there are no such processes. Raises InUse, ManifestError, ClusterUnavailable or StartFailed.
    """

    def __init__(
        self,
        state: Path,
        *,
        port: int = 0,
        kubeconfig: Path | None = None,
        manifests: Path = BASE,
        nodes: str = "default",
        log_format: str = "text",
        agents: Mapping[str, str] | None = None,
    ) -> None:
        self.manifests = loader.load(manifests, secrets.SUPPLIED)
        if kubeconfig is not None:
            flatten(kubeconfig)  # refused before anything is started
        self.failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done, with the reason, when the platform can no longer do its work."""
        self._log_format = log_format
        self._agents = agents
        self.node_daemons: NodeDaemons | None = None
        """Set while processes of DaemonSets run."""
        self._listening = listen(port)
        self.port: int = self._listening.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}"
        try:
            self.state = StateDirectory(state)
        except BaseException:
            self._listening.close()
            raise
        self._database = Database(self.state.directory("postgres"))
        self._stand_in = None if kubeconfig else StandInApi(self.state.directory("kubernetes"), nodes)
        self._given_kubeconfig = kubeconfig
        self.services: dict[Name, LocalService] = {}
        self.brokers: dict[Name, Broker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._open_to_all = False
        self._stack = contextlib.AsyncExitStack()

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the application's role."""
        return self._database.url

    @property
    def kubeconfig(self) -> Path:
        """Of the cluster `local`."""
        return self._given_kubeconfig or (self._stand_in.kubeconfig if self._stand_in else Path())

    @property
    def broker_url(self) -> str:
        """The ingress of the first broker."""
        return assembly.broker_url(self.base_url, next(iter(self.manifests.brokers)))

    @property
    def api_url(self) -> str | None:
        """The REST face, without /api/v1; None where the manifests have none."""
        api = self._api_service()
        return None if api is None else f"http://{api.name}.{api.namespace}.localhost:{self.port}"

    @property
    def console_url(self) -> str | None:
        """The page for browsers; None where the manifests have no api."""
        api = self._api_service()
        return None if api is None else f"http://{_CONSOLE}.{api.namespace}.localhost:{self.port}/"

    def _api_service(self) -> Name | None:
        return next((name for name in self.services if name.name == _API), None)

    async def __aenter__(self) -> Self:
        try:
            self._stack.callback(self.state.release)
            self._stack.callback(self._listening.close)
            await self._start_children()
            await self._register_cluster()
            await self._database.prepare_identity(self.state.path)
            self._open_to_all = await self._database.allow_all()
            await self._start_parts()
            self._start_sources()
            await self._start_node_daemons()
            self._publish()
        except (OSError, LogUnavailable) as error:
            await self._stack.aclose()
            raise StartFailed(f"{error}; make room, repair it, or choose another STATE") from error
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def function_urls(self) -> list[str]:
        """How a browser or curl reaches each function."""
        return [f"http://{name.name}.{name.namespace}.localhost:{self.port}/" for name in self.services]

    async def _start_children(self) -> None:
        """PostgreSQL and the stand-in API, side by side."""
        self._stack.push_async_callback(self._database.stop)
        if self._stand_in:
            self._stack.push_async_callback(self._stand_in.stop)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._database.start())
                if self._stand_in:
                    group.create_task(self._stand_in.start())
        except* (StandInFailed, SentinelError, RuntimeError, OSError) as errors:
            raise StartFailed("; ".join(str(error) for error in _leaves(errors))) from None
        self._stack.push_async_callback(self._cancel_tasks)
        self._spawn(self._keep_database())
        if self._stand_in:
            self._spawn(self._keep_stand_in(self._stand_in))
        else:
            self._spawn(heartbeats.beat(self.kubeconfig))

    async def _register_cluster(self) -> None:
        """The database knows the cluster's name; its credentials are a file of the mounted Secret."""
        flat = await asyncio.to_thread(flatten, self.kubeconfig)
        scratch = self.state.directory("clusters") / f".{CLUSTER}"
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(flat)
        scratch.replace(self.state.path / "clusters" / CLUSTER)
        await self._database.register_cluster(CLUSTER)

    async def _start_parts(self) -> None:
        session = await self._stack.enter_async_context(new_session())
        for name in self.manifests.services:
            self.services[name] = LocalService(self._service_spec(name))
        self._stack.push_async_callback(self._stop_services)
        for name in self.manifests.brokers:
            directory = self.state.directory("broker") / name.namespace / name.name
            subscriptions = assembly.subscriptions(name, self.manifests, self.services, session)
            broker = Broker(directory, subscriptions)
            self.brokers[name] = broker
            self._stack.push_async_callback(broker.stop, _DRAIN_SECONDS)
        await self._serve()
        for broker in self.brokers.values():
            await broker.start()

    async def _serve(self) -> None:
        ingress = Ingress({str(name): broker for name, broker in self.brokers.items()})
        services = {f"{name.name}.{name.namespace}": service for name, service in self.services.items()}
        if (api := self._api_service()) is not None:
            services[f"{_CONSOLE}.{api.namespace}"] = self.services[api]
        gateway = Gateway(ingress, services, self.index)
        server = http_server(gateway.handle)
        runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=_DRAIN_SECONDS)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.SockSite(runner, self._listening).start()

    def _service_spec(self, name: Name) -> LocalServiceSpec:
        directories = {
            secrets.CLUSTERS: self.state.directory("clusters"),
            secrets.SIGNING_KEYS: self.state.path / first_start.KEYS,
            secrets.AUDIT_KEY: self.state.path,
        }
        supplied = Secrets({secrets.DATABASE: self.database_url}, directories)
        return assembly.service_spec(
            self.manifests.services[name], self.manifests, supplied, self.base_url, self._logs()
        )

    def _logs(self) -> dict[str, str]:
        """The platform logs every delivery itself; from its children it wants what is out of the ordinary."""
        level = "debug" if _log.isEnabledFor(logging.DEBUG) else "warning"
        return {"LOG_FORMAT": self._log_format, "LOG_LEVEL": level}

    def _start_sources(self) -> None:
        self._stack.push_async_callback(self._cancel_tasks)
        for source in self.manifests.pings.values():
            broker = self.brokers[assembly.sink_broker(source.spec.sink, source.metadata.namespace)]
            self._spawn(ping.run(source, broker.accept))
        for watcher in self.manifests.api_servers.values():
            broker = self.brokers[assembly.sink_broker(watcher.spec.sink, watcher.metadata.namespace)]
            for watched in apiserver.watched_kinds(watcher):
                self._spawn(apiserver.watch(self.kubeconfig, watched, broker.accept))

    async def _start_node_daemons(self) -> None:
        if self._agents is None or not self.manifests.daemon_sets:
            return
        self.node_daemons = NodeDaemons(
            self.manifests,
            self.kubeconfig,
            self.base_url,
            self.state.directory("nodes"),
            {**self._logs(), **self._agents},
            all_simulated=self._stand_in is not None,
        )
        self._stack.push_async_callback(self.node_daemons.stop)
        self._stack.push_async_callback(self._cancel_tasks)
        started = asyncio.Event()
        self._spawn(self.node_daemons.run(started))
        await started.wait()

    def _publish(self) -> None:
        broker = assembly.broker_url(f"http://localhost:{self.port}", next(iter(self.manifests.brokers)))
        address = PlatformAddress(os.getpid(), broker, self.database_url, str(self.kubeconfig), self.port, self.api_url)
        self.state.publish(address)

    def index(self) -> str:
        """What is served, as text."""
        brokers = [assembly.broker_url(f"http://localhost:{self.port}", name) for name in self.brokers]
        kubectl = f"kubectl --kubeconfig {shlex.quote(str(self.kubeconfig))}"
        return "\n".join(
            [
                "Sentinel on this machine",
                "",
                *(f"  events      POST {url}" for url in brokers),
                *(f"  function    {url}" for url in self.function_urls()),
                *([] if self.api_url is None else self._api(self.api_url)),
                *(f"  metrics     {url}/metrics, of the {name}" for name, url in self._daemon_addresses()),
                f"  kubernetes  {kubectl} get deployments,pods,jobs,statefulsets,nodes -A",
                f"  state       {self.state.path}",
                *([_OPEN_TO_ALL] if self._open_to_all else []),
                "",
            ]
        )

    def _daemon_addresses(self) -> Iterable[tuple[str, str]]:
        return self.node_daemons.addresses().items() if self.node_daemons else ()

    def _api(self, url: str) -> list[str]:
        body = """'{"name": "admin", "password": "..."}'"""
        return [
            f"  console     {self.console_url}",
            f"  api         {url}/docs",
            f"  log in      curl {url}/api/v1/auth/login -H 'content-type: application/json' -d {body}",
            f"  token       {self.state.path / first_start.TOKEN}, of an admin, until the next start",
        ]

    async def _keep_database(self) -> None:
        while True:
            await self._database.exited()
            _log.error("PostgreSQL is gone; starting it again")
            try:
                await self._database.restart()
            except (SentinelError, RuntimeError, OSError) as error:
                self._fail(f"PostgreSQL is gone and does not start again: {error}")
                return
            self._publish()
            specs = [(service, self._service_spec(name)) for name, service in self.services.items()]
            await asyncio.gather(*(service.configure(spec.env) for service, spec in specs))

    async def _keep_stand_in(self, stand_in: StandInApi) -> None:
        while True:
            status = await stand_in.exited()
            _log.error("the stand-in Kubernetes API is gone (exit status %d); starting it again", status)
            try:
                await stand_in.start()
            except (StandInFailed, OSError) as error:
                self._fail(f"the stand-in Kubernetes API is gone and does not start again: {error}")
                return

    def _fail(self, reason: str) -> None:
        if not self.failed.done():
            self.failed.set_result(reason)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(f"{type(error).__name__}: {error}")

    async def _stop_services(self) -> None:
        await asyncio.gather(*(service.stop() for service in self.services.values()))

    async def _cancel_tasks(self) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    found: list[Exception] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
