"""A certificate authority for tests, as a cluster has one."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


class Authority:
    """Issues certificates; `certificate` is its own, in PEM."""

    def __init__(self) -> None:
        self._authority = trustme.CA()
        self.certificate = self._authority.cert_pem.bytes()

    def issue(self, name: str) -> tuple[bytes, bytes]:
        """(certificate, key) for a server at 127.0.0.1 or a client, in PEM."""
        issued = self._authority.issue_cert("127.0.0.1", common_name=name)
        return issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes()

    def server_context(self, directory: Path) -> ssl.SSLContext:
        """TLS settings of a server at 127.0.0.1; its certificate and key are kept in `directory`."""
        certificate, key = self.issue("server")
        pem = directory / "server.pem"
        pem.write_bytes(certificate + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        return context
