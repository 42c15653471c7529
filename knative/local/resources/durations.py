"""Durations as Knative's resources write them.

Two notations occur: ISO 8601 in `delivery` (`PT0.2S`), and Go's in annotations (`30s`, `1m30s`). The CRDs check
neither: a typing error is accepted by the API server and rejected, or ignored, by a controller later. Here both are
parsed when the manifests are read.
"""

from __future__ import annotations

import re

_ISO = re.compile(
    r"P(?=.)(?:(?P<weeks>\d+(?:\.\d+)?)W)?(?:(?P<days>\d+(?:\.\d+)?)D)?"
    r"(?:T(?=.)(?:(?P<hours>\d+(?:\.\d+)?)H)?(?:(?P<minutes>\d+(?:\.\d+)?)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)
_GO = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|h|m|s))+")
_GO_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_SECONDS = {"weeks": 604_800.0, "days": 86_400.0, "hours": 3_600.0, "minutes": 60.0, "seconds": 1.0}
_GO_SECONDS = {"h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def iso8601(text: str) -> float:
    """Seconds of an ISO 8601 duration such as `PT0.2S` or `P1DT2H`.

    Years and months are refused, because their length depends on a date. Raises ValueError.
    """
    found = _ISO.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not an ISO 8601 duration; write for instance PT0.2S, PT30S or PT10M")
    return sum(_SECONDS[unit] * float(amount) for unit, amount in found.groupdict(default="0").items())


def go(text: str) -> float:
    """Seconds of a Go duration such as `30s` or `1m30s`. Raises ValueError."""
    if text == "0":
        return 0.0
    if _GO.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a duration; write for instance 30s or 1m30s")
    return sum(float(amount) * _GO_SECONDS[unit] for amount, unit in _GO_PART.findall(text))
