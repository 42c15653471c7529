"""What a submission is beside what runs: a scale, or an update; and how much of a surge a scale takes over."""

import json
import uuid
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from shared.models.amounts import Amounts
from shared.models.deployment import Deployment, ObjectReference
from shared.models.lifecycle import RevisionStatus
from shared.models.workload import WorkloadSpec
from shared.rollout.manifests import manifest, restored
from shared.rollout.occupancy import remaining_surge
from shared.rollout.planning import scales

RUNS = [RevisionStatus.INTENDED, RevisionStatus.VERIFYING, RevisionStatus.HEALTHY, RevisionStatus.DEGRADED]
RUNS += [RevisionStatus.UNHEALTHY]
REPLICA = Amounts(1, 4000, 2**33, 1, Decimal("0.965340"))


def spec(**fields: Any) -> WorkloadSpec:
    gpu = {"count": 1, "sku": "L4"}
    submission = {
        "name": "w",
        "type": "inference",
        "image": "nginx:1",
        "replicas": 4,
        "resources": {"gpu": gpu},
        **fields,
    }
    return WorkloadSpec.model_validate(submission)


def revision(
    of: WorkloadSpec, status: RevisionStatus = RevisionStatus.HEALTHY, number: int = 1, *, replicas: int = 4
) -> Deployment:
    """As the store gives it back."""
    document = manifest(of, workload_id=of.id, plan_id=uuid.uuid4(), revision=number, generation=number)
    return Deployment(
        id=uuid.uuid4(),
        workload_id=of.id,
        revision=number,
        generation=number,
        plan_id=uuid.uuid4(),
        cluster="local",
        reference=ObjectReference(document["kind"], of.namespace, of.name),
        manifest=json.loads(json.dumps(document)),
        status=status,
        sku="L4",
        amounts=REPLICA.times(replicas),
    )


@pytest.mark.parametrize("replicas", [0, 1, 4, 9])
@pytest.mark.parametrize("status", RUNS)
def test_other_replicas_of_what_runs_are_a_scale_however_it_fares(status: RevisionStatus, replicas: int) -> None:
    assert scales(spec(replicas=replicas), [revision(spec(), status)])


@pytest.mark.parametrize("fields", [{"priority": 5}, {"queue": True}, {"bake": "PT0S"}])
def test_what_is_not_on_the_cluster_makes_no_difference(fields: dict[str, Any]) -> None:
    assert scales(spec(replicas=1, **fields), [revision(spec())])


@pytest.mark.parametrize(
    "fields",
    [{"image": "nginx:2"}, {"env": {"A": "b"}}, {"labels": {"a": "b"}}, {"type": "stateful"}, {"resources": {}}],
)
def test_any_other_change_is_none(fields: dict[str, Any]) -> None:
    assert not scales(spec(replicas=1, **fields), [revision(spec())])


def test_a_job_what_is_being_removed_and_what_does_not_run_are_not_scaled() -> None:
    job = spec(type="training")
    assert not scales(spec(type="training", replicas=1), [revision(job)])
    assert not scales(spec(replicas=1), [revision(spec(), RevisionStatus.REMOVING)])
    assert not scales(spec(replicas=1), [])


def test_an_update_on_its_way_may_not_have_come_to_the_cluster() -> None:
    old, new = revision(spec()), revision(spec(image="nginx:2"), RevisionStatus.INTENDED, 2)
    assert not scales(spec(image="nginx:2", replicas=1), [old, new])
    assert not scales(spec(replicas=1), [old, new])
    assert scales(spec(image="nginx:2", replicas=1), [new])


@pytest.mark.parametrize(
    ("status", "held", "taken_over"),
    [
        (RevisionStatus.VERIFYING, 5, 1),
        (RevisionStatus.UNHEALTHY, 9, 1),  # it was ten before, or is to be
        (RevisionStatus.UNHEALTHY, 4, 0),
        (RevisionStatus.UNHEALTHY, 0, 0),
        (RevisionStatus.HEALTHY, 9, 0),
        (RevisionStatus.DEGRADED, 5, 0),
    ],
)
def test_a_scale_takes_over_the_surge_that_a_rollout_still_holds(
    status: RevisionStatus, held: int, taken_over: int
) -> None:
    assert remaining_surge("L4", [revision(spec(), status)], {"L4": REPLICA.times(held)}) == taken_over


def test_a_stateful_set_has_no_surge_to_take_over() -> None:
    stateful = revision(spec(type="stateful"), RevisionStatus.UNHEALTHY)
    assert remaining_surge("L4", [stateful], {"L4": REPLICA.times(9)}) == 0


def test_more_replicas_are_an_update_where_they_would_come_to_an_excluded_node() -> None:
    runs = revision(spec())
    avoiding = replace(runs, manifest=restored(runs.manifest, plan_id=uuid.uuid4(), revision=1, excluded=["gpu-1"]))
    for replicas, scaled in ((5, False), (4, True), (1, True)):
        assert scales(spec(replicas=replicas), [runs], excluded=["gpu-1"]) is scaled
    assert scales(spec(replicas=5), [avoiding], excluded=["gpu-1"])
    assert scales(spec(replicas=5), [avoiding], excluded=[])
    assert not scales(spec(replicas=5), [avoiding], excluded=["gpu-1", "gpu-2"])
