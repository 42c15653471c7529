"""Looking at clusters, with no transaction open."""

import logging
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from shared.clusters.driver import ClusterDriver
from shared.errors import ClusterRefused, ClusterUnavailable
from shared.models.deployment import Deployment
from shared.rollout.observation import Observation

logger = logging.getLogger("sentinel.health_verification")


class Clusters(Protocol):
    """Where drivers come from."""

    def driver(self, name: str) -> ClusterDriver: ...


@dataclass(frozen=True)
class Watch:
    """The revisions to look at. `tick` also announces work whose time has come; `page` counts a tick's pages from 1.

    clusters: those whose nodes to read.
    """

    deployments: tuple[Deployment, ...]
    tick: bool = False
    page: int = 1
    more: bool = False
    clusters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """What was seen. What a cluster that did not answer has, or would not show, is absent.

    revisions: by their ids. products: the GPU products on the nodes of a cluster.
    """

    revisions: Mapping[uuid.UUID, Observation]
    products: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Observer:
    """Looks at revisions on their clusters."""

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def observe(self, watch: Watch) -> Seen:
        """Looks at each revision once. A cluster that does not answer is not asked again for this watch."""
        seen: dict[uuid.UUID, Observation] = {}
        away: set[str] = set()
        for deployment in watch.deployments:
            if deployment.cluster in away:
                continue
            try:
                driver = self._clusters.driver(deployment.cluster)
                seen[deployment.id] = driver.observe(deployment.reference, str(deployment.workload_id))
            except ClusterRefused as error:  # of this object, in this namespace: the others can be seen
                logger.warning("revision %s of %s: %s", deployment.revision, deployment.workload_id, error)
            except ClusterUnavailable as error:
                logger.warning("%s", error)
                away.add(deployment.cluster)
        return Seen(seen, self._products(name for name in watch.clusters if name not in away))

    def _products(self, clusters: Iterable[str]) -> dict[str, tuple[str, ...]]:
        products: dict[str, tuple[str, ...]] = {}
        for name in clusters:
            try:
                products[name] = self._clusters.driver(name).gpu_products()
            except (ClusterRefused, ClusterUnavailable) as error:
                logger.warning("the nodes of cluster %s cannot be read: %s", name, error)
        return products
