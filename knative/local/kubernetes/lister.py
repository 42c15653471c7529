"""Lists: selection through the indexes, a stable order, and pages of one consistent state.

A list that is cut by `limit` keeps the rest of the state that it was taken from for five minutes. So the pages
together are the list of one moment. After that, or when too many such lists are open, the token is answered with 410
and the client starts again.
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
class ListOptions:
    namespace: str = ""
    labels: Selector = ()
    fields: FieldSelector = ()
    limit: int = 0
    token: str = ""


@dataclass(frozen=True)
class ListPage:
    """`token` is "" on the last page; `remaining` is None when it cannot be known cheaply, as with selectors."""

    items: list[Stored]
    revision: int
    token: str = ""
    remaining: int | None = None


@dataclass(frozen=True)
class _Remainder:
    kind: Kind
    items: list[Stored]
    revision: int
    expires: float


class Lister:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._remainders: OrderedDict[str, _Remainder] = OrderedDict()

    def page(self, kind: Kind, options: ListOptions) -> ListPage:
        """Raises 410 on a token that expired, 400 on one that never was."""
        if options.token:
            items, revision = self._resumed(kind, options.token)
        else:
            items, revision = self.select(kind, options), self._objects.revision
        if not options.limit or len(items) <= options.limit:
            return ListPage(items, revision)
        rest = _Remainder(kind, items[options.limit :], revision, time.monotonic() + _SECONDS)
        token = secrets.token_urlsafe(18)
        self._remainders[token] = rest
        while len(self._remainders) > _KEPT:
            self._remainders.popitem(last=False)
        selected = bool(options.labels or options.fields)
        return ListPage(items[: options.limit], revision, token, None if selected else len(rest.items))

    def _resumed(self, kind: Kind, token: str) -> tuple[list[Stored], int]:
        if len(token) != 24:
            raise bad_request("invalid continue token: continue key is not valid: it was not issued by this server")
        rest = self._remainders.get(token)
        if rest is None or rest.kind is not kind or rest.expires < time.monotonic():
            raise gone(
                "The provided continue parameter is too old to display a consistent list result. "
                "You must start a new list without the continue parameter."
            )
        return rest.items, rest.revision

    def select(self, kind: Kind, options: ListOptions) -> list[Stored]:
        """All objects that the options select, by namespace and name."""
        match = selectors.matcher(options.labels, options.fields)
        found = [
            stored
            for stored in self._candidates(kind, options)
            if (not options.namespace or stored.obj["metadata"].get("namespace") == options.namespace)
            and (match is None or match(stored.obj))
        ]
        found.sort(key=lambda stored: key_of(stored.obj))
        return found

    def _candidates(self, kind: Kind, options: ListOptions) -> Iterable[Stored]:
        name = next((f.value for f in options.fields if f.path == "metadata.name" and not f.negated), None)
        if name is not None and (options.namespace or not kind.namespaced):
            stored = self._objects.get(kind, (options.namespace, name))
            return [stored] if stored is not None else []
        pairs = selectors.equalities(options.labels)
        if pairs:
            return self._objects.labelled(kind, pairs)
        return self._objects.all(kind, options.namespace)
