"""Publishing to K_SINK over HTTP, in binary mode (CloudEvents HTTP binding, section 3.1).

Where Knative Eventing authenticates senders, a SinkBinding mounts a token, and names the authorities that the sink's
certificate is of. A token is replaced before it expires, so it is read for every event.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from shared import tracing
from shared.errors import SentinelError, StoreUnavailable
from shared.eventing import codec
from shared.eventing.event import Queued, WireEvent
from shared.eventing.function import EventStore

if TYPE_CHECKING:
    import urllib3

logger = logging.getLogger("sentinel.publishing")


_ABOUT_THE_EVENT = (400, 406, 413, 414, 415, 422, 431)
"""Every other answer is about the sink, or about who asks: a token is renewed, a policy or an address mended."""


class PublishingFailed(SentinelError):
    """The sink did not take the event. permanent: nor will it take it later. answered: whether it said so itself.

    Without an answer the sink is away, and other events would fare no better.
    """

    def __init__(self, reason: str, *, permanent: bool, answered: bool = True) -> None:
        super().__init__(reason)
        self.permanent = permanent
        self.answered = answered


class Publisher(Protocol):
    """Sends one event to the broker; HttpPublisher is one."""

    def publish(self, event: WireEvent) -> None:
        """Returns once the event is durable there. Raises PublishingFailed."""


class HttpPublisher:
    """Sends events to one sink, over connections that it keeps open.

    token: the file with the token that the sink knows the sender by; there may be none. authorities: their
    certificates as PEM, when the sink's is of none that is known everywhere. timeout: seconds to connect, and the same
    again to be answered.
    """

    def __init__(
        self,
        sink: str,
        *,
        token: Path | None = None,
        authorities: str | None = None,
        timeout: float = 5.0,
        connections: int = 4,
    ) -> None:
        self._sink = sink
        self._token = token
        self._authorities = authorities
        self._timeout = timeout
        self._connections = connections
        self._pool: urllib3.PoolManager | None = None

    def publish(self, event: WireEvent) -> None:
        """Returns once the sink has answered 2xx: the event is durable there. Raises PublishingFailed."""
        import urllib3  # many events have no event that no reply carries, and a cold start should not wait for it

        if self._pool is None:
            timeout = urllib3.Timeout(connect=self._timeout, read=self._timeout)
            self._pool = urllib3.PoolManager(
                maxsize=self._connections, retries=False, timeout=timeout, ca_cert_data=self._authorities
            )
        headers, body = codec.encode(event)
        if (context := tracing.carried(event.attributes)) is not None:
            headers |= context.attributes  # as HTTP wants them, for a broker that records spans of its own
        if self._token is not None:
            with suppress(OSError):  # senders are not authenticated here
                headers = {**headers, "authorization": f"Bearer {self._token.read_text(encoding='ascii').strip()}"}
        try:
            answer = self._pool.request("POST", self._sink, body=body, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            reason = f"no answer from {self._sink}: {type(error).__name__}"
            raise PublishingFailed(reason, permanent=False, answered=False) from None
        if answer.status >= 300:
            said = answer.data[:200].decode(errors="replace")
            permanent = answer.status in _ABOUT_THE_EVENT
            raise PublishingFailed(f"{self._sink} answered {answer.status} {said}", permanent=permanent)

    def close(self) -> None:
        """Ends the connections."""
        if self._pool is not None:
            self._pool.clear()


class PublisherAfterCommit:
    """Publishes what a transaction left in the outbox, right after it committed, and before the function answers.

    Knative throttles a function once it has answered, so nothing is left for later in this process. Nothing here fails
    the event, which is handled: what is not published stays in the outbox for the relay, in its order. A sink that is
    away costs one event the `budget` at most; the events of the next `pause` seconds do not try.
    """

    def __init__(
        self,
        store: EventStore[Any],
        sink: Publisher,
        *,
        budget: float = 2.0,
        pause: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._sink = sink
        self._budget = budget
        self._pause = pause
        self._clock = clock
        self._resume_at = clock()

    def __call__(self, rows: Sequence[Queued]) -> None:
        """Sends the events one by one, in their order, until the sink does not answer."""
        started = self._clock()
        if not rows or started < self._resume_at:
            return
        published = []
        for row in rows:
            try:
                self._sink.publish(row.event)
            except PublishingFailed as error:
                logger.warning("the relay publishes %s: %s", row.event.attributes["id"], error)
                if error.answered:  # it is about this event, and the relay's from now on; no other is held up
                    continue
                self._resume_at = self._clock() + self._pause
                break
            published.append(row)
            if self._clock() - started > self._budget:
                break
        if not published:
            return
        try:
            self._store.mark_published(published)
        except StoreUnavailable as error:
            logger.warning("the relay sends %d events again: %s", len(published), error)
