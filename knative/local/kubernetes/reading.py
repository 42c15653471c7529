"""Lists: selection through the indexes, a stable order, and pages of one consistent state.

A list that is cut by `limit` keeps the rest of the state it was taken from for five minutes, so the pages together
are the list of one moment. After that, or when too many such lists are open, the token is 410 and the client starts
over.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from knative.local.kubernetes import selectors
from knative.local.kubernetes.errors import bad_request, gone
from knative.local.kubernetes.kinds import Kind
from knative.local.kubernetes.objects import Objects, Stored, key_of
from knative.local.kubernetes.selectors import FieldSelector, Selector

_KEPT = 64
_SECONDS = 300.0


@dataclass(frozen=True)
class Query:
    namespace: str = ""
    labels: Selector = ()
    fields: FieldSelector = ()
    limit: int = 0
    token: str = ""


@dataclass(frozen=True)
class Page:
    """`token` is "" on the last page; `remaining` is None when it cannot be known cheaply, as with selectors."""

    items: list[Stored]
    revision: int
    token: str = ""
    remaining: int | None = None


@dataclass(frozen=True)
class _Rest:
    kind: Kind
    items: list[Stored]
    revision: int
    expires: float


class Reading:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._rests: OrderedDict[str, _Rest] = OrderedDict()

    def page(self, kind: Kind, query: Query) -> Page:
        """Raises 410 on a token that expired, 400 on one that never was."""
        if query.token:
            items, revision = self._resumed(kind, query.token)
        else:
            items, revision = self.select(kind, query), self._objects.revision
        if not query.limit or len(items) <= query.limit:
            return Page(items, revision)
        rest = _Rest(kind, items[query.limit :], revision, time.monotonic() + _SECONDS)
        token = secrets.token_urlsafe(18)
        self._rests[token] = rest
        while len(self._rests) > _KEPT:
            self._rests.popitem(last=False)
        selected = bool(query.labels or query.fields)
        return Page(items[: query.limit], revision, token, None if selected else len(rest.items))

    def _resumed(self, kind: Kind, token: str) -> tuple[list[Stored], int]:
        if len(token) != 24:
            raise bad_request("invalid continue token: continue key is not valid: it was not issued by this server")
        rest = self._rests.get(token)
        if rest is None or rest.kind is not kind or rest.expires < time.monotonic():
            raise gone(
                "The provided continue parameter is too old to display a consistent list result. "
                "You must start a new list without the continue parameter."
            )
        return rest.items, rest.revision

    def select(self, kind: Kind, query: Query) -> list[Stored]:
        """All objects that the query selects, by namespace and name."""
        match = selectors.matcher(query.labels, query.fields)
        found = [
            stored
            for stored in self._candidates(kind, query)
            if (not query.namespace or stored.obj["metadata"].get("namespace") == query.namespace)
            and (match is None or match(stored.obj))
        ]
        found.sort(key=lambda stored: key_of(stored.obj))
        return found

    def _candidates(self, kind: Kind, query: Query) -> Iterable[Stored]:
        name = next((f.value for f in query.fields if f.path == "metadata.name" and not f.negated), None)
        if name is not None and (query.namespace or not kind.namespaced):
            stored = self._objects.get(kind, (query.namespace, name))
            return [stored] if stored is not None else []
        pairs = selectors.equalities(query.labels)
        if pairs:
            return self._objects.labelled(kind, pairs)
        return self._objects.all(kind, query.namespace)
