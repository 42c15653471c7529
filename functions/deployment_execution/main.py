"""The functions-framework target of deployment-execution."""

from functools import partial

from functions import runtime
from functions.deployment_execution.function import build
from shared.clusters.directory import ClusterDirectory
from shared.operations.apply import carry_out

handle = runtime.event_target(
    lambda ports: build(
        partial(
            carry_out,
            ClusterDirectory(ports.settings.required_clusters_directory(), ports.settings.insecure_clusters),
        )
    )
)
