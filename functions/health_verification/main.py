"""The functions-framework target of health-verification."""

from functions import runtime
from functions.health_verification.function import build
from functions.health_verification.observing import Observer
from shared.clusters.directory import ClusterDirectory

handle = runtime.event_target(
    lambda ports: build(Observer(ClusterDirectory(ports.settings.required_clusters_directory())).observe)
)
