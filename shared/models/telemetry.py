"""Telemetry samples."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue


@dataclass(frozen=True)
class Sample:
    """What was measured at one moment on a node or of a workload, as `kind` says."""

    kind: str
    subject: str
    observed_at: datetime
    sample: Mapping[str, JsonValue]
