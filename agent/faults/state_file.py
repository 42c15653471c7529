"""The file in which the detectors' memory survives a restart of the agent, and the faults that are not published yet.

It is written whole or not at all. One that cannot be read is as good as none: the detectors begin anew.
"""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from agent.faults.fault import Fault
from agent.faults.memory import Memory, fault_from_json, fault_to_json, memory_from_json, memory_to_json

_VERSION = 1
_LARGEST = 16 * 1024 * 1024


class UnreadableState(Exception):
    """The file is there, and cannot be used; the message says why."""


@dataclass(frozen=True)
class SavedState:
    """The memory, and the faults that were found and not confirmed, the oldest first."""

    memory: Memory
    unconfirmed: tuple[Fault, ...]


def load(path: Path) -> SavedState | None:
    """What was saved; None where nothing was. Raises UnreadableState."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnreadableState(f"{path}: {error.strerror}") from error
    if len(content) > _LARGEST:
        raise UnreadableState(f"{path}: has more than {_LARGEST} bytes")
    try:
        value = json.loads(content, parse_constant=_refuse)
        if value["version"] != _VERSION:
            raise ValueError(f"has version {value['version']!r:.20}; this agent writes {_VERSION}")
        memory = memory_from_json(value["memory"])
        return SavedState(memory, tuple(fault_from_json(one) for one in value["unconfirmed"]))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise UnreadableState(f"{path}: {type(error).__name__}: {error}") from error


def save(path: Path, memory: Memory, unconfirmed: Sequence[Fault]) -> None:
    """Whole or not at all, also when the node loses its power. Raises OSError."""
    value = {
        "version": _VERSION,
        "memory": memory_to_json(memory),
        "unconfirmed": [fault_to_json(one) for one in unconfirmed],
    }
    content = json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    scratch = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")
