"""Which container has which GPU, asked of a real gRPC server on a Unix socket. After a failure none is known."""

import logging
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from agent.counters import exposition
from agent.podresources.client import PodResourcesClient, PodResourcesFailed
from agent.pods import DEFAULT_INTERVAL, FAILURES, MAX_CONTAINERS, PROCESS_BYTES, KubeletPods
from shared.models.telemetry import Container
from tests.support.gpus import gpu_reading
from tests.support.kubelet import Kubelet, serving

GPU, MIG = "GPU-5d2f8a7e-0000-0000-0000-000000000000", "MIG-5d2f8a7e-0000-0000-0000-000000000001"
GPUS = (gpu_reading(),)
HOLDS_GPU = ("search", "web-abc-x", "main", "nvidia.com/gpu", GPU)

# The answer as the kubelet writes it, with fields that the agent does not know: topology of the devices (3), cpu_ids
# (3) and memory (4) of the container, and cpu_ids of the pod (4). pod search/web, container main, device GPU-1.
KUBELET_BYTES = bytes.fromhex(
    "0a45" "0a03" "776562" "1206" "736561726368" "1a33" "0a04" "6d61696e"
    "121f" "0a0e" "6e76696469612e636f6d2f677075" "1205" "4750552d31" "1a06" "0a04" "08011002"
    "1a02" "0102" "2206" "0a04" "44494d4d" "2201" "07"
)  # fmt: skip


@pytest.fixture
def path() -> Iterator[Path]:
    """In a directory of its own, because the path of a Unix socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory) / "kubelet.sock"


@pytest.fixture
def kubelet(path: Path) -> Iterator[Kubelet]:
    with serving(path) as kubelet:
        yield kubelet


@pytest.fixture
def pods(path: Path) -> Iterator[KubeletPods]:
    with closing(KubeletPods(path, timeout=5)) as pods:
        yield pods


def failures(reason: str) -> float:
    name = f'{FAILURES.name}_total{{reason="{reason}"}} '
    return sum(float(line.removeprefix(name)) for line in exposition()[0].decode().splitlines() if name in line)


def test_containers_are_known_by_their_gpu_and_their_mig_instance(kubelet: Kubelet, pods: KubeletPods) -> None:
    kubelet.say(HOLDS_GPU, ("train", "llm-0", "worker", "nvidia.com/mig-1g.10gb", MIG))
    assert pods.containers(GPUS) == {
        GPU: (Container("search", "web-abc-x", "main"),),
        MIG: (Container("train", "llm-0", "worker"),),
    }


def test_the_bytes_of_a_kubelet_are_read_and_unknown_fields_are_skipped(kubelet: Kubelet, pods: KubeletPods) -> None:
    kubelet.answer = KUBELET_BYTES
    assert pods.containers(GPUS) == {"GPU-1": (Container("search", "web", "main"),)}


def test_containers_that_share_a_gpu_by_time_slices_are_all_named_once(kubelet: Kubelet, pods: KubeletPods) -> None:
    shared = [("search", f"web-{n}", "main", "nvidia.com/gpu.shared", f"{GPU}::{n}") for n in (0, 1, 1)]
    kubelet.say(*shared)
    assert [one.pod for one in pods.containers(GPUS)[GPU]] == ["web-0", "web-1"]


def test_other_devices_and_impossible_names_are_left_out(kubelet: Kubelet, pods: KubeletPods) -> None:
    kubelet.say(
        ("search", "web", "main", "example.com/fpga", "fpga-0"),
        ("", "web", "main", "nvidia.com/gpu", GPU),
        ("search", "w\neb", "main", "nvidia.com/gpu", GPU),
        ("search", "w" * 300, "main", "nvidia.com/gpu", GPU),
    )
    assert pods.containers(GPUS) == {}


def test_a_gpu_has_no_more_containers_than_an_event_takes(kubelet: Kubelet, pods: KubeletPods) -> None:
    kubelet.say(*((f"n{n}", "web", "main", "nvidia.com/gpu", GPU) for n in range(MAX_CONTAINERS + 10)))
    assert len(pods.containers(GPUS)[GPU]) == MAX_CONTAINERS


@pytest.mark.parametrize("answer", [b"\xff\xff\xff", b"\x0a\x05\x0a\x03\xff\xfe\xfd"], ids=["bytes", "no UTF-8"])
def test_an_answer_that_is_no_such_message_is_counted(kubelet: Kubelet, pods: KubeletPods, answer: bytes) -> None:
    kubelet.answer = answer
    before = failures("unreadable")
    assert pods.containers(GPUS) == {}
    assert failures("unreadable") == before + 1


def test_an_error_of_the_kubelet_is_counted_by_its_status(kubelet: Kubelet, pods: KubeletPods) -> None:
    kubelet.error = grpc.StatusCode.UNIMPLEMENTED
    before = failures("unimplemented")
    assert pods.containers(GPUS) == {}
    assert failures("unimplemented") == before + 1


def test_a_slow_kubelet_is_waited_for_until_the_deadline(kubelet: Kubelet, path: Path) -> None:
    kubelet.gate.clear()
    before = failures("deadline_exceeded")
    with closing(KubeletPods(path, timeout=0.05)) as pods:
        assert pods.containers(GPUS) == {}
    assert failures("deadline_exceeded") == before + 1


def test_a_socket_that_speaks_something_else_is_a_failure(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        pods = KubeletPods(path, timeout=0.1)
        assert pods.containers(GPUS) == {}


def test_an_answer_of_many_pods_is_read_whole(kubelet: Kubelet, pods: KubeletPods) -> None:
    """More than the window that a stream of HTTP/2 begins with, which is 64 KiB."""
    kubelet.say(*(("search", f"web-{n}", "main", "nvidia.com/gpu", f"GPU-{n}") for n in range(5_000)))
    assert len(kubelet.answer) > 2 * 65_535
    assert len(pods.containers(GPUS)) == 5_000


@dataclass
class Asking:
    """A source that is asked by a clock of the test, on a node whose one GPU has so much memory in use."""

    kubelet: Kubelet
    pods: KubeletPods
    seconds: float = 1_000.0

    def calls(self, *used: float, after: float = 10.0) -> int:
        """How many calls the kubelet gets in readings that are so many seconds apart."""
        before = self.kubelet.calls
        for one in used:
            self.seconds += after
            assert GPU in self.pods.containers((gpu_reading(metrics={"memory_used_bytes": one}),))
        return self.kubelet.calls - before


@pytest.fixture
def asking(kubelet: Kubelet, path: Path) -> Iterator[Asking]:
    kubelet.say(HOLDS_GPU)
    found = Asking(kubelet, KubeletPods(path, timeout=5, clock=lambda: found.seconds))
    found.calls(0.0, after=0)
    found.seconds += 60  # from here on nothing has moved for a minute
    with closing(found.pods):
        yield found


def test_while_the_memory_in_use_stays_the_kubelet_is_asked_once_in_five_minutes(asking: Asking) -> None:
    assert timedelta(minutes=5) == DEFAULT_INTERVAL
    asking.seconds += 240
    assert asking.calls(*[PROCESS_BYTES - 1] * 60) == 2


def test_a_process_that_comes_or_goes_makes_it_ask_at_once_and_for_a_minute(asking: Asking) -> None:
    asking.calls(0.0)
    assert asking.calls(PROCESS_BYTES) == 1
    assert asking.calls(*[PROCESS_BYTES] * 12) == 5
    assert asking.calls(0.0) == 1


def test_another_gpu_makes_it_ask_at_once(asking: Asking) -> None:
    asking.calls(0.0)
    before = asking.kubelet.calls
    asking.pods.containers((gpu_reading(0), gpu_reading(1)))
    assert asking.kubelet.calls == before + 1


def test_after_a_failure_it_asks_at_each_reading(asking: Asking) -> None:
    asking.kubelet.error = grpc.StatusCode.UNAVAILABLE
    asking.seconds += 300
    before = asking.kubelet.calls
    for _ in range(3):
        assert asking.pods.containers((gpu_reading(metrics={"memory_used_bytes": 0.0}),)) == {}
    assert asking.kubelet.calls == before + 3
    asking.kubelet.error = None
    assert asking.calls(0.0) == 1


def test_a_failure_is_logged_when_it_begins_and_when_it_is_over(
    path: Path, pods: KubeletPods, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sentinel.agent.pods")
    before = failures("no_socket")
    assert [pods.containers(GPUS) for _ in range(3)] == [{}, {}, {}]
    assert failures("no_socket") == before + 3
    with serving(path) as kubelet:
        kubelet.say(HOLDS_GPU)
        assert GPU in pods.containers(GPUS)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


@dataclass
class Relay:
    """Passes the bytes of connections on to a kubelet. connections: those that were begun, each of both sides."""

    connections: list[tuple[socket.socket, socket.socket]] = field(default_factory=list)

    def end_all(self) -> None:
        for pair in self.connections:
            for side in pair:
                with suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)


@contextmanager
def relaying(outer: Path, inner: Path) -> Iterator[Relay]:
    relay = Relay()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(outer))
    listener.listen()

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(str(inner))
                relay.connections.append((near, far))
                threads.extend(threading.Thread(target=copy, args=pair) for pair in ((near, far), (far, near)))
                for thread in threads[-2:]:
                    thread.start()

    threads = [threading.Thread(target=accept)]
    threads[0].start()
    try:
        yield relay
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        relay.end_all()
        for thread in threads:
            thread.join()
        for side in (listener, *(side for pair in relay.connections for side in pair)):
            side.close()


def test_one_connection_serves_call_after_call_until_it_ends(path: Path) -> None:
    behind = path.with_name("behind.sock")
    with (
        serving(behind) as kubelet,
        relaying(path, behind) as relay,
        closing(PodResourcesClient(path, timeout=5)) as client,
    ):
        kubelet.say(HOLDS_GPU)
        assert [client.list() for _ in range(3)] == [kubelet.answer] * 3
        assert len(relay.connections) == 1
        relay.end_all()
        assert client.list() == kubelet.answer
        assert len(relay.connections) == 2


def test_a_call_that_failed_leaves_no_connection_for_the_next_one(path: Path) -> None:
    """The answer of a call that nobody waits for any more is not that of the next one."""
    with serving(path) as kubelet, closing(PodResourcesClient(path, timeout=0.1)) as client:
        kubelet.say(HOLDS_GPU)
        client.list()
        kubelet.gate.clear()
        with pytest.raises(PodResourcesFailed, match="deadline_exceeded"):
            client.list()
        kubelet.gate.set()
        kubelet.say()
        assert client.list() == b""


def test_a_kubelet_that_starts_again_is_found_again(path: Path, pods: KubeletPods) -> None:
    for _ in range(2):
        with serving(path) as kubelet:
            kubelet.say(HOLDS_GPU)
            assert GPU in pods.containers(GPUS)
