"""The kubeconfig of the platform's cluster, read as the functions read theirs (`shared.clusters.kubeconfig`).

So a kubeconfig that a function could not use is refused before anything starts, and not when the first workload is to
be applied. Credentials stay out of `repr` and out of messages.
"""

from __future__ import annotations

import base64
import re
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from shared.clusters.kubeconfig import Connection, read_connection
from shared.errors import ClusterUnavailable
from shared.settings import insecure_clusters

_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----\s*", re.DOTALL)


CLUSTER = "local"
"""The name under which functions know the cluster of a laptop platform."""


@dataclass(frozen=True)
class Access:
    """How aiohttp reaches an API server: its URL, TLS settings (None for plain HTTP), name in TLS, proxy, token."""

    server: str
    tls: ssl.SSLContext | None = field(repr=False)
    tls_server_name: str | None = None
    proxy: str | None = None
    authorization: str | None = field(default=None, repr=False)

    def session(self, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientSession:
        """A client for this API server; requests pass `server_hostname=access.tls_server_name`."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self.tls if self.tls is not None else True),
            headers={"authorization": self.authorization} if self.authorization else {},
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=self.proxy,
            timeout=timeout,
        )


def access(path: Path) -> Access:
    """What a client of the current context needs, as it is now: tokens expire. Raises ClusterUnavailable."""
    connection = read_connection(path, allow_insecure=CLUSTER in insecure_clusters())
    token = connection.bearer()
    return Access(
        server=connection.server,
        tls=_tls(path, connection) if connection.server.startswith("https://") else None,
        tls_server_name=connection.tls_server_name,
        proxy=connection.proxy,
        authorization=f"Bearer {token}" if token else None,
    )


def flatten(path: Path) -> str:
    """The current context alone, with every file that it refers to inlined. Raises ClusterUnavailable."""
    connection = read_connection(path, allow_insecure=CLUSTER in insecure_clusters())
    cluster: dict[str, Any] = {
        "server": connection.server,
        "certificate-authority-data": _encoded((connection.certificate_authority or "").encode()),
        "insecure-skip-tls-verify": not connection.verify,
        "tls-server-name": connection.tls_server_name,
        "proxy-url": connection.proxy,
    }
    pair = connection.client_certificate or b""
    user = {
        "token": connection.bearer(),
        "client-certificate-data": _encoded(_PRIVATE_KEY.sub(b"", pair).strip()),
        "client-key-data": _encoded(b"".join(_PRIVATE_KEY.findall(pair)).strip()),
    }
    name = CLUSTER
    flat = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": _without_unset(cluster)}],
        "users": [{"name": name, "user": _without_unset(user)}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return yaml.safe_dump(flat, sort_keys=False)


def _without_unset(section: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if value}


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _tls(path: Path, connection: Connection) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=connection.certificate_authority)
        # Many clusters' authorities are made without the extensions that Python's strict mode asks for.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not connection.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if connection.client_certificate is not None:
            with tempfile.TemporaryDirectory(prefix="sentinel-kubeconfig-") as directory:
                pem = Path(directory, "client.pem")
                pem.touch(0o600)
                pem.write_bytes(connection.client_certificate)
                context.load_cert_chain(pem)
    except (ssl.SSLError, ValueError) as error:
        raise ClusterUnavailable(
            f"kubeconfig {path}: its certificates cannot be used ({type(error).__name__})"
        ) from None
    return context
