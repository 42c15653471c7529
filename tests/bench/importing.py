"""The import budget: which packages a process spends its start on, from `python -X importtime`."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)")


@dataclass(frozen=True)
class ImportBudget:
    """Milliseconds in the modules of each top-level package itself, largest first, as the interpreter says."""

    total: float
    packages: tuple[tuple[str, float], ...]


def import_budget(stderr: str) -> ImportBudget:
    """The budget in what `-X importtime` wrote; other lines are skipped."""
    microseconds: Counter[str] = Counter()
    for match in _LINE.finditer(stderr):
        microseconds[match[2].partition(".")[0]] += int(match[1])
    packages = tuple((name, own / 1000) for name, own in microseconds.most_common())
    return ImportBudget(sum(own for _, own in packages), packages)
