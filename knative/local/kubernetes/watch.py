"""Watches: each change is rendered once, and given to the watchers of its kind that select it.

A watcher with a selector gets ADDED when an object is created or starts to match. It gets DELETED when the object is
deleted or stops to match; the event holds the state that matched last. A watch resumes from a resourceVersion as long
as the changes since then are kept. Otherwise it gets the ERROR event 410, and the client has to list again.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any

from knative.local.kubernetes.errors import ApiError
from knative.local.kubernetes.kinds import KINDS, Kind
from knative.local.kubernetes.objects import Change, Objects, Stored, encode

Match = Callable[[Mapping[str, Any]], bool]
Render = Callable[[Stored], bytes]
"""The `object` of a watch event: the object itself, or a Table with its row."""

_LAG = 100_000  # lines that wait for a client that does not read; then it is dropped, and lists again


def line(event: str, body: bytes) -> bytes:
    return b'{"type":"' + event.encode() + b'","object":' + body + b"}\n"


class Watcher:
    """The lines that wait for one client. `closed` says that its watch must end."""

    def __init__(self, namespace: str, match: Match | None, render: Render | None) -> None:
        self._namespace = namespace
        self._match = match
        self._render = render
        self._lines: list[bytes] = []
        self._ready = asyncio.Event()
        self.closed = False

    def offer(self, change: Change, plain: Callable[[str], bytes]) -> None:
        """Queues the event that this watcher sees of a change, if any; `plain` renders it without a table."""
        event = self._event(change)
        if event is None or self.closed:
            return
        if event == "DELETED" and not change.deleted:
            last = _last_seen(change)
            self._lines.append(line(event, last.body if self._render is None else self._render(last)))
        else:
            self._lines.append(plain(event) if self._render is None else line(event, self._render(change.new)))
        if len(self._lines) > _LAG:
            self.close()
        self._ready.set()

    def _event(self, change: Change) -> str | None:
        if self._namespace and change.key[0] != self._namespace:
            return None
        was, now = change.old is not None, not change.deleted
        if self._match is not None:
            was = change.old is not None and self._match(change.old.obj)
            now = now and self._match(change.new.obj)
        if now:
            return "MODIFIED" if was else "ADDED"
        return "DELETED" if was else None

    def close(self) -> None:
        self.closed = True
        self._ready.set()

    async def lines(self, timeout: float) -> bytes:
        """All lines that wait, joined; empty after `timeout` seconds without any, or when the watcher was closed."""
        if not self._lines and not self.closed:
            try:
                async with asyncio.timeout(timeout):
                    await self._ready.wait()
            except TimeoutError:
                return b""
        self._ready.clear()
        waiting, self._lines = self._lines, []
        return b"".join(waiting)


def _last_seen(change: Change) -> Stored:
    """The state before a change, at the revision of the change."""
    assert change.old is not None
    metadata = change.old.obj["metadata"] | {"resourceVersion": str(change.revision)}
    obj = change.old.obj | {"metadata": metadata}
    return Stored(obj, change.revision, encode(obj), deque())


class Watches:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._watchers: dict[Kind, dict[Watcher, None]] = defaultdict(dict)
        objects.on_durable.append(self._publish)

    def add(self, kind: Kind, watcher: Watcher, since: int | None) -> None:
        """Subscribes; with `since`, the kept changes after that revision come first. Raises 410 when they are gone."""
        if since is not None:
            oldest = self._objects.oldest[kind]
            if since < oldest:
                raise ApiError(410, "Expired", f"too old resource version: {since} ({oldest})")
            for change in self._objects.history[kind]:
                if change.revision > since:
                    watcher.offer(change, _Rendered(change))
        self._watchers[kind][watcher] = None

    def remove(self, kind: Kind, watcher: Watcher) -> None:
        self._watchers[kind].pop(watcher, None)

    def close(self) -> None:
        """Ends every watch, for the end of the process."""
        for kind in KINDS:
            for watcher in self._watchers[kind]:
                watcher.close()

    def _publish(self, changes: list[Change]) -> None:
        for change in changes:
            watchers = self._watchers.get(change.kind)
            if watchers:
                rendered = _Rendered(change)
                for watcher in watchers:
                    watcher.offer(change, rendered)


class _Rendered:
    """The lines of a change, each made when the first watcher needs it."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self._lines: dict[str, bytes] = {}

    def __call__(self, event: str) -> bytes:
        if event not in self._lines:
            self._lines[event] = line(event, self._change.new.body)
        return self._lines[event]
