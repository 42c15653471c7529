"""The files of the console, from memory. A path names one of them or none, so no path leads out of the directory.

The page may load its own files alone and run no script or style of its text. It may make no HTML of text either:
`require-trusted-types-for` has browsers refuse that, so nothing that users have named becomes a part of the page.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from shared.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

router = APIRouter(include_in_schema=False)

_METHODS = ["GET", "HEAD"]
"""RFC 9110, section 9.1: whoever serves a page by GET answers HEAD as well. FastAPI does not add it."""

_DIRECTORY = Path(__file__).resolve().parents[1] / "console"
_INDEX = "index.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect")),
        *(f"{name} 'none'" for name in ("base-uri", "form-action", "frame-ancestors")),
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True)
class Asset:
    """A file of the console."""

    content: bytes
    media_type: str
    etag: str


@router.api_route("/", methods=_METHODS)
async def read_page(request: Request) -> Response:
    """The page. What it shows follows from the part of the address behind `#`, which is not sent."""
    return _answer(request, _INDEX)


@router.api_route("/console/{name:path}", methods=_METHODS)
async def read_asset(name: str, request: Request) -> Response:
    """What the page loads. Raises NotFound."""
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    """A file is asked for again each time and sent when it has changed: no two releases are ever mixed."""
    if (asset := assets().get(name)) is None:
        raise NotFound("the console has no such file")
    headers = {**_HEADERS, "etag": asset.etag}
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(asset.content, 200, headers, asset.media_type)


@cache
def assets() -> Mapping[str, Asset]:
    """Every file by its path below the directory, read when the first one is asked for."""
    found: dict[str, Asset] = {}
    for path in sorted(_DIRECTORY.rglob("*")):
        if (media_type := _TYPES.get(path.suffix)) is not None:
            content = path.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found[path.relative_to(_DIRECTORY).as_posix()] = Asset(content, media_type, etag)
    return found
