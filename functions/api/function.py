"""The function api, built from its parts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from functions.api.app import build as build_app
from functions.api.identity import Identity
from functions.api.session import Services
from shared.identity.keys import KeyDirectory
from shared.identity.passwords import Passwords
from shared.identity.tokens import Tokens
from shared.operations.identity.authenticate import authenticate
from shared.settings import IdentitySettings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from functions.runtime import Ports
    from shared.identity.oidc import ExternalIssuers


def build(ports: Ports) -> FastAPI:
    """The application on what its environment says. Raises ConfigurationError."""
    settings = IdentitySettings.from_environment()
    tokens = Tokens(settings.issuer, KeyDirectory(settings.keys_directory).current)
    identity = Identity(tokens, Passwords(), settings.first_admin_password, _external(settings))
    whose = partial(authenticate, tokens=tokens)
    return build_app(
        Services(ports.store, whose, ports.publish_after_commit(), identity=identity, threads=ports.settings.pool_size)
    )


def _external(settings: IdentitySettings) -> ExternalIssuers | None:
    if not settings.oidc_issuers:
        return None
    from shared.identity.https import fetcher  # a cold start without issuers need not wait for it
    from shared.identity.oidc import ExternalIssuers

    return ExternalIssuers(settings.oidc_issuers, lambda issuer: fetcher(issuer.certificate_authority))
