"""The broker ingress: `POST /<namespace>/<broker>`, answered 202 when the event is durable.

The order of the checks is the Kafka ingress' own: method, then path, then the message. Kinder than it where nothing
can depend on that: a 400 and a 503 say why in their body, and a log that cannot be written is 503 at once (there after
a minute or two). An event that is too large is 503 as it is there, though no later try can mend it.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from knative.local.broker import wire
from knative.local.broker.broker import Broker
from knative.local.broker.delivery import MAX_EVENT_BYTES
from knative.local.broker.http_server import TooLarge, read_body
from knative.local.broker.log import LogUnavailable
from knative.local.broker.wire import MalformedRequest, UnusableKey

_MAX_HEADER_BYTES = 8 * 1024
_MAX_URI_BYTES = 4 * 1024
PROBES = ("/healthz", "/readyz")


class Ingress:
    """Takes events for the brokers, by path."""

    def __init__(self, brokers: Mapping[str, Broker]) -> None:
        """`brokers` by `<namespace>/<broker>`."""
        self._brokers = brokers

    async def handle(self, request: web.BaseRequest) -> web.Response:
        path = request.path
        if request.method != "POST":
            if request.method == "GET" and path in PROBES:
                return web.Response()
            return _answer(405, "POST events to /<namespace>/<broker>")
        if len(request.raw_path) > _MAX_URI_BYTES:
            return _answer(414, "the URI is over 4 KiB")
        if sum(len(name) + len(value) for name, value in request.raw_headers) > _MAX_HEADER_BYTES:
            return _answer(431, "the headers are over 8 KiB")
        broker = self._brokers.get(path.strip("/"))
        if broker is None:
            return _answer(404, f"there is no broker at {path}; there are: {', '.join(f'/{b}' for b in self._brokers)}")
        try:
            record = wire.decode(request.headers.items(), await read_body(request, MAX_EVENT_BYTES))
            if record.size > MAX_EVENT_BYTES:
                raise TooLarge
            await broker.accept(record)
        except MalformedRequest as error:
            return _answer(400, str(error))
        except TooLarge:
            return _answer(503, "the event is over 1 MiB; refer to large data by dataref")
        except UnusableKey as error:
            return _answer(503, str(error))
        except LogUnavailable as error:
            return _answer(503, f"the log cannot be written: {error}")
        return web.Response(status=202)


def _answer(status: int, reason: str) -> web.Response:
    return web.Response(status=status, text=reason + "\n")
