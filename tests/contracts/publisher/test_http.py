"""The suite over HTTP, against a server on loopback."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest

from shared.eventing.event import WireEvent
from shared.eventing.publishing import HttpPublisher
from tests.contracts.publisher import suite
from tests.support import brokers


class HttpWorld:
    """A broker's ingress that goes away and comes back on its port."""

    def __init__(self) -> None:
        self._server = ExitStack()
        self._earlier: list[WireEvent] = []
        self._broker = self._server.enter_context(brokers.serving())
        self._broker.refuse("99", 413)
        self.sink = HttpPublisher(self._broker.url, connections=1)

    def received(self, count: int) -> Sequence[WireEvent]:
        return self._earlier + [WireEvent(one.attributes, one.body) for one in self._broker.events]

    @contextmanager
    def away(self) -> Iterator[None]:
        self._earlier = [*self.received(0)]
        self.close()
        yield
        self._broker = self._server.enter_context(brokers.serving(self._broker.server_port))
        self._broker.refuse("99", 413)

    def close(self) -> None:
        self.sink.close()
        self._server.close()


@pytest.fixture
def world() -> Iterator[HttpWorld]:
    found = HttpWorld()
    yield found
    found.close()


class TestHttp(suite.PublisherContract): ...
