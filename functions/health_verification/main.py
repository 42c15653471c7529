"""The functions-framework target of health-verification."""

from functools import partial

from functions import runtime
from functions.health_verification.function import build
from shared.clusters.directory import ClusterDirectory
from shared.operations.observe import observe

handle = runtime.event_target(
    lambda ports: build(
        partial(
            observe, ClusterDirectory(ports.settings.required_clusters_directory(), ports.settings.insecure_clusters)
        ),
        pull_grace=ports.settings.image_pull_grace,
    )
)
