"""From the pods that an agent sees to the workloads that Sentinel knows."""

from dataclasses import replace

from shared.models.deployment import ObjectReference
from shared.models.lifecycle import RevisionStatus
from shared.store.unit_of_work import Store, UnitOfWork
from tests.support.builders import Deliver, id_of, revision_of

LONG = "a" * 63


def stand_for(
    work: UnitOfWork, name: str, status: RevisionStatus = RevisionStatus.HEALTHY, cluster: str = "local"
) -> None:
    """A revision of a workload that was submitted; its object is called like it."""
    workload = work.workloads.get(id_of(name))
    assert workload is not None
    plan = work.plans.get(workload.plan_id)
    assert plan is not None
    revision = revision_of(workload, plan, status)
    work.deployments.add(replace(revision, cluster=cluster, reference=ObjectReference("Deployment", "search", name)))


def test_pods_of_a_cluster_belong_to_the_workloads_whose_objects_are_there(store: Store, deliver: Deliver) -> None:
    for name in ("web", "chat", "old", LONG):
        deliver.submit(name)
    pods = [("search", f"{name}-7d9f6c8b5-x2x7k") for name in ("web", "chat", "old", "nobody")]
    cut, elsewhere = ("search", f"{LONG[:58]}x2x7k"), ("ads", "web-7d9f6c8b5-x2x7k")
    with store.begin() as work:
        stand_for(work, "web")
        stand_for(work, LONG)
        stand_for(work, "chat", cluster="eu")
        stand_for(work, "old", RevisionStatus.REMOVED)
        found = work.objects.workloads_of_pods("local", [*pods, cut, elsewhere])
        assert work.objects.workloads_of_pods("local", []) == {}
    assert found == {pods[0]: id_of("web"), cut: id_of(LONG)}
