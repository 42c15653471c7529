"""Autoscalers and people who change what Sentinel applied: what is theirs stays theirs."""

import json
from typing import Any

from events.deployment import DeploymentApplied
from shared.models.lifecycle import Phase
from shared.store import audit
from tests.support.builders import connection_of
from tests.support.chain import APPLIED, Chain

NEVER = "fate.test/never-ready"
SCALED = [(".spec.replicas", "kubectl-edit")]


def scale(chain: Chain, replicas: int) -> None:
    """What an autoscaler does."""
    chain.site.someone.patch(f"{chain.site.path('Deployment', 'web')}/scale", {"spec": {"replicas": replicas}})


def set_image(chain: Chain, image: str) -> None:
    """What `kubectl set image` does."""
    container = {**chain.site.object()["spec"]["template"]["spec"]["containers"][0], "image": image}
    changed = {"spec": {"template": {"spec": {"containers": [container]}}}}
    chain.site.someone.patch(chain.site.path("Deployment", "web"), changed)


def last_applied(chain: Chain) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The fields of others that the newest revision took, and those that it left."""
    body = [one.body for one in chain.told if one.attributes["type"] == APPLIED][-1]
    said = DeploymentApplied.model_validate(json.loads(body))
    taken, left = ([(one.field, one.manager) for one in found] for found in (said.taken_fields, said.left_fields))
    return taken, left


def audited(chain: Chain) -> dict[str, Any]:
    """The particulars of the newest deployment.applied in the audit log."""
    with chain.store.begin() as work:
        entries = audit.entries(connection_of(work), str(chain.id()))
    return [entry.detail for entry in entries if entry.action == "deployment.applied"][-1]


def test_an_autoscaler_keeps_its_replicas_and_the_ledger_holds_the_most(chain: Chain) -> None:
    autoscaled = {"min": 1, "max": 4}
    chain.submit(replicas=autoscaled)
    assert chain.settle().phase is Phase.HEALTHY
    assert (chain.site.object()["spec"]["replicas"], chain.gpus()) == (1, 4)
    scale(chain, 3)
    chain.submit(image="fate.test/ready:2", replicas=autoscaled)
    assert chain.settle().phase is Phase.HEALTHY
    assert (chain.site.object()["spec"]["replicas"], chain.gpus()) == (3, 4)
    chain.submit(image=NEVER, replicas=autoscaled)
    chain.pass_time(601)
    chain.workload_is(Phase.ROLLED_BACK)
    assert (chain.site.object()["spec"]["replicas"], chain.gpus()) == (3, 4)
    assert last_applied(chain) == ([], [])


def test_a_quota_holds_against_the_most_that_an_autoscaler_may_run(chain: Chain) -> None:
    chain.limit_gpus(6)
    chain.submit(replicas={"min": 1, "max": 7})
    assert chain.workload().phase is Phase.DENIED
    assert "would hold 7 GPUs; its quota is 6" in chain.workload().reason
    chain.submit(replicas={"min": 1, "max": 6})
    assert chain.settle().phase is Phase.HEALTHY


def test_replicas_that_somebody_else_has_set_do_not_fail_an_update_and_are_reported(chain: Chain) -> None:
    chain.submit(replicas=2)
    chain.settle()
    scale(chain, 4)
    chain.submit(replicas=2, image="fate.test/ready:2")
    assert chain.settle().phase is Phase.HEALTHY
    live = chain.site.object()["spec"]
    assert (live["replicas"], live["template"]["spec"]["containers"][0]["image"]) == (4, "fate.test/ready:2")
    assert last_applied(chain) == ([], SCALED)
    assert audited(chain)["left_fields"] == [".spec.replicas (kubectl-edit)"]


def test_a_rollback_takes_the_field_that_is_broken_and_says_from_whom(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    chain.submit(image=NEVER)
    scale(chain, 2)
    set_image(chain, "fate.test/image-pull")
    chain.pass_time(601)
    chain.workload_is(Phase.ROLLED_BACK)
    live = chain.site.object()["spec"]
    assert (live["replicas"], live["template"]["spec"]["containers"][0]["image"]) == (2, "fate.test/ready")
    image = '.spec.template.spec.containers[name="main"].image'
    assert last_applied(chain) == ([(image, "kubectl-edit")], SCALED)
    assert audited(chain)["taken_fields"] == [f"{image} (kubectl-edit)"]
