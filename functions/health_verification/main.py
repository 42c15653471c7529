"""The functions-framework target of health-verification."""

from events import CATALOGUE
from events.continuation import VerificationContinued
from events.deployment import DeploymentApplied, DeploymentRemoved
from events.foreign import ObjectAdded, ObjectDeleted, ObjectUpdated, Tick
from events.telemetry import GpuFault, SloBreached
from functions.health_verification import handler
from functions.health_verification.observing import Observer
from functions.runtime import function_target
from shared.clusters.directory import ClusterDirectory
from shared.eventing.function import ClusterFunction
from shared.settings import FunctionSettings

settings = FunctionSettings.from_environment()
observer = Observer(ClusterDirectory(settings.required_clusters_directory()))
handle = function_target(
    ClusterFunction(
        "health-verification",
        CATALOGUE.of(
            DeploymentApplied,
            DeploymentRemoved,
            GpuFault,
            SloBreached,
            ObjectAdded,
            ObjectUpdated,
            ObjectDeleted,
            Tick,
            VerificationContinued,
        ),
        handler.prepare,
        observer.observe,
        handler.conclude,
    ),
    settings,
)
