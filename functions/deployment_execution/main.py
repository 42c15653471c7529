"""The functions-framework target of deployment-execution."""

from functions.deployment_execution import handler
from functions.deployment_execution.performing import Performer
from functions.runtime import function_target
from shared.clusters.directory import ClusterDirectory
from shared.eventing.function import ClusterFunction
from shared.settings import FunctionSettings

settings = FunctionSettings.from_environment()
performer = Performer(ClusterDirectory(settings.required_clusters_directory()))
handle = function_target(
    ClusterFunction(
        "deployment-execution",
        handler.ACCEPTS,
        handler.prepare,
        performer.perform,
        handler.conclude,
        handler.overtaken,
    ),
    settings,
)
