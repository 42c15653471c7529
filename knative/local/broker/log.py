"""The broker's durable log: what was acknowledged, and for whom it is still pending.

One row is one delivery: an event that one Trigger took. An event of two Triggers is two rows, so that finishing a
delivery is one DELETE and no row is shared. The row's number is the `offset` that its subscriber sees.

SQLite in WAL mode with synchronous=FULL: a call returns when its rows are on the disk. Calls made while a commit is
under way share the next one (group commit), in the order in which they were made; so under load a commit costs a
fraction of a flush per event. All statements, reads included, run on one thread.

INVARIANT: the completion of a delivery and the event that its answer brought commit together. A crash repeats both or
neither.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from knative.local.broker.wire import Record

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: it is the offset
    trigger TEXT NOT NULL,
    attributes TEXT NOT NULL,              -- JSON
    trace TEXT NOT NULL,                   -- JSON
    data BLOB,
    attempts INTEGER NOT NULL DEFAULT 0,   -- failed ones, to the present destination
    dead INTEGER NOT NULL DEFAULT 0,       -- 1: on its way to the dead-letter sink
    due REAL NOT NULL                      -- seconds since the epoch
);
CREATE INDEX IF NOT EXISTS deliveries_by_due ON deliveries (trigger, due, id);
"""


@dataclass(frozen=True)
class PendingDelivery:
    """One event on its way to one subscriber, or to that Trigger's dead-letter sink when `dead`."""

    id: int
    trigger: str
    record: Record
    due: float
    attempts: int = 0
    dead: bool = False


@dataclass(frozen=True)
class Routed:
    """An event and the Triggers that take it."""

    record: Record
    triggers: Sequence[str]


@dataclass(frozen=True)
class _Call:
    work: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]
    announced: bool


class LogUnavailable(Exception):
    """The log cannot be written: the disk is full or gone, or the file is no database. Nothing of the call was kept."""


class Log:
    """The log in one directory. Use it from one event loop; `close` when done.

    Raises LogUnavailable.

    `announce` is called with the deliveries of each append or completion as soon as they are durable, also when the
    caller was cancelled meanwhile: nothing that is kept goes unnoticed. It is called before later results are known.
    """

    def __init__(self, directory: Path, announce: Callable[[Sequence[PendingDelivery]], None]) -> None:
        self._announce = announce
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="broker-log")
        self._waiting: list[_Call] = []
        self._writer: asyncio.Task[None] | None = None
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._connection = self._thread.submit(_open, directory / "log.sqlite").result()
        except (OSError, sqlite3.Error) as error:
            self._thread.shutdown()
            raise LogUnavailable(f"the broker's log in {directory} cannot be opened: {error}") from error

    async def append(self, event: Routed, now: float) -> None:
        """Keeps the event for each of its Triggers. Returns when it is durable."""
        await self._run(lambda connection: _insert(connection, event, now), announced=True)

    async def complete(self, delivery: PendingDelivery, answer: Routed | None, now: float) -> None:
        """Removes the delivery, and keeps the event that it was answered with, in one transaction."""

        def work(connection: sqlite3.Connection) -> list[PendingDelivery]:
            connection.execute("DELETE FROM deliveries WHERE id = ?", (delivery.id,))
            return _insert(connection, answer, now) if answer else []

        await self._run(work, announced=True)

    async def postpone(self, delivery: PendingDelivery, due: float) -> PendingDelivery:
        """Counts a failed attempt; the next one is due at `due`."""
        later = replace(delivery, attempts=delivery.attempts + 1, due=due)
        await self._run(
            lambda connection: connection.execute(
                "UPDATE deliveries SET attempts = ?, due = ? WHERE id = ?", (later.attempts, due, later.id)
            )
        )
        return later

    async def turn_to_dead_letter(
        self, delivery: PendingDelivery, extensions: Mapping[str, str], now: float
    ) -> PendingDelivery:
        """Turns the delivery towards the dead-letter sink, with the extensions that say why."""
        record = delivery.record.extended(extensions)
        dead = replace(delivery, record=record, attempts=0, dead=True, due=now)
        await self._run(
            lambda connection: connection.execute(
                "UPDATE deliveries SET attempts = 0, dead = 1, due = ?, attributes = ? WHERE id = ?",
                (now, json.dumps(dict(record.attributes)), dead.id),
            )
        )
        return dead

    async def due(self, trigger: str, now: float, limit: int) -> list[PendingDelivery]:
        """The Trigger's deliveries that are due, the longest due first, at most `limit`."""
        return await self._run(
            lambda connection: [
                _delivery(row)
                for row in connection.execute(
                    "SELECT id, trigger, attributes, trace, data, due, attempts, dead FROM deliveries "
                    "WHERE trigger = ? AND due <= ? ORDER BY due, id LIMIT ?",
                    (trigger, now, limit),
                )
            ]
        )

    async def next_due(self, trigger: str, after: float) -> float | None:
        """When the Trigger's next delivery after `after` is due."""
        query = "SELECT min(due) FROM deliveries WHERE trigger = ? AND due > ?"
        row: tuple[float | None] = await self._run(
            lambda connection: connection.execute(query, (trigger, after)).fetchone()
        )
        return row[0]

    async def pending(self) -> dict[str, int]:
        """How many deliveries are pending, by Trigger."""
        query = "SELECT trigger, count(*) FROM deliveries GROUP BY trigger"
        return await self._run(lambda connection: dict(connection.execute(query).fetchall()))

    async def forget(self, trigger: str) -> None:
        """Drops what is pending for a Trigger that is no longer there."""
        await self._run(lambda connection: connection.execute("DELETE FROM deliveries WHERE trigger = ?", (trigger,)))

    async def close(self) -> None:
        """Waits for the calls under way, then closes the file."""
        while self._writer is not None:
            await asyncio.shield(self._writer)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()

    async def _run(self, work: Callable[[sqlite3.Connection], T], *, announced: bool = False) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._waiting.append(_Call(work, future, announced))
        if self._writer is None:
            self._writer = loop.create_task(self._write())
        return await future

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                results = await loop.run_in_executor(self._thread, self._commit, batch)
            except sqlite3.Error as error:
                for call in batch:
                    if not call.future.done():
                        call.future.set_exception(LogUnavailable(str(error)))
                continue
            for call, result in zip(batch, results, strict=True):
                if call.announced and result:
                    self._announce(result)
                if not call.future.done():
                    call.future.set_result(result)
        self._writer = None

    def _commit(self, batch: Sequence[_Call]) -> list[Any]:
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            return [call.work(self._connection) for call in batch]


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_SCHEMA)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _insert(connection: sqlite3.Connection, event: Routed, now: float) -> list[PendingDelivery]:
    record, kept = event.record, []
    attributes, trace = json.dumps(dict(record.attributes)), json.dumps(dict(record.trace))
    for trigger in event.triggers:
        cursor = connection.execute(
            "INSERT INTO deliveries (trigger, attributes, trace, data, due) VALUES (?, ?, ?, ?, ?)",
            (trigger, attributes, trace, record.data, now),
        )
        assert cursor.lastrowid is not None  # an INSERT of one row sets it
        kept.append(PendingDelivery(cursor.lastrowid, trigger, record, now))
    return kept


def _delivery(row: tuple[int, str, str, str, bytes | None, float, int, int]) -> PendingDelivery:
    number, trigger, attributes, trace, data, due, attempts, dead = row
    record = Record(json.loads(attributes), data, json.loads(trace))
    return PendingDelivery(number, trigger, record, due, attempts, bool(dead))
