"""What survives when the process of the publisher ends: kill -9 and SIGTERM, on real processes."""

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import brokers
from tests.support.brokers import Broker
from tests.support.processes import unmeasured
from tests.support.serving import ROOT
from tests.support.small_disks import fill, small_disk

pytestmark = pytest.mark.slow

RUN = 1_000_000
"""The first id of each process is so much higher than that of the one before."""


class Publishing:
    """A running publisher. safe: the last event that it has said to be safe."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.safe = -1

    def publish(self, count: int) -> None:
        """Lets it publish so many more events."""
        self.begin(count)
        self.see(count)

    def begin(self, count: int) -> None:
        """Asks for more events, and does not wait for them."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()

    def see(self, count: int) -> None:
        """Waits until so many more events are safe."""
        for _ in range(count):
            self._read(next(self._lines))

    def end(self, number: signal.Signals) -> int:
        """The exit code after the signal."""
        self.process.send_signal(number)
        for line in self._lines:
            self._read(line)
        return self.process.wait(20)

    @property
    def _lines(self) -> Iterator[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def _read(self, line: str) -> None:
        if line.endswith("\n"):
            self.safe = int(line)


@contextmanager
def publishing(directory: Path, broker: Broker, first: int) -> Iterator[Publishing]:
    command = [
        sys.executable,
        "-m",
        "tests.agent.publishing.publishing_process",
        str(directory),
        broker.url,
        str(first),
    ]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=unmeasured()) as process:
        try:
            yield Publishing(process)
        finally:
            process.kill()


def first_arrivals(broker: Broker) -> list[int]:
    return list(dict.fromkeys(int(one.id) for one in broker.events))


def test_kill_minus_9_loses_nothing_that_was_handed_over_and_keeps_the_order(tmp_path: Path) -> None:
    chance, safe = random.Random(1), []
    with brokers.serving() as broker:
        for run in range(6):
            broker.status = 503 if run % 2 == 0 else 202
            with publishing(tmp_path, broker, run * RUN) as running:
                running.publish(chance.randrange(1, 150))
                broker.status = chance.choice([202, 202, 503])
                running.begin(1000)
                running.see(chance.randrange(1, 150))
                assert running.end(signal.SIGKILL) == -signal.SIGKILL
                safe.append(running.safe)
        broker.status = 202
        with publishing(tmp_path, broker, 6 * RUN) as running:
            running.publish(1)
            assert running.end(signal.SIGTERM) == 0
            safe.append(running.safe)
        arrived = first_arrivals(broker)
    assert arrived == sorted(arrived)
    for run, last in enumerate(safe):
        of_run = [number for number in arrived if number // RUN == run]
        in_hand = [last + 1] if of_run[-1] == last + 1 else []  # it had no time to say so
        assert of_run == [*range(run * RUN, last + 1), *in_hand]
    assert not list(tmp_path.glob("0*.segment"))


def test_sigterm_sends_what_waits(tmp_path: Path) -> None:
    with brokers.serving() as broker, publishing(tmp_path, broker, 0) as running:
        broker.status = 503
        running.publish(300)
        broker.status = 202
        assert running.end(signal.SIGTERM) == 0
        assert first_arrivals(broker) == list(range(running.safe + 1))
    assert not list(tmp_path.glob("0*.segment"))


def test_sigterm_leaves_what_a_sink_does_not_take_for_the_next_process(tmp_path: Path) -> None:
    with brokers.serving() as broker:
        broker.status = 503
        with publishing(tmp_path, broker, 0) as running:
            running.publish(50)
            assert running.end(signal.SIGTERM) == 0
        broker.status = 202
        with publishing(tmp_path, broker, RUN) as second:
            second.publish(1)
            assert second.end(signal.SIGTERM) == 0
        assert first_arrivals(broker) == [*range(running.safe + 1), *range(RUN, second.safe + 1)]


def test_a_full_disk_costs_what_was_published_meanwhile_and_no_more() -> None:
    """The sink is away as well, so events that find no room on the disk are dropped."""
    with small_disk(2) as disk, brokers.serving() as broker:
        broker.status = 503
        with publishing(disk / "spool", broker, 0) as running:
            running.publish(100)
            fill(disk / "ballast")
            running.publish(100)
            (disk / "ballast").unlink()
            running.publish(50)
            broker.status = 202
            assert running.end(signal.SIGTERM) == 0
        arrived = first_arrivals(broker)
    assert arrived == sorted(arrived)
    assert set(arrived) >= {*range(100), *range(200, 250)}
    assert len(arrived) < 200  # the ballast leaves at most a page free
