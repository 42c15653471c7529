from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from knative.local.broker.log import Log, LogUnavailable, PendingDelivery, Routed
from tests.knative.conftest import record

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def announced() -> list[PendingDelivery]:
    return []


@pytest.fixture
async def log(tmp_path: Path, announced: list[PendingDelivery]) -> AsyncIterator[Log]:
    found = Log(tmp_path, announced.extend)
    yield found
    await found.close()


def kept(directory: Path) -> list[tuple[str, int]]:
    """(trigger, attempts) of what another reader finds in the file."""
    with sqlite3.connect(directory / "log.sqlite") as connection:
        rows = connection.execute("SELECT trigger, attempts FROM deliveries ORDER BY id").fetchall()
    connection.close()
    return rows


async def test_what_was_appended_is_in_the_file_when_the_call_returns(log: Log, tmp_path: Path) -> None:
    await log.append(Routed(record(), ["a", "b"]), 1.0)
    assert kept(tmp_path) == [("a", 0), ("b", 0)]


async def test_a_record_comes_back_as_it_was(log: Log, announced: list[PendingDelivery]) -> None:
    event = record(data=b"\x00\xff", subject="ä", time="2026-01-01T00:00:00Z")
    await log.append(Routed(event, ["a"]), 1.0)
    found = await log.due("a", 1.0, 10)
    assert found == announced
    assert found[0].record == event


async def test_an_answer_and_the_completion_commit_together(
    log: Log, tmp_path: Path, announced: list[PendingDelivery]
) -> None:
    await log.append(Routed(record(), ["a"]), 1.0)
    await log.complete(announced[0], Routed(record("reply"), ["b", "c"]), 2.0)
    assert kept(tmp_path) == [("b", 0), ("c", 0)]
    assert [each.trigger for each in announced] == ["a", "b", "c"]


async def test_offsets_are_never_used_again(log: Log, announced: list[PendingDelivery]) -> None:
    for _ in range(3):
        await log.append(Routed(record(), ["a"]), 1.0)
        await log.complete(announced[-1], None, 1.0)
    assert [each.id for each in announced] == [1, 2, 3]


async def test_due_deliveries_come_in_the_order_in_which_they_are_due(
    log: Log, announced: list[PendingDelivery]
) -> None:
    for number in range(3):
        await log.append(Routed(record(number=str(number)), ["a"]), float(number))
    await log.postpone(announced[0], 4.0)
    await log.postpone(announced[1], 9.0)
    assert [each.record.attributes["id"] for each in await log.due("a", 5.0, 10)] == ["2", "0"]
    assert await log.next_due("a", 5.0) == 9.0
    assert await log.next_due("a", 9.0) is None
    assert await log.next_due("b", 0.0) is None


async def test_a_postponed_delivery_keeps_its_attempts(
    log: Log, announced: list[PendingDelivery], tmp_path: Path
) -> None:
    await log.append(Routed(record(), ["a"]), 1.0)
    later = await log.postpone(await log.postpone(announced[0], 2.0), 3.0)
    assert (later.attempts, later.due) == (2, 3.0)
    assert (await log.due("a", 3.0, 1)) == [later]


async def test_a_buried_delivery_starts_anew_with_its_reasons(log: Log, announced: list[PendingDelivery]) -> None:
    await log.append(Routed(record(), ["a"]), 1.0)
    dead = await log.turn_to_dead_letter(await log.postpone(announced[0], 2.0), {"knativeerrordest": "http://f/"}, 3.0)
    (found,) = await log.due("a", 3.0, 1)
    assert found == dead
    assert (found.dead, found.attempts) == (True, 0)
    assert found.record.attributes["knativeerrordest"] == "http://f/"


async def test_calls_at_the_same_time_share_commits(tmp_path: Path) -> None:
    batches: list[int] = []

    def announce(deliveries: Sequence[PendingDelivery]) -> None:
        batches.append(len(deliveries))

    log = Log(tmp_path, announce)
    flushes = _count_commits(log)
    await asyncio.gather(*(log.append(Routed(record(number=str(n)), ["a"]), 1.0) for n in range(100)))
    assert len(batches) == 100
    assert len(flushes) <= 3
    await log.close()


def _count_commits(log: Log) -> list[str]:
    found: list[str] = []
    log._connection.set_trace_callback(lambda text: found.append(text) if text == "COMMIT" else None)
    return found


async def test_a_file_that_cannot_be_written_is_said_and_the_log_recovers(log: Log, tmp_path: Path) -> None:
    await log.append(Routed(record(), ["a"]), 1.0)
    log._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(LogUnavailable):
        await log.append(Routed(record(), ["a"]), 1.0)
    log._connection.execute("PRAGMA query_only = OFF")
    await log.append(Routed(record(), ["a"]), 1.0)
    assert len(kept(tmp_path)) == 2


_APPEND_AND_DIE = """
import asyncio, os, sys
from pathlib import Path
from knative.local.broker.log import Log, Routed
from knative.local.broker.wire import Record

async def main():
    log = Log(Path(sys.argv[1]), lambda _: None)
    for number in "12":
        attributes = {"specversion": "1.0", "id": number, "source": "/s", "type": "k"}
        await log.append(Routed(Record(attributes), ["a"]), 1.0)
    os.kill(os.getpid(), 9)

asyncio.run(main())
"""


async def test_what_another_process_left_when_it_was_killed_is_there(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", _APPEND_AND_DIE, str(tmp_path), cwd=ROOT)
    assert await child.wait() == -9
    log = Log(tmp_path, lambda _: None)
    assert [each.record.attributes["id"] for each in await log.due("a", 1.0, 10)] == ["1", "2"]
    await log.close()


async def test_a_file_that_is_no_log_is_said(tmp_path: Path) -> None:
    (tmp_path / "log.sqlite").write_bytes(b"something else" * 100)
    with pytest.raises(
        LogUnavailable, match=f"the broker's log in {tmp_path} cannot be opened: file is not a database"
    ):
        Log(tmp_path, lambda _: None)
