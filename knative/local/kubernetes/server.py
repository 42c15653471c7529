"""HTTP around the API: authentication, bodies, errors as `Status`, and watches as streams.

Nothing is answered before it is on disk (see `objects`). A client may go away at any moment: in the middle of a body,
of a response or of a watch. Nothing is logged then, nor about a request that is not HTTP: the server is not at fault.
"""

import asyncio
import hmac
import json
import logging
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from knative.local.kubernetes import api, errors, query, selectors, tables
from knative.local.kubernetes.api import ApiRequest, ApiResponse
from knative.local.kubernetes.cluster import Cluster
from knative.local.kubernetes.kinds import Kind
from knative.local.kubernetes.lister import ListOptions
from knative.local.kubernetes.objects import Stored, encode
from knative.local.kubernetes.routes import Resource, resource
from knative.local.kubernetes.watch import Watcher, line

_LARGEST_BODY = 3 * 1024 * 1024
_BOOKMARK_SECONDS = 30.0


def _is_of_server(record: logging.LogRecord) -> bool:
    return not record.exc_info or not isinstance(record.exc_info[1], HttpProcessingError)


_log = logging.getLogger(__name__)
_log.addFilter(_is_of_server)


def http_server(cluster: Cluster, token: str) -> web.Server:
    """The server, for a runner. A handler whose client goes away is cancelled: a watch ends with its client."""
    return web.Server(_Handler(cluster, token).handle, logger=_log, access_log=None, handler_cancellation=True)


class _Handler:
    def __init__(self, cluster: Cluster, token: str) -> None:
        self._cluster = cluster
        self._authorization = f"Bearer {token}".encode()

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        try:
            self._authenticate(http)
            request = ApiRequest(
                http.method,
                http.path,
                http.query,
                http.headers.get("Accept", ""),
                http.headers.get("Content-Type", "").partition(";")[0].strip(),
                http.headers.get("User-Agent", ""),
                await _body(http),
            )
            found = resource(http.raw_path.partition("?")[0])
            if found is None:
                answer = api.document(request)
            elif request.method == "GET" and query.is_watch(request.query) and not found.subresource:
                return await self._watch(http, request, found)
            else:
                answer = api.respond(self._cluster, request, found)
        except errors.ApiError as error:
            answer = ApiResponse(error.code, encode(error.status()))
        await self._cluster.durable()
        response = web.Response(status=answer.code, body=answer.body, headers={"Content-Type": answer.media})
        for warning in answer.warnings:
            response.headers.add("Warning", f"299 - {json.dumps(warning)}")
        return response

    def _authenticate(self, http: web.BaseRequest) -> None:
        offered = http.headers.get("Authorization", "").encode(errors="surrogateescape")
        if http.path not in api.HEALTH_PATHS and not hmac.compare_digest(offered, self._authorization):
            raise errors.unauthorized()

    async def _watch(self, http: web.BaseRequest, request: ApiRequest, found: Resource) -> web.StreamResponse:
        options, selection = query.watch_options(request.query), query.list_options(found, request.query)
        await self._cluster.durable()
        stream = _Stream(self._cluster, found.kind, request, selection, options)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        try:
            await response.prepare(http)
            async for lines in stream.lines():
                await response.write(lines)
        except ConnectionResetError:
            pass  # the client is gone before its handler is cancelled
        finally:
            stream.close()
        return response


class _Stream:
    """One watch, from its first line to its time-out."""

    def __init__(
        self,
        cluster: Cluster,
        kind: Kind,
        request: ApiRequest,
        selection: ListOptions,
        options: query.WatchOptions,
    ) -> None:
        self._cluster = cluster
        self._kind = kind
        self._options = options

        def table(stored: Stored) -> bytes:
            return tables.render(kind, [stored], {"resourceVersion": str(stored.revision)}, request.query)

        render = table if request.wants_table else None
        match = selectors.matcher(selection.labels, selection.fields)
        self._watcher = Watcher(selection.namespace, match, render)
        self._first: list[bytes] = []
        try:
            cluster.watches.add(kind, self._watcher, options.since)
        except errors.ApiError as error:  # a watch that cannot resume gets its error in the stream
            self._first.append(line("ERROR", encode(error.status())))
            self._watcher.close()
            return
        if options.since is None:
            for stored in cluster.lister.select(kind, selection):
                self._first.append(line("ADDED", stored.body if render is None else render(stored)))
        if options.initial_events:
            self._first.append(self._bookmark({"k8s.io/initial-events-end": "true"}))

    def _bookmark(self, annotations: dict[str, str]) -> bytes:
        metadata: dict[str, object] = {"resourceVersion": str(self._cluster.objects.revision)}
        if annotations:
            metadata["annotations"] = annotations
        head = {"kind": self._kind.name, "apiVersion": self._kind.api_version, "metadata": metadata}
        return line("BOOKMARK", encode(head))

    async def lines(self) -> AsyncIterator[bytes]:
        yield b"".join(self._first)
        loop = asyncio.get_running_loop()
        end = loop.time() + self._options.timeout
        while (left := end - loop.time()) > 0 and not self._watcher.closed:
            waiting = await self._watcher.lines(min(left, _BOOKMARK_SECONDS))
            if waiting:
                yield waiting
            elif self._options.bookmarks and not self._watcher.closed:
                yield self._bookmark({})

    def close(self) -> None:
        self._watcher.close()
        self._cluster.watches.remove(self._kind, self._watcher)


async def _body(http: web.BaseRequest) -> bytes:
    """The body, up to the limit of the real server. Raises 413, and 400 when it is cut short or malformed."""
    body = bytearray()
    try:
        async for part in http.content.iter_any():
            body += part
            if len(body) > _LARGEST_BODY:
                message = f"Request entity too large: limit is {_LARGEST_BODY}"
                raise errors.ApiError(413, "RequestEntityTooLarge", message)
    except (OSError, web.RequestPayloadError) as error:
        raise errors.bad_request(f"the body of the request could not be read: {error}") from error
    return bytes(body)
