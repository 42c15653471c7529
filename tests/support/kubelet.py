"""The kubelet's pod-resources API, on a Unix socket: what it answers is set by the test."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc

from agent.podresources.messages import ListPodResourcesResponse


class Kubelet:
    """answer: the bytes of the next answers. gate: closed, it lets no call end."""

    def __init__(self) -> None:
        self.answer = b""
        self.gate = threading.Event()
        self.gate.set()
        self.calls = 0
        self.error: grpc.StatusCode | None = None

    def say(self, *holders: tuple[str, str, str, str, str]) -> None:
        """Answers with containers: namespace, pod, container, resource, device."""
        message = ListPodResourcesResponse()
        for namespace, pod, container, resource, device in holders:
            held = message.pod_resources.add(name=pod, namespace=namespace).containers.add(name=container)
            held.devices.add(resource_name=resource, device_ids=[device])
        self.answer = message.SerializeToString()

    def list_pods(self, _request: bytes, context: grpc.ServicerContext) -> bytes:
        self.calls += 1
        self.gate.wait(30)
        if self.error is not None:
            context.abort(self.error, "says the test")
        return self.answer


@contextmanager
def serving(socket: Path) -> Iterator[Kubelet]:
    """A kubelet that listens on the socket."""
    kubelet = Kubelet()
    handler = grpc.unary_unary_rpc_method_handler(kubelet.list_pods)
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("v1.PodResourcesLister", {"List": handler}),))
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    try:
        yield kubelet
    finally:
        kubelet.gate.set()
        server.stop(None).wait()
