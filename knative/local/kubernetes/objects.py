"""All objects in memory, in front of the disk, and the order of every change.

Rules:

- There is one thread. A stored object is never changed again: a write replaces it. So readers share objects without
  copying them.
- Every write takes the next resourceVersion of one counter and becomes a `Change`. Changes are staged, and `flush`
  commits them in one transaction. Writes of one turn of the event loop share a commit.
- A response is sent after its content is on disk: `Cluster.durable` waits for the commit, and watchers get a change
  after it. Controllers get a change at once. What they write is committed after what they read, or together with it.
- When a commit fails, memory is ahead of the disk and the process must end: `flush` raises, and its caller stops.
"""

import json
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from knative.local.kubernetes.kinds import BY_KEY, KINDS, Kind
from knative.local.kubernetes.storage import Row, Storage

Object = dict[str, Any]
Key = tuple[str, str]
"""(namespace, name); the namespace is "" for cluster-scoped kinds."""

PARSED = 4_096  # versions held as objects beside their JSON
HISTORY = 4_096  # changes kept of each kind for watches that resume; older ones answer 410


class Stored:
    """One version of an object, with its JSON as it is answered and stored.

    An object weighs five times its JSON. So only the objects that were used last are held as such (`parsed` holds
    them, the oldest first). The others are parsed again on their next use.
    """

    __slots__ = ("_obj", "_parsed", "body", "revision")

    def __init__(self, obj: Object, revision: int, body: bytes, parsed: "deque[Stored]") -> None:
        self.revision = revision
        self.body = body
        self._parsed = parsed
        self._obj: Object | None = obj
        self._keep()

    @property
    def obj(self) -> Object:
        obj = self._obj
        if obj is None:
            obj = self._obj = json.loads(self.body)
            self._keep()
        return obj

    def _keep(self) -> None:
        self._parsed.append(self)
        if len(self._parsed) > PARSED:
            self._parsed.popleft()._obj = None


@dataclass(frozen=True, eq=False)
class Change:
    """`old` is None for a creation; `deleted` changes have the last state in `new`, at the revision of the deletion."""

    kind: Kind
    key: Key
    old: Stored | None
    new: Stored
    deleted: bool = False

    @property
    def revision(self) -> int:
        return self.new.revision


def encode(obj: Object) -> bytes:
    return json.dumps(obj, separators=(",", ":"), ensure_ascii=False).encode()


def type_prefix(kind: Kind) -> bytes:
    """How the JSON of every stored object of a kind begins."""
    return encode({"kind": kind.name, "apiVersion": kind.api_version})[:-1] + b","


def key_of(obj: Object) -> Key:
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


@dataclass
class _KindIndex:
    """The objects of one kind, with the indexes that reads and garbage collection need."""

    by_namespace: dict[str, dict[str, Stored]] = field(default_factory=dict)
    by_label: dict[tuple[str, str], dict[Key, None]] = field(default_factory=lambda: defaultdict(dict))
    by_owner: dict[str, dict[Key, None]] = field(default_factory=lambda: defaultdict(dict))
    count: int = 0

    def get(self, key: Key) -> Stored | None:
        names = self.by_namespace.get(key[0])
        return None if names is None else names.get(key[1])

    def put(self, key: Key, old: Stored | None, new: Stored | None) -> None:
        if new is None:
            names = self.by_namespace[key[0]]
            del names[key[1]]
            if not names:
                del self.by_namespace[key[0]]
            self.count -= 1
        else:
            self.by_namespace.setdefault(key[0], {})[key[1]] = new
            self.count += old is None
        self._index(self.by_label, key, _labels(old), _labels(new))
        self._index(self.by_owner, key, _owners(old), _owners(new))

    @staticmethod
    def _index(index: dict[Any, dict[Key, None]], key: Key, before: set[Any], after: set[Any]) -> None:
        for entry in before - after:
            del index[entry][key]
            if not index[entry]:
                del index[entry]
        for entry in after - before:
            index[entry][key] = None


def _labels(stored: Stored | None) -> set[Any]:
    return set() if stored is None else set((stored.obj["metadata"].get("labels") or {}).items())


def _owners(stored: Stored | None) -> set[Any]:
    if stored is None:
        return set()
    return {owner["uid"] for owner in stored.obj["metadata"].get("ownerReferences") or ()}


class Objects:
    """`on_change` is called for every change at once, `on_durable` with all changes of a commit after it."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._kinds = {kind: _KindIndex() for kind in KINDS}
        self._staged: list[Change] = []
        self._parsed: deque[Stored] = deque()
        self.history: dict[Kind, deque[Change]] = {kind: deque() for kind in KINDS}
        self.on_change: list[Callable[[Change], None]] = []
        self.on_durable: list[Callable[[list[Change]], None]] = []
        self.on_staged: Callable[[], None] = lambda: None
        for row in storage.rows():
            kind = BY_KEY.get(row.kind)
            if kind is not None and row.body is not None:
                obj = json.loads(row.body)
                stored = Stored(obj, int(obj["metadata"]["resourceVersion"]), row.body, self._parsed)
                self._kinds[kind].put((row.namespace, row.name), None, stored)
        self.revision = max(storage.revision(), 1)
        self.oldest = dict.fromkeys(KINDS, self.revision)  # a watch can resume from this revision or a later one

    # reading

    def get(self, kind: Kind, key: Key) -> Stored | None:
        return self._kinds[kind].get(key)

    def count(self, kind: Kind) -> int:
        return self._kinds[kind].count

    def all(self, kind: Kind, namespace: str = "") -> Iterator[Stored]:
        """In no particular order; every namespace when none is given. The store may be written to while iterating."""
        index = self._kinds[kind]
        if namespace:
            yield from list(index.by_namespace.get(namespace, {}).values())
            return
        for names in list(index.by_namespace.values()):
            yield from list(names.values())

    def labelled(self, kind: Kind, pairs: Iterable[tuple[str, str]]) -> list[Stored]:
        """Objects that carry the rarest of these labels; the caller still has to check the rest."""
        index = self._kinds[kind]
        rarest = min((index.by_label.get(pair, {}) for pair in pairs), key=len)
        return [stored for key in rarest if (stored := index.get(key)) is not None]

    def owned(self, kind: Kind, uid: str) -> list[Stored]:
        """Objects with an owner reference to `uid`."""
        index = self._kinds[kind]
        return [stored for key in index.by_owner.get(uid, ()) if (stored := index.get(key)) is not None]

    def dependents(self, uid: str) -> list[tuple[Kind, Stored]]:
        return [(kind, stored) for kind in KINDS for stored in self.owned(kind, uid)]

    # writing

    def version(self, obj: Object) -> Stored:
        """`obj` at the present revision; it is not stored by this."""
        return Stored(obj, self.revision, encode(obj), self._parsed)

    def put(self, kind: Kind, obj: Object) -> Stored:
        """Creates or replaces; sets metadata.resourceVersion. The object must not be changed by the caller
        afterwards.
        """
        key = key_of(obj)
        self.revision += 1
        head = {"kind": kind.name, "apiVersion": kind.api_version}
        obj = head | obj | {"metadata": obj["metadata"] | {"resourceVersion": str(self.revision)}}
        index = self._kinds[kind]
        old = index.get(key)
        new = self.version(obj)
        index.put(key, old, new)
        self._stage(Change(kind, key, old, new))
        return new

    def delete(self, kind: Kind, key: Key) -> Stored:
        """Removes an object that exists; returns its last state at the revision of the deletion."""
        index = self._kinds[kind]
        old = index.get(key)
        assert old is not None, f"{kind} {key} is not stored"
        self.revision += 1
        obj = old.obj | {"metadata": old.obj["metadata"] | {"resourceVersion": str(self.revision)}}
        new = self.version(obj)
        index.put(key, old, None)
        self._stage(Change(kind, key, old, new, deleted=True))
        return new

    def _stage(self, change: Change) -> None:
        self._staged.append(change)
        if len(self._staged) == 1:
            self.on_staged()
        for listener in self.on_change:
            listener(change)

    def flush(self) -> None:
        """Commits what is staged and notifies the watchers. Raises sqlite3.Error when the disk refuses."""
        if not self._staged:
            return
        changes, self._staged = self._staged, []
        newest = {(change.kind, change.key): change for change in changes}
        self._storage.commit(
            changes[-1].revision,
            [Row(c.kind.key, *c.key, None if c.deleted else c.new.body) for c in newest.values()],
        )
        for change in changes:
            history = self.history[change.kind]
            history.append(change)
            if len(history) > HISTORY:
                self.oldest[change.kind] = history.popleft().revision
        for listener in self.on_durable:
            listener(changes)
