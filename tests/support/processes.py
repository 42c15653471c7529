"""The environment of processes that tests start."""

from __future__ import annotations

import os


def unmeasured(**variables: str) -> dict[str, str]:
    """This process's environment with these variables, without coverage measurement.

    For whole platforms: measuring each function that they start and stop doubles the time of the suite, and what it
    would find is measured in tests/functions already.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_CONFIG"}
    return {**inherited, **variables}
