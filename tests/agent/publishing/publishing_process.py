"""`python -m tests.agent.publishing.publishing_process DIRECTORY URL FIRST`: publishes events until SIGTERM.

The ids are FIRST, FIRST + 1, and so on. Each is printed when `publish` has returned: from then on the event is safe.
"""

import itertools
import signal
import sys
import threading
from pathlib import Path

from agent.publishing.publisher import SpoolingPublisher
from agent.publishing.spool import Spool
from shared.eventing.publishing import HttpPublisher
from tests.agent.publishing.sinks import event


def main(directory: str, url: str, first: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    spool = Spool(Path(directory), 64 * 1024 * 1024)
    publisher = SpoolingPublisher(HttpPublisher(url, connections=1), spool, draw=lambda: 0.01)
    publisher.start()
    for number in itertools.count(int(first)):
        if stop.wait(0.001):
            break
        publisher.publish(event(number, '"' + "x" * 5_000 + '"'))
        print(number, flush=True)
    publisher.close(10)


if __name__ == "__main__":
    main(*sys.argv[1:])
