"""The HTTP API of Prometheus: instant and range queries (https://prometheus.io/docs/prometheus/latest/querying/api/).

On urllib3, which publishing and the Kubernetes client rest on already. The package prometheus-api-client brings pandas
and numpy, and bounds neither the size nor the time of an answer.

An answer is used as a whole or not at all. A value that is NaN or infinite is left out: it is how PromQL says "no
value", such as a percentile of no requests. An answer with a warning is not used, because it may be of a part of the
data alone. A warning that begins with "PromQL" is logged: it is about samples that the query had to leave out.

Nothing of the credentials is in a message: those of the URL are taken out of it first.
"""

from __future__ import annotations

import json
import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor, wait
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.util import make_headers

from shared.errors import PrometheusError, PrometheusUnavailable, QueryRefused
from shared.models.collection import STEP, Series

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from shared.models.collection import MetricQuery

AT_ONCE: Final = 4
QUERY_SECONDS: Final = 10.0
COLLECTION_SECONDS: Final = 25.0
"""Of all queries of one collection: a Trigger waits 60 s for the answer."""

ATTEMPTS: Final = 3
BACKOFF_SECONDS: Final = 0.2
MAX_BYTES: Final = 32 * 1024 * 1024
_CHUNK: Final = 64 * 1024
_SAID: Final = 300
_TRANSIENT: Final = range(500, 600)

logger = logging.getLogger("sentinel.prometheus")


class Prometheus:
    """One Prometheus, or what speaks its API. Thread-safe; connections are kept alive and pooled.

    url: http or https, perhaps with user:password@ and a path. token: a file with a bearer token, read for each query
    because it may be renewed. authority: PEM; None for those of the system. The other arguments are in seconds and
    bytes.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Path | None = None,
        authority: Path | None = None,
        query_seconds: float = QUERY_SECONDS,
        collection_seconds: float = COLLECTION_SECONDS,
        backoff_seconds: float = BACKOFF_SECONDS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        parts = urlsplit(url)
        self._api = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/api/v1"
        self._headers: Mapping[str, str] = {"accept": "application/json"}
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers = {**self._headers, **make_headers(basic_auth=user)}
        self._token = token
        self._query_seconds = query_seconds
        self._collection_seconds = collection_seconds
        self._backoff_seconds = backoff_seconds
        self._max_bytes = max_bytes
        # Without a context the pool makes one at its first connection over TLS, with the authorities of the system.
        self._pool = urllib3.PoolManager(maxsize=AT_ONCE, retries=False, ca_certs=authority and str(authority))

    def deadline(self) -> float:
        """When a collection that begins now has to end, by the monotonic clock."""
        return time.monotonic() + self._collection_seconds

    def ask(self, queries: Sequence[MetricQuery], deadline: float) -> list[list[Series] | PrometheusError]:
        """The answer of each query, or why there is none, in their order. AT_ONCE are asked at a time.

        It ends at the deadline, and raises nothing on purpose. A query that goes on has timeouts of its own.
        """
        threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="prometheus")
        asked = [threads.submit(self._ask, query, deadline) for query in queries]
        wait(asked, timeout=max(0.0, deadline - time.monotonic()))
        threads.shutdown(wait=False, cancel_futures=True)
        late = PrometheusUnavailable("the collection had no time left for the answer")
        return [one.result() if one.done() and not one.cancelled() else late for one in asked]

    def _ask(self, query: MetricQuery, deadline: float) -> list[Series] | PrometheusError:
        for attempt in range(ATTEMPTS):
            ends_at = min(deadline, time.monotonic() + self._query_seconds)
            try:
                return self._once(query, ends_at)
            except PrometheusUnavailable as error:
                pause = self._backoff_seconds * 2**attempt
                if attempt == ATTEMPTS - 1 or time.monotonic() + pause >= deadline:
                    return error
                time.sleep(pause)
            except PrometheusError as error:
                return error
        raise AssertionError("an attempt is the last one")

    def _once(self, query: MetricQuery, ends_at: float) -> list[Series]:
        left = ends_at - time.monotonic()
        if left <= 0:
            raise PrometheusUnavailable("the collection had no time left to ask")
        fields: dict[str, Any] = {"query": query.promql, "timeout": f"{math.ceil(left)}s"}
        if query.start is None or query.end is None:
            path = "query"
        elif query.start == query.end:
            path, fields["time"] = "query", f"{query.end:.3f}"
        else:
            path = "query_range"
            fields |= {"start": f"{query.start:.3f}", "end": f"{query.end:.3f}", "step": f"{STEP.total_seconds():g}"}
        headers = self._authorized()
        try:
            answer = self._pool.request(
                "POST",
                f"{self._api}/{path}",
                fields=fields,
                encode_multipart=False,
                headers=headers,
                timeout=urllib3.Timeout(connect=left, read=left),
                preload_content=False,
                redirect=False,
            )
            try:
                body = self._body(answer, ends_at)
            except BaseException:
                answer.close()  # what is left of this answer must not be read as the next one's
                raise
            answer.release_conn()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise PrometheusUnavailable(f"Prometheus does not answer: {type(error).__name__}") from None
        return _series(answer.status, body)

    def _authorized(self) -> dict[str, str]:
        if self._token is None:
            return dict(self._headers)
        try:
            token = self._token.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            raise PrometheusUnavailable(f"{self._token} cannot be read: {type(error).__name__}") from None
        return {**self._headers, "authorization": f"Bearer {token}"}

    def _body(self, answer: urllib3.BaseHTTPResponse, ends_at: float) -> bytes:
        """Piece by piece: the connection's own timeout never ends an answer that comes in drops."""
        pieces, size = [], 0
        while piece := answer.read1(_CHUNK):
            pieces.append(piece)
            size += len(piece)
            if size > self._max_bytes:
                raise QueryRefused(f"the answer has more than {self._max_bytes} bytes")
            if time.monotonic() > ends_at:
                raise PrometheusUnavailable("Prometheus was too slow to end its answer")
        return b"".join(pieces)


def _series(status: int, body: bytes) -> list[Series]:
    """The series of an answer. Raises PrometheusError."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if status in _TRANSIENT:
        raise PrometheusUnavailable(f"Prometheus answered {status}{_said(document)}")
    if status != HTTPStatus.OK:
        raise QueryRefused(f"Prometheus answered {status}{_said(document)}")
    try:
        if document["status"] != "success":
            raise QueryRefused(f"Prometheus answered {str(document['status'])[:_SAID]!r}{_said(document)}")
        warnings = document.get("warnings") or []
        for warning in warnings:
            if not str(warning).startswith("PromQL"):
                raise PrometheusUnavailable(f"the answer is not complete: {str(warning)[:_SAID]}")
            logger.warning("a query was answered without some samples: %s", str(warning)[:_SAID])
        return _read(document["data"]["resultType"], document["data"]["result"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise QueryRefused(f"the answer is not one of Prometheus: {type(error).__name__}") from None


def _read(kind: str, result: Any) -> list[Series]:
    match kind:
        case "scalar":
            return [Series({}, _points([result]))]
        case "vector":
            return [Series(_labels(one), _points([one["value"]])) for one in result]
        case "matrix":
            return [Series(_labels(one), _points(one["values"])) for one in result]
        case _:
            raise ValueError("no series")


def _labels(one: Mapping[str, Any]) -> dict[str, str]:
    labels = one["metric"]
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise ValueError("labels are texts")
    return labels


def _points(pairs: Any) -> dict[float, float]:
    """Values by their moment in Unix seconds."""
    points = {}
    for moment, text in pairs:
        if not isinstance(text, str) or not isinstance(moment, int | float) or not math.isfinite(moment):
            raise ValueError("a sample is a moment and a text")
        value = float(text)
        if math.isfinite(value):
            points[float(moment)] = value
    return points


def _said(document: Any) -> str:
    """What an answer says of an error, in one line."""
    if not isinstance(document, dict):
        return ""
    told = [str(document[name])[:_SAID] for name in ("errorType", "error") if document.get(name)]
    return f": {': '.join(told)}".encode("unicode_escape").decode("ascii") if told else ""
