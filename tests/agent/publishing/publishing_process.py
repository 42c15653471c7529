"""`python -m tests.agent.publishing.publishing_process DIRECTORY URL FIRST`: publishes events until SIGTERM.

A line of its input says how many. The ids are FIRST, FIRST + 1, and so on. Each is printed when `publish` has returned:
from then on the event is safe.
"""

import itertools
import queue
import signal
import sys
import threading
from pathlib import Path

from agent.publishing.publisher import SpoolingPublisher
from agent.publishing.spool import Spool
from shared.eventing.publishing import HttpPublisher
from tests.agent.publishing.sinks import event


def main(directory: str, url: str, first: str) -> None:
    stop, asked = threading.Event(), queue.Queue[None]()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=read_input, args=(asked,), daemon=True).start()
    spool = Spool(Path(directory), 64 * 1024 * 1024)
    publisher = SpoolingPublisher(HttpPublisher(url, connections=1), spool, draw=lambda: 0.01)
    publisher.start()
    numbers = itertools.count(int(first))
    while not stop.is_set():
        try:
            asked.get(timeout=0.01)
        except queue.Empty:
            continue
        number = next(numbers)
        publisher.publish(event(number, '"' + "x" * 5_000 + '"'))
        print(number, flush=True)
    publisher.close(10)


def read_input(asked: "queue.Queue[None]") -> None:
    for line in sys.stdin:
        for _ in range(int(line)):
            asked.put(None)


if __name__ == "__main__":
    main(*sys.argv[1:])
