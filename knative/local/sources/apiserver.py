"""ApiServerSource in mode Reference: emits changes to objects, by reference, never by content.

A list, then a watch from its resourceVersion, as client-go's reflector does it. As in Knative, the list itself tells of
nothing: objects that were there before, or changed while the watch was broken, make no events. A broken connection is
resumed from the last resourceVersion that was seen; 410 (too old) lists again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp

from knative.local.broker.log import LogUnavailable
from knative.local.broker.wire import Record
from knative.local.cluster.kubeconfig import Access
from knative.local.cluster.kubeconfig import access as read_access
from knative.local.resources.manifests import ApiServerSource, WatchedResource
from shared.errors import ClusterUnavailable

_log = logging.getLogger(__name__)
_TYPES = {"ADDED": "add", "MODIFIED": "update", "DELETED": "delete"}
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 10.0
_WATCH_SECONDS = 300
_BETWEEN_WATCHES_SECONDS = 0.2


class _TooOld(Exception):
    """410: the API server no longer knows the resourceVersion."""


@dataclass(frozen=True)
class WatchedKind:
    """One kind to watch. `namespace` None means all of them."""

    api_version: str
    kind: str
    namespace: str | None
    labels: Mapping[str, str]

    @property
    def path(self) -> str:
        root = "/apis" if "/" in self.api_version else "/api"
        scope = f"/namespaces/{self.namespace}" if self.namespace else ""
        return f"{root}/{self.api_version}{scope}/{plural(self.kind)}"

    def query(self, **more: str) -> str:
        selector = ",".join(f"{name}={value}" for name, value in self.labels.items())
        return urlencode({**({"labelSelector": selector} if selector else {}), **more})


def plural(kind: str) -> str:
    """The resource of a kind, guessed as the adapter guesses it."""
    lower = kind.lower()
    if lower.endswith("s"):
        return lower + "es"
    return lower[:-1] + "ies" if lower.endswith("y") else lower + "s"


def watched_kinds(source: ApiServerSource) -> list[WatchedKind]:
    """What the source watches: its own namespace, or with an empty namespaceSelector every one."""
    namespace = None if source.spec.namespace_selector is not None else source.metadata.namespace
    return [_watched_kind(each, namespace) for each in source.spec.resources]


def _watched_kind(resource: WatchedResource, namespace: str | None) -> WatchedKind:
    return WatchedKind(resource.api_version, resource.kind, namespace, resource.selector.match_labels)


def reference(server: str, change: str, watched: WatchedKind, metadata: Mapping[str, Any], at: datetime) -> Record:
    """The event of one change (`add`, `update` or `delete`)."""
    name, namespace = metadata["name"], metadata.get("namespace", "")
    referred = {"kind": watched.kind, "namespace": namespace, "name": name, "apiVersion": watched.api_version}
    attributes = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "type": f"dev.knative.apiserver.ref.{change}",
        "source": server,
        "subject": f"/apis/{watched.api_version}/namespaces/{namespace}/{watched.kind.lower()}s/{name}",
        "time": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "datacontenttype": "application/json",
        "apiversion": watched.api_version,
        "kind": watched.kind,
        "name": name,
        "namespace": namespace,
    }
    return Record(attributes, json.dumps(referred, separators=(",", ":")).encode())


async def watch(kubeconfig: Path, watched: WatchedKind, accept: Callable[[Record], Awaitable[None]]) -> None:
    """Sends the changes of one kind to `accept` until cancelled.

    The kubeconfig is read again for each new connection: tokens expire. Raises ClusterUnavailable at once if it cannot
    be used at the start.
    """
    access = await asyncio.to_thread(read_access, kubeconfig)
    version, pause = "", _FIRST_PAUSE_SECONDS
    while True:
        try:
            async with access.session(aiohttp.ClientTimeout()) as session:
                version = version or await _list(session, access, watched)
                async for seen, change, metadata in _changes(session, access, watched, version):
                    version, pause = seen, _FIRST_PAUSE_SECONDS
                    if change:
                        await accept(reference(access.server, change, watched, metadata, datetime.now(UTC)))
            await asyncio.sleep(_BETWEEN_WATCHES_SECONDS)
        except _TooOld:
            version = ""
        except LogUnavailable as error:
            _log.error("a watch event was lost: the broker's log cannot be written: %s", error)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError, ClusterUnavailable) as error:
            level = logging.WARNING if pause == _FIRST_PAUSE_SECONDS else logging.DEBUG
            _log.log(level, "watching %s broke off; trying again: %s %s", watched.path, type(error).__name__, error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            with contextlib.suppress(ClusterUnavailable):
                access = await asyncio.to_thread(read_access, kubeconfig)


async def _list(session: aiohttp.ClientSession, access: Access, watched: WatchedKind) -> str:
    url = f"{access.server}{watched.path}?{watched.query(limit='1')}"
    timeout, name = aiohttp.ClientTimeout(total=30), access.tls_server_name
    async with session.get(url, timeout=timeout, server_hostname=name, raise_for_status=True) as response:
        version: str = (await response.json())["metadata"]["resourceVersion"]
        return version


async def _changes(
    session: aiohttp.ClientSession, access: Access, watched: WatchedKind, version: str
) -> AsyncIterator[tuple[str, str, Mapping[str, Any]]]:
    """(resourceVersion, change or "" for a bookmark, the object's metadata) until the server ends the watch."""
    query = watched.query(
        watch="true", resourceVersion=version, allowWatchBookmarks="true", timeoutSeconds=str(_WATCH_SECONDS)
    )
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_WATCH_SECONDS + 30)
    url, name = f"{access.server}{watched.path}?{query}", access.tls_server_name
    async with session.get(url, timeout=timeout, server_hostname=name) as response:
        if response.status == 410:
            raise _TooOld
        response.raise_for_status()
        pending = b""
        async for chunk in response.content.iter_any():
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                if line.strip():
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        if event["object"].get("code") == 410:
                            raise _TooOld
                        raise ValueError(event["object"].get("message", "the watch ended with an error"))
                    metadata = event["object"]["metadata"]
                    yield metadata["resourceVersion"], _TYPES.get(event["type"], ""), metadata
