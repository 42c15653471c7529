"""List of the pod-resources API, over gRPC on the kubelet's Unix socket.

The kubelet makes a new socket when it starts again; the next call connects to that.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.protobuf.message import DecodeError

from agent.podresources.messages import PACKAGE, ListPodResourcesRequest, ListPodResourcesResponse
from shared.errors import SentinelError

LIST = f"/{PACKAGE}.PodResourcesLister/List"
_OPTIONS = (
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),  # as much as the kubelet's own client takes
    ("grpc.enable_http_proxy", 0),
)


class PodResourcesFailed(SentinelError):
    """The kubelet did not answer as it should; `reason` is gRPC's status code in lower case, or `unreadable`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class DeviceHolder:
    """A container that has a device. resource: such as nvidia.com/gpu. device: the id from its device plugin."""

    namespace: str
    pod: str
    container: str
    resource: str
    device: str


def device_holders(socket: Path, *, timeout: float) -> Iterator[DeviceHolder]:
    """Every device of every container of the node. timeout: seconds, connecting included.

    A call has a channel of its own: one that stays open wakes four threads 20 times a second each, which costs more CPU
    than to connect anew every few seconds.

    Raises PodResourcesFailed before the first one.
    """
    try:
        with grpc.insecure_channel(f"unix:{socket}", options=_OPTIONS) as channel:
            # Bytes: gRPC would log a message that cannot be read as an error of its own, with a traceback each time.
            call = channel.unary_unary(LIST)
            body = call(ListPodResourcesRequest().SerializeToString(), timeout=timeout)
    except grpc.RpcError as error:
        reason = error.code().name.lower()
        raise PodResourcesFailed(reason, f"{reason}: {str(error.details())[:200]}") from None
    try:
        answer = ListPodResourcesResponse.FromString(body)
    except DecodeError:
        raise PodResourcesFailed("unreadable", "the answer is no ListPodResourcesResponse") from None
    return (
        DeviceHolder(pod.namespace, pod.name, container.name, devices.resource_name, device)
        for pod in answer.pod_resources
        for container in pod.containers
        for devices in container.devices
        for device in devices.device_ids
    )
