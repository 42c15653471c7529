"""Raw requests to the Kubernetes API of a kubeconfig, for what platform, demo and replay do to a cluster themselves."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from knative.local.cluster.kubeconfig import Access
from knative.local.cluster.kubeconfig import access as read_access

MERGE_PATCH = "application/merge-patch+json"
_SECONDS = 30


class ClusterRequestFailed(Exception):
    """The API server refused a request; the message holds its own words."""


class ClusterApi:
    """One API server."""

    def __init__(self, session: aiohttp.ClientSession, access: Access) -> None:
        self._session = session
        self._access = access

    async def get(self, path: str) -> dict[str, Any] | None:
        """The object, or None when there is none. Raises ClusterRequestFailed, aiohttp.ClientError."""
        return await self._request("GET", path, None, "application/json")

    async def post(self, path: str, body: Mapping[str, Any]) -> None:
        await self._request("POST", path, body, "application/json")

    async def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """The object after a JSON merge patch, or None when there is none."""
        return await self._request("PATCH", path, body, MERGE_PATCH)

    async def delete(self, path: str) -> None:
        """Deletes the object and what belongs to it; nothing happens when it is not there."""
        await self._request("DELETE", path, {"propagationPolicy": "Background"}, "application/json")

    async def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None, content_type: str
    ) -> dict[str, Any] | None:
        url, headers, name = self._access.server + path, {"content-type": content_type}, self._access.tls_server_name
        async with self._session.request(method, url, json=body, headers=headers, server_hostname=name) as answer:
            if answer.status == 404:
                return None
            if answer.status >= 400:
                raise ClusterRequestFailed(f"{method} {path}: {answer.status} {_message(await answer.text())}")
            said: dict[str, Any] = await answer.json(content_type=None)
            return said


def _message(body: str) -> str:
    """Of a Status object; an overloaded API server, or a proxy before it, answers with plain text."""
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    return str(said.get("message", "")) if isinstance(said, dict) else body[:200].strip()


@contextlib.asynccontextmanager
async def cluster_api(kubeconfig: Path) -> AsyncIterator[ClusterApi]:
    """The API server of the kubeconfig's current context. Raises ClusterUnavailable."""
    access = await asyncio.to_thread(read_access, kubeconfig)
    async with access.session(aiohttp.ClientTimeout(total=_SECONDS)) as session:
        yield ClusterApi(session, access)
