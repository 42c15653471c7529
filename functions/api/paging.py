"""Lists: what a request asks of one, and the page that answers it.

    SORTS = sorts(name=(str, str, str), createdAt=(datetime, uuid.UUID))   # the types of each key's columns

    @router.get("/workloads", response_model=Listing, responses=responses())
    def list_workloads(session: CurrentSession, page: Annotated[ListQuery, SORTS], team: str | None = None) -> Response:
        with session.read() as work:
            found = operation(work, wanted, page.request)   # a shared.models.page.Page
        return page.answer(found, Workload.as_json)

Filters are further parameters of the route; a cursor is bound to all of them. See shared.store.pages for the store's
side.

A cursor is opaque: the key of the last row that was shown, with a digest of the path, the filters and the sort that it
belongs to. It is not signed: whoever forges one sees what the same filters show them anyway.
"""

import base64
import binascii
import hashlib
import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from functions.api.problems import RequestRefused
from shared.eventing import strict_json
from shared.models.page import Page, PageRequest

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
_MAX_CURSOR = 4000
_DIGEST_BYTES = 12
_CURSOR = re.compile(r"[A-Za-z0-9_-]+")

T = TypeVar("T")


class Listing(BaseModel):
    """A page of a list. next: the cursor of the page that follows; null when this is the last."""

    items: list[dict[str, Any]]
    next: str | None


@dataclass(frozen=True)
class ListQuery:
    """What a request asks of a list. request: for the store."""

    request: PageRequest
    _http: Request
    _digest: str

    def answer(self, page: Page[T], present: Callable[[T], Mapping[str, Any]]) -> Response:
        """The page as JSON, see Listing, with the header `Link` when there is a page that follows."""
        headers = {}
        following = None if page.next is None else _encode(self._digest, page.next)
        if following is not None:
            query = [(name, value) for name, value in self._http.query_params.multi_items() if name != "cursor"]
            target = f"{self._http.url.path}?{urlencode([*query, ('cursor', following)])}"
            headers["link"] = f'<{target}>; rel="next"'
        return JSONResponse({"items": [present(item) for item in page.items], "next": following}, 200, headers)


def sorts(**keys: tuple[type, ...]) -> Any:
    """The dependency of a list, whose value is a ListQuery. keys: the sorts that the list offers, the usual one first.

    Of each the types of its key's columns: str, int, datetime or uuid.UUID.
    """
    offered = [text for name in keys for text in (name, f"-{name}")]

    def read(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many items a page may have.")] = DEFAULT_LIMIT,
        cursor: Annotated[
            str | None,
            Query(
                max_length=_MAX_CURSOR,
                description="The `next` of the page before. It belongs to the same filters and the same sort.",
            ),
        ] = None,
        sort: Annotated[
            str, Query(json_schema_extra={"enum": offered}, description="With `-` in front: the other way round.")
        ] = offered[0],
    ) -> ListQuery:
        if sort not in offered:
            said = f"must be one of {', '.join(offered)}"
            raise RequestRefused("invalid", f"sort: {said}", ("sort", said))
        name = sort.removeprefix("-")
        digest = _digest(request, sort)
        after = None if cursor is None else _decode(cursor, digest, keys[name])
        return ListQuery(PageRequest(limit, name, sort.startswith("-"), after), request, digest)

    return Depends(read)


def _digest(request: Request, sort: str) -> str:
    """Names the list that a cursor belongs to: its path, its filters in any order, its sort."""
    filters = [pair for pair in request.query_params.multi_items() if pair[0] not in ("limit", "cursor", "sort")]
    listed = json.dumps([request.url.path, sort, *sorted(filters)])
    return hashlib.sha256(listed.encode()).hexdigest()[: 2 * _DIGEST_BYTES]


def _encode(digest: str, key: tuple[Any, ...]) -> str:
    values = [value if isinstance(value, str | int) else _text(value) for value in key]
    return base64.urlsafe_b64encode(strict_json.compact([digest, *values])).decode().rstrip("=")


def _text(value: datetime | uuid.UUID) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _decode(cursor: str, digest: str, types: tuple[type, ...]) -> tuple[Any, ...]:
    try:
        if not _CURSOR.fullmatch(cursor):
            raise ValueError("not base64url")
        found = strict_json.parse(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(found, list) or not found or not isinstance(found[0], str):
            raise ValueError("no cursor")
        given, *values = found
        matches = given == digest
        key = tuple(_value(value, wanted) for value, wanted in zip(values, types, strict=True)) if matches else ()
    except (ValueError, OverflowError, binascii.Error):
        raise _refused("is not one that this list has given: leave it out to begin with the first page") from None
    if not matches:
        raise _refused("belongs to another list, other filters or another sort: leave it out to begin anew")
    return key


def _value(value: Any, wanted: type) -> Any:
    """A value of a key as its column needs it. Raises ValueError: PostgreSQL never sees what it would refuse."""
    if wanted is int and type(value) is int and -(2**63) <= value < 2**63:
        return value
    if wanted is str and isinstance(value, str):
        return value
    if wanted is uuid.UUID and isinstance(value, str):
        return uuid.UUID(value)
    if wanted is datetime and isinstance(value, str) and (moment := datetime.fromisoformat(value)).tzinfo is not None:
        return moment
    raise ValueError(f"not of the type {wanted.__name__}")


def _refused(said: str) -> RequestRefused:
    return RequestRefused("bad-request", f"cursor: {said}", ("cursor", said))
