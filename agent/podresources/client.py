"""List of the pod-resources API, over gRPC on the kubelet's Unix socket.

The kubelet makes a new socket when it starts again; the channel connects to it by itself.
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
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5_000),  # the usual two minutes are too long for a kubelet that starts again
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


class PodResourcesClient:
    """One channel to one socket. timeout: seconds for a call, connecting included."""

    def __init__(self, socket: Path, *, timeout: float) -> None:
        self._timeout = timeout
        self._channel = grpc.insecure_channel(f"unix:{socket}", options=_OPTIONS)
        # Bytes: gRPC would log a message that cannot be read as an error of its own, with a traceback each time.
        self._list = self._channel.unary_unary(LIST)

    def holders(self) -> Iterator[DeviceHolder]:
        """Every device of every container of the node. Raises PodResourcesFailed before the first one."""
        try:
            body = self._list(ListPodResourcesRequest().SerializeToString(), timeout=self._timeout)
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

    def close(self) -> None:
        """Ends the channel; a call that is under way fails."""
        self._channel.close()
