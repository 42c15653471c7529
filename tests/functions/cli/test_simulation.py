"""`sentinel policy simulate`: the decision that would be made, for each cluster, and no trace of it."""

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from events.plan import PlanDenied
from shared.errors import StoreUnavailable
from shared.models.cluster import Cluster
from shared.policy.documents import PolicyDocument
from shared.policy.queue import MAX_OVERTAKES
from shared.store.tables import action_plans
from shared.store.unit_of_work import Store
from tests.functions.cli.conftest import Ran, Sentinel
from tests.functions.policy_evaluation.test_handler import runs
from tests.support.builders import APPROVED, Deliver, connection_of, id_of, rows, submission, told

LABEL = "search/search/test-inference"


def policy(store: Store, *rules: dict[str, Any], name: str = "limit", **fields: Any) -> None:
    with store.begin() as work:
        work.policies.put(PolicyDocument.model_validate({"name": name, "rules": rules, **fields}), "tests")


def register(store: Store, name: str, gpus: dict[str, int] | None, **labels: str) -> None:
    with store.begin() as work:
        work.catalogue.register_cluster(Cluster(name, labels, gpus))


def simulate(sentinel: Sentinel, *specs: dict[str, Any], form: str = "json") -> Ran:
    return sentinel("policy", "simulate", "-f", "-", "-o", form, stdin=json.dumps(list(specs)))


def everything(engine: sa.Engine) -> dict[str, list[dict[str, Any]]]:
    with engine.connect() as connection:
        names = (
            connection.execute(sa.text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars().all()
        )
    return {name: rows(engine, name) for name in names}


def test_the_decision_is_told_for_every_cluster_that_could_take_it(sentinel: Sentinel, store: Store) -> None:
    register(store, "east", {"L4": 4}, region="us")
    register(store, "north", {"H100": 4})
    policy(store, {"type": "quota", "scope": "cluster", "gpus": 1}, selector={"clusters": ["local"]})
    ran = simulate(sentinel, submission())
    assert ran.code == 0
    east, local = ran.json
    assert (east["cluster"], east["outcome"], east["placed"]) == ("east", "approved", False)
    assert (local["cluster"], local["outcome"], local["placed"]) == ("local", "denied", True)
    assert east["warnings"] == ["no_policy_matched"]
    assert (local["verb"], local["gpus"], local["usdPerHour"]) == ("deploy", 2, "1.930680")
    [violation] = local["violations"]
    assert (violation["policy"], violation["limit"], violation["observed"]) == ("limit", "1", "2")
    assert local["determining"] == ["limit"]
    fewer, elsewhere = local["suggestions"]
    assert (fewer["replicas"], elsewhere["cluster"]) == (1, "east")


def test_people_get_two_tables(sentinel: Sentinel, store: Store) -> None:
    policy(store, {"type": "quota", "gpus": 1}, {"type": "quota", "scope": "plan", "replicas": 1}, mode="dry_run")
    policy(store, {"type": "quota", "gpus": 1}, name="small")
    policy(store, {"type": "image", "digest_required": True}, name="pinned", mode="warn")
    ran = simulate(sentinel, submission(), form="table")
    assert ran.code == 1
    assert ran.err == f"sentinel: {LABEL}: no cluster would approve it\n"
    header, line, empty, second, *details = ran.lines
    assert header.split() == [
        "WORKLOAD",
        "CLUSTER",
        "PLACED",
        "OUTCOME",
        "VERB",
        "REPLICAS",
        "GPUS",
        "USD/H",
        "POLICIES",
    ]
    assert line.split() == [LABEL, "local", "yes", "denied", "deploy", "2", "2", "1.93", "small"]
    assert empty == ""
    assert second.split() == ["WORKLOAD", "CLUSTER", "WHAT", "POLICY", "RULE", "LIMIT", "OBSERVED", "MESSAGE"]
    told = [" ".join(detail.split()[2:]) for detail in details]
    assert told[0] == "violation small quota 1 2 team search would hold 2 GPUs; its quota is 1"
    assert [one for one in told if one.startswith("dry run limit quota 1 2 ")]
    assert "warning pinned: nginx:1.29 must be pinned by digest (@sha256:...)" in told
    assert "would pass ask for 1 replica instead of 2" in told


def test_nothing_is_written_and_no_token_is_spent(
    sentinel: Sentinel, store: Store, deliver: Deliver, owner_engine: sa.Engine
) -> None:
    policy(store, {"type": "rate_limit", "actions": 2, "window": "PT1H"}, {"type": "quota", "gpus": 5})
    deliver.decide("other")
    before = everything(owner_engine)
    for _ in range(3):
        assert simulate(sentinel, submission()).code == 0
    assert simulate(sentinel, submission(replicas=9)).code == 1
    assert everything(owner_engine) == before
    with pytest.raises(StoreUnavailable, match="25006"), store.read() as work:
        connection_of(work).execute(action_plans.delete())


def test_a_simulation_decides_as_the_decision_that_follows(sentinel: Sentinel, store: Store, deliver: Deliver) -> None:
    policy(store, {"type": "quota", "gpus": 5}, {"type": "cost_ceiling", "scope": "team", "usd_per_hour": "4"})
    for number, replicas in enumerate((2, 4, 1, 3, 2)):
        workload = submission(f"w-{number}", replicas=replicas)
        [outlook] = simulate(sentinel, workload).json
        answer = told(deliver.decide(f"w-{number}", replicas=replicas))
        if outlook["outcome"] == "approved":
            assert answer.type == APPROVED
        else:
            denied = PlanDenied.model_validate(answer.data)
            assert [v.message for v in denied.violations] == [v["message"] for v in outlook["violations"]]


def test_a_workload_that_runs_is_simulated_where_it_runs_as_the_change_that_it_is(
    sentinel: Sentinel, store: Store, deliver: Deliver
) -> None:
    register(store, "east", {"L4": 4})
    deliver.decide()
    runs(store)
    policy(store, {"type": "quota", "gpus": 3})
    here = store_cluster(store)
    [more] = simulate(sentinel, submission(replicas=4)).json
    assert (more["cluster"], more["verb"], more["outcome"], more["generation"]) == (here, "scale", "denied", 2)
    [fewer] = simulate(sentinel, submission(replicas=1)).json
    assert (fewer["verb"], fewer["outcome"]) == ("scale", "approved")
    [update] = simulate(sentinel, submission(image="nginx:1.30")).json
    assert (update["verb"], update["outcome"]) == ("update", "approved"), "2 GPUs, and 1 of its surge"
    ran = simulate(sentinel, submission(type="training"))
    assert (ran.code, ran.json) == (1, [])
    assert "would be rejected: type: would change the kind from Deployment to Job" in ran.err


def store_cluster(store: Store) -> str:
    with store.begin() as work:
        found = work.workloads.get(id_of())
        assert found is not None
        return found.cluster


def test_what_a_first_plan_holds_elsewhere_is_given_up_by_the_next(
    sentinel: Sentinel, store: Store, deliver: Deliver
) -> None:
    policy(store, {"type": "quota", "gpus": 2})
    deliver.decide()
    register(store, "east", {"L4": 4}, region="us")
    workload = submission(clusters={"matchLabels": {"region": "us"}})
    [east] = simulate(sentinel, workload).json
    assert (east["cluster"], east["outcome"]) == ("east", "approved")


def test_what_would_not_even_fit_alone_cannot_wait(sentinel: Sentinel, store: Store) -> None:
    policy(store, {"type": "quota", "gpus": 2})
    [denied] = simulate(sentinel, submission(replicas=3, queue=True)).json
    assert (denied["outcome"], denied["couldWait"]) == ("denied", False)


def test_a_plan_that_fits_waits_behind_one_that_was_overtaken_often_enough(
    sentinel: Sentinel, store: Store, deliver: Deliver
) -> None:
    policy(store, {"type": "quota", "gpus": 4})
    deliver.decide("running", replicas=3)
    deliver.decide("large", replicas=4, queue=True)
    [before] = simulate(sentinel, submission(replicas=1, queue=True)).json
    assert before["outcome"] == "approved"
    with store.begin() as work:
        connection_of(work).execute(
            action_plans.update().where(action_plans.c.status == "queued").values(overtaken=MAX_OVERTAKES)
        )
    ran = simulate(sentinel, submission(replicas=1, queue=True))
    [after] = ran.json
    assert (ran.code, after["outcome"]) == (1, "queued")
    assert "was overtaken 8 times and goes first" in after["violations"][0]["message"]
    [without] = simulate(sentinel, submission(replicas=9, resources={"cpu": "1", "memory": "1Gi"})).json
    assert without["outcome"] == "approved"
    [large] = simulate(sentinel, submission("other", replicas=2, queue=True)).json
    assert (large["outcome"], large["couldWait"]) == ("queued", False)
    [impatient] = simulate(sentinel, submission("other", replicas=2)).json
    assert (impatient["outcome"], impatient["couldWait"]) == ("denied", True)
    table = simulate(sentinel, submission("other", replicas=2), form="table")
    assert table.lines[-1].endswith('with "queue": true it waits for room')


def test_the_cheapest_sku_that_passes_is_suggested(sentinel: Sentinel, store: Store) -> None:
    policy(store, {"type": "cost_ceiling", "scope": "plan", "usd_per_hour": "1"})
    dear = submission(replicas=1, resources={"cpu": "1", "memory": "1Gi", "gpu": {"count": 1, "sku": "H100"}})
    [outlook] = simulate(sentinel, dear).json
    assert outlook["outcome"] == "denied"
    [suggestion] = outlook["suggestions"]
    assert (suggestion["sku"], suggestion["message"]) == ("L4", "ask for L4 GPUs")
    sliced = {"cpu": "1", "memory": "1Gi", "gpu": {"count": 7, "sku": "H100", "mig": "7g.80gb"}}
    [outlook] = simulate(sentinel, submission(replicas=1, resources=sliced)).json
    assert (outlook["outcome"], outlook["suggestions"]) == ("denied", [])


def test_the_time_after_which_it_passes_is_suggested(sentinel: Sentinel, store: Store) -> None:
    with store.begin() as work:
        start = (work.now - timedelta(hours=1)).replace(tzinfo=None, microsecond=0)
    window = {"start": start.isoformat(), "duration": "PT3H"}
    policy(store, {"type": "change_freeze", "windows": [window]})
    [outlook] = simulate(sentinel, submission()).json
    [suggestion] = outlook["suggestions"]
    assert suggestion["at"] == f"{(start + timedelta(hours=3)).isoformat()}.000Z"


def test_what_intake_would_reject_is_said_with_the_field(sentinel: Sentinel, store: Store, deliver: Deliver) -> None:
    deliver.submit(generation=4)
    unpriced = submission("a", resources={"cpu": "1", "memory": "1Gi", "gpu": {"count": 1, "sku": "X9"}})
    lost = submission("b", clusters={"matchLabels": {"region": "moon"}})
    ran = simulate(sentinel, unpriced, lost, submission(generation=3))
    assert (ran.code, ran.json) == (1, [])
    first, second, third = ran.err.splitlines()
    assert first.startswith("sentinel: search/search/a: would be rejected: clusters: no cluster matches; local: no X9")
    assert "would be rejected: clusters: no cluster matches; local: label region" in second
    assert "would be rejected: generation: the workload is at generation 4" in third
    same = simulate(sentinel, submission(generation=4))
    assert (same.code, same.json) == (0, [])
    assert same.err == f"sentinel: {LABEL}: is at this generation already; nothing would be done\n"
    assert simulate(sentinel, submission(generation=4), form="table").out == ""


def test_a_cluster_without_a_price_rejects_there_and_is_suggested_nowhere(sentinel: Sentinel, store: Store) -> None:
    register(store, "anything", None)
    policy(store, {"type": "quota", "gpus": 0}, selector={"clusters": ["local"]})
    unpriced = submission(resources={"cpu": "1", "memory": "1Gi", "gpu": {"count": 1, "sku": "X9"}})
    ran = simulate(sentinel, unpriced)
    [outlook] = ran.json
    assert (ran.code, outlook["cluster"], outlook["outcome"], outlook["verb"]) == (1, "anything", "rejected", None)
    assert "resources.gpu.sku: GPU X9 has no price on cluster anything" in outlook["violations"][0]["message"]
    assert "rejected" in simulate(sentinel, unpriced, form="table").lines[1]


def test_a_bad_workload_is_refused_before_anything_is_looked_at(sentinel: Sentinel) -> None:
    ran = simulate(sentinel, submission(replicas=-1))
    assert (ran.code, ran.err) == (2, "sentinel: stdin: replicas: Input should be greater than or equal to 0\n")


def test_the_queue_is_shown_in_its_order(sentinel: Sentinel, store: Store, deliver: Deliver) -> None:
    policy(store, {"type": "quota", "gpus": 4})
    deliver.decide("running", replicas=4)
    deliver.decide("first", queue=True)
    deliver.decide("second", queue=True)
    deliver.decide("urgent", queue=True, priority=7)
    deliver.decide("gone", queue=True)
    deliver.withdraw("gone")
    ran = sentinel("queue")
    assert ran.code == 0
    header, *lines = ran.lines
    assert header.split() == [
        *("POSITION", "WORKLOAD", "TEAM", "PRIORITY", "CLUSTER", "WAITS", "FOR", "SINCE", "OVERTAKEN", "WHY"),
    ]
    assert [line.split()[:7] for line in lines] == [
        ["1", "search/search/urgent", "search", "7", "local", "team/search", "gpus"],
        ["2", "search/search/first", "search", "0", "local", "team/search", "gpus"],
        ["3", "search/search/second", "search", "0", "local", "team/search", "gpus"],
    ]
    assert lines[0].endswith(" team search would hold 6 GPUs; its quota is 4")
    [first] = sentinel("queue", "-o", "json", "--limit", "1").json
    assert first["waitsFor"] == ["team/search gpus"]
    assert uuid.UUID(first["plan"])
    assert first["since"].endswith("Z")
    assert "only the first 1 are shown" in sentinel("queue", "--limit", "1").err


def test_what_its_cluster_has_too_few_gpus_for_would_wait_there_and_pass_elsewhere(
    sentinel: Sentinel, store: Store, deliver: Deliver
) -> None:
    register(store, "local", {"L4": 4})
    deliver.decide("other", replicas=3)
    register(store, "east", {"L4": 2})
    ran = simulate(sentinel, submission(queue=True), submission("hasty"))
    east, local, *hasty = ran.json
    assert [outlook["outcome"] for outlook in (east, local, *hasty)] == ["approved", "queued", "approved", "approved"]
    [violation] = local["violations"]
    assert (violation["policy"], violation["rule"], violation["field"]) == ("", "capacity", "gpus[L4]")
    assert violation["message"] == "cluster local would hold 5 L4 GPUs; it has 4"
    fewer, elsewhere = local["suggestions"]
    assert (fewer["replicas"], elsewhere["cluster"]) == (1, "east")
