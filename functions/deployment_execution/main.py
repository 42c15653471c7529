"""The functions-framework target of deployment-execution."""

from functions import runtime
from functions.deployment_execution.function import build, on_clusters
from shared.clusters.directory import ClusterDirectory

handle = runtime.event_target(
    lambda ports: build(
        on_clusters(
            ClusterDirectory(
                ports.settings.required_clusters_directory(),
                ports.settings.insecure_clusters,
                loopback=ports.settings.loopback_clusters,
            ),
            ports.store,
        )
    )
)
