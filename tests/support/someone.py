"""Whoever else writes to a cluster: raw requests under another field manager's name."""

from typing import Any

import urllib3

from shared.clusters.kubeconfig import Connection

PATHS = {"Deployment": "/apis/apps/v1", "StatefulSet": "/apis/apps/v1", "Job": "/apis/batch/v1"}


class Someone:
    """A user of the API who is not Sentinel."""

    def __init__(self, connection: Connection, manager: str = "kubectl-edit") -> None:
        self._server, self._manager = connection.server, manager
        self._headers = {"Authorization": f"Bearer {connection.bearer()}"}
        self._pool = urllib3.PoolManager(ca_cert_data=connection.certificate_authority)

    def close(self) -> None:
        self._pool.clear()

    def get(self, path: str) -> dict[str, Any]:
        return self._request("GET", path)

    def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._request("POST", path, body)

    def patch(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._request("PATCH", path, body, "application/merge-patch+json")

    def delete(self, path: str, propagation: str = "Background") -> dict[str, Any]:
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        return self._request("DELETE", path, options)

    def _request(
        self, method: str, path: str, body: dict[str, Any] | None = None, content_type: str = "application/json"
    ) -> dict[str, Any]:
        separator = "&" if "?" in path else "?"
        query = f"{separator}fieldManager={self._manager}" if method in ("POST", "PATCH") else ""
        answer = self._pool.request(
            method, self._server + path + query, json=body, headers={**self._headers, "Content-Type": content_type}
        )
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.data.decode()[:500]}"
        document = answer.json()
        assert isinstance(document, dict)
        return document
