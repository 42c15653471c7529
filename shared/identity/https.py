"""Fetches small documents over HTTPS."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Final

import urllib3

from shared.identity.oidc import Fetch, IssuerUnavailable

MAX_BYTES: Final = 256 * 1024
DEADLINE_SECONDS: Final = 5.0
_CHUNK: Final = 16 * 1024


def fetcher(
    certificate_authority: Path | None = None, deadline: float = DEADLINE_SECONDS, token: Path | None = None
) -> Fetch:
    """A function that fetches what is at an HTTPS URL. certificate_authority: PEM; None for those of the system.

    token: a file with a token that is shown to the server, and to where its documents lead: an API server of Kubernetes
    tells its keys to service accounts alone. A redirect is an error: the issuer says in its documents where its keys
    are. deadline: seconds to connect, for each answer of the network, and for the body as a whole.
    """
    pool = urllib3.PoolManager(
        ssl_context=ssl.create_default_context(cafile=certificate_authority and str(certificate_authority)),
        timeout=urllib3.Timeout(connect=deadline, read=deadline),
        retries=False,
    )

    def fetch(url: str) -> bytes:
        if not url.startswith("https://"):
            raise IssuerUnavailable(f"{url[:200]!r} is no HTTPS URL")
        try:
            headers = {} if token is None else {"authorization": f"Bearer {token.read_text('ascii').strip()}"}
            answer = pool.request("GET", url, headers=headers, redirect=False, preload_content=False)
            try:
                return _body(answer, url, time.monotonic() + deadline)
            finally:
                answer.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise IssuerUnavailable(f"{url[:200]} cannot be fetched: {type(error).__name__}") from None

    return fetch


def _body(answer: urllib3.BaseHTTPResponse, url: str, until: float) -> bytes:
    if answer.status != 200:
        raise IssuerUnavailable(f"{url[:200]} answers {answer.status}")
    body = b""
    while chunk := answer.read1(_CHUNK):
        body += chunk
        if len(body) > MAX_BYTES:
            raise IssuerUnavailable(f"{url[:200]} has more than {MAX_BYTES} bytes")
        if time.monotonic() > until:
            raise IssuerUnavailable(f"{url[:200]} is too slow")
    return body
