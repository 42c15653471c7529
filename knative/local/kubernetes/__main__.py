"""`python -m knative.local.kubernetes --state DIR`: the stand-in Kubernetes API as a process of its own.

When it takes requests it prints one JSON line: `{"server": <URL>, "kubeconfig": <path>}`. SIGTERM and SIGINT stop it,
and so does the death of the process named by SENTINEL_PARENT_PID.
"""

import argparse
import asyncio
import fcntl
import gc
import json
import logging
import os
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import IO

from aiohttp import web

from knative.local.kubernetes import certificates
from knative.local.kubernetes.cluster import Cluster
from knative.local.kubernetes.server import http_server

_PARENT_CHECK_SECONDS = 0.5
_LOCK_CHECK_SECONDS = 0.05


class _UnusableError(Exception):
    """The process cannot start with what it was given; the message is for the user."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m knative.local.kubernetes", description=__doc__)
    parser.add_argument(
        "--state", type=Path, required=True, help="directory that keeps objects, certificates and kubeconfig"
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument(
        "--wait", type=float, default=0, help="seconds to wait for a process of an earlier run that is still ending"
    )
    parser.add_argument("--nodes", choices=("default", "none"), default="default", help="nodes of a fresh store")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        with _lock(arguments.state, arguments.wait):
            asyncio.run(_serve(arguments.state, arguments.port, nodes=arguments.nodes == "default"))
    except (_UnusableError, OSError, sqlite3.Error) as error:
        print(f"kubernetes: {error}", file=sys.stderr)
        return 1
    return 0


def _lock(state: Path, wait_seconds: float) -> IO[str]:
    """Holds the state directory for this process alone."""
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = (state / "lock").open("w")
    end = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= end:
                file.close()
                raise _UnusableError(
                    f"{state} is in use by another process; stop that one, or choose another --state"
                ) from error
            time.sleep(_LOCK_CHECK_SECONDS)
        else:
            return file


async def _parent_ends() -> None:
    """Waits for the death of the parent that SENTINEL_PARENT_PID names; without that variable it never returns."""
    named = os.environ.get("SENTINEL_PARENT_PID")
    while not named or os.getppid() == int(named):
        await asyncio.sleep(_PARENT_CHECK_SECONDS)


async def _serve(state: Path, port: int, *, nodes: bool) -> None:
    identity = certificates.load_or_create(state)
    cluster = Cluster(state)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopped.set)
    cluster.failed.add_done_callback(lambda _: stopped.set())
    orphaned = asyncio.create_task(_parent_ends())
    orphaned.add_done_callback(lambda _: stopped.set())
    runner = web.ServerRunner(http_server(cluster, identity.token), shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=identity.tls())
    await site.start()
    # Objects live long and hold no cycles: looking for some after every few hundred is most of what it would cost.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    cluster.start(nodes=nodes)
    await cluster.durable()
    address = f"https://127.0.0.1:{runner.addresses[0][1]}"
    kubeconfig = (state / "kubeconfig").resolve()
    certificates.write_kubeconfig(kubeconfig, address, identity)
    print(json.dumps({"server": address, "kubeconfig": str(kubeconfig)}), flush=True)
    await stopped.wait()
    orphaned.cancel()
    if cluster.failed.done():
        await cluster.failed
    cluster.watches.close()
    await runner.cleanup()
    cluster.stop()


if __name__ == "__main__":
    sys.exit(main())
