"""Publishing to K_SINK over HTTP, in binary mode (CloudEvents HTTP binding, section 3.1)."""

import urllib3

from shared.errors import SentinelError
from shared.eventing import codec
from shared.eventing.event import WireEvent


class PublishingFailed(SentinelError):
    """The sink did not take the event. `permanent`: nor will it take it later."""

    def __init__(self, reason: str, *, permanent: bool) -> None:
        super().__init__(reason)
        self.permanent = permanent


class HttpPublisher:
    """Sends events to one sink, over connections that it keeps open."""

    def __init__(self, sink: str, *, timeout: float = 10.0, connections: int = 4) -> None:
        self._sink = sink
        self._pool = urllib3.PoolManager(
            maxsize=connections, retries=False, timeout=urllib3.Timeout(connect=timeout, read=timeout)
        )

    def publish(self, event: WireEvent) -> None:
        """Returns once the sink has answered 2xx: the event is durable there. Raises PublishingFailed."""
        headers, body = codec.encode(event)
        try:
            answer = self._pool.request("POST", self._sink, body=body, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise PublishingFailed(f"no answer from {self._sink}: {type(error).__name__}", permanent=False) from None
        if answer.status >= 300:
            said = answer.data[:200].decode(errors="replace")
            permanent = 400 <= answer.status < 500 and answer.status not in (404, 408, 409, 429)
            raise PublishingFailed(f"{self._sink} answered {answer.status} {said}", permanent=permanent)
