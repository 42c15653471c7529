"""What the node says of itself, read from the machine that the tests run on."""

import logging

import pytest

from agent.node import GROUPS, PsutilNode
from shared.telemetry.fields import NODE_FIELDS

DISKS = {"disk_read_bytes_total", "disk_written_bytes_total"}


def test_a_reading_holds_every_field_within_its_bounds() -> None:
    found = PsutilNode().read()
    assert set(found) | DISKS == set(NODE_FIELDS)  # a container may see no disk
    for name, value in found.items():
        NODE_FIELDS[name].check(value)
    assert found["memory_available_bytes"] < found["memory_total_bytes"]


def test_what_the_system_does_not_say_is_absent_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "sentinel.agent.node")

    def unreadable() -> dict[str, float]:
        raise FileNotFoundError("/proc/diskstats")

    node = PsutilNode({**GROUPS, "disks": unreadable})
    for _ in range(3):
        assert set(NODE_FIELDS) - set(node.read()) == DISKS
    assert [record.getMessage() for record in caplog.records] == ["the node does not say its disks: /proc/diskstats"]
