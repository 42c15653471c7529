"""Time as the API writes it: UTC, whole seconds."""

from datetime import UTC, datetime, timedelta


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def after(seconds: int) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def age(timestamp: str) -> float:
    """Seconds since `timestamp`."""
    return (datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds()
