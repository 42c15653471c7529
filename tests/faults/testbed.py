"""A laptop platform on two clusters with a proxy between any two of its processes, all of which tests may kill or stop.

                     ingress                    functions                 kubernetes["local"]
    function --publish--> broker     broker --deliver--> function --apply--> Kubernetes API, and `far`
                     postgres
    function ------------------> PostgreSQL

Tests post events to the broker past the proxies, so that what is answered with 202 is acknowledged. What they look at
they read past the proxies as well.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import ssl
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import psutil
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from shared.clusters.directory import ClusterDirectory
from shared.clusters.kubeconfig import Connection, read_connection
from shared.clusters.transport import Transport
from shared.errors import ClusterUnavailable, StoreUnavailable
from shared.models.cluster import Cluster
from shared.models.lifecycle import SETTLED_PHASES, Phase
from shared.operations import cluster_check, ledger_check
from shared.policy.documents import PolicyDocument
from shared.store import audit
from shared.store.database import connect
from shared.store.tables import action_plans, deployments, workloads
from shared.store.unit_of_work import UnitOfWork
from tests.faults import manifests
from tests.faults.proxies import Address, Fault, Loop, Proxy, Tls
from tests.support.builders import connection_of
from tests.support.certificates import Authority
from tests.support.cluster import kubeconfig_of
from tests.support.invariants import broken, install
from tests.support.running import SUBMITTED, RunningPlatform, binary, eventually, workload
from tests.support.stand_ins import StandIn

CONVERGENCE_SECONDS = 30.0
CLUSTERS = ("local", "far")
AT_REST = (*SETTLED_PHASES, Phase.QUEUED)
"""Phases in which a workload may stay for ever. A queued one waits for others."""

_IN_PROGRESS = (
    sa.select(
        workloads.c.name.label("in progress:"),
        workloads.c.phase,
        workloads.c.reason.label("because"),
        action_plans.c.status.label("plan"),
        action_plans.c.reason.label("plan because"),
        action_plans.c.lease_until,
        action_plans.c.next_attempt_at,
        deployments.c.status.label("revision"),
        deployments.c.observed_at,
        deployments.c.deadline_at,
        sa.func.clock_timestamp().label("now"),
    )
    .outerjoin(action_plans, action_plans.c.id == workloads.c.plan_id)
    .outerjoin(
        deployments,
        (deployments.c.workload_id == workloads.c.id) & (deployments.c.revision == workloads.c.revision),
    )
    .where(workloads.c.phase.not_in(AT_REST))
)
_DEPLOYMENTS = "/apis/apps/v1/deployments?limit=500"
UNAVAILABLE = (SQLAlchemyError, StoreUnavailable, OSError, ClusterUnavailable)

T = TypeVar("T")


class Testbed:
    """Starts everything; `close` ends it. `links` names the proxies of each way.

    limits: policies that no commit may exceed, whether or not they are stored.
    """

    __test__ = False  # pytest: no test, whatever the name

    def __init__(self, directory: Path, limits: Sequence[PolicyDocument] = ()) -> None:
        self._loop = Loop()
        self._authority = Authority()
        self.stand_ins = {name: StandIn(directory / f"kubernetes-{name}") for name in CLUSTERS}
        self.state = directory / "state"
        (self.state / "clusters").mkdir(parents=True)
        kubernetes = {name: self._kubernetes(directory, name) for name in CLUSTERS}
        postgres = Proxy(self._loop, self._postgres, listen=directory / ".s.PGSQL.5432")
        ingress = Proxy(self._loop, lambda: ("127.0.0.1", self.platform.port))
        names = manifests.functions()
        functions = {name: self._function(name) for name in names}
        self.links: dict[str, list[Proxy]] = {
            **{f"kubernetes-{name}": [proxy] for name, proxy in kubernetes.items()},
            "postgres": [postgres],
            "ingress": [ingress],
            **{name: [proxy] for name, proxy in functions.items()},
            "functions": list(functions.values()),
        }
        written = manifests.write(
            directory / "manifests",
            database_url=f"postgresql+pg8000://sentinel@/sentinel?unix_sock={postgres.address}",
            sink=f"{ingress.url}/sentinel/default",
            subscribers={name: f"{proxy.url}/" for name, proxy in functions.items()},
        )
        options = ["--port", "0", "--manifests", str(written), "--kubeconfig", str(directory / "kubeconfig-local")]
        self.platform = RunningPlatform(self.state, options)
        self.start()
        with self.owner() as owner:
            install(owner, list(limits), {})
        self.clusters = ClusterDirectory(directory, loopback=True)  # kubeconfigs past the proxies
        for name in CLUSTERS:
            (directory / name).write_bytes(self.stand_ins[name].kubeconfig.read_bytes())

    def start(self) -> None:
        """Starts the platform, with both clusters registered."""
        self.platform.start()
        for name in CLUSTERS:
            self.read(partial(_register, Cluster(name, {"place": name})))

    def close(self) -> None:
        self.mend()
        self.platform.stop()
        for proxies in self.links.values():
            for proxy in proxies:
                proxy.close()
        self._loop.close()
        for stand_in in self.stand_ins.values():
            stand_in.end()

    # -- faults

    @contextmanager
    def failing(self, link: str, fault: Fault) -> Iterator[None]:
        """The fault on every proxy of a link, within the block."""
        self.fail(link, fault)
        try:
            yield
        finally:
            self.mend(link)

    def fail(self, link: str, fault: Fault) -> None:
        for proxy in self.links[link]:
            proxy.set(fault)

    def mend(self, link: str | None = None) -> None:
        for name, proxies in self.links.items():
            for proxy in proxies if link in (None, name) else ():
                proxy.set(None)

    def hits(self, link: str) -> int:
        """How often the present fault of a link was met."""
        return sum(proxy.hits for proxy in self.links[link])

    def pids(self, process: str) -> list[int]:
        """Of "broker" (which is the platform), "postgres" with its backends, a cluster, or a function; or none."""
        with contextlib.suppress(psutil.NoSuchProcess):
            if process == "broker":
                return [self.platform.pid]
            if process in self.stand_ins:
                return [self.stand_ins[process].pid]
            children = psutil.Process(self.platform.pid).children(recursive=True)
            if process == "postgres":
                return [child.pid for child in children if child.name() == "postgres"]
            module = process.replace("-", "_")
            return [child.pid for child in children if child.cmdline()[-2:] == ["functions.serve", module]]
        return []

    def kill(self, process: str) -> None:
        """SIGKILL. A stand-in and everything ("everything") are started again; the platform starts the rest again."""
        if process == "everything":
            self.platform.kill()
            self.start()
        elif process in self.stand_ins:
            self.stand_ins[process].end(signal.SIGKILL)
            self.stand_ins[process].start()
        elif process == "postgres":
            before = self._published()
            os.kill(
                int((self.state / "postgres" / "data" / "postmaster.pid").read_text().split("\n")[0]), signal.SIGKILL
            )
            eventually(self._published, lambda found: found not in (None, before))
        else:
            self.signal(process, signal.SIGKILL)

    def signal(self, process: str, number: signal.Signals) -> None:
        for pid in self.pids(process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    @contextmanager
    def stopped(self, process: str) -> Iterator[None]:
        """SIGSTOP, and SIGCONT at the end of the block."""
        self.signal(process, signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(process, signal.SIGCONT)

    # -- what tests do

    def submit(self, name: str, cluster: str = "local", **more: Any) -> uuid.UUID:
        """Submits a workload for a cluster; returns when it is acknowledged."""
        return self.platform.submit(name, **_placed(cluster, more))

    def submit_to_the_function(self, name: str, cluster: str = "local", **more: Any) -> None:
        """Submits past the broker. The function must publish what follows by itself."""
        body = json.dumps(workload(name, **_placed(cluster, more))).encode()
        answer = self.platform.post(binary(SUBMITTED), body, path="/", host="workload-intake.sentinel.localhost")
        assert answer.status == 200, answer

    def withdraw(self, name: str, team: str = "flows", **more: Any) -> None:
        self.platform.withdraw(name, team, **more)

    def put(self, policy: PolicyDocument) -> None:
        self.read(lambda work: work.policies.put(policy, "tests"))

    # -- what tests look at

    def read(self, ask: Callable[[UnitOfWork], T]) -> T:
        """Asks the store in a transaction of its own; it may have another address than last time."""
        if self._published() not in (None, self.platform.database_url):
            self.platform.connect()
        return self.platform.read(ask)

    def phases(self, names: Collection[str] = ()) -> dict[str, Phase]:
        """By name; of all workloads unless some are named."""
        query = sa.select(workloads.c.name, workloads.c.phase)
        if names:
            query = query.where(workloads.c.name.in_(names))
        rows = self.read(lambda work: connection_of(work).execute(query).all())
        return {row.name: Phase(row.phase) for row in rows}

    def objects(self) -> dict[str, list[tuple[str, dict[str, Any]]]]:
        """Sentinel's Deployments by name, with the clusters that they are on."""
        found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        for cluster in CLUSTERS:
            answer = Transport(cluster, read_connection(self.stand_ins[cluster].kubeconfig), loopback=True).get(
                _DEPLOYMENTS
            )
            assert answer.ok, answer
            assert answer.body is not None
            for each in answer.body["items"]:
                found.setdefault(each["metadata"]["name"], []).append((cluster, each))
        return found

    def exactly_once(self, names: Sequence[str], clusters: Sequence[str] = CLUSTERS) -> list[str]:
        """What is wrong with healthy workloads that were submitted once, to these clusters in turn."""
        phases, objects = self.phases(names), self.objects()
        wrong = [f"{name} is {phases.get(name)}" for name in names if phases.get(name) is not Phase.HEALTHY]
        for name, cluster in zip(names, itertools.cycle(clusters), strict=False):
            found = [(place, each["metadata"]["generation"]) for place, each in objects.get(name, [])]
            if found != [(cluster, 1)]:
                wrong.append(f"{name} is on {found}")
        return wrong

    def remaining(self, names: Sequence[str]) -> list[str]:
        """What is left of workloads that were withdrawn."""
        left = sorted(set(self.objects()) & set(names))
        phases = self.phases(names)
        return [f"{name} is still there" for name in left] + [
            f"{name} is {phases.get(name)}" for name in names if phases.get(name) is not Phase.REMOVED
        ]

    def converged(self, good: Callable[[], Sequence[str]]) -> float:
        """Waits until `good` finds nothing wrong, and nothing is under way; the seconds that it took.

        Fails after CONVERGENCE_SECONDS, with what is still wrong.
        """
        began = time.monotonic()

        def wrong() -> list[str]:
            try:
                return self.read(_in_progress) or list(good()) or self.inconsistencies()
            except UNAVAILABLE as error:
                return [f"{type(error).__name__}: {error}"]

        eventually(wrong, lambda found: not found, CONVERGENCE_SECONDS)
        return time.monotonic() - began

    def inconsistencies(self) -> list[str]:
        """What is wrong with the books, whatever was asked for: between the ledger, the records, and the clusters."""
        found = self.read(_of_the_ledger)
        on_clusters = cluster_check.check(self.platform.store, self.clusters)
        found += [f"cluster: {one}" for one in on_clusters.discrepancies] + list(on_clusters.notes)
        return found + self.broken()

    def broken(self) -> list[str]:
        """What is wrong in the books at this moment, whatever is under way."""
        with self.owner() as owner:
            return broken(owner)

    @contextmanager
    def owner(self) -> Iterator[sa.Engine]:
        """The database as the role that owns the tables, which may change anything."""
        owner = connect(self.platform.database_url.replace("://sentinel@", "://sentinel_owner@"), pool_size=1)
        try:
            yield owner
        finally:
            owner.dispose()

    # -- how it is put together

    def _kubernetes(self, directory: Path, name: str) -> Proxy:
        """A proxy with a certificate of its own, and the kubeconfigs that name it: for the platform and functions."""
        stand_in = self.stand_ins[name]
        connection = read_connection(stand_in.kubeconfig)
        context = ssl.create_default_context(cadata=connection.certificate_authority)
        context.check_hostname = False
        certificates = directory / f"certificates-{name}"
        certificates.mkdir()
        tls = Tls(self._authority.server_context(certificates), context)
        proxy = Proxy(self._loop, lambda: stand_in.address, tls=tls)
        text = kubeconfig_of(Connection(proxy.url, self._authority.certificate.decode(), token=connection.token))
        for path in (directory / f"kubeconfig-{name}", self.state / "clusters" / name):
            path.write_text(text)
        return proxy

    def _function(self, name: str) -> Proxy:
        server = lambda: ("127.0.0.1", self.platform.port)  # noqa: E731
        return Proxy(self._loop, server, host=f"{name}.sentinel.localhost")

    def _postgres(self) -> Address:
        published = self._published()
        if published is None:
            raise ConnectionRefusedError
        return Path(parse_qs(urlsplit(published).query)["unix_sock"][0])

    def _published(self) -> str | None:
        """The address of the database; None while the platform is not up."""
        try:
            url: str = json.loads((self.state / "platform.json").read_text())["database_url"]
        except FileNotFoundError:
            return None
        return url


def _register(cluster: Cluster, work: UnitOfWork) -> None:
    work.catalogue.register_cluster(cluster)


def _in_progress(work: UnitOfWork) -> list[str]:
    """The workloads that are not at rest, with what they wait for."""
    rows = connection_of(work).execute(_IN_PROGRESS).mappings()
    return [", ".join(f"{key} {value}" for key, value in row.items() if value is not None) for row in rows]


def _placed(cluster: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"clusters": {"matchLabels": {"place": cluster}}, **fields}


def _of_the_ledger(work: UnitOfWork) -> list[str]:
    report = ledger_check.check(work)
    wrong = [*report.workloads, *report.orphans, *report.usage]
    return [f"ledger: {one}" for one in wrong] + audit.verify(connection_of(work))
