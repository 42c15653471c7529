"""What can never be sent, kept for a person to look at: a file of lines that starts anew when it is full."""

import json
import os
from contextlib import suppress
from pathlib import Path

from shared.eventing.event import WireEvent

FILE_BYTES = 2 * 1024 * 1024
LINE_BYTES = 64 * 1024
"""Of an unreadable record; the rest of it is cut off."""


class Aside:
    """Files in the spool's directory. Of each there is the current one and `NAME.1`, the one before it.

    A failure to write is ignored: what goes aside is counted by the caller in any case.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def refused(self, event: WireEvent, reason: str) -> None:
        """Writes a line of JSON to `refused`: the reason, the attributes, the data as text."""
        document = {"reason": reason, "attributes": dict(event.attributes), "data": event.body.decode(errors="replace")}
        self._write("refused", json.dumps(document, separators=(",", ":")).encode())

    def unreadable(self, line: bytes) -> None:
        """Writes the bytes of a record as they are to `unreadable`."""
        self._write("unreadable", line[:LINE_BYTES].rstrip(b"\n"))

    def _write(self, name: str, line: bytes) -> None:
        path = self._directory / name
        with suppress(OSError):
            if path.exists() and path.stat().st_size + len(line) > FILE_BYTES:
                os.replace(path, path.with_suffix(".1"))
            with path.open("ab") as file:
                file.write(line + b"\n")
