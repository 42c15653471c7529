"""The function deployment-execution, built from its parts."""

from collections.abc import Callable
from functools import partial
from typing import Any

from functions.deployment_execution import handler
from shared.eventing.function import ClusterFunction
from shared.operations import lease
from shared.operations.apply import Clusters, ClusterTask, TaskOutcome, carry_out
from shared.operations.lease import LeaseRenewal
from shared.store.unit_of_work import Store, UnitOfWork


def build(perform: Callable[[ClusterTask], TaskOutcome]) -> ClusterFunction[UnitOfWork, Any, TaskOutcome]:
    """perform: carries a task out on its cluster, as `on_clusters` does."""
    return ClusterFunction(
        "deployment-execution", handler.ACCEPTS, handler.prepare, perform, handler.conclude, handler.overtaken
    )


def on_clusters(clusters: Clusters, store: Store) -> Callable[[ClusterTask], TaskOutcome]:
    """Carries tasks out on their clusters. The leases of those that last are renewed in the store."""

    def renew(task: ClusterTask) -> bool:
        with store.begin() as work:
            return lease.renew(work, task)

    return partial(carry_out, clusters, LeaseRenewal(renew))
