"""Publishing to K_SINK over HTTP, in binary mode (CloudEvents HTTP binding, section 3.1).

Where Knative Eventing authenticates senders, a SinkBinding mounts a token, and names the authorities that the sink's
certificate is of. A token is replaced before it expires, so its file is looked at for every event.
"""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlsplit, urlunsplit

from shared import tracing
from shared.errors import ConfigurationError, SentinelError, StoreUnavailable
from shared.eventing import codec
from shared.eventing.event import Queued, WireEvent
from shared.eventing.function import EventStore
from shared.http_connection import HttpConnection, NoHttp
from shared.tracing import SpanKind, TraceContext, span_attributes

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence
    from pathlib import Path

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
    """Sends events to one sink, over connections that it keeps open. Raises ConfigurationError for no HTTP address.

    token: the file with the token that the sink knows the sender by; there may be none. authorities: their
    certificates as PEM, when the sink's is of none that is known everywhere. timeout: seconds to connect, and the same
    again to be answered. connections: how many stay open, one for each thread that sends.
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
        self._address = _parsed(sink)
        self._token = None if token is None else _TokenFile(token)
        self._authorities = authorities
        self._timeout = timeout
        self._connections = connections
        self._idle: deque[HttpConnection] = deque()
        self._tls: ssl.SSLContext | None = None
        weakref.finalize(self, _end, self._idle)

    def publish(self, event: WireEvent) -> None:
        """Returns once the sink has answered 2xx: the event is durable there. Raises PublishingFailed."""
        context = tracing.carried(event.attributes)
        with tracing.span("publish", SpanKind.PRODUCER, span_attributes(event.attributes), context):
            self._publish(event, context)

    def _publish(self, event: WireEvent, context: TraceContext | None) -> None:
        encoded, body = codec.encode(event)
        headers = {"host": self._address.authority, **encoded}
        if context is not None:
            headers |= context.attributes  # as HTTP wants them, for a broker that records spans of its own
        if self._token is not None and (token := self._token.read()):
            headers["authorization"] = f"Bearer {token}"
        connection: HttpConnection | None = None
        try:
            connection = self._connection()
            answer = connection.request("POST", self._address.target, headers, body)
        except (OSError, NoHttp) as error:
            if connection is not None:
                connection.close()
            reason = f"no answer from {self._sink}: {type(error).__name__}"
            raise PublishingFailed(reason, permanent=False, answered=False) from None
        if connection.reusable and len(self._idle) < self._connections:
            self._idle.append(connection)
        else:
            connection.close()
        if answer.status >= 300:
            permanent = answer.status in _ABOUT_THE_EVENT
            said = answer.body[:200].decode(errors="replace")
            raise PublishingFailed(f"{self._sink} answered {answer.status} {said}", permanent=permanent)

    def close(self) -> None:
        """Ends the connections."""
        _end(self._idle)

    def _connection(self) -> HttpConnection:
        """One that is open still, or a new one. Raises OSError."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._new_connection()
            if not connection.was_ended:
                return connection
            connection.close()

    def _new_connection(self) -> HttpConnection:
        if self._address.uses_tls and self._tls is None:
            import ssl

            self._tls = ssl.create_default_context(cadata=self._authorities)
        address, seconds = self._address, self._timeout
        return HttpConnection(address.host, address.port, self._tls, connecting=seconds, answering=seconds)


class _TokenFile:
    """The token in a file, read again when the file is another one: the kubelet replaces it before it expires."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: tuple[int, int, int] | None = None
        self._token = ""

    def read(self) -> str:
        """The token, or nothing where senders are not authenticated."""
        try:
            found = os.stat(self._path)
            if (version := (found.st_ino, found.st_mtime_ns, found.st_size)) != self._version:
                self._token = self._path.read_text(encoding="ascii").strip()
                self._version = version
        except OSError:
            return ""
        return self._token


def _end(connections: deque[HttpConnection]) -> None:
    while connections:
        connections.pop().close()


class _Address(NamedTuple):
    """authority, target: as requests name them (RFC 9112, section 3.2)."""

    uses_tls: bool
    host: str
    port: int
    authority: str
    target: str


def _parsed(sink: str) -> _Address:
    """Raises ConfigurationError."""
    try:
        url = urlsplit(sink)
        host, port = url.hostname, url.port
    except ValueError:
        host = None
    if not host or url.scheme not in ("http", "https"):
        raise ConfigurationError(f"the sink must be an http:// or https:// address, not {sink[:60]!r}")
    uses_tls = url.scheme == "https"
    authority = url.netloc.rpartition("@")[2]
    target = urlunsplit(("", "", url.path or "/", url.query, ""))
    return _Address(uses_tls, host, port or (443 if uses_tls else 80), authority, target)


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
