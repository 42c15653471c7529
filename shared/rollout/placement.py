"""Which cluster a workload goes to."""

from collections.abc import Iterable, Mapping

from shared.errors import NoClusterMatches
from shared.models.amounts import NOTHING, Amounts
from shared.models.cluster import Cluster, ClusterState
from shared.models.workload import WorkloadSpec

Reserved = Mapping[tuple[str, str], Amounts]
"""What live reservations hold, by (cluster, GPU SKU); the SKU is "" for what is held without one."""

_LISTED = 10  # clusters that a refusal explains one by one; events stay small


def choose_cluster(
    spec: WorkloadSpec, clusters: Iterable[Cluster], reserved: Reserved, current: str | None = None
) -> Cluster:
    """The cluster for a workload that runs on `current` (None: nowhere yet).

    Clusters that may run it:
      1. are not lost, and not cordoned unless it runs there;
      2. have every label of the workload's matchLabels;
      3. have, or may have, GPUs of the SKU that it asks for (of any, when it names none), on nodes that are not
         excluded unless it runs there: it may always be scaled down, say.
    Of these, the first by:
      4. the one where it runs already: moving costs a cold start, and capacity that is held twice;
      5. known capacity before unknown (only for workloads with GPUs, as is 6);
      6. most free GPUs of the SKU: capacity without excluded nodes, less reservations;
      7. fewest reserved replicas;
      8. name.
    Raises NoClusterMatches, whose message says of each cluster why it was not chosen.
    """
    candidates = list(clusters)
    fitting = [cluster for cluster in candidates if obstacle(spec, cluster, current) is None]
    if not fitting:
        raise NoClusterMatches(_explanation(spec, candidates, current))
    return min(fitting, key=lambda cluster: _rank(spec, cluster, reserved, current))


def _rank(
    spec: WorkloadSpec, cluster: Cluster, reserved: Reserved, current: str | None
) -> tuple[bool, bool, int, int, str]:
    free = _free_gpus(spec, cluster, reserved)
    replicas = sum(amounts.replicas for (name, _), amounts in reserved.items() if name == cluster.name)
    return cluster.name != current, free is None, -(free or 0), replicas, cluster.name


def _free_gpus(spec: WorkloadSpec, cluster: Cluster, reserved: Reserved) -> int | None:
    """Free GPUs of the SKU, or of all SKUs when none is named; None when the capacity is not known."""
    if spec.resources.gpu.count == 0:
        return 0
    if (usable := cluster.usable_gpus) is None:
        return None
    sku = spec.resources.gpu.sku
    if sku is not None:
        return usable.get(sku, 0) - reserved.get((cluster.name, sku), NOTHING).gpus
    held = sum(amounts.gpus for (name, _), amounts in reserved.items() if name == cluster.name)
    return sum(usable.values()) - held


def obstacle(spec: WorkloadSpec, cluster: Cluster, current: str | None = None) -> str | None:
    """Why a cluster cannot run a workload that runs on `current`; None when it can."""
    if cluster.state is ClusterState.LOST:
        return "it was declared lost"
    if cluster.state is ClusterState.CORDONED and cluster.name != current:
        return "it is cordoned"
    if not spec.clusters.matches(cluster.labels):
        wrong = [
            f"{key} is {cluster.labels.get(key, 'not set')}, not {value}"
            for key, value in sorted(spec.clusters.match_labels.items())
            if cluster.labels.get(key) != value
        ]
        return "label " + ", ".join(wrong)
    gpu = spec.resources.gpu
    if gpu.count and not cluster.has_gpu(gpu.sku):
        present = ", ".join(sorted(sku for sku, count in (cluster.gpus or {}).items() if count > 0)) or "no GPUs"
        return f"no {gpu.sku or 'GPU'} (it has {present})"
    if gpu.count and cluster.name != current and not cluster.has_usable_gpu(gpu.sku):
        return f"no {gpu.sku or 'GPU'} on a node that is not excluded"
    return None


def _explanation(spec: WorkloadSpec, clusters: list[Cluster], current: str | None) -> str:
    if not clusters:
        return "no cluster is registered"
    reasons = [
        f"{cluster.name}: {obstacle(spec, cluster, current)}" for cluster in sorted(clusters, key=lambda c: c.name)
    ]
    more = f"; and {len(reasons) - _LISTED} more" if len(reasons) > _LISTED else ""
    return "no cluster matches; " + "; ".join(reasons[:_LISTED]) + more
