"""`python -m knative.local.tools.demo`: exit status 0 if and only if every outcome is as it should be."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
from rich.console import Console

from knative.local.broker.attempts import AttemptHandler
from knative.local.cluster.client import ClusterApi, ClusterRequestFailed, cluster_api
from knative.local.cluster.gpu_nodes import XID
from knative.local.cluster.kubeconfig import CLUSTER
from knative.local.resources.loader import ManifestError
from knative.local.runtime.logs import Warnings, following
from knative.local.runtime.node_daemons import NodeDaemons
from knative.local.runtime.platform import Platform, StartFailed
from knative.local.runtime.scratch import scratch_platform
from knative.local.tools.demo.scenarios import POLICIES, SCENARIOS
from knative.local.tools.demo.session import DemoGpus, DemoSession, ExpectationFailed
from knative.local.tools.demo.timeline import DemoTimeline
from knative.local.tools.publisher import IngressPublisher, NotAccepted
from shared.clusters.directory import ClusterDirectory
from shared.errors import SentinelError
from shared.models.cluster import Cluster
from shared.rollout.pricing import PriceKind
from shared.store.database import connect
from shared.store.unit_of_work import Store

_INTERRUPTED = 130
_AGENTS = {"SAMPLE_INTERVAL": "2s"}  # so that nobody waits long for a fault to be seen


def main(arguments: Sequence[str] | None = None) -> int:
    """0: all outcomes are right; 1: one is not, or the platform did not start; 130: interrupted."""
    parser = argparse.ArgumentParser(prog="python -m knative.local.tools.demo", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, help="use this cluster instead of the stand-in Kubernetes API")
    options = parser.parse_args(arguments)
    try:
        return asyncio.run(_run(options.kubeconfig))
    except (ManifestError, StartFailed, SentinelError, ClusterRequestFailed) as error:
        print(f"sentinel: {error}", file=sys.stderr)
    except (aiohttp.ClientError, OSError) as error:
        print(f"sentinel: {type(error).__name__}: {error}", file=sys.stderr)
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    return 1


async def _run(kubeconfig: Path | None) -> int:
    _cancelled_by(signal.SIGTERM)
    console, started = Console(), time.monotonic()
    timeline = DemoTimeline(console)
    where = f"the cluster of {kubeconfig}" if kubeconfig else "a stand-in Kubernetes API"
    console.print(f"Starting a temporary platform on {where}", highlight=False, soft_wrap=True)
    warnings = Warnings()
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(following(AttemptHandler(timeline.add), warnings.handler))
        platform = await stack.enter_async_context(scratch_platform("demo", kubeconfig=kubeconfig, agents=_AGENTS))
        session = await stack.enter_async_context(demo_session(platform, timeline))
        try:
            for scenario in SCENARIOS:
                await scenario(session)
        except (ExpectationFailed, NotAccepted) as failure:
            timeline.flush()
            console.print(f"\nFAILED  {failure}", style="bold red", highlight=False, soft_wrap=True)
            console.print(warnings.tail(), highlight=False, markup=False, soft_wrap=True)
            return 1
        timeline.flush()
    console.print(
        f"\nAll outcomes are as expected ({time.monotonic() - started:.0f} s).", style="bold", highlight=False
    )
    return 0


@contextlib.asynccontextmanager
async def demo_session(platform: Platform, timeline: DemoTimeline) -> AsyncIterator[DemoSession]:
    """The session on a running platform; on a cluster that outlives the demo, its namespace goes at the end."""
    namespace = f"sentinel-demo-{uuid.uuid4().hex[:8]}"
    store = Store(connect(platform.database_url, pool_size=2, max_overflow=0))
    async with aiohttp.ClientSession() as session, cluster_api(platform.kubeconfig) as cluster:
        try:
            fleet = await asyncio.to_thread(_prepare, platform.state.path / "clusters", store)
            publisher = IngressPublisher(session, platform.broker_url, "/demo")
            yield DemoSession(publisher, store, cluster, timeline, namespace, fleet, platform.node_daemons)
        finally:
            store.close()
            await _clean_up(cluster, namespace, platform.node_daemons)


def _prepare(clusters: Path, store: Store) -> DemoGpus:
    """Registers the GPUs that the cluster has, puts the policies in place, and chooses the GPU to ask for.

    The capacity of a cluster without GPUs is left unknown, so that plans for GPUs still come before policy.
    """
    gpus = ClusterDirectory(clusters, loopback=True).driver(CLUSTER).gpus()
    with store.begin() as work:
        work.catalogue.register_cluster(Cluster(CLUSTER, gpus=gpus or None))
        for policy in POLICIES:
            work.policies.put(policy, "demo")
        priced = {price.sku for price in work.catalogue.prices() if price.kind is PriceKind.GPU}
    usable = {sku: count for sku, count in gpus.items() if sku in priced and count}
    sku = min(usable, key=lambda name: (-usable[name], name), default=None)
    return DemoGpus(sku, usable.get(sku, 0) if sku else 0)


async def _clean_up(cluster: ClusterApi, namespace: str, daemons: NodeDaemons | None) -> None:
    with contextlib.suppress(aiohttp.ClientError, OSError, ClusterRequestFailed):
        await cluster.delete(f"/api/v1/namespaces/{namespace}")
        for node in daemons.gpus() if daemons else ():
            await cluster.patch(f"/api/v1/nodes/{node}", {"metadata": {"annotations": {XID: None}}})


def _cancelled_by(number: signal.Signals) -> None:
    """Makes a signal end the demo as Ctrl-C does: everything is cleaned up."""
    task = asyncio.current_task()
    assert task is not None  # called from one
    asyncio.get_running_loop().add_signal_handler(number, task.cancel)


if __name__ == "__main__":
    sys.exit(main())
