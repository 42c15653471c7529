"""The public keys that tokens are verified with, where others look for them."""

from __future__ import annotations

from typing import Any

from fastapi import Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from functions.api.identity import CurrentIdentity
from functions.api.problems import responses
from functions.api.requests import router as new_router

router = new_router("auth")


class KeySetAnswer(BaseModel):
    """A JSON Web Key Set (RFC 7517)."""

    keys: list[dict[str, Any]]


@router.get("/.well-known/jwks.json", response_model=KeySetAnswer, responses=responses())
def public_keys(identity: CurrentIdentity) -> Response:
    """The public halves of the live signing keys. A key is here before it signs anything."""
    return JSONResponse(dict(identity.tokens.public_keys()), headers={"cache-control": "public, max-age=60"})
