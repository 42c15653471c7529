"""One port for everything, routed by host name, as Knative's ingress gateway does it.

`http://<service>.<namespace>.localhost:PORT/` reaches that function, started on demand, and so does a name that the
platform adds, as a DomainMapping does; any other host name is the broker ingress. The function is reached at 127.0.0.1
with its host name in the Host header: the C library does not resolve *.localhost. Bodies pass as they are, compressed
ones too, and answers as they come: a stream of events arrives event by event.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Mapping

import aiohttp
from aiohttp import web

from knative.local.broker.delivery import HttpResponse
from knative.local.broker.http_server import TooLarge, read_body
from knative.local.broker.ingress import Ingress
from knative.local.serving.services import LocalService

_SUFFIX = ".localhost"
_MAX_BODY_BYTES = 8 * 1024 * 1024
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "expect",
    }
)


class Gateway:
    """Routes requests. `services` by `<service>.<namespace>`; `index` is the text at `/` of the plain host."""

    def __init__(self, ingress: Ingress, services: Mapping[str, LocalService], index: Callable[[], str]) -> None:
        self._ingress = ingress
        self._services = services
        self._index = index

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        host = request.headers.get("Host", "").rsplit(":", 1)[0].lower().rstrip(".")
        if host.endswith(_SUFFIX):
            service = self._services.get(host.removesuffix(_SUFFIX))
            if service is None:
                known = "\n".join(f"  {name}{_SUFFIX}" for name in self._services)
                return web.Response(status=404, text=f"there is no service {host}; there are:\n{known}\n")
            return await _forward(request, service)
        if request.method == "GET" and request.path == "/":
            return web.Response(text=self._index())
        return await self._ingress.handle(request)


async def _forward(request: web.BaseRequest, service: LocalService) -> web.StreamResponse:
    response = web.StreamResponse()
    try:
        body = await read_body(request, _MAX_BODY_BYTES)
        async with service.lease() as session, asyncio.timeout(service.spec.timeout):
            await _exchange(request, response, body, service, session)
    except TooLarge:
        return web.Response(status=413, text=f"the body is over {_MAX_BODY_BYTES >> 20} MiB\n")
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        if response.prepared:  # the client learns of it by the connection, which ends before the answer does
            if request.transport is not None:
                request.transport.abort()
            return response
        if isinstance(error, TimeoutError):
            return web.Response(status=504, text=f"{service.name} did not answer within {service.spec.timeout:g} s\n")
        return web.Response(status=502, text=f"{service.name} broke off: {type(error).__name__}; see the log\n")
    return response


async def _exchange(
    request: web.BaseRequest,
    response: web.StreamResponse,
    body: bytes,
    service: LocalService,
    session: aiohttp.ClientSession,
) -> None:
    headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP]
    # A client that asks as a proxy names the whole URL (RFC 9112, 3.2.2); any other only the path, as it wrote it.
    path = request.raw_path if request.raw_path.startswith("/") else request.url.raw_path_qs
    url = service.address + path
    data = io.BytesIO(body) if body else None  # as a stream: the client sends large bytes in one blocking piece
    async with session.request(request.method, url, headers=headers, data=data, allow_redirects=False) as answer:
        service.answered(HttpResponse(answer.status, {}, b""))
        response.set_status(answer.status, answer.reason)
        response.headers.extend(
            [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP]
        )
        if (length := answer.headers.get("Content-Length")) is not None:
            response.headers["Content-Length"] = length
        await response.prepare(request)
        async for piece in answer.content.iter_any():
            await response.write(piece)
        await response.write_eof()
