"""The HTTP server of the platform's one port, and how request bodies are read on it.

`Expect: 100-continue` is answered as RFC 9110, section 10.1.1, wants it: with a final status where method, target and
headers decide already, and else with 100 as soon as the body is wanted. A final status that leaves the body unread says
`Connection: close`, because nobody can tell where the next request would begin. Any other expectation is answered 417.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from aiohttp import HttpVersion11, web
from aiohttp.http import HttpProcessingError

_KEEP_ALIVE_SECONDS = 75.0
# Above what the ingress allows, so that it is the ingress that refuses, with the right status.
_PARSER_LIMIT = 64 * 1024

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class TooLarge(Exception):
    """The body exceeds what is allowed."""


def http_server(handle: Handler) -> web.Server:
    """An HTTP server that answers with what `handle` says."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        expectation = _expectation(request)
        if expectation not in ("", "100-continue"):
            response: web.StreamResponse = web.Response(status=417, text="only 100-continue can be expected\n")
        else:
            response = await handle(request)
        if expectation and not request.content.is_eof():
            response.force_close()
        return response

    return web.Server(
        answer,
        access_log=None,
        keepalive_timeout=_KEEP_ALIVE_SECONDS,
        max_line_size=_PARSER_LIMIT,
        max_field_size=_PARSER_LIMIT,
        auto_decompress=False,
        logger=_log,
    )


async def read_body(request: web.BaseRequest, limit: int) -> bytes:
    """The whole body. A client that waits for 100 (Continue) gets it first. Raises TooLarge over `limit` bytes."""
    if (request.content_length or 0) > limit:
        raise TooLarge
    if request.can_read_body and _expectation(request) == "100-continue":
        await _continue(request)
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise TooLarge
    return bytes(body)


def _expectation(request: web.BaseRequest) -> str:
    """What the client expects, in lower case; a client of HTTP/1.0 expects nothing."""
    if request.version < HttpVersion11:
        return ""
    return ",".join(request.headers.getall("Expect", ())).strip().lower()


async def _continue(request: web.BaseRequest) -> None:
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # the response has not begun


def _shorten(record: logging.LogRecord) -> bool:
    """Of what aiohttp logs, a request that is not HTTP is worth a line; everything else is a defect of ours."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg, record.args = "a request that is not HTTP was refused: %s", (" ".join(error.message.split())[:200],)
        record.exc_info = None
    return True


_log = logging.getLogger(__name__)
_log.addFilter(_shorten)
