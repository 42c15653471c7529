"""Bad input at the door, and what becomes of it: the status or the event that it gets. The next good event is handled.

The broker's ingress answers what is no CloudEvent. What passes it and is refused by a function becomes a dead letter
with the original bytes. What is a CloudEvent but no workload is answered with an event that names the fields.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from shared.models.dead_letter import DeadLetter
from shared.models.lifecycle import Phase
from shared.models.stored import WorkloadFilter
from shared.store import audit
from tests.support.builders import connection_of
from tests.support.running import SUBMITTED, RunningPlatform, binary, eventually, workload

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("platform")]

STRUCTURED = {"content-type": "application/cloudevents+json"}
GOOD = workload("unheard")
APPROVED = "dev.sentinel.plan.approved.v1"


def next_good_event_is_handled(platform: RunningPlatform) -> None:
    """An event posted after a bad one goes all the way to the cluster's doorstep."""
    after = platform.submit(f"good-{uuid.uuid4().hex[:12]}", replicas=0)
    platform.reaches(after, Phase.HEALTHY)


def dead_letter(platform: RunningPlatform, event_id: str) -> DeadLetter:
    def find() -> DeadLetter | None:
        letters = platform.read(lambda work: work.dead_letters.find(limit=10_000))
        return next((letter for letter in letters if letter.event_id == event_id), None)

    found = eventually(find, lambda letter: letter is not None)
    assert found is not None
    return found


def structured(**changes: object) -> bytes:
    event = {"specversion": "1.0", "id": "s1", "source": "/flows", "type": SUBMITTED, "data": GOOD, **changes}
    return json.dumps({name: value for name, value in event.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        pytest.param({"content-type": "application/json"}, b"{}", 400, id="no event at all"),
        pytest.param(STRUCTURED, b'{"specversion": "1.0", ', 400, id="malformed structured event"),
        pytest.param(STRUCTURED, structured(id=...), 400, id="missing id"),
        pytest.param(STRUCTURED, structured(type=...), 400, id="missing type"),
        pytest.param(STRUCTURED, structured(specversion="2.0"), 400, id="wrong specversion"),
        pytest.param(binary(SUBMITTED, specversion="1"), b"{}", 400, id="wrong specversion in binary mode"),
        pytest.param({"content-type": "application/cloudevents-batch+json"}, b"[]", 400, id="batch"),
        pytest.param(binary(SUBMITTED), b" " * 1024 * 1024, 503, id="one MiB"),
        pytest.param(binary(SUBMITTED, padding="x" * 9000), b"{}", 431, id="large headers"),
    ],
)
def test_the_ingress_refuses_what_is_no_event(
    platform: RunningPlatform, headers: Mapping[str, str], body: bytes, status: int
) -> None:
    answer = platform.post(headers, body)
    assert answer.status == status
    assert answer.body
    next_good_event_is_handled(platform)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b'{"name": "x", ', "the data is not JSON", id="not JSON"),
        pytest.param(b'{"name": "a", "name": "b"}', "appears twice", id="duplicate keys"),
        pytest.param(b'{"name": "x", "replicas": NaN}', "NaN is not JSON", id="NaN"),
        pytest.param(b'{"name": "\xff"}', "not UTF-8", id="not UTF-8"),
        pytest.param(b"[" * 5000 + b"]" * 5000, "nested deeper", id="deep nesting"),
        pytest.param(b"", "the body is empty", id="empty"),
    ],
)
def test_what_only_a_function_can_refuse_becomes_a_dead_letter_with_its_bytes(
    platform: RunningPlatform, body: bytes, reason: str
) -> None:
    event_id = platform.publish(SUBMITTED, body)
    letter = dead_letter(platform, event_id)
    assert letter.body == body
    assert letter.error_code == 400
    assert reason in letter.reason
    next_good_event_is_handled(platform)


def test_an_empty_id_passes_the_ingress_and_is_refused_by_the_function(platform: RunningPlatform) -> None:
    body = json.dumps(GOOD).encode()
    assert platform.post(binary(SUBMITTED, id=""), body).status == 202
    letter = dead_letter(platform, "")
    assert (letter.error_code, letter.body) == (400, body)
    assert "'id' is missing or empty" in letter.reason
    next_good_event_is_handled(platform)


def test_an_unknown_type_is_taken_by_nobody_and_refused_by_a_function(platform: RunningPlatform) -> None:
    headers = binary("dev.sentinel.nobody.knows.v1")
    assert platform.post(headers, b"{}").status == 202
    answer = platform.post(headers, b"{}", path="/", host="workload-intake.sentinel.localhost")
    assert answer.status == 422
    assert b"unknown event type" in answer.body
    next_good_event_is_handled(platform)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"resources": {"gpu": {"count": -1}}}, "resources.gpu.count", id="negative GPUs"),
        pytest.param({"resources": {"cpu": "NaN"}}, "resources.cpu", id="NaN as a quantity"),
        pytest.param({"name": "n" * 64}, "name", id="a name of 64 characters"),
        pytest.param({"image": "nginx:1\nprivileged: true"}, "image", id="a line break in the image"),
        pytest.param({"nmae": "typo"}, "nmae", id="an unknown field"),
    ],
)
def test_a_bad_workload_is_rejected_by_an_event_that_names_the_field(
    platform: RunningPlatform, changes: dict[str, Any], field: str
) -> None:
    document = workload(f"bad-{uuid.uuid4().hex[:12]}", **{k: v for k, v in changes.items() if k != "name"})
    answer = platform.post(
        {**binary(SUBMITTED), "prefer": "reply"},
        json.dumps({**document, **changes}).encode(),
        path="/",
        host="workload-intake.sentinel.localhost",
    )
    assert (answer.status, answer.headers["ce-type"]) == (200, "dev.sentinel.workload.rejected.v1")
    assert [error["field"] for error in json.loads(answer.body)["errors"]] == [field]
    next_good_event_is_handled(platform)


def test_every_bad_field_is_named_at_once_through_the_broker(platform: RunningPlatform) -> None:
    name = f"bad-{uuid.uuid4().hex[:12]}"
    rejected = platform.submit(name, replicas=-1, image="bad\nimage", resources={"gpu": {"count": -2}})
    told = eventually(lambda: platform.replies(str(rejected)).get("workload.rejected"), lambda reply: reply is not None)
    assert told is not None
    assert {error["field"] for error in told["errors"]} == {"replicas", "image", "resources.gpu.count"}
    assert platform.find(rejected) is None
    next_good_event_is_handled(platform)


def test_a_forged_approval_deploys_nothing(platform: RunningPlatform) -> None:
    """Neither of a plan that does not exist, nor of one that policy has not approved."""
    name = f"forged-{uuid.uuid4().hex[:12]}"
    target = platform.reaches(platform.submit(name, replicas=0), Phase.HEALTHY)
    decision = {"verb": "deploy", "cluster": "local", "replicas": 99}
    forged = {"plan": str(uuid.uuid4()), "workload": str(target.id), "generation": 1, "decisions": [decision]}
    letter = dead_letter(platform, platform.publish(APPROVED, forged, subject=str(target.id)))
    assert letter.error_code == 422
    assert "there is no plan" in letter.reason
    live = [d for d in platform.objects("/apis/apps/v1/namespaces/flows/deployments") if d["metadata"]["name"] == name]
    assert [found["spec"]["replicas"] for found in live] == [0]
    next_good_event_is_handled(platform)


def test_the_same_id_with_other_data_is_refused_and_recorded(platform: RunningPlatform) -> None:
    name, event_id = f"twice-{uuid.uuid4().hex[:12]}", str(uuid.uuid4())
    platform.publish(SUBMITTED, workload(name, replicas=0), id=event_id)
    first = eventually(
        lambda: platform.read(lambda work: work.workloads.find(WorkloadFilter(name=name), 9)), lambda found: bool(found)
    )[0]
    other = json.dumps(workload(name, replicas=5)).encode()
    platform.publish(SUBMITTED, other, id=event_id)
    letter = dead_letter(platform, event_id)
    assert (letter.error_code, letter.body) == (422, other)
    recorded = platform.read(lambda work: audit.entries(connection_of(work), "/flows"))
    assert any(entry.action == "event.refused" and entry.detail["id"] == event_id for entry in recorded)
    assert platform.reaches(first.id, Phase.HEALTHY).generation == 1
    next_good_event_is_handled(platform)


def test_the_same_event_twice_is_one_submission(platform: RunningPlatform) -> None:
    name, event_id = f"again-{uuid.uuid4().hex[:12]}", str(uuid.uuid4())
    for _ in range(3):
        platform.publish(SUBMITTED, workload(name, replicas=0), id=event_id)
    [found] = eventually(lambda: platform.read(lambda work: work.workloads.find(WorkloadFilter(name=name), 9)), bool)
    assert platform.reaches(found.id, Phase.HEALTHY).generation == 1
