"""The functions-framework target of deployment-execution."""

from functions import runtime
from functions.deployment_execution.function import build
from functions.deployment_execution.performing import Performer
from shared.clusters.directory import ClusterDirectory

handle = runtime.event_target(
    lambda ports: build(Performer(ClusterDirectory(ports.settings.required_clusters_directory())).perform)
)
