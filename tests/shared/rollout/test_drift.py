"""What differs between an object and what was applied, and what does not count."""

from datetime import timedelta
from typing import Any

import pytest

from shared.models.deployment import Deployment
from shared.models.lifecycle import RevisionStatus
from shared.rollout.drift import SweepFinding, drift, finding
from shared.rollout.owned_fields import owned_digest
from tests.support.cluster_documents import NOW, REVISION, condition, counts, resource, watched

MANIFEST: dict[str, Any] = {
    "metadata": {"labels": {"app.kubernetes.io/managed-by": "sentinel"}},
    "spec": {
        "replicas": 2,
        "template": {
            "spec": {
                "containers": [{"name": "main", "image": "a:1", "args": ["x"], "env": [{"name": "A", "value": "1"}]}],
                "tolerations": [{"key": "gpu", "operator": "Exists"}],
            }
        },
    },
}


def live(**changes: Any) -> dict[str, Any]:
    """As the API server has it: with defaults, another writer's sidecar, and more replicas."""
    main = {"name": "main", "image": "mirror/a:1", "args": ["x"], "env": [{"name": "A", "value": "1"}], "tty": False}
    pod = {
        "containers": [{"name": "sidecar", "image": "proxy"}, {**main, **changes}],
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "dnsPolicy": "ClusterFirst",
    }
    found = resource(**counts(2, 2, 2, 2))
    return {**found, "spec": {"replicas": 5, "template": {"spec": pod}}}


def digest(**changes: Any) -> str:
    return owned_digest(MANIFEST, live(**changes))


def test_what_others_add_and_how_many_replicas_there_are_does_not_count() -> None:
    other = live()
    other["spec"] |= {"replicas": 1, "paused": False}
    other["metadata"]["labels"] = {**other["metadata"]["labels"], "theirs": "x"}
    other["spec"]["template"]["spec"]["containers"].reverse()
    assert owned_digest(MANIFEST, other) == digest()


@pytest.mark.parametrize(
    "changes", [{"image": "b"}, {"args": ["x", "y"]}, {"env": [{"name": "A", "value": "2"}]}, {"env": []}]
)
def test_a_field_that_was_applied_counts(changes: dict[str, Any]) -> None:
    assert digest(**changes) != digest()


def settled(**more: Any) -> Deployment:
    return Deployment(**{**vars(watched(status=RevisionStatus.HEALTHY)), "manifest": MANIFEST, **more})


def test_a_changed_object_differs_where_it_is_known_what_was_applied() -> None:
    assert drift(settled(object_digest=digest()), live()) is None
    assert drift(settled(object_digest=digest(image="b")), live()) is SweepFinding.CHANGED
    assert drift(settled(), live()) is None


def test_an_older_revision_differs_and_a_newer_one_is_left_alone() -> None:
    older, newer = live(), live()
    older["metadata"]["annotations"]["sentinel.dev/revision"] = str(REVISION - 1)
    newer["metadata"]["annotations"]["sentinel.dev/revision"] = str(REVISION + 1)
    assert drift(settled(object_digest="x"), older) is SweepFinding.OLDER_REVISION
    assert drift(settled(object_digest="x"), newer) is None


@pytest.mark.parametrize(
    ("status", "available", "found"),
    [
        (RevisionStatus.HEALTHY, 2, None),
        (RevisionStatus.HEALTHY, 1, SweepFinding.NOT_READY),
        (RevisionStatus.DEGRADED, 1, SweepFinding.NOT_READY),
        (RevisionStatus.UNHEALTHY, 2, SweepFinding.RECOVERED),
        (RevisionStatus.UNHEALTHY, 1, None),
    ],
)
def test_what_is_looked_at_more_closely(status: RevisionStatus, available: int, found: SweepFinding | None) -> None:
    there = resource(**counts(2, 2, available, available))
    revision = watched(status=status, left=-timedelta(minutes=5))
    assert finding(revision, there, NOW) is found


def test_a_job_that_failed_and_has_ended_since_is_looked_at() -> None:
    job = watched("Job", status=RevisionStatus.UNHEALTHY)
    assert finding(job, resource("Job"), NOW) is None
    for kind in ("Complete", "Failed"):
        assert finding(job, resource("Job", conditions=[condition(kind)]), NOW) is SweepFinding.RECOVERED


def test_an_object_without_its_labels_or_annotations_is_looked_at() -> None:
    assert finding(settled(), resource(revision=None), NOW) is SweepFinding.UNMARKED
