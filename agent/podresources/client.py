"""List of the pod-resources API: one gRPC call on the kubelet's Unix socket, over h2.

grpcio costs 11 MiB of memory, and threads that wake up 20 times a second while a channel is open. One unary call needs
little of gRPC over HTTP/2 (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md): a request of one stream,
messages with a prefix of five bytes, and the status in the trailers.

The connection stays open from call to call: to begin one costs more than a call. The kubelet makes a new socket when it
starts again; the call that finds its connection ended connects to that.
"""

import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from google.protobuf.message import DecodeError
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

from agent.podresources.messages import PACKAGE, ListPodResourcesRequest, ListPodResourcesResponse
from shared.errors import SentinelError

LIST = f"/{PACKAGE}.PodResourcesLister/List"
MAX_ANSWER = 16 * 1024 * 1024
"""Bytes; as much as the kubelet's own client takes."""
_PREFIX = struct.Struct(">BI")  # whether the message is compressed, and its length
_PIECE = 64 * 1024
# Our own headers are the same each time, and are what HTTP/2 wants.
_CONFIGURATION = H2Configuration(
    client_side=True, header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
)
_STATUS = (
    "ok",
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
)
"""By gRPC's status code."""


class PodResourcesFailed(SentinelError):
    """The kubelet did not answer as it should; `reason` is gRPC's status code in lower case, or `unreadable`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
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
    """Asks the kubelet on the socket at `path`, for one thread. timeout: seconds for a call, connecting included."""

    def __init__(self, path: Path, *, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._connection: _Connection | None = None

    def list(self) -> bytes:
        """The kubelet's ListPodResourcesResponse as it sent it. Raises PodResourcesFailed."""
        deadline = time.monotonic() + self._timeout
        connection, self._connection = self._connection, None
        answer: bytes | None = None
        try:
            if connection is not None:
                with suppress(_Ended):
                    answer = connection.call(deadline)
            if connection is None or answer is None:
                connection = _Connection(self._path, deadline)
                answer = connection.call(deadline)
        except TimeoutError:
            raise PodResourcesFailed("deadline_exceeded", f"no answer within {self._timeout:g} s") from None
        except (OSError, _Ended) as error:
            raise PodResourcesFailed("unavailable", str(error)[:200]) from None
        self._connection = connection
        return answer

    def close(self) -> None:
        """Ends the connection; the next call begins another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def device_holders(answer: bytes) -> Iterator[DeviceHolder]:
    """Every device of every container of the node. Raises PodResourcesFailed before the first one."""
    try:
        found = ListPodResourcesResponse.FromString(answer)
    except DecodeError:
        raise PodResourcesFailed("unreadable", "the answer is no ListPodResourcesResponse") from None
    return (
        DeviceHolder(pod.namespace, pod.name, container.name, devices.resource_name, device)
        for pod in found.pod_resources
        for container in pod.containers
        for devices in container.devices
        for device in devices.device_ids
    )


class _Ended(Exception):
    """The connection has ended, or cannot go on. A call that it was kept for is made again on a new one."""


class _Connection:
    """An HTTP/2 connection to the kubelet. A call that raises has closed it."""

    def __init__(self, path: Path, deadline: float) -> None:
        """Connects. Raises OSError."""
        self._http = H2Connection(_CONFIGURATION)
        self._http.initiate_connection()
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._wait_until(deadline)
            self._socket.connect(str(path))
        except BaseException:
            self._socket.close()
            raise

    def call(self, deadline: float) -> bytes:
        """The message of the answer. Raises OSError, _Ended and PodResourcesFailed."""
        try:
            call = _Call(self._http, deadline - time.monotonic())
            while not call.ended:
                self._wait_until(deadline)
                if waiting := self._http.data_to_send():
                    self._socket.sendall(waiting)
                if not (data := self._socket.recv(_PIECE)):
                    raise _Ended("the connection has ended")
                call.receive(data)
            return call.message()
        except BaseException as error:
            self.close()
            if isinstance(error, ConnectionError | ProtocolError):
                raise _Ended(str(error)) from None
            raise

    def close(self) -> None:
        self._socket.close()

    def _wait_until(self, deadline: float) -> None:
        if (left := deadline - time.monotonic()) <= 0:
            raise TimeoutError
        self._socket.settimeout(left)


class _Call:
    """One unary call: what has come of the answer."""

    def __init__(self, http: H2Connection, seconds: float) -> None:
        """Writes the request to the connection. Raises ProtocolError."""
        self.ended = False
        self._body = bytearray()
        self._headers: dict[str, str] = {}
        self._http = http
        self._stream = http.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", LIST),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("grpc-timeout", f"{max(int(seconds * 1000), 1)}m"),
        ]
        request = ListPodResourcesRequest().SerializeToString()
        http.send_headers(self._stream, headers)
        http.send_data(self._stream, _PREFIX.pack(0, len(request)) + request, end_stream=True)

    def receive(self, data: bytes) -> None:
        """Raises ProtocolError, _Ended and PodResourcesFailed."""
        for event in self._http.receive_data(data):
            self._take(event)

    def message(self) -> bytes:
        """The message of an answer that has ended. Raises PodResourcesFailed."""
        code = self._headers.get("grpc-status")
        if code is None:
            raise PodResourcesFailed("unknown", f"no gRPC: HTTP status {self._headers.get(':status')}")
        if code != "0":
            reason = _STATUS[int(code)] if code.isdecimal() and int(code) < len(_STATUS) else "unknown"
            raise PodResourcesFailed(reason, unquote(self._headers.get("grpc-message", ""))[:200])
        if len(self._body) >= _PREFIX.size:
            compressed, length = _PREFIX.unpack_from(self._body)
            if not compressed and len(self._body) == _PREFIX.size + length:
                return bytes(self._body[_PREFIX.size :])
        raise PodResourcesFailed("unreadable", "the answer is not one message that is not compressed")

    def _take(self, event: Event) -> None:
        match event:
            case ResponseReceived() | TrailersReceived():
                self._take_headers(event.headers or ())
            case DataReceived():
                self._body += event.data or b""
                if len(self._body) > MAX_ANSWER:
                    raise PodResourcesFailed("resource_exhausted", f"the answer has more than {MAX_ANSWER} bytes")
                self._http.acknowledge_received_data(event.flow_controlled_length or 0, self._stream)
            case StreamEnded():
                self.ended = True
            case StreamReset() | ConnectionTerminated():
                raise _Ended(f"the kubelet ends the call: {_name(event.error_code)}")

    def _take_headers(self, headers: Iterable[tuple[bytes | str, bytes | str]]) -> None:
        self._headers |= {str(name): str(value) for name, value in headers}


def _name(code: ErrorCodes | int | None) -> str:
    return code.name if isinstance(code, ErrorCodes) else str(code)
