"""What the spool keeps, in which order, and what it gives up."""

import os
import random
import resource
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.publishing import records
from agent.publishing.records import UnreadableRecord
from agent.publishing.spool import Spool
from shared.eventing.event import WireEvent
from tests.agent.publishing.sinks import event, ids
from tests.support.serving import ROOT

LIMIT = 64 * 1024 * 1024


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    found = Spool(tmp_path, LIMIT)
    found.open()
    yield found
    found.close()


def waiting(spool: Spool) -> list[int]:
    """The ids of all events that wait, in their order."""
    return ids([one.event for one in spool.oldest(100_000)])


def reopened(spool: Spool, directory: Path, limit: int = LIMIT) -> Spool:
    spool.close()
    found = Spool(directory, limit)
    found.open()
    return found


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("0*.segment"))


TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.dictionaries(TEXT, TEXT), TEXT)
def test_a_record_is_one_line_that_is_read_as_it_was(attributes: dict[str, str], body: str) -> None:
    written = WireEvent(attributes, body.encode())
    line = records.encode(written)
    assert line.count(b"\n") == 1
    assert records.decode(line) == written
    assert records.decode(b"s" + line[1:]) == written


def test_a_record_of_which_any_byte_changed_is_unreadable() -> None:
    line = records.encode(event(1))
    for position in range(len(line)):
        changed = bytearray(line)
        changed[position] ^= 0x08
        with pytest.raises(UnreadableRecord):
            records.decode(bytes(changed))
        with pytest.raises(UnreadableRecord):
            records.decode(line[:position])


def test_a_record_of_another_release_is_unreadable() -> None:
    for payload in (b"{}", b"[1]", b'["a", 1]', b"\xff"):
        with pytest.raises(UnreadableRecord):
            records.decode(b"w %08x %s\n" % (zlib.crc32(payload), payload))


def test_events_come_back_in_their_order_and_whole(spool: Spool, tmp_path: Path) -> None:
    written = [event(number, '{"message":"Zürich\\n\U0001f525"}') for number in range(100)]
    for one in written:
        spool.append(one)
    assert [one.event for one in spool.oldest(1000)] == written
    again = reopened(spool, tmp_path)
    assert ([one.event for one in again.oldest(1000)], again.waiting) == (written, 100)
    again.close()


def test_what_is_settled_is_not_there_after_a_restart(spool: Spool, tmp_path: Path) -> None:
    for number in range(10):
        spool.append(event(number))
    for one in spool.oldest(4):
        spool.settle(one)
    spool.settle(spool.oldest(2)[1])
    assert waiting(spool) == [4, 6, 7, 8, 9]
    again = reopened(spool, tmp_path)
    assert (waiting(again), again.waiting) == ([4, 6, 7, 8, 9], 5)
    again.append(event(10))
    assert waiting(again) == [4, 6, 7, 8, 9, 10]
    again.close()


def test_an_empty_spool_leaves_no_segment_behind(spool: Spool, tmp_path: Path) -> None:
    for number in range(3):
        spool.append(event(number))
        spool.settle(spool.oldest(1)[0])
    spool.close()
    assert segments(tmp_path) == []


def test_the_oldest_make_room_and_are_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 64 * 1024)
    spool.open()
    for number in range(500):
        spool.append(event(number, '"' + "x" * 600 + '"'))
        assert sum(path.stat().st_size for path in segments(tmp_path)) <= 64 * 1024
    left = waiting(spool)
    assert left == list(range(500 - len(left), 500))
    assert (spool.dropped, spool.waiting) == (500 - len(left), len(left))
    assert len(left) > 50  # no more than a sixteenth of the room is empty
    spool.close()


def test_an_event_that_was_dropped_while_it_was_sent_settles_no_other(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 16 * 1024)
    spool.open()
    spool.append(event(0))
    (in_hand,) = spool.oldest(1)
    for number in range(1, 200):
        spool.append(event(number, '"' + "x" * 600 + '"'))
    before = waiting(spool)
    spool.settle(in_hand)
    assert waiting(spool) == before
    spool.close()


def test_a_torn_record_is_skipped_counted_and_kept_aside(spool: Spool, tmp_path: Path) -> None:
    for number in range(3):
        spool.append(event(number))
    (segment,) = segments(tmp_path)
    os.truncate(segment, segment.stat().st_size - 5)
    again = reopened(spool, tmp_path)
    again.append(event(3))
    assert (waiting(again), again.unreadable, again.waiting) == ([0, 1, 3], 1, 3)
    assert b'"id":"2"' in (tmp_path / "unreadable").read_bytes()
    third = reopened(again, tmp_path)
    assert (waiting(third), third.unreadable) == ([0, 1, 3], 0)
    third.close()


def test_damage_anywhere_costs_only_the_records_that_it_hits(tmp_path: Path) -> None:
    """Bytes of a segment are overwritten at random; what is left comes in order, and nothing false comes."""
    written = {number: event(number, f'"{number}"') for number in range(50)}
    for seed in range(20):
        chance, directory = random.Random(seed), tmp_path / str(seed)
        spool = Spool(directory, LIMIT)
        spool.open()
        for one in written.values():
            spool.append(one)
        (segment,) = segments(directory)
        hits = [chance.randrange(segment.stat().st_size) for _ in range(5)]
        with segment.open("r+b") as file:
            for hit in hits:
                file.seek(hit)
                file.write(chance.randbytes(1))
        spool = reopened(spool, directory)
        found = [one.event for one in spool.oldest(1000)]
        assert ids(found) == sorted(ids(found))
        assert all(written[int(one.attributes["id"])] == one for one in found)
        assert len(found) >= 50 - 2 * 5  # a line feed that is hit joins two records
        spool.close()


def test_a_segment_that_cannot_be_read_is_skipped_and_counted(spool: Spool, tmp_path: Path) -> None:
    spool.append(event(1))
    (segment,) = segments(tmp_path)
    spool = reopened(spool, tmp_path)
    spool.append(event(2))
    segment.unlink()
    segment.mkdir()  # reading a directory fails for root too
    assert (waiting(spool), spool.unreadable, spool.waiting) == ([2], 1, 1)
    spool = reopened(spool, tmp_path)
    assert (waiting(spool), (tmp_path / "unreadable.segment").is_dir()) == ([2], True)
    spool.close()


def test_a_segment_that_vanished_under_the_agent_loses_nothing_else(spool: Spool, tmp_path: Path) -> None:
    spool.append(event(1))
    segments(tmp_path)[0].unlink()
    assert waiting(spool) == []
    spool.append(event(2))
    assert (waiting(spool), spool.waiting) == ([2], 1)


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process grows beyond 4 KiB: a write fails half-way, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_refuses_an_event_and_harms_no_other(spool: Spool, tmp_path: Path, small_files: None) -> None:
    def fill() -> None:
        for number in range(100):
            spool.append(event(number, '"' + "x" * 500 + '"'))

    with pytest.raises(OSError, match=r"No space left|File too large"):
        fill()
    taken = waiting(spool)
    assert (taken, spool.waiting) == (list(range(len(taken))), len(taken))
    again = reopened(spool, tmp_path)
    assert (waiting(again), again.unreadable) == (taken, 0)
    again.close()


def test_two_agents_never_share_a_directory(spool: Spool, tmp_path: Path) -> None:
    """The second is a process of its own; it may have the directory when the first lets go."""
    program = (
        f"from pathlib import Path; from agent.publishing.spool import *; Spool(Path({str(tmp_path)!r}), 1).open()"
    )
    command = [sys.executable, "-c", program]
    second = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert f"SpoolInUse: another agent has {tmp_path}" in second.stderr
    spool.close()
    assert subprocess.run(command, capture_output=True, cwd=ROOT, check=False).returncode == 0


def test_what_is_kept_aside_is_bounded(spool: Spool, tmp_path: Path) -> None:
    for number in range(12):
        spool.aside.refused(event(number, '"' + "x" * 500_000 + '"'), "400")
    assert (tmp_path / "refused.1").stat().st_size + (tmp_path / "refused").stat().st_size < 5 * 1024 * 1024
    assert '"id":"11"' in (tmp_path / "refused").read_text()


def test_events_survive_being_brought_to_the_disk(spool: Spool) -> None:
    spool.sync()
    spool.append(event(1))
    spool.sync()
    assert waiting(spool) == [1]
