"""The demo checks itself: its exit status says whether the outcomes were right."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from events import CATALOGUE
from knative.local.broker.wire import Record
from knative.local.tools.demo.descriptions import description_of
from shared.eventing.event_types import EventType
from tests.support.processes import unmeasured

COMMAND = [sys.executable, "-m", "knative.local.tools.demo"]
HEADINGS = (
    "approved, applied, healthy",
    "cost ceiling",
    "quota of 4 GPUs",
    "rolled back",
    "A removal",
    "nothing moves",
    "its workload moves",
)


@contextmanager
def demo(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=unmeasured(),
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def record(declared: EventType) -> Record:
    return Record({"type": declared.name}, json.dumps(declared.example).encode())


@pytest.mark.parametrize(
    "declared",
    [t for t in CATALOGUE if t.name.partition(".v1")[0].split(".")[2] in ("workload", "plan", "deployment", "gpu")],
    ids=lambda declared: declared.name,
)
def test_every_event_about_a_workload_or_a_gpu_says_something(declared: EventType) -> None:
    assert description_of(record(declared))


def test_a_denial_says_why() -> None:
    denied = CATALOGUE["dev.sentinel.plan.denied.v1"]
    assert description_of(record(denied)) == "team search would hold 18 GPUs; its quota is 16"


def test_a_kubeconfig_that_is_not_there_is_one_clear_line() -> None:
    with demo("--kubeconfig", "missing.yaml") as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.splitlines()[-1] == "sentinel: kubeconfig missing.yaml: No such file or directory"


@pytest.mark.slow
def test_the_demo_shows_every_scenario_and_finds_all_outcomes_right() -> None:
    with demo() as process:
        said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    for heading in HEADINGS:
        assert heading in said
    assert "the workload would cost 30.27 USD an hour; its ceiling is 10" in said
    assert "team small would hold 16 GPUs; its quota is 4" in said
    assert "rollback to revision 1" in said


@pytest.mark.slow
def test_ctrl_c_ends_the_demo_and_leaves_nothing_behind() -> None:
    with demo() as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "workload.submitted" in line:
                break
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said


@pytest.mark.cluster
def test_the_demo_has_the_same_outcomes_on_a_real_cluster() -> None:
    with demo("--kubeconfig", os.environ["KUBECONFIG"]) as process:
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    for heading in HEADINGS:
        assert heading in said
