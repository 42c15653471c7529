"""One row, object or kubeconfig that cannot be used stops nobody else's tick, list or check."""

import json

import pytest
import sqlalchemy as sa
import yaml

from shared.errors import RowUnreadable
from shared.models.lifecycle import Phase
from shared.models.page import PageRequest
from shared.models.stored import WorkloadFilter
from shared.operations import ledger_check
from shared.operations import workloads as operations
from shared.operations.observe import ObservationTask, Observed, observe
from shared.operations.reconcile import RevisionReconciler
from shared.operations.workloads import WorkloadReference
from shared.store.tables import deployments
from tests.support.builders import connection_of
from tests.support.chain import Chain

HOST_PATH = {"volumes": [{"name": "v", "mountPath": "/v", "hostPath": "/a/../b"}]}


def damage(chain: Chain, name: str, **fields: object) -> None:
    """Writes fields into a stored spec past every rule."""
    statement = sa.text("UPDATE workloads SET spec = spec || CAST(:fields AS jsonb) WHERE name = :name")
    with chain.store.begin() as work:
        connection_of(work).execute(statement, {"fields": json.dumps(fields), "name": name})


def failures(chain: Chain, name: str) -> int:
    with chain.store.begin() as work:
        statement = sa.select(deployments.c.failures).where(deployments.c.name == name)
        return int(connection_of(work).execute(statement).scalar_one())


def listed(chain: Chain) -> list[str]:
    with chain.store.read() as work:
        page = operations.list_workloads(work, WorkloadFilter(), PageRequest(10, "name"))
    return [workload.spec.name for workload in page.items]


def test_a_spec_that_the_rules_of_today_refuse_is_verified_listed_and_checked(chain: Chain) -> None:
    for name in ("bad", "good"):
        chain.apply(name)
    damage(chain, "bad", **HOST_PATH, image="a b", labels={"sentinel.dev/x": "y"}, replicas=20_000)
    assert chain.settle("bad").phase is chain.settle("good").phase is Phase.HEALTHY
    assert chain.workload("bad").spec.volumes[0].host_path == "/a/../b"
    assert listed(chain) == ["bad", "good"]
    with chain.store.read() as work:
        assert ledger_check.check(work).workloads == []


def test_a_row_that_cannot_be_understood_is_set_aside_for_longer_each_time_and_counted(chain: Chain) -> None:
    for name in ("bad", "good"):
        chain.apply(name)
    damage(chain, "bad", type="quantum")
    assert chain.settle("good").phase is Phase.HEALTHY
    assert listed(chain) == ["good"]
    with chain.store.read() as work:
        with pytest.raises(RowUnreadable):
            operations.get(work, WorkloadReference(str(chain.id("bad"))))
        assert not ledger_check.check(work).workloads
    with chain.store.read() as work:
        told = [one for one in work.measurements.all() if one.metric == "sentinel_rows_set_aside_total"]
    assert "workloads" in {label for one in told for label in one.labels}
    chain.until(lambda: failures(chain, "bad"), lambda count: count >= 1)
    count = failures(chain, "bad")
    with chain.store.begin() as work:
        connection_of(work).execute(deployments.update().values(failures=10))
    chain.tick()
    assert failures(chain, "bad") == 10
    chain.pass_time(2**10, observed_at=True)
    chain.tick()
    assert failures(chain, "bad") == 11 > count
    damage(chain, "bad", type="inference")
    chain.pass_time(3600, observed_at=True)
    assert chain.settle("bad").phase is Phase.HEALTHY
    assert failures(chain, "bad") == 0


def test_plans_are_announced_beside_a_row_that_cannot_be_understood(chain: Chain) -> None:
    chain.apply("bad")
    damage(chain, "bad", type="quantum")
    chain.site.go_away()
    chain.submit("waits")
    assert chain.workload("waits").phase is Phase.WAITING
    chain.site.come_back()
    assert chain.settle("waits").phase is Phase.HEALTHY


def test_a_revision_whose_verification_fails_is_set_aside_alone(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bad", "good"):
        chain.apply(name)
    decide = RevisionReconciler._decide

    def failing(self: RevisionReconciler, revision: object, observation: object) -> None:
        decide(self, revision, observation)  # type: ignore[arg-type]  # handed on as they came
        if revision.reference.name == "bad":  # type: ignore[attr-defined]
            raise KeyError("after it has written")

    monkeypatch.setattr(RevisionReconciler, "_decide", failing)
    assert chain.settle("good").phase is Phase.HEALTHY
    assert (chain.workload("bad").phase, failures(chain, "bad") > 0) == (Phase.VERIFYING, True)
    assert "deployment.healthy" not in chain.actions("bad")
    assert chain.revisions("bad")[0].reason == "cannot be verified: KeyError"


def test_a_kubeconfig_that_cannot_be_used_stops_verification_on_its_cluster_alone(chain: Chain) -> None:
    for name in ("bad", "good"):
        chain.apply(name)
    document = yaml.safe_load((chain.site.directory / "local").read_text())
    document["clusters"][0]["cluster"]["proxy-url"] = "http://proxy:99999"
    (chain.site.directory / "other").write_text(yaml.safe_dump(document))
    with chain.store.begin() as work:
        statement = deployments.update().where(deployments.c.name == "bad")
        connection_of(work).execute(statement.values(cluster="other"))
    assert chain.settle("good").phase is Phase.HEALTHY
    assert chain.workload("bad").phase is Phase.VERIFYING


def test_an_object_of_an_unknown_form_is_left_out_alone(chain: Chain) -> None:
    for name in ("bad", "good"):
        chain.apply(name)
    revisions = (*chain.revisions("bad"), *chain.revisions("good"))

    class Odd:
        def driver(self, name: str) -> "Odd":
            self._driver = chain.site.driver(name)
            return self

        def within(self, seconds: float) -> "Odd":
            return self

        def observe_many(self, objects: list[object]) -> object:
            if any(one.reference.name == "bad" for one in objects):  # type: ignore[attr-defined]
                raise KeyError("metadata")
            return self._driver.observe_many(objects)  # type: ignore[arg-type]

    seen: Observed = observe(Odd(), ObservationTask(revisions))  # type: ignore[arg-type]
    assert set(seen.revisions) == {revisions[1].id}
