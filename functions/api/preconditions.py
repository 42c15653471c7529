"""ETag and If-Match (RFC 9110, sections 8.8.3 and 13.1.1): nobody overwrites what they have not seen.

    @router.put("/things/{name}", responses=responses("not-found", *PRECONDITIONS))
    def replace_thing(name: str, body: Thing, session: CurrentSession, match: MustMatch) -> Response:
        with session.begin() as work:
            ...                                  # read the object, locked, and check who may
            match.check(etag(thing.id, thing.updated_at))

A route that replaces a whole object takes `MustMatch`: without If-Match the answer is 428. One that changes named
fields or deletes takes `MayMatch`. An ETag is strong: its markers change with every change of what is shown.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header

from functions.api.problems import RequestRefused

PRECONDITIONS = ("precondition-failed", "precondition-required")
"""The problems of a route that takes `MustMatch`; the first alone is of one that takes `MayMatch`."""

_ETAG_BYTES = 16
_TAG = r'(?:W/)?"[\x21\x23-\x7e]*"'
_TAGS = re.compile(rf"{_TAG}(?:[ \t]*,[ \t]*{_TAG})*")


def etag(*markers: object) -> str:
    """The entity tag of an object in the state that the markers name, such as its id and when it last changed."""
    digest = hashlib.sha256("\n".join(map(str, markers)).encode()).hexdigest()
    return f'"{digest[: 2 * _ETAG_BYTES]}"'


@dataclass(frozen=True)
class Precondition:
    """What If-Match asks. tags: those of the states in which the change may be made; None for any."""

    tags: frozenset[str] | None

    def check(self, current: str) -> None:
        """Raises RequestRefused, 412, when the object is in another state than the caller has seen."""
        if self.tags is not None and current not in self.tags:
            raise RequestRefused(
                "precondition-failed",
                "the object has changed since it was read: read it again, and send its present ETag as If-Match",
                ("If-Match", "is not the present ETag"),
                headers={"etag": current},
            )


_IfMatch = Annotated[
    str | None, Header(alias="If-Match", max_length=2000, description="The ETag of the object as it was read, or `*`.")
]


def _optional(if_match: _IfMatch = None) -> Precondition:
    if if_match is None or if_match.strip() == "*":
        return Precondition(None)
    if not _TAGS.fullmatch(if_match.strip()):
        said = 'must be `*` or an ETag with its quotes, such as "5f1c"'
        raise RequestRefused("bad-request", f"If-Match {said}", ("If-Match", said))
    return Precondition(frozenset(re.findall(_TAG, if_match)))


def _required(if_match: _IfMatch = None) -> Precondition:
    if if_match is None:
        said = "send the ETag that reading the object has given as If-Match, or `*` to replace it as it may be"
        raise RequestRefused("precondition-required", said, ("If-Match", "is needed"))
    return _optional(if_match)


MayMatch = Annotated[Precondition, Depends(_optional)]
MustMatch = Annotated[Precondition, Depends(_required)]
