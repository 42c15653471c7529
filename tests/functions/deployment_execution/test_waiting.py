"""A cluster that is away makes its own plans wait, and costs nobody an attempt."""

import socket
from pathlib import Path

import pytest

from shared.clusters.kubeconfig import Connection
from shared.models.lifecycle import Phase, PlanStatus
from tests.support.chain import Chain
from tests.support.cluster import kubeconfig_of, troubled


def comes_back_and_is_served(chain: Chain) -> None:
    chain.site.come_back()
    chain.pass_plan_time(60)
    chain.tick()
    assert chain.settle().phase is Phase.HEALTHY
    assert len(chain.revisions()) == 1
    assert chain.gpus() == 1


def waits(chain: Chain, reason: str) -> None:
    approved = chain.until_approved()
    answer = chain.forward(approved)
    assert (answer.status, answer.body) == (202, b"")
    assert chain.attempts((approved.headers, b""), "deployment-execution") == 1
    assert chain.plan().status is PlanStatus.WAITING
    workload = chain.workload()
    assert workload.phase is Phase.WAITING
    assert reason in workload.reason
    assert chain.gpus() == 1


def test_a_cluster_without_a_kubeconfig(chain: Chain) -> None:
    chain.site.go_away()
    waits(chain, "cluster local has no kubeconfig")
    comes_back_and_is_served(chain)


def test_a_kubeconfig_that_cannot_be_read(chain: Chain) -> None:
    chain.site.go_away("not: [a kubeconfig")
    waits(chain, "neither JSON nor YAML")
    comes_back_and_is_served(chain)


def test_a_server_that_refuses_connections(chain: Chain) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    chain.site.go_away(kubeconfig_of(Connection(f"https://127.0.0.1:{port}")))
    waits(chain, "refused")
    comes_back_and_is_served(chain)


@pytest.mark.parametrize("status", [503, 429, 401])
def test_a_server_that_asks_for_patience(chain: Chain, tmp_path: Path, status: int) -> None:
    with troubled(status, tmp_path) as server:
        chain.site.go_away(server.kubeconfig)
        waits(chain, f"{status} overloaded")
    comes_back_and_is_served(chain)


def test_due_plans_are_announced_once_in_15_seconds(chain: Chain) -> None:
    chain.site.go_away()
    chain.follow(chain.until_approved())
    chain.site.come_back()
    chain.pass_plan_time(2)
    first = chain.tick(run=False)
    assert first.headers["ce-type"] == "dev.sentinel.plan.approved.v1"
    assert chain.tick(run=False).status == 202
    chain.pass_plan_time(16)
    assert chain.tick(run=False).status == 200


def test_a_plan_that_waits_gives_way_to_a_newer_one(chain: Chain) -> None:
    chain.site.go_away()
    chain.follow(chain.until_approved(image="fate.test/ready:1"))
    chain.follow(chain.until_approved(image="fate.test/ready:2"))
    chain.site.come_back()
    chain.pass_plan_time(60)
    chain.tick()
    assert chain.settle().phase is Phase.HEALTHY
    live = chain.site.object()
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "fate.test/ready:2"
    assert chain.gpus() == 1


def test_a_plan_that_waited_and_was_replaced_by_a_denied_one_holds_nothing(chain: Chain) -> None:
    chain.limit_gpus(4)
    chain.site.go_away()
    chain.submit(replicas=3)
    chain.submit(replicas=9)
    assert chain.workload().phase is Phase.DENIED
    chain.site.come_back()
    chain.until(chain.gpus, lambda gpus: gpus == 0)
    assert chain.site.objects("Deployment") == []
    assert chain.workload().phase is Phase.DENIED


def test_an_edit_that_waited_and_was_replaced_by_a_denied_one_gives_way_to_what_runs(chain: Chain) -> None:
    chain.limit_gpus(4)
    chain.submit(replicas=1)
    chain.settle()
    chain.site.go_away()
    chain.submit(replicas=2, image="fate.test/ready:2")
    chain.submit(replicas=9)
    assert chain.workload().phase is Phase.DENIED
    chain.site.come_back()
    chain.pass_plan_time(60)
    chain.tick()
    chain.pass_time(601)
    chain.workload_is(Phase.ROLLED_BACK)
    assert chain.gpus() == 1
    live = chain.site.object()
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "fate.test/ready"


def test_a_removal_waits_too(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    chain.site.go_away()
    chain.withdraw()
    assert chain.workload().phase is Phase.WAITING
    assert chain.gpus() == 1
    chain.site.come_back()
    chain.workload_is(Phase.REMOVED)
    assert chain.reserved() == {}


def test_nothing_is_judged_while_the_cluster_does_not_answer(chain: Chain) -> None:
    chain.apply()
    chain.site.go_away()
    chain.pass_time(3600)
    chain.tick()
    assert chain.workload().phase is Phase.VERIFYING
    chain.site.come_back()
    assert chain.settle().phase is Phase.HEALTHY
