"""HTTP around the API: authentication, bodies, errors as `Status`, and watches as streams.

Nothing is answered before what it says is on disk (see `objects`).
"""

import asyncio
import hmac
import json
import logging
from collections.abc import AsyncIterator

from aiohttp import web

from knative.local.kubernetes import api, errors, query, selectors, tables
from knative.local.kubernetes.api import Answer, Call
from knative.local.kubernetes.cluster import Cluster
from knative.local.kubernetes.kinds import Kind
from knative.local.kubernetes.objects import Stored, encode
from knative.local.kubernetes.reading import Query
from knative.local.kubernetes.routes import Target, target
from knative.local.kubernetes.watch import Watcher, line

_LARGEST_BODY = 3 * 1024 * 1024
_BOOKMARK_SECONDS = 30.0
_PUBLIC = ("/healthz", "/readyz", "/livez")

_log = logging.getLogger(__name__)


class Server:
    def __init__(self, cluster: Cluster, token: str) -> None:
        self._cluster = cluster
        self._authorization = f"Bearer {token}"

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            self._authenticate(request)
            body = await _body(request)
            call = Call(
                request.method,
                request.path,
                request.query,
                request.headers.get("Accept", ""),
                request.headers.get("Content-Type", "").partition(";")[0].strip(),
                request.headers.get("User-Agent", ""),
                body,
            )
            found = target(request.raw_path.partition("?")[0])
            if found is not None and call.method == "GET" and query.is_watch(call.query) and not found.subresource:
                return await self._watch(request, call, found)
            answer = self._answer(call, found)
        except errors.ApiError as error:
            answer = Answer(error.code, encode(error.status()))
        await self._cluster.durable()
        response = web.Response(status=answer.code, body=answer.body, headers={"Content-Type": answer.media})
        for warning in answer.warnings:
            response.headers.add("Warning", f"299 - {json.dumps(warning)}")
        return response

    def _authenticate(self, request: web.BaseRequest) -> None:
        offered = request.headers.get("Authorization", "")
        if request.path not in _PUBLIC and not hmac.compare_digest(offered.encode(), self._authorization.encode()):
            raise errors.unauthorized()

    def _answer(self, call: Call, found: Target | None) -> Answer:
        if found is not None:
            return api.answer(self._cluster, call, found)
        document = api.document(self._cluster, call)
        if document is None:
            raise errors.no_such_path()
        if call.method not in ("GET", "HEAD"):
            raise errors.method_not_allowed()
        return document

    async def _watch(self, request: web.BaseRequest, call: Call, found: Target) -> web.StreamResponse:
        options, listing = query.watching(call.query), query.listing(found, call.query)
        await self._cluster.durable()
        stream = _Stream(self._cluster, found.kind, call, listing, options)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        try:
            await response.prepare(request)
            async for lines in stream.lines():
                await response.write(lines)
        except ConnectionResetError:
            _log.debug("a watcher of %s went away", found.kind.plural)
        finally:
            stream.close()
        return response


class _Stream:
    """One watch, from its first line to its time-out."""

    def __init__(self, cluster: Cluster, kind: Kind, call: Call, listing: Query, options: query.WatchQuery) -> None:
        self._cluster = cluster
        self._kind = kind
        self._options = options
        include = call.query.get("includeObject", "")

        def table(stored: Stored) -> bytes:
            return tables.render(kind, [stored], {"resourceVersion": str(stored.revision)}, include)

        self._render = table if call.wants_table else None
        match = selectors.matcher(listing.labels, listing.fields)
        self._watcher = Watcher(listing.namespace, match, self._render)
        self._first: list[bytes] = []
        try:
            cluster.watches.add(kind, self._watcher, options.since)
        except errors.ApiError as error:  # a watch that cannot resume is told so in the stream
            self._first.append(line("ERROR", encode(error.status())))
            self._watcher.close()
            return
        if options.since is None:
            render = self._render or (lambda stored: stored.body)
            self._first += [line("ADDED", render(stored)) for stored in cluster.reading.select(kind, listing)]
        if options.initial_events:
            self._first.append(self._bookmark({"k8s.io/initial-events-end": "true"}))

    def _bookmark(self, annotations: dict[str, str]) -> bytes:
        metadata: dict[str, object] = {"resourceVersion": str(self._cluster.objects.revision)}
        if annotations:
            metadata["annotations"] = annotations
        head = {"kind": self._kind.name, "apiVersion": self._kind.api_version, "metadata": metadata}
        return line("BOOKMARK", encode(head))

    async def lines(self) -> AsyncIterator[bytes]:
        if self._first:
            yield b"".join(self._first)
        else:
            yield b""
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


async def _body(request: web.BaseRequest) -> bytes:
    """The body, up to the limit of the real server. Raises 413."""
    if not request.body_exists:
        return b""
    parts: list[bytes] = []
    size = 0
    async for part in request.content.iter_any():
        size += len(part)
        if size > _LARGEST_BODY:
            message = f"Request entity too large: limit is {_LARGEST_BODY}"
            raise errors.ApiError(413, "RequestEntityTooLarge", message)
        parts.append(part)
    return b"".join(parts)
