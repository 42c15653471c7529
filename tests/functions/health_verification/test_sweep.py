"""The sweep of a cluster: what it finds is mended, and what nobody owns is reported."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from events import CATALOGUE
from events.continuation import SweepContinued
from shared.clusters import kubernetes
from shared.clusters.answers import ApiAnswer
from shared.clusters.kubernetes import KubernetesDriver
from shared.clusters.transport import Transport
from shared.errors import ClusterRefused
from shared.models.lifecycle import Phase, RevisionStatus
from shared.operations import orphans as orphan_operations
from shared.operations import sweep as operations
from shared.rollout.manifests import INSTANCE_LABEL
from shared.store.tables import deployments, sweeps
from tests.support.builders import TESTS, connection_of, request, set_columns, told
from tests.support.chain import TICK, Chain

NEVER = "fate.test/never-ready"
NO_GPU = {"cpu": "10m", "memory": "6Mi"}
CONTINUED = CATALOGUE.name_of(SweepContinued)


def settled(chain: Chain, *names: str, **fields: Any) -> None:
    for name in names:
        chain.submit(name, **{"resources": NO_GPU, **fields})
    for name in names:
        assert chain.settle(name).phase is Phase.HEALTHY


def begin(chain: Chain) -> None:
    """The next tick begins a sweep."""
    with chain.store.begin() as work:
        connection_of(work).execute(sweeps.update().values(next_page_at=work.now))


def suspects(chain: Chain) -> list[str]:
    statement = sa.select(deployments.c.name).where(deployments.c.suspected_at.is_not(None))
    with chain.store.begin() as work:
        return list(connection_of(work).execute(statement.order_by(deployments.c.name)).scalars())


def patch(chain: Chain, body: dict[str, Any], name: str = "web", kind: str = "Deployment") -> None:
    chain.site.someone.patch(chain.site.path(kind, name), body)


def image_of(chain: Chain, name: str = "web") -> str:
    return str(chain.site.object(name)["spec"]["template"]["spec"]["containers"][0]["image"])


def other_image(chain: Chain, image: str, name: str = "web") -> dict[str, Any]:
    container = chain.site.object(name)["spec"]["template"]["spec"]["containers"][0] | {"image": image}
    return {"spec": {"template": {"spec": {"containers": [container]}}}}


def test_a_missing_object_is_restored_and_no_other_is_touched(chain: Chain) -> None:
    settled(chain, "web", "other")
    chain.site.someone.delete(chain.site.path("Deployment", "web"))
    chain.sweep()
    assert chain.workload_is(Phase.ROLLED_BACK).revision == 2
    assert len(chain.site.objects("Deployment")) == 2
    assert chain.workload("other").revision == 1


def test_more_objects_may_be_missing_than_one_statement_takes(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "_MOST_MISSING", 2)
    settled(chain, "a", "b", "c", "other")
    for name in "abc":
        chain.site.someone.delete(chain.site.path("Deployment", name))
    chain.sweep()
    assert [chain.workload(name).revision for name in ("a", "b", "c", "other")] == [2, 2, 2, 1]
    assert len(chain.site.objects("Deployment")) == 4


def test_a_changed_field_is_restored_and_what_others_added_is_left_alone(chain: Chain) -> None:
    settled(chain, "web")
    patch(chain, other_image(chain, "fate.test/ready:other"))
    patch(chain, {"metadata": {"annotations": {"theirs": "kept"}}})
    chain.sweep()
    assert chain.workload_is(Phase.ROLLED_BACK).revision == 2
    assert image_of(chain) == "fate.test/ready"
    assert chain.site.object()["metadata"]["annotations"]["theirs"] == "kept"
    [unhealthy] = [one for one in chain.told if one.attributes["type"].endswith("deployment.unhealthy.v1")]
    assert b'"reason":"Changed"' in unhealthy.body


def test_whoever_changes_it_again_and_again_is_answered_once_in_ten_minutes(chain: Chain) -> None:
    settled(chain, "web")
    for _ in range(2):
        patch(chain, other_image(chain, "fate.test/ready:other"))
        chain.sweep()
        chain.settle()
    assert (chain.workload().revision, image_of(chain)) == (2, "fate.test/ready:other")
    chain.pass_time(601)
    chain.sweep()
    assert chain.workload_is(Phase.ROLLED_BACK).revision == 3
    assert image_of(chain) == "fate.test/ready"


def test_what_an_autoscaler_and_a_restart_change_is_no_drift(chain: Chain) -> None:
    settled(chain, "web")
    patch(chain, {"spec": {"replicas": 3}})
    patch(chain, {"spec": {"template": {"metadata": {"annotations": {"restartedAt": "now"}}}}})
    chain.until_seen(chain.site.object, lambda live: live["status"].get("availableReplicas") == 3)
    chain.sweep()
    assert (chain.workload().phase, chain.workload().revision) == (Phase.HEALTHY, 1)


def test_an_older_revision_on_the_cluster_is_replaced(chain: Chain) -> None:
    """As an execution leaves it that comes to the cluster by a way around every fence."""
    settled(chain, "web")
    older = {"metadata": {"annotations": {"sentinel.dev/revision": "1"}}}
    settled(chain, "web", image="fate.test/ready:2")
    patch(chain, {**other_image(chain, "fate.test/ready"), **older})
    chain.sweep()
    assert chain.workload_is(Phase.ROLLED_BACK).revision == 3
    assert image_of(chain) == "fate.test/ready:2"


def test_a_revision_whose_notice_was_lost_is_found_not_ready(chain: Chain) -> None:
    settled(chain, "web", type="stateful")
    patch(chain, {"spec": {"template": {"spec": {"nodeSelector": {"no": "where"}}}}}, kind="StatefulSet")
    chain.until_seen(
        lambda: chain.site.object(kind="StatefulSet"), lambda live: not live["status"].get("availableReplicas")
    )
    chain.sweep()
    chain.pass_time(6, observed_at=True)
    chain.tick()
    assert chain.workload().phase is Phase.DEGRADED


@pytest.mark.slow
def test_a_failed_revision_that_recovers_is_healthy(chain: Chain) -> None:
    chain.submit(image="fate.test/slow", resources=NO_GPU)
    chain.until_seen(chain.site.object, lambda live: live.get("status", {}).get("availableReplicas") == 1)
    with chain.store.begin() as work:
        [revision] = work.deployments.of_workload(chain.id())
        work.deployments.mark_unhealthy(revision, work.now, "DeadlineExceeded")
        work.workloads.advance(chain.workload(), Phase.FAILED, reason="DeadlineExceeded")
    chain.sweep()
    assert (chain.workload().phase, chain.workload().reason) == (Phase.HEALTHY, "")
    assert chain.revisions()[0].status is RevisionStatus.HEALTHY


def test_a_failed_revision_that_vanished_gives_its_reservation_back(chain: Chain) -> None:
    chain.submit(image=NEVER)
    chain.pass_time(601)
    assert chain.settle().phase is Phase.FAILED
    assert chain.gpus() == 1
    chain.sweep()
    assert (chain.workload().phase, chain.gpus()) == (Phase.FAILED, 1)
    chain.site.someone.delete(chain.site.path("Deployment", "web"))
    chain.sweep()
    assert (chain.workload().phase, chain.gpus()) == (Phase.FAILED, 0)
    assert chain.site.objects("Deployment") == []


def stray(chain: Chain, name: str = "stray") -> None:
    """An object as a cluster has it that was lost and came back."""
    live = chain.site.object()
    live["metadata"] = {
        "name": name,
        "namespace": chain.site.namespace,
        "labels": {**live["metadata"]["labels"], INSTANCE_LABEL: str(uuid.uuid4())},
    }
    live["spec"]["selector"]["matchLabels"] = {"app": name}
    live["spec"]["template"]["metadata"]["labels"] = {"app": name}
    chain.site.someone.create(f"/apis/apps/v1/namespaces/{chain.site.namespace}/deployments", live)


def test_an_orphan_is_reported_and_removed_when_an_operator_asks(chain: Chain) -> None:
    settled(chain, "web")
    stray(chain)
    chain.sweep()
    with chain.store.begin() as work:
        [orphan] = orphan_operations.list_orphans(work, "local", 10)
    assert orphan.reference.name == "stray"
    with chain.store.read() as work:
        told = [one for one in work.measurements.all() if one.metric == "sentinel_sweep_findings_total"]
    assert "orphan" in {label for one in told for label in one.labels}
    chain.sweep()
    assert len(chain.site.objects("Deployment")) == 2
    with chain.store.begin() as work:
        assert len(orphan_operations.request_removal(work, "local", None, TESTS)) == 1
    chain.tick()
    assert [one["metadata"]["name"] for one in chain.site.objects("Deployment")] == ["web"]
    with chain.store.begin() as work:
        assert orphan_operations.list_orphans(work, "local", 10) == []
        rows = [row for row in work.audit_entries("cluster/local") if row.action == "orphan.removed"]
    assert [row.detail["requested_by"] for row in rows] == [str(TESTS)]
    assert rows[0].detail["changes"]["before"] is not None
    assert rows[0].detail["changes"]["after"] is None


def test_an_orphan_that_a_workload_has_come_to_own_is_not_removed(chain: Chain) -> None:
    settled(chain, "web")
    with chain.store.begin() as work:
        [revision] = work.deployments.of_workload(chain.id())
        set_columns(work, "deployments", revision.id, status="superseded", updated_at=work.now - timedelta(hours=1))
    chain.sweep()
    with chain.store.begin() as work:
        assert len(orphan_operations.request_removal(work, "local", None, TESTS)) == 1
        set_columns(work, "deployments", revision.id, status="healthy")
    chain.sweep()
    assert len(chain.site.objects("Deployment")) == 1


def test_pages_follow_each_other_and_nobody_reads_one_that_is_being_read(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "_PAGE", 2)
    names = [f"w{number}" for number in range(5)]
    settled(chain, *names)
    chain.site.someone.delete(chain.site.path("Deployment", "w1"))
    chain.site.someone.delete(chain.site.path("Deployment", "w4"))
    begin(chain)
    first = chain.send(request(TICK, {}, subject=None))
    assert told(first).type == CONTINUED
    second_tick = chain.send(request(TICK, {}, subject=None))
    assert second_tick.status == 202  # it was announced just now
    with chain.held_up(first):
        copy = (({**first.headers, "ce-id": "another"}), first.body)
        assert chain.send(copy).status == 202
    page = chain.forward(first)  # the stored reply
    seen = [told(page).data]
    while told(page).type == CONTINUED:
        page = chain.forward(page)
        if page.status != 200:
            break
        seen.append(told(page).data)
    assert [one["page"] for one in seen if isinstance(one, dict)] == list(range(1, len(seen) + 1))
    assert suspects(chain) == ["w1", "w4"]


def test_a_sweep_goes_on_with_the_next_tick_where_an_event_was_lost(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "_PAGE", 1)
    monkeypatch.setattr(operations, "CHAIN", 2)
    settled(chain, "w0", "w1", "w2")
    chain.site.someone.delete(chain.site.path("Deployment", "w2"))
    begin(chain)
    chain.forward(chain.send(request(TICK, {}, subject=None)))
    chain.relayed()
    with chain.store.begin() as work:
        connection_of(work).execute(sweeps.update().values(next_page_at=work.now))
    chain.until(lambda: chain.workload("w2").phase, lambda phase: phase is Phase.ROLLED_BACK)


def test_a_list_whose_token_expired_begins_again(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "_PAGE", 1)
    settled(chain, "w0", "w1")
    chain.site.someone.delete(chain.site.path("Deployment", "w1"))
    begin(chain)
    page = chain.forward(chain.send(request(TICK, {}, subject=None)))
    with chain.store.begin() as work:
        connection_of(work).execute(sweeps.update().where(sweeps.c.token != "").values(token="x" * 24))
    chain.follow(page)
    assert suspects(chain) == ["w1"]


def test_credentials_for_single_namespaces_sweep_each_by_itself(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    settled(chain, "web")
    chain.site.someone.delete(chain.site.path("Deployment", "web"))
    every = KubernetesDriver.list_managed

    def limited(driver: KubernetesDriver, kind: str, namespace: str, token: str) -> object:
        if not namespace:
            raise ClusterRefused("403")
        return every(driver, kind, namespace, token)

    monkeypatch.setattr(KubernetesDriver, "list_managed", limited)
    chain.sweep()
    assert chain.workload_is(Phase.ROLLED_BACK).revision == 2


def test_a_cluster_rests_between_two_sweeps_and_is_not_swept_while_it_is_away(chain: Chain) -> None:
    settled(chain, "web")
    chain.sweep()
    with chain.store.begin() as work:
        row = connection_of(work).execute(sa.select(sweeps)).one()
        rests = row.next_page_at - work.now
    assert timedelta(seconds=50) < rests <= operations.SWEEP_INTERVAL
    chain.site.go_away()
    begin(chain)
    chain.tick()
    begin(chain)
    assert chain.tick(run=False).status == 202


def test_a_sweep_of_a_quiet_cluster_reads_three_lists_and_writes_no_revision(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(chain, "web", "other")
    paths: list[str] = []
    get = Transport.get

    def recorded(transport: Transport, path: str, **query: str) -> ApiAnswer:
        paths.append(path)
        return get(transport, path, **query)

    monkeypatch.setattr(Transport, "get", recorded)
    before = [one.observed_at for one in (*chain.revisions(), *chain.revisions("other"))]
    begin(chain)
    chain.run([request(TICK, {}, subject=None)])
    assert [path.rsplit("/", 1)[1] for path in paths] == ["deployments", "statefulsets", "jobs"]
    assert before == [one.observed_at for one in (*chain.revisions(), *chain.revisions("other"))]
