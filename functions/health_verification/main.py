"""The functions-framework target of health-verification."""

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
        handler.ACCEPTS,
        handler.prepare,
        observer.observe,
        handler.conclude,
    ),
    settings,
)
