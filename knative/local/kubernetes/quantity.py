"""Kubernetes quantities: `500m`, `1.5Gi`, `2e3`; read exactly, and written in the canonical form that the API server
stores.

Canonical means: no fraction, and the largest suffix of the family (decimal or binary) that allows it. A value finer
than `1n` is rounded up.
"""

import re
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

_PATTERN = re.compile(
    r"^([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:(Ki|Mi|Gi|Ti|Pi|Ei)|([numkMGTPE])|[eE]([+-]?\d+))?$", re.ASCII
)
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -3, "u": -2, "m": -1, "": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_NANO = Decimal("1e-9")

SYNTAX = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


def _parse(text: str) -> tuple[Decimal, str]:
    match = _PATTERN.match(text)
    if match is None:
        raise ValueError(SYNTAX)
    number = Decimal(match[1])
    if match[2]:
        return number * 1024 ** _BINARY[match[2]], "binary"
    if match[4]:
        return number.scaleb(int(match[4])), "exponent"
    return number.scaleb(3 * _DECIMAL[match[3] or ""]), "decimal"


@lru_cache(maxsize=4096)
def value(text: str) -> Decimal:
    """The exact value. Raises ValueError on malformed text."""
    return _parse(text)[0]


@lru_cache(maxsize=4096)
def milli(text: str) -> int:
    """The value in thousandths, rounded up."""
    return int((value(text) * 1000).to_integral_value(ROUND_CEILING))


@lru_cache(maxsize=4096)
def canonical(text: str) -> str:
    """The form that the API server stores. Raises ValueError on malformed text."""
    number, family = _parse(text)
    number = number.quantize(_NANO, ROUND_CEILING) if number.as_tuple().exponent < -9 else number  # type: ignore[operator]  # finite
    if number == 0:
        return "0"
    if family == "binary" and number == number.to_integral_value() and abs(number) >= 1024:
        whole, power = int(number), 0
        while whole % 1024 == 0 and power < 6:
            whole, power = whole // 1024, power + 1
        return f"{whole}{['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'][power]}"
    for suffix, power in sorted(_DECIMAL.items(), key=lambda item: -item[1]):
        scaled = number.scaleb(-3 * power)
        if scaled == scaled.to_integral_value():
            exponent = f"e{3 * power}" if power else ""
            return f"{int(scaled)}{exponent if family == 'exponent' else suffix}"
    raise AssertionError("a multiple of 1n has a canonical form")
