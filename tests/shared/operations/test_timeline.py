"""The timeline of a workload: one entry for each thing that happened, with all that is known of it."""

import uuid

import pytest

from shared.errors import AmbiguousName, NotFound
from shared.models.dead_letter import DeadLetter
from shared.models.deployment import Deployment, ObjectReference
from shared.models.lifecycle import RevisionStatus
from shared.operations import policies, timeline
from shared.operations.workloads import WorkloadReference
from shared.policy.documents import PolicyDocument
from shared.store.unit_of_work import Store
from tests.support.builders import TESTS, Deliver, id_of

LETTER = DeadLetter("http://f", "/s", "e", "t", str(id_of()), {"id": "e"}, b"\x00{", 422, "no")


def revision(plan: uuid.UUID) -> Deployment:
    reference = ObjectReference("Deployment", "search", "test-inference")
    return Deployment(uuid.uuid4(), id_of(), 1, 1, plan, "local", reference, {}, RevisionStatus.INTENDED)


def test_entries_are_in_the_order_in_which_they_happened(store: Store, deliver: Deliver) -> None:
    with store.begin() as work:
        document = {"name": "limit", "rules": [{"type": "quota", "gpus": 2}]}
        policies.put(work, PolicyDocument.model_validate(document), "ada", TESTS)
    deliver.decide()
    deliver.decide(replicas=9)
    deliver.submit(replicas=-1)
    with store.begin() as work:
        work.dead_letters.keep(LETTER)
        workload = work.workloads.get(id_of())
        assert workload is not None
        work.deployments.add(revision(workload.plan_id))
    with store.begin() as work:
        entries = timeline.timeline(work, id_of())
    assert [entry.what for entry in entries[:5]] == [
        *("plan.proposed", "plan.approved", "plan.proposed", "plan.denied", "workload.rejected"),
    ]
    assert {entry.what for entry in entries[5:]} == {"event.dead_lettered", "deployment.intended"}
    assert entries[3].detail["policies"] == ["limit"]
    assert entries[0].detail["verb"] == "deploy"


def test_a_name_leads_to_its_workload_and_a_rejected_submission_to_its_rejection(
    store: Store, deliver: Deliver
) -> None:
    deliver.submit()
    deliver.submit("wrong", team="default", namespace="default", replicas=-1)
    with store.begin() as work:
        known = timeline.trace(work, WorkloadReference("test-inference"))
        rejected = timeline.trace(work, WorkloadReference("wrong"))
    assert known.workload is not None
    assert known.workload.spec.full_name == "search/search/test-inference"
    assert (rejected.workload, rejected.workload_id) == (None, id_of("wrong", "default", "default"))
    assert [entry.what for entry in rejected.entries] == ["workload.rejected"]


def test_a_name_without_any_record_and_a_name_of_several_are_refused(store: Store, deliver: Deliver) -> None:
    deliver.submit("twin", team="a")
    deliver.submit("twin", team="b")
    with store.begin() as work:
        assert timeline.timeline(work, uuid.uuid4()) == []
        with pytest.raises(NotFound, match="there is no workload nothing"):
            timeline.trace(work, WorkloadReference("nothing"))
        with pytest.raises(AmbiguousName, match="twin may mean a/search/twin"):
            timeline.trace(work, WorkloadReference("twin"))
