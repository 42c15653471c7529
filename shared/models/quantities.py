"""Kubernetes quantities, read once at the edge: CPU becomes millicores, memory becomes bytes.

The grammar is that of k8s.io/apimachinery/pkg/api/resource: a decimal number with a decimal-SI
suffix (n u m "" k M G T P E), a binary-SI suffix (Ki Mi Gi Ti Pi Ei), or an exponent. Fractions
round up, as Kubernetes does: asking for less than was wanted would be the wrong side to err on.
"""

import re
from decimal import ROUND_CEILING, Decimal

from shared.errors import InvalidQuantity

_GRAMMAR = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))([eE][+-]?\d{1,2}|[numkMGTPE]|[KMGTPE]i)?", re.ASCII)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_LARGEST = Decimal(2**63 - 1)  # a quantity is an int64 in every Kubernetes component that adds them up


def millicores(quantity: str | int | float) -> int:
    """CPU as whole millicores, rounded up: "4" -> 4000, "250m" -> 250, 0.5 -> 500."""
    return _scaled(quantity, Decimal(1000))


def to_bytes(quantity: str | int | float) -> int:
    """Memory as whole bytes, rounded up: "8Gi" -> 8589934592, "500M" -> 500000000."""
    return _scaled(quantity, Decimal(1))


def format_millicores(value: int) -> str:
    """The canonical quantity: 4000 -> "4", 250 -> "250m"."""
    return str(value // 1000) if value % 1000 == 0 else f"{value}m"


def format_bytes(value: int) -> str:
    """The shortest exact binary quantity: 8589934592 -> "8Gi", 1000 -> "1000"."""
    for suffix in reversed(_BINARY):
        unit = 1024 ** _BINARY[suffix]
        if value and value % unit == 0:
            return f"{value // unit}{suffix}"
    return str(value)


def _scaled(quantity: str | int | float, factor: Decimal) -> int:
    if isinstance(quantity, bool) or not isinstance(quantity, str | int | float):
        raise InvalidQuantity('must be a Kubernetes quantity such as "4", "500m" or "8Gi"')
    text = str(quantity)
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise InvalidQuantity(f'{text[:40]!r} is not a Kubernetes quantity such as "4", "500m" or "8Gi"')
    number, suffix = Decimal(match[1]), match[2] or ""
    if suffix in _BINARY:
        value = number * 1024 ** _BINARY[suffix]
    elif suffix in _DECIMAL:
        value = number.scaleb(_DECIMAL[suffix])
    else:
        value = number.scaleb(int(suffix[1:]))
    value *= factor
    if value < 0:
        raise InvalidQuantity(f"{text[:40]!r} must not be negative")
    if value > _LARGEST:
        raise InvalidQuantity(f"{text[:40]!r} is too large")
    return int(value.to_integral_value(ROUND_CEILING))
