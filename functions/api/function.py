"""The function api, built from its parts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from functions.api.app import build as build_app
from functions.api.identity import Identity
from functions.api.metrics import MetricsPage
from functions.api.session import Services
from shared.identity.keys import KeyDirectory
from shared.identity.passwords import Passwords
from shared.identity.tokens import Tokens
from shared.operations import audit_export
from shared.operations.identity.authenticate import authenticate
from shared.settings import IdentitySettings, metrics_interval

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from fastapi import FastAPI

    from functions.runtime import Ports
    from shared.identity.oidc import ExternalIssuers


def build(ports: Ports) -> FastAPI:
    """The application on what its environment says. Raises ConfigurationError."""
    settings = IdentitySettings.from_environment()
    tokens = Tokens(settings.issuer, KeyDirectory(settings.keys_directory).current)
    identity = Identity(tokens, Passwords(), settings.first_admin_password, _external(settings))
    whose = partial(authenticate, tokens=tokens)
    audit_key = _audit_key(settings.audit_key)
    publish, threads = ports.publish_after_commit(), ports.settings.pool_size
    page = MetricsPage(metrics_interval())
    return build_app(Services(ports.store, whose, publish, audit_key, identity, threads=threads, metrics=page))


def _audit_key(path: Path | None) -> Ed25519PrivateKey | None:
    return None if path is None or not path.exists() else audit_export.private_key(path)


def _external(settings: IdentitySettings) -> ExternalIssuers | None:
    if not settings.oidc_issuers:
        return None
    from shared.identity.https import fetcher  # a cold start without issuers need not wait for it
    from shared.identity.oidc import ExternalIssuers

    return ExternalIssuers(settings.oidc_issuers, lambda issuer: fetcher(issuer.certificate_authority))
