"""The spool: events that the sink does not have yet, in files on the node's disk, oldest first.

Rules:

1. The files are segments, `00000000000000000001.segment` and so on. Records are appended to the newest (records.py),
   and leave from the oldest. A segment whose events are all settled is deleted. Each start begins a new one.
2. `append` returns when the kernel has the bytes, so they survive a kill -9 of the agent. `sync` brings them to the
   disk, for a node that loses power: the delivery calls it when the sink is away. While the sink takes every event
   at once, nothing waits for the disk.
3. An event is settled in place, by one byte of its record. This needs no room on a full disk. The byte may be lost with
   the node's power: the event is then sent again, under the same id.
4. The segments have at most `limit` bytes. Room for a new event is made by deleting the oldest segment, a sixteenth of
   the limit, and the events that still waited in it are counted as dropped.
5. A record that cannot be read is skipped, counted and kept aside. So is a segment that cannot be read.
6. One agent has the directory: it holds a lock on the file `lock` until it ends, however it ends.
"""

import errno
import fcntl
import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from agent.publishing import records
from agent.publishing.aside import Aside
from agent.publishing.records import SETTLED, WAITING, UnreadableRecord
from shared.errors import ConfigurationError
from shared.eventing.event import WireEvent

SEGMENTS = 16
LEAST_LIMIT = 8 * 1024 * 1024
"""Room for a few of the largest events, which have 1 MiB each, and up to twice that as a record."""
_MAX_LINE = 4 * 1024 * 1024
_NAME = re.compile(r"(\d{20})\.segment")

logger = logging.getLogger("sentinel.agent.publishing")


class SpoolInUse(ConfigurationError):
    """Another agent has the directory."""


@dataclass(frozen=True)
class Spooled:
    """A waiting event and where its record is: the number of the segment, the offset and the length in bytes.

    Segment 0 is the memory.
    """

    event: WireEvent
    segment: int = 0
    offset: int = 0
    length: int = 0


@dataclass
class _Segment:
    """size: bytes of whole records. position: every record before it is settled. waiting: events that are not."""

    number: int
    path: Path
    size: int = 0
    position: int = 0
    waiting: int = 0


class Spool:
    """Events on disk in the order that they came, for one thread that appends and one that delivers.

    directory: made if it is missing. limit: bytes of all segments. dropped, unreadable: how many events made room for
    newer ones so far, and how many records could not be read.
    """

    def __init__(self, directory: Path, limit: int) -> None:
        self.aside = Aside(directory)
        self.dropped = 0
        self.unreadable = 0
        self._directory = directory
        self._limit = limit
        self._mutex = threading.Lock()
        self._segments: list[_Segment] = []
        self._number = 0  # of the newest segment ever
        self._appending: int | None = None  # the descriptor of the newest segment, once something was appended to it
        self._lock: int | None = None

    @property
    def waiting(self) -> int:
        """Events in the spool."""
        return sum(segment.waiting for segment in self._segments)

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for segment in self._segments)

    def open(self) -> None:
        """Takes the directory, and looks which events wait there. Does nothing when it is open.

        Raises SpoolInUse, and OSError when the directory cannot be used.
        """
        with self._mutex:
            if self._lock is None:
                self._lock = self._locked()
                self._segments = self._found()

    def append(self, event: WireEvent) -> None:
        """Returns when the event survives the agent. Raises OSError, and the spool is as it was."""
        line = records.encode(event)
        with self._mutex:
            if self._lock is None:
                raise OSError(errno.ENOLCK, "the spool is not open")
            self._make_room(len(line))
            segment, descriptor = self._newest(len(line))
            try:
                if os.pwrite(descriptor, line, segment.size) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                with suppress(OSError):  # the next record is written over what is left
                    os.ftruncate(descriptor, segment.size)
                raise
            segment.size += len(line)
            segment.waiting += 1

    def oldest(self, count: int) -> list[Spooled]:
        """The oldest waiting events, at most `count`."""
        found: list[Spooled] = []
        with self._mutex:
            for segment in list(self._segments):
                if len(found) == count:
                    break
                try:
                    here = list(islice(self._waiting_in(segment), count - len(found)))
                except OSError as error:
                    self._set_aside(segment, error)
                    continue
                found += here
                if not here:
                    segment.waiting = 0
                    self._delete_if_settled(segment)
        return found

    def settle(self, spooled: Spooled) -> None:
        """The event waits no longer. Does nothing for an event that was dropped meanwhile."""
        with self._mutex:
            for segment in self._segments:
                if segment.number == spooled.segment:
                    self._settle(segment, spooled.offset, spooled.length)
                    segment.waiting -= 1
                    self._delete_if_settled(segment)
                    return

    def sync(self) -> None:
        """Brings what was appended to the disk. Raises OSError."""
        with self._mutex:
            if self._appending is None:
                return
            descriptor = os.dup(self._appending)
        try:  # a slow disk does not hold up `append`
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        directory = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def close(self) -> None:
        """Lets go of the directory."""
        with self._mutex:
            self._end_segment()
            self._segments = []
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _locked(self) -> int:
        """The descriptor of the lock, which is not inherited by child processes."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise SpoolInUse(f"another agent has {self._directory}: give each its own SPOOL_DIR") from None
            raise
        return descriptor

    def _found(self) -> list[_Segment]:
        """The segments of earlier agents. Raises OSError."""
        self._segments = []
        for name in sorted(os.listdir(self._directory)):
            if match := _NAME.fullmatch(name):
                segment = _Segment(int(match[1]), self._directory / name)
                self._number = max(self._number, segment.number)
                self._segments.append(segment)
        for segment in list(self._segments):
            try:
                segment.size = segment.path.stat().st_size
                segment.waiting = sum(line.startswith(WAITING) for _, line in _lines(segment))
            except OSError as error:
                self._set_aside(segment, error)
            else:
                self._delete_if_settled(segment)
        return self._segments

    def _newest(self, length: int) -> tuple[_Segment, int]:
        """The segment to append `length` bytes to, and its descriptor. Raises OSError."""
        if self._appending is not None and self._segments[-1].size + length <= self._limit // SEGMENTS:
            return self._segments[-1], self._appending
        self._end_segment()
        number = self._number + 1
        path = self._directory / f"{number:020}.segment"
        self._appending = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._number = number
        self._segments.append(_Segment(number, path))
        return self._segments[-1], self._appending

    def _end_segment(self) -> None:
        if self._appending is not None:
            os.close(self._appending)
            self._appending = None
            self._delete_if_settled(self._segments[-1])

    def _make_room(self, length: int) -> None:
        """Deletes the oldest segments until `length` bytes have room. Raises OSError."""
        while self._segments and self.size + length > self._limit:
            oldest = self._segments[0]
            if len(self._segments) == 1:
                self._end_segment()
            if oldest in self._segments:
                oldest.path.unlink(missing_ok=True)
                self._segments.remove(oldest)
                self.dropped += oldest.waiting

    def _waiting_in(self, segment: _Segment) -> Iterator[Spooled]:
        """The events that wait in a segment. What cannot be read is counted and settled. Raises OSError."""
        settled_so_far = True
        for offset, line in _lines(segment):
            if line.startswith(SETTLED) or line == b"\n":
                segment.position = offset + len(line) if settled_so_far else segment.position
                continue
            try:
                event = records.decode(line)
            except UnreadableRecord as error:
                logger.warning("a record of the spool is skipped: %s, byte %d: %s", segment.path, offset, error)
                self.unreadable += 1
                self.aside.unreadable(line)
                segment.waiting -= line.startswith(WAITING)
                self._settle(segment, offset, len(line))
                continue
            settled_so_far = False
            yield Spooled(event, segment.number, offset, len(line))

    def _settle(self, segment: _Segment, offset: int, length: int) -> None:
        """Where the disk takes no byte, this agent remembers, and the next one sends the event again."""
        if offset == segment.position:
            segment.position += length
        with suppress(OSError):
            descriptor = os.open(segment.path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.pwrite(descriptor, SETTLED, offset)
            finally:
                os.close(descriptor)

    def _delete_if_settled(self, segment: _Segment) -> None:
        """A segment that cannot be deleted stays in the list, so that its bytes count."""
        appending = self._appending is not None and segment is self._segments[-1]
        if segment.waiting == 0 and not appending:
            with suppress(OSError):
                segment.path.unlink(missing_ok=True)
                self._segments.remove(segment)

    def _set_aside(self, segment: _Segment, error: OSError) -> None:
        """Gives up on a segment that cannot be read; the last such file is kept as `unreadable.segment`."""
        logger.warning("a segment of the spool is skipped: %s", error)
        if self._appending is not None and segment is self._segments[-1]:
            os.close(self._appending)
            self._appending = None
        self.unreadable += max(1, segment.waiting)
        self._segments.remove(segment)
        with suppress(OSError):
            os.replace(segment.path, self._directory / "unreadable.segment")


def _lines(segment: _Segment) -> Iterator[tuple[int, bytes]]:
    """Offset and bytes of each line behind the segment's position. A line over 4 MiB comes in parts. Raises OSError."""
    offset = segment.position
    with segment.path.open("rb") as file:
        file.seek(offset)
        while offset < segment.size:
            line = file.readline(min(_MAX_LINE, segment.size - offset))
            if not line:  # the file is shorter than it was
                return
            yield offset, line
            offset += len(line)
