"""Objects on disk: one SQLite file, one row an object, and the newest resourceVersion.

The journal is a write-ahead log without a sync per commit: what is committed survives the death of this process at
any moment (the pages are the operating system's), and a power failure may cost the last moments but leaves a
consistent file.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (kind, namespace, name)
);
CREATE TABLE IF NOT EXISTS revision (only INTEGER PRIMARY KEY CHECK (only = 1), value INTEGER NOT NULL);
INSERT OR IGNORE INTO revision VALUES (1, 0);
"""


@dataclass(frozen=True)
class Row:
    """`body` is the object as JSON, or None when it was deleted."""

    kind: str
    namespace: str
    name: str
    body: bytes | None


class Storage:
    def __init__(self, path: Path) -> None:
        """Opens or creates the file. Raises sqlite3.Error when it is none of ours, or not writable."""
        self._db = sqlite3.connect(path, isolation_level=None)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error:
            self._db.close()
            raise

    def revision(self) -> int:
        value: int = self._db.execute("SELECT value FROM revision").fetchone()[0]
        return value

    def rows(self) -> Iterator[Row]:
        for kind, namespace, name, body in self._db.execute("SELECT kind, namespace, name, body FROM objects"):
            yield Row(kind, namespace, name, body)

    def commit(self, revision: int, rows: list[Row]) -> None:
        """Writes all rows and the revision in one transaction. Raises sqlite3.Error, and then nothing was written."""
        kept = [(row.kind, row.namespace, row.name, row.body) for row in rows if row.body is not None]
        gone = [(row.kind, row.namespace, row.name) for row in rows if row.body is None]
        self._db.execute("BEGIN IMMEDIATE")
        try:
            if kept:
                self._db.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", kept)
            if gone:
                self._db.executemany("DELETE FROM objects WHERE kind = ? AND namespace = ? AND name = ?", gone)
            self._db.execute("UPDATE revision SET value = ?", (revision,))
            self._db.execute("COMMIT")
        except sqlite3.Error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        self._db.close()
