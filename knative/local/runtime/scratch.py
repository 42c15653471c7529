"""A platform on a state directory that vanishes with it: what the demo, the replay and the benchmarks run on."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

from knative.local.runtime.platform import BASE, Platform


@contextlib.contextmanager
def scratch_directory(purpose: str) -> Iterator[Path]:
    """A temporary directory, removed at the end with whatever is in it."""
    path = Path(tempfile.mkdtemp(prefix=f"sentinel-{purpose}-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.asynccontextmanager
async def scratch_platform(
    purpose: str,
    *,
    kubeconfig: Path | None = None,
    nodes: str = "default",
    manifests: Path = BASE,
    agents: Mapping[str, str] | None = None,
) -> AsyncIterator[Platform]:
    """A running platform on any free port, by default without agents. Raises what Platform raises."""
    with scratch_directory(purpose) as state:
        platform = Platform(state, kubeconfig=kubeconfig, nodes=nodes, manifests=manifests, agents=agents)
        async with platform:
            yield platform
