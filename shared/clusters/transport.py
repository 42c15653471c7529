"""HTTP to one API server, through the official client's ApiClient.

Only ApiClient and Configuration are used: the typed APIs would cost every cold start their import. Nothing is retried
here. A caller that waits has a better idea of when to ask again.

How long a request may take: a read READ_SECONDS, a write WRITE_SECONDS, because the API server calls admission webhooks
before it answers, which may take 30 s. Neither goes on after the end of the task that it is made for.

A cluster that does not answer must not take every thread of a function: at most AT_ONCE requests are made to one API
server, and another waits SLOT_SECONDS for its turn. That an API server is slow does not say that it is away.
"""

import copy
import functools
import json
import os
import re
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any

import urllib3
from kubernetes.client import ApiClient, ApiException, Configuration

from shared import tracing
from shared.clusters.addresses import guard
from shared.clusters.answers import ApiAnswer
from shared.clusters.kubeconfig import Connection
from shared.errors import ClusterAway, ClusterError, ClusterUnavailable
from shared.tracing import SpanKind

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
WRITE_SECONDS = 35.0
AT_ONCE = 4
SLOT_SECONDS = 0.5
_CHUNK = 65536
FIELD_MANAGER = "sentinel"
_VERBS = {"GET": "get", "POST": "create", "PATCH": "patch", "DELETE": "delete"}
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
# What YAML 1.2 does not call printable, beyond what JSON escapes by itself; inside a text both read its escape alike.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


class Transport:
    """Requests to one API server. Thread-safe; connections are kept alive and pooled.

    loopback: whether it may be at 127.0.0.1.
    """

    def __init__(self, cluster: str, connection: Connection, *, loopback: bool = False) -> None:
        self.cluster = cluster
        self._connection = connection
        configuration = Configuration(
            host=connection.server,
            verify_ssl=connection.verify,
            ca_cert_data=connection.certificate_authority,
            tls_server_name=connection.tls_server_name,
            proxy=connection.proxy,
            retries=False,
        )
        if connection.client_certificate is not None:
            # Python's ssl takes a certificate only from a file. This one lives as long as the transport.
            path, remove = _private_file(connection.client_certificate)
            weakref.finalize(self, remove)
            configuration.cert_file = configuration.key_file = path
        self._client = ApiClient(configuration)
        self._client.user_agent = FIELD_MANAGER
        guard(self._client.rest_client.pool_manager, loopback=loopback)
        self._slots = threading.BoundedSemaphore(AT_ONCE)
        self._ends_at: float | None = None
        self._allowed: Callable[[], bool] | None = None
        self._lender: Transport | None = None

    def within(self, seconds: float, allowed: Callable[[], bool] | None = None) -> "Transport":
        """The same connections, for requests that must end that soon, and begin only while they are `allowed`."""
        bounded = copy.copy(self)
        bounded._ends_at = time.monotonic() + seconds
        bounded._allowed = allowed
        # The client certificate's file goes with the last of those that use it.
        bounded._lender = self
        return bounded

    def get(self, path: str, **query: str) -> ApiAnswer:
        return self._request("GET", path, query)

    def post(self, path: str, body: Mapping[str, Any], **query: str) -> ApiAnswer:
        return self._request("POST", path, query, body, "application/json")

    def apply(self, path: str, body: Mapping[str, Any], **query: str) -> ApiAnswer:
        return self._request("PATCH", path, query, as_yaml(body), _APPLY)

    def merge(self, path: str, body: Mapping[str, Any], **query: str) -> ApiAnswer:
        return self._request("PATCH", path, query, body, _MERGE)

    def delete(self, path: str, options: Mapping[str, Any]) -> ApiAnswer:
        return self._request("DELETE", path, {}, options, "application/json")

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | bytes | None = None,
        content_type: str | None = None,
    ) -> ApiAnswer:
        """A span says how it went. That something is not there, or has changed, is an answer and no error."""
        asked = {"k8s.cluster.name": self.cluster, "http.request.method": method}
        with tracing.span(_described(method, path), SpanKind.CLIENT, asked) as span:
            answer = self._ask(method, path, query, body, content_type)
            span.set({"http.response.status_code": answer.status})
            if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                span.fail(str(answer.status))
            return answer

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | bytes | None,
        content_type: str | None,
    ) -> ApiAnswer:
        headers = {"Accept": "application/json"}
        if content_type is not None:
            headers["Content-Type"] = content_type
        if (token := self._connection.bearer()) is not None:
            headers["Authorization"] = f"Bearer {token}"
        request = self._client.param_serialize(
            method, path, query_params=list(query.items()), header_params=headers, body=body
        )
        what = f"{method} {path}"
        ends_at = time.monotonic() + (READ_SECONDS if method == "GET" else WRITE_SECONDS)
        try:
            with self._slot(what):
                left = self._left(ends_at)
                if left <= 0:
                    raise ClusterUnavailable(f"cluster {self.cluster}: {what}: no time was left to ask")
                if self._allowed is not None and not self._allowed():
                    raise ClusterUnavailable(f"cluster {self.cluster}: {what}: the lease of this execution has ended")
                response = self._client.call_api(*request, _request_timeout=(min(CONNECT_SECONDS, left), left))
                return ApiAnswer.of(what, response.status, self._content(response.response, ends_at))
        except ClusterError:
            raise
        # An address that only the attempt shows to be impossible is a ValueError, an OverflowError or an HTTPException.
        except (urllib3.exceptions.HTTPError, ApiException, HTTPException, OSError, ValueError, OverflowError) as error:
            reason = error.reason if isinstance(error, ApiException) else error
            raise ClusterAway(f"cluster {self.cluster}: {what}: {reason}") from error

    @contextmanager
    def _slot(self, what: str) -> Iterator[None]:
        if not self._slots.acquire(timeout=SLOT_SECONDS):
            raise ClusterUnavailable(f"cluster {self.cluster}: {what}: {AT_ONCE} requests wait for an answer already")
        try:
            yield
        finally:
            self._slots.release()

    def _content(self, response: urllib3.BaseHTTPResponse, ends_at: float) -> bytes:
        """The body, piece by piece: the connection's own timeout never ends an answer that comes in drops."""
        chunks = []
        try:
            while chunk := response.read1(_CHUNK):
                chunks.append(chunk)
                if self._left(ends_at) <= 0:
                    raise TimeoutError("the answer timed out before its end")
        except BaseException:
            response.close()  # what is left of this answer must not be read as the next one's
            raise
        response.release_conn()
        return b"".join(chunks)

    def _left(self, ends_at: float) -> float:
        """Seconds until a request and the task that it is made for must have ended."""
        return (ends_at if self._ends_at is None else min(ends_at, self._ends_at)) - time.monotonic()


def _described(method: str, path: str) -> str:
    """The verb and the resource, as RBAC calls them: "patch deployments"."""
    parts = path.strip("/").split("/")
    resource = parts[2:] if parts[0] == "api" else parts[3:]  # /api/v1/..., /apis/<group>/<version>/...
    if len(resource) > 2 and resource[0] == "namespaces":
        resource = resource[2:]
    verb = "list" if method == "GET" and len(resource) == 1 else _VERBS[method]
    return f"{verb} {resource[0] if resource else path}"


def as_yaml(body: Mapping[str, Any]) -> bytes:
    """JSON that is YAML too, which not all JSON is: YAML knows no pairs of surrogate escapes."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text).encode()


def _private_file(content: bytes) -> tuple[str, Callable[[], None]]:
    """The path of a file for our eyes only, on no disk where the system has such; and what removes it."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("client-certificate")
        path = f"/proc/self/fd/{descriptor}"
        remove = functools.partial(os.close, descriptor)
    else:
        descriptor, path = tempfile.mkstemp()
        os.close(descriptor)
        remove = functools.partial(os.unlink, path)
    Path(path).write_bytes(content)
    return path, remove
