"""What proves the server to clients and clients to the server: a certificate, a bearer token, and a kubeconfig.

Authority, certificate and token are made once per state directory. The kubeconfig is written at every start, because
the port may differ. Every file that holds a key or a token is readable by its owner only.
"""

import base64
import json
import os
import secrets
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

_NAMES = ("127.0.0.1", "localhost", "kubernetes", "kubernetes.default.svc")


@dataclass(frozen=True)
class Identity:
    """`authority` and `certificate` are PEM files; the second one holds the server's private key too."""

    authority: Path
    certificate: Path
    token: str

    def tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate)
        return context


def load_or_create(directory: Path) -> Identity:
    authority, certificate, token = directory / "ca.crt", directory / "server.pem", directory / "token"
    if not token.exists() or not certificate.exists():
        issuer = trustme.CA(organization_name="sentinel-local-ca")
        server = issuer.issue_cert(*_NAMES, common_name="kube-apiserver")
        authority.write_bytes(issuer.cert_pem.bytes())
        write_private(certificate, server.private_key_and_cert_chain_pem.bytes())
        write_private(token, secrets.token_hex(16).encode())  # last: its presence says that the rest is complete
    return Identity(authority, certificate, token.read_text())


def write_private(path: Path, content: bytes) -> None:
    """Writes the file atomically, readable by its owner only."""
    partial = path.with_name(path.name + ".part")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    partial.replace(path)


def write_kubeconfig(path: Path, server: str, identity: Identity) -> None:
    authority = base64.b64encode(identity.authority.read_bytes()).decode()
    context = {"cluster": "local", "user": "admin", "namespace": "default"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "sentinel-local",
        "clusters": [{"name": "local", "cluster": {"server": server, "certificate-authority-data": authority}}],
        "users": [{"name": "admin", "user": {"token": identity.token}}],
        "contexts": [{"name": "sentinel-local", "context": context}],
    }
    write_private(path, json.dumps(config, indent=1).encode())
