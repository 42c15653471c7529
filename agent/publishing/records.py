"""One event as one line of a segment: `STATE CRC32 JSON`, where JSON is `[attributes, data]`.

    w 1c291ca3 [{"specversion":"1.0","id":"..."},"{\"cluster\":...}"]

STATE is `w` while the event waits, and is overwritten with `s` once it is settled. The checksum is over the JSON, in
hexadecimal. JSON has no raw line feed, so a reader finds the next record behind one that it cannot read.
"""

import json
import zlib

from shared.errors import SentinelError
from shared.eventing.event import WireEvent

WAITING = b"w"
SETTLED = b"s"
_HEAD = len(b"w 00000000 ")


class UnreadableRecord(SentinelError):
    """The line is not a whole record: it was cut off, or its bytes changed on the disk."""


def encode(event: WireEvent) -> bytes:
    """The line of a waiting event, with its line feed. Raises ValueError for data that is not UTF-8."""
    document = [dict(event.attributes), event.body.decode()]
    payload = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return b"%s %08x %s\n" % (WAITING, zlib.crc32(payload), payload)


def decode(line: bytes) -> WireEvent:
    """The event of a line, waiting or settled. Raises UnreadableRecord with the reason."""
    if not line.endswith(b"\n"):
        raise UnreadableRecord("the line is cut off")
    state, head, payload = line[:1], line[1:_HEAD], line[_HEAD:-1]
    if state not in (WAITING, SETTLED) or head != b" %08x " % zlib.crc32(payload):
        raise UnreadableRecord("the checksum is wrong")
    try:
        attributes, body = json.loads(payload)
        return WireEvent(dict(attributes), body.encode())
    except (ValueError, TypeError, AttributeError):
        raise UnreadableRecord("it is not a record of this release") from None
