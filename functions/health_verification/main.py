"""The functions-framework target of health-verification."""

from functools import partial

from functions import runtime
from functions.health_verification.function import build
from functions.health_verification.handler import perform
from shared.clusters.directory import ClusterDirectory

handle = runtime.event_target(
    lambda ports: build(
        partial(
            perform,
            ClusterDirectory(
                ports.settings.required_clusters_directory(),
                ports.settings.insecure_clusters,
                loopback=ports.settings.loopback_clusters,
            ),
        ),
        pull_grace=ports.settings.image_pull_grace,
        rules=ports.settings.fault_rules,
        reclaim=ports.settings.reclaim_rules,
        breach_plans_per_hour=ports.settings.breach_plans_per_hour,
    )
)
