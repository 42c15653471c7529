"""What the node says of itself, read from the machine that the tests run on."""

import logging
import os
from pathlib import Path

import pytest

from agent import psutil_node
from agent.node import HostNode, groups_of_this_system
from shared.telemetry.fields import NODE_FIELDS

DISKS = {"disk_read_bytes_total", "disk_written_bytes_total"}
CONSTANT = ("cpus", "memory_total_bytes", "disk_total_bytes", "swap_used_bytes")
GROWING = (*DISKS, "network_received_bytes_total", "network_transmitted_bytes_total")


def test_a_reading_holds_every_field_within_its_bounds() -> None:
    found = HostNode().read()
    assert set(found) | DISKS == set(NODE_FIELDS)  # a container may see no disk
    for name, value in found.items():
        NODE_FIELDS[name].check(value)
    assert found["memory_available_bytes"] < found["memory_total_bytes"]


@pytest.mark.skipif(not os.access("/proc/stat", os.R_OK), reason="elsewhere psutil is what the agent reads")
def test_linux_says_what_psutil_says() -> None:
    """Counters are read before and after psutil reads them."""
    linux, by_psutil = HostNode(), HostNode(psutil_node.groups())
    before, between, after = linux.read(), by_psutil.read(), linux.read()
    assert set(before) == set(between) == set(after)
    for name in CONSTANT:
        assert between[name] in (before[name], after[name]), name
    for name in GROWING:
        if name in before:
            assert before[name] <= between[name] <= after[name], name
    memory = [each["memory_available_bytes"] for each in (before, between, after)]
    assert max(memory) - min(memory) < 0.1 * before["memory_total_bytes"]


@pytest.mark.skipif(not os.access("/proc/kallsyms", os.R_OK), reason="needs a long file of /proc")
def test_a_file_of_many_pages_is_read_to_its_end_each_time() -> None:
    from agent.linux_node import ProcFile

    file, size = ProcFile("/proc/kallsyms"), 1_000_000  # the kernel may load a module meanwhile, whose lines come last
    beginning = Path("/proc/kallsyms").read_bytes()[:size]
    assert len(beginning) == size
    assert file.read()[:size] == file.read()[:size] == beginning


def test_what_the_system_does_not_say_is_absent_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "sentinel.agent.node")

    def unreadable() -> dict[str, float]:
        raise FileNotFoundError("/proc/diskstats")

    node = HostNode({**groups_of_this_system(), "disks": unreadable})
    for _ in range(3):
        assert set(NODE_FIELDS) - set(node.read()) == DISKS
    assert [record.getMessage() for record in caplog.records] == ["the node does not say its disks: /proc/diskstats"]
