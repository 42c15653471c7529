"""Events say what to observe, and what is observed decides. Newer plans, late events and forgeries."""

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from events.deployment import DeploymentApplied
from shared.clusters.driver import ClusterDriver
from shared.models.lifecycle import Phase
from shared.operations.observation_tasks import NOTICE_INTERVAL, NOTICES_AT_ONCE
from tests.support.builders import request
from tests.support.chain import APPLIED, Chain, Message
from tests.support.cluster import Crash, Site

NEVER = "fate.test/never-ready"
UPDATED = "dev.knative.apiserver.ref.update"
DELETED = "dev.knative.apiserver.ref.delete"
BREACHED = "dev.sentinel.slo.breached.v1"
CONTINUED = "dev.sentinel.verification.continued.v1"


def notice(
    chain: Chain, kind: str = "Deployment", name: str = "web", type_name: str = UPDATED, **attributes: Any
) -> Message:
    data = {"apiVersion": "apps/v1", "kind": kind, "namespace": chain.site.namespace, "name": name}
    return request(type_name, data, subject=f"/apis/apps/v1/namespaces/x/{name}", **attributes)


def ready_but_not_observed(chain: Chain) -> None:
    """A revision that is ready on the cluster, and under verification still."""
    chain.apply()
    chain.until_seen(chain.site.object, lambda live: live.get("status", {}).get("availableReplicas") == 1)


def test_a_notice_makes_verification_observe_the_object(chain: Chain) -> None:
    ready_but_not_observed(chain)
    assert chain.send(notice(chain)).status == 200
    assert chain.workload().phase is Phase.HEALTHY


def test_the_event_of_an_apply_asks_no_cluster_where_a_notice_has_shown_the_revision_healthy(chain: Chain) -> None:
    applied = chain.apply()
    chain.until_seen(chain.site.object, lambda live: live.get("status", {}).get("availableReplicas") == 1)
    assert chain.send(notice(chain)).status == 200
    chain.site.crashes = 1  # whoever asks for the cluster dies
    assert chain.forward(applied).status == 202
    assert chain.workload().phase is Phase.HEALTHY


def test_a_notice_of_a_deletion_restores_the_object(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    chain.site.someone.delete(chain.site.path("Deployment", "web"))
    chain.run([notice(chain, type_name=DELETED)])
    chain.workload_is(Phase.ROLLED_BACK)
    assert len(chain.site.objects("Deployment")) == 1


@pytest.mark.parametrize(
    ("kind", "name"), [("Deployment", "other"), ("Job", "web"), ("Pod", "web"), ("Deployment", "")]
)
def test_notices_of_other_objects_change_nothing_and_ask_no_cluster(chain: Chain, kind: str, name: str) -> None:
    chain.apply(image=NEVER)
    before = (chain.workload(), chain.revisions(), chain.actions())
    chain.site.go_away()
    chain.site.crashes = 1  # whoever asks for the cluster dies
    answer = chain.send(notice(chain, kind, name))
    assert (answer.status, answer.body) == (202, b"")
    assert (chain.workload(), chain.revisions(), chain.actions()) == before


def at(seconds: float) -> dict[str, Any]:
    """The attribute `time`, some seconds from now."""
    return {"time": (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()}


def test_a_notice_of_a_change_that_was_just_observed_asks_no_cluster(chain: Chain) -> None:
    chain.apply(image=NEVER)
    chain.send(notice(chain))
    chain.site.crashes = 1
    assert chain.send(notice(chain, **at(-1))).status == 202
    assert chain.site.crashes == 1


@pytest.mark.parametrize("case", ["newer", "without a time", "a deletion", "observed long ago", "only applied"])
def test_a_notice_of_what_may_not_have_been_observed_is_acted_on(chain: Chain, case: str) -> None:
    chain.apply(image=NEVER)
    if case != "only applied":
        chain.send(notice(chain))
    if case == "observed long ago":
        chain.pass_time(3, observed_at=True, applied_at=True)
    chain.site.crashes = 1
    message = {
        "newer": notice(chain, **at(1)),
        "without a time": notice(chain),
        "a deletion": notice(chain, type_name=DELETED, **at(-1)),
        "observed long ago": notice(chain, **at(-10)),
        "only applied": notice(chain, **at(-1)),
    }[case]
    chain.run([message])
    assert chain.site.crashes == 0


@pytest.mark.slow
def test_a_rollout_of_a_thousand_pods_is_observed_a_few_times(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pod changes the status of its Deployment; a hundred changes stand for all."""
    chain.apply(image=NEVER)
    observed = 0

    def driver(name: str) -> ClusterDriver:
        nonlocal observed
        observed += 1
        return Site.driver(chain.site, name)

    monkeypatch.setattr(chain.site, "driver", driver)
    started = time.monotonic()
    for _ in range(100):
        assert chain.send(notice(chain, **at(1))).status == 202
    elapsed = timedelta(seconds=time.monotonic() - started)
    assert NOTICES_AT_ONCE <= observed <= NOTICES_AT_ONCE + elapsed / NOTICE_INTERVAL + 1
    assert chain.send(notice(chain, type_name=DELETED)).status == 202
    assert observed <= NOTICES_AT_ONCE + elapsed / NOTICE_INTERVAL + 2, "a deletion is always looked into"


def test_the_tick_observes_what_notices_said_too_often(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    for _ in range(NOTICES_AT_ONCE + 5):
        chain.send(notice(chain))
    chain.site.someone.delete(chain.site.path("Deployment", "web"))
    assert chain.send(notice(chain)).status == 202
    assert "deployment.unhealthy" not in chain.actions()
    chain.tick()
    assert "deployment.unhealthy" in chain.actions()


def test_a_lost_notice_is_made_up_for_by_the_tick(chain: Chain) -> None:
    ready_but_not_observed(chain)
    chain.tick()
    assert chain.workload().phase is Phase.HEALTHY


def test_a_breach_makes_verification_observe_the_workload(chain: Chain) -> None:
    ready_but_not_observed(chain)
    breach = {"workload": str(chain.id()), "objective": "latency"}
    assert chain.deliver(chain.verification, BREACHED, breach).status == 200
    assert chain.workload().phase is Phase.HEALTHY


def test_a_breach_of_nobody_asks_no_cluster(chain: Chain) -> None:
    chain.site.crashes = 1
    breach = {"workload": str(uuid.uuid4()), "objective": "latency"}
    assert chain.deliver(chain.verification, BREACHED, breach).status == 202


def test_what_is_not_a_workloads_id_is_poison(chain: Chain) -> None:
    breach = {"workload": "web", "objective": "latency"}
    answer = chain.deliver(chain.verification, BREACHED, breach)
    assert answer.status == 422
    assert b"'web' is not a workload's id" in answer.body


def test_a_forged_deployment_is_poison(chain: Chain) -> None:
    chain.apply()
    forged = DeploymentApplied.of(chain.revisions()[0]).model_dump(mode="json", by_alias=True)
    answer = chain.deliver(chain.verification, APPLIED, {**forged, "deployment": str(uuid.uuid4())})
    assert answer.status == 422
    assert chain.workload().phase is Phase.VERIFYING


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"page": 0}, 422),
        ({"page": -5}, 422),
        ({"startedAt": "0001-01-01T00:00:00"}, 422),
        ({"startedAt": "0001-01-01T00:00:00Z"}, 202),
        ({"startedAt": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}, 422),
    ],
)
def test_continuations_that_no_tick_has_emitted(chain: Chain, changes: dict[str, object], status: int) -> None:
    chain.site.crashes = 1
    told = {"startedAt": datetime.now(UTC).isoformat(), "page": 2} | changes
    assert chain.deliver(chain.verification, CONTINUED, told, subject="tick").status == status


def test_an_event_about_a_revision_that_was_replaced_changes_nothing(chain: Chain) -> None:
    late = chain.apply(image=NEVER)
    chain.submit(image="fate.test/ready")
    chain.settle()
    before = (chain.workload(), chain.revisions())
    assert chain.forward(late).status == 202
    assert (chain.workload(), chain.revisions()) == before


def test_a_revision_becomes_healthy_under_a_newer_plan_and_leaves_phase_and_hold_alone(chain: Chain) -> None:
    ready_but_not_observed(chain)
    newer = chain.until_approved(replicas=4, image="fate.test/ready:2")
    assert chain.gpus() == 5
    chain.tick()
    assert [d.status for d in chain.revisions()] == ["healthy"]
    assert chain.workload().phase is Phase.APPROVED
    assert chain.gpus() == 5
    chain.follow(newer)
    assert chain.settle().phase is Phase.HEALTHY
    assert [d.revision for d in chain.revisions()] == [1, 2]
    assert chain.gpus() == 4


def test_a_broken_revision_is_left_to_the_newer_plan_that_is_under_way(chain: Chain) -> None:
    chain.apply(image=NEVER)
    newer = chain.until_approved(image="fate.test/ready")
    chain.pass_time(601)
    chain.tick()
    assert chain.workload().phase is Phase.APPROVED
    assert "deployment.unhealthy" not in chain.told_types()
    chain.follow(newer)
    assert chain.settle().phase is Phase.HEALTHY


def test_a_denied_edit_does_not_keep_a_broken_revision_running(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    chain.submit(image=NEVER)
    chain.limit_gpus(2)
    chain.submit(replicas=9)
    assert chain.workload().phase is Phase.DENIED
    chain.pass_time(601)
    chain.tick()
    chain.workload_is(Phase.ROLLED_BACK)
    assert chain.gpus() == 1


def test_a_denied_edit_does_not_keep_a_missing_object_from_being_restored(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    chain.limit_gpus(2)
    chain.submit(replicas=9)
    chain.site.someone.delete(chain.site.path("Deployment", "web"))
    chain.sweep()
    chain.workload_is(Phase.ROLLED_BACK)
    assert chain.gpus() == 1


def test_a_denied_edit_under_verification_leaves_the_phase_denied(chain: Chain) -> None:
    ready_but_not_observed(chain)
    chain.limit_gpus(2)
    chain.submit(replicas=9)
    chain.tick()
    assert [d.status for d in chain.revisions()] == ["healthy"]
    assert chain.workload().phase is Phase.DENIED
    assert chain.gpus() == 1


def test_pods_gone_under_a_second_withdrawal_leave_the_phase_to_that(chain: Chain) -> None:
    """Withdrawn, posted again and withdrawn again, before the first removal was observed."""
    chain.submit()
    chain.settle()
    chain.forward(chain.until_removal_approved())
    chain.until_approved()
    second = chain.until_removal_approved()
    chain.tick()
    assert [d.status for d in chain.revisions()] == ["removed"]
    assert chain.workload().phase is Phase.APPROVED
    chain.follow(second)
    assert chain.workload().phase is Phase.REMOVED
    assert chain.reserved() == {}


def test_pods_gone_under_a_denied_edit_return_what_they_held(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    chain.forward(chain.until_removal_approved())
    chain.limit_gpus(0)
    chain.submit(replicas=9)
    chain.tick()
    assert chain.workload().phase is Phase.DENIED
    assert chain.reserved() == {}


def test_one_id_of_a_caller_may_serve_intake_and_verification(chain: Chain) -> None:
    """Plans are named after their cause; a caller's breach must not name the plan that its submission made."""
    headers, body = chain.submitted()
    chain.run([({**headers, "ce-id": "1", "ce-source": "/curl"}, body)])
    chain.settle()
    chain.site.someone.delete(chain.site.path("Deployment", "web"))
    breach = {"workload": str(chain.id()), "objective": "latency"}
    chain.run([request(BREACHED, breach, event_id="1", source="/curl")])
    chain.workload_is(Phase.ROLLED_BACK)


def test_two_observations_at_once_have_one_outcome(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    answer = chain.apply(image="fate.test/image-pull")
    chain.until_seen(lambda: chain.site.objects("Pod"), lambda pods: "ImagePullBackOff" in str(pods))
    with chain.held_up(answer):
        chain.run([notice(chain)])
        assert chain.told_types().count("deployment.unhealthy") == 1
    chain.settle()
    assert chain.told_types().count("deployment.unhealthy") == 1
    assert chain.actions().count("deployment.unhealthy") == 1
    assert [d.revision for d in chain.revisions()] == [1, 2, 3]


def test_an_observation_that_was_cut_off_is_repeated(chain: Chain) -> None:
    ready_but_not_observed(chain)
    message = notice(chain)
    chain.site.crashes = 1
    with pytest.raises(Crash):
        chain.send(message)
    assert chain.send(message).status == 200
    assert chain.workload().phase is Phase.HEALTHY
