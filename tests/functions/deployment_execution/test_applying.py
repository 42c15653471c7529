"""Execution brings approved plans onto a cluster, and takes them away."""

from datetime import date
from decimal import Decimal

from events.plan import PlanApproved
from shared.models.cluster import Cluster
from shared.models.lifecycle import Phase, PlanStatus
from shared.models.plan import Verb
from shared.operations import ledger_check
from shared.rollout.manifests import PLAN_ANNOTATION, REVISION_ANNOTATION
from shared.rollout.pricing import Price, PriceKind
from tests.support.builders import told
from tests.support.chain import APPLIED, REMOVED, Chain

NO_GPU = {"cpu": "100m", "memory": "64Mi"}


def test_an_approved_plan_becomes_an_object_and_a_healthy_workload(chain: Chain) -> None:
    answer = chain.apply(replicas=2)
    event = told(answer)
    assert event.type == APPLIED
    assert isinstance(event.data, dict)
    assert event.data["revision"] == 1
    live = chain.site.object()
    assert live["spec"]["replicas"] == 2
    assert live["metadata"]["annotations"][PLAN_ANNOTATION] == str(chain.plan().id)
    assert chain.plan().status is PlanStatus.EXECUTED
    assert chain.workload().phase is Phase.VERIFYING
    assert chain.revisions()[0].reference.uid == live["metadata"]["uid"]
    chain.follow(answer)
    assert chain.settle().phase is Phase.HEALTHY
    assert chain.gpus() == 2


def test_an_event_that_is_delivered_again_gets_the_same_answer(chain: Chain) -> None:
    approved = chain.until_approved()
    first = chain.forward(approved)
    version = chain.site.object()["metadata"]["resourceVersion"]
    again = chain.forward(approved)
    assert (again.headers, again.body) == (first.headers, first.body)
    assert chain.site.object()["metadata"]["resourceVersion"] == version


def test_another_event_for_an_executed_plan_does_nothing(chain: Chain) -> None:
    chain.submit()
    forged = PlanApproved.of(chain.plan())
    version = chain.site.object()["metadata"]["resourceVersion"]
    answer = chain.deliver(chain.execution, "dev.sentinel.plan.approved.v1", forged)
    assert answer.status == 202
    assert chain.site.object()["metadata"]["resourceVersion"] == version


def test_an_edit_is_the_next_revision_of_the_same_object(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    uid = chain.site.object()["metadata"]["uid"]
    answer = chain.apply(image="fate.test/ready:2")
    assert chain.gpus() == 2  # the old, or the new, and one more while both run
    chain.follow(answer)
    chain.settle()
    live = chain.site.object()
    assert (live["metadata"]["uid"], live["metadata"]["annotations"][REVISION_ANNOTATION]) == (uid, "2")
    assert [d.status for d in chain.revisions()] == ["superseded", "healthy"]
    assert chain.gpus() == 1


def test_no_replicas_are_wanted_and_nothing_is_held(chain: Chain) -> None:
    chain.submit(replicas=0)
    assert chain.settle().phase is Phase.HEALTHY
    assert chain.site.object()["spec"]["replicas"] == 0
    assert chain.gpus() == 0
    chain.submit(replicas=1)
    chain.settle()
    assert chain.gpus() == 1


def test_scaling_down_returns_what_is_no_longer_used(chain: Chain) -> None:
    chain.submit(replicas=3)
    chain.settle()
    answer = chain.apply(replicas=1)
    assert chain.gpus() == 3
    chain.follow(answer)
    assert chain.settle().phase is Phase.HEALTHY
    assert chain.site.object()["spec"]["replicas"] == 1
    assert chain.gpus() == 1


def test_a_stateful_workload_is_a_stateful_set(chain: Chain) -> None:
    chain.submit(type="stateful", replicas=2, resources=NO_GPU)
    assert chain.settle().phase is Phase.HEALTHY
    assert chain.site.object(kind="StatefulSet")["status"]["readyReplicas"] == 2
    chain.submit(type="stateful", replicas=2, resources=NO_GPU, image="fate.test/ready:2")
    assert chain.settle().phase is Phase.HEALTHY
    pods = chain.site.objects("Pod")
    assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {"fate.test/ready:2"}


def test_each_revision_of_a_job_is_an_object_and_replaces_the_one_before(chain: Chain) -> None:
    chain.submit(type="training", image="fate.test/never-ready")
    assert [job["metadata"]["name"] for job in chain.site.objects("Job")] == ["web-r1"]
    chain.apply(type="training", image="fate.test/never-ready:2")
    assert chain.gpus() == 2  # both Jobs until the earlier one is gone
    assert [job["metadata"]["name"] for job in chain.site.objects("Job")] == ["web-r2"]


def test_a_job_that_is_over_is_deleted_when_the_next_one_runs(chain: Chain) -> None:
    chain.submit(type="batch")
    assert chain.settle().phase is Phase.COMPLETED
    chain.submit(type="batch", image="fate.test/ready:2")
    assert [job["metadata"]["name"] for job in chain.site.objects("Job")] == ["web-r2"]
    assert [d.status for d in chain.revisions()] == ["superseded", "verifying"]


def test_a_removal_keeps_its_reservation_until_the_pods_are_gone(chain: Chain) -> None:
    chain.submit(replicas=2)
    chain.settle()
    approved = chain.until_removal_approved()
    answer = chain.forward(approved)
    assert told(answer).type == REMOVED
    assert chain.site.objects("Deployment") == []
    assert chain.workload().phase is Phase.REMOVING
    assert chain.gpus() == 2
    chain.follow(answer)
    chain.workload_is(Phase.REMOVED)
    assert chain.site.objects("Pod") == []
    assert chain.reserved() == {}
    assert chain.usage().gpus == chain.usage().replicas == 0


def test_a_job_that_is_over_holds_nothing_while_it_is_removed(chain: Chain) -> None:
    chain.submit(type="batch", image="fate.test/ready")
    chain.settle()
    assert chain.gpus() == 0
    chain.forward(chain.until_removal_approved())
    assert chain.workload().phase is Phase.REMOVING
    with chain.store.read() as work:
        assert not ledger_check.check(work)


def test_a_job_that_is_over_is_removed_with_its_pods(chain: Chain) -> None:
    chain.submit(type="batch")
    chain.workload_is(Phase.COMPLETED)
    assert chain.gpus() == 0
    chain.withdraw()
    chain.workload_is(Phase.REMOVED)
    assert chain.site.objects("Job") == []
    chain.until(lambda: chain.site.objects("Pod"), lambda pods: pods == [])


def test_a_workload_that_never_ran_is_removed_at_once_and_holds_nothing(chain: Chain) -> None:
    chain.until_approved()
    assert chain.gpus() == 1
    chain.withdraw()
    assert chain.workload().phase is Phase.REMOVED
    assert chain.reserved() == {}
    assert "deployment.removed" not in chain.told_types()


def test_a_removed_workload_may_come_back_as_another_kind(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    chain.withdraw()
    chain.workload_is(Phase.REMOVED)
    chain.submit(type="stateful", image="fate.test/image-pull")
    assert chain.settle().phase is Phase.FAILED  # and no rollback to the Deployment of its former life
    assert chain.site.objects("Deployment") == []
    assert [d.status for d in chain.revisions()] == ["removed", "unhealthy"]


def test_posting_again_while_the_removal_is_under_way_brings_it_back(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    approved = chain.until_removal_approved()
    chain.forward(approved)
    chain.submit(image="fate.test/ready:2")
    assert chain.settle().phase is Phase.HEALTHY
    assert chain.gpus() == 1
    assert len(chain.site.objects("Deployment")) == 1


def test_variables_reach_the_pod_in_the_order_they_were_written_in(chain: Chain) -> None:
    env = {"PG_HOST": "db", "APP_URL": "pg://$(PG_HOST)", "B": {"secret": "s", "key": "k"}, "A": "$(APP_URL)"}
    chain.apply(resources=NO_GPU, env=env)
    container = chain.site.object()["spec"]["template"]["spec"]["containers"][0]
    assert [variable["name"] for variable in container["env"]] == list(env)


def test_pods_go_where_their_workload_says(chain: Chain) -> None:
    chain.apply(nodeSelector={"disk": "ssd"}, tolerations=[{"key": "dedicated", "operator": "Exists"}])
    pod = chain.site.object()["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"disk": "ssd"}
    assert [toleration["key"] for toleration in pod["tolerations"]] == ["dedicated", "nvidia.com/gpu"]


NEW_GPU = {"cpu": "100m", "memory": "64Mi", "gpu": {"count": 1, "sku": "nvidia geforce rtx 6090"}}


def new_gpu(chain: Chain, *products: str) -> None:
    """A cluster with GPUs of a model that no table knows; `products` are what is known of its nodes' labels."""
    price = Price(PriceKind.GPU, Decimal(3), "test", date(2026, 1, 1), sku="NVIDIA-GEFORCE-RTX-6090")
    with chain.store.begin() as work:
        work.catalogue.register_cluster(Cluster("local", {"region": "eu"}))
        work.catalogue.set_prices([price])
        work.catalogue.add_products("local", products)


def accepted_products(chain: Chain) -> object:
    affinity = chain.site.object()["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    [term] = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    return term["matchExpressions"][0]["values"]


def test_a_gpu_is_asked_for_as_the_nodes_of_the_cluster_spell_it(chain: Chain) -> None:
    new_gpu(chain, "NVIDIA-GeForce-RTX-6090", "NVIDIA-L4")
    chain.apply(resources=NEW_GPU)
    assert accepted_products(chain) == ["NVIDIA-GeForce-RTX-6090"]


def test_a_workload_that_named_a_gpu_in_another_case_is_put_right_by_its_next_generation(chain: Chain) -> None:
    new_gpu(chain)
    chain.apply(resources=NEW_GPU)
    assert accepted_products(chain) == ["nvidia-geforce-rtx-6090"]
    new_gpu(chain, "NVIDIA-GeForce-RTX-6090")
    chain.apply(resources=NEW_GPU, replicas=2)
    assert accepted_products(chain) == ["NVIDIA-GeForce-RTX-6090"]
    with chain.store.begin() as work:
        plans = work.plans.get(chain.workload().plan_id)
    assert plans is not None
    assert plans.decision.verb is Verb.UPDATE
