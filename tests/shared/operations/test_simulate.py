"""A simulation decides on the facts of now, and writes nothing."""

from shared.models.cluster import Cluster
from shared.models.workload import WorkloadSpec
from shared.operations import simulate, workloads
from shared.operations.simulate import SimulationOutcome
from shared.operations.workloads import WorkloadReference
from shared.policy.documents import PolicyDocument
from shared.store.unit_of_work import Store
from tests.support.builders import Deliver, id_of, submission


def limit(store: Store, gpus: int) -> None:
    document = {"name": "gpus", "rules": [{"type": "quota", "scope": "team", "gpus": gpus}]}
    with store.begin() as work:
        work.policies.put(PolicyDocument.model_validate(document), "tests")


def test_every_cluster_has_its_own_decision(store: Store) -> None:
    document = {
        "name": "here",
        "selector": {"clusters": ["local"]},
        "rules": [{"type": "quota", "scope": "cluster", "gpus": 1}],
    }
    with store.begin() as work:
        work.catalogue.register_cluster(Cluster("east", {}, {"L4": 4}))
        work.policies.put(PolicyDocument.model_validate(document), "tests")
    with store.read() as work:
        [simulated] = simulate.simulate(work, [WorkloadSpec.model_validate(submission())])
    assert [(one.cluster, one.outcome) for one in simulated.outlooks] == [
        ("east", SimulationOutcome.APPROVED),
        ("local", SimulationOutcome.DENIED),
    ]
    assert not simulated.hopeless
    assert simulated.rejection == ""


def test_what_intake_would_reject_says_why_and_what_is_known_is_unchanged(store: Store, deliver: Deliver) -> None:
    deliver.decide()
    unknown = submission("odd", clusters={"matchLabels": {"region": "mars"}})
    with store.read() as work:
        known, rejected = simulate.simulate(
            work, [WorkloadSpec.model_validate(one) for one in (submission(generation=1), unknown)]
        )
    assert (known.unchanged, known.outlooks) == (True, [])
    assert not rejected.unchanged
    assert rejected.rejection


def test_a_denied_workload_has_alternatives_on_the_facts_of_now(store: Store, deliver: Deliver) -> None:
    limit(store, 3)
    deliver.decide(replicas=4)
    with store.read() as work:
        found = workloads.alternatives(work, workloads.get(work, WorkloadReference(str(id_of()))))
    assert found is not None
    assert [one.change.replicas for one in found] == [3]
    limit(store, 9)
    with store.read() as work:
        found = workloads.alternatives(work, workloads.get(work, WorkloadReference(str(id_of()))))
    assert found is not None
    assert [one.message for one in found] == ["submit it again as it is: it would be approved now"]
