"""`sentinel ledger check`: the ledger is broken on purpose in every way, seen, and mended."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from shared.models.lifecycle import Phase, PlanStatus, RevisionStatus
from shared.models.reservation import Reservation
from shared.store import audit
from shared.store.tables import action_plans, deployments, reservations, usage, workloads
from shared.store.unit_of_work import Store
from tests.functions.cli.conftest import Ran, Sentinel
from tests.functions.policy_evaluation.test_handler import runs
from tests.support.builders import Deliver, connection_of, id_of, rows
from tests.support.chain import Chain

LABEL = "search/search/test-inference"
Break = Callable[[sa.Connection], object]


def check(sentinel: Sentinel, *options: str) -> Ran:
    return sentinel("ledger", "check", "-o", "json", *options)


def damage(store: Store, how: Break) -> None:
    with store.begin() as work:
        how(connection_of(work))


def lines(engine: sa.Engine, table: str) -> list[tuple[Any, ...]]:
    names = ("team", "cluster", "sku", "replicas", "cpu", "memory", "gpus", "usd_per_hour")
    found = [tuple(row[name] for name in names) for row in rows(engine, table)]
    return sorted(line for line in found if any(line[3:]))


def sound(sentinel: Sentinel) -> None:
    ran = check(sentinel)
    assert (ran.code, ran.json) == (0, []), ran.out


BREAKS: dict[str, tuple[Break, str, str]] = {
    "a line is gone": (lambda c: c.execute(reservations.delete()), "reservation", "holds less than"),
    "a line is too small": (
        lambda c: c.execute(reservations.update().values(gpus=1, replicas=1)),
        "reservation",
        "holds less than",
    ),
    "a line is too large": (
        lambda c: c.execute(reservations.update().values(gpus=9)),
        "reservation",
        "holds more than",
    ),
    "a line is too cheap by a cent": (
        lambda c: c.execute(reservations.update().values(usd_per_hour=reservations.c.usd_per_hour - Decimal("0.01"))),
        "reservation",
        "holds less than",
    ),
    "a line is on another cluster": (
        lambda c: c.execute(reservations.update().values(cluster="moon")),
        "reservation",
        "holds more than",
    ),
    "a line is for another SKU": (
        lambda c: c.execute(reservations.update().values(sku="H100")),
        "reservation",
        "holds less than",
    ),
    "usage counts too much": (lambda c: c.execute(usage.update().values(gpus=9)), "usage", "is not the sum"),
    "usage counts too little": (lambda c: c.execute(usage.update().values(memory=1)), "usage", "is not the sum"),
    "usage is gone": (lambda c: c.execute(usage.delete()), "usage", "is not the sum"),
    "usage of nothing": (
        lambda c: c.execute(
            usage.insert().values(
                team="ghosts", cluster="local", sku="", replicas=1, cpu=0, memory=0, gpus=0, usd_per_hour=0
            )
        ),
        "usage",
        "is not the sum",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "state"),
    [*((name, "runs") for name in BREAKS), ("a line is gone", "approved"), ("usage is gone", "approved")],
)
def test_every_break_is_seen_and_mended(
    sentinel: Sentinel, store: Store, deliver: Deliver, owner_engine: sa.Engine, name: str, state: str
) -> None:
    deliver.decide()
    if state == "runs":
        runs(store)
    sound(sentinel)
    right = lines(owner_engine, "reservations")
    breaks, what, why = BREAKS[name]
    damage(store, breaks)
    seen = check(sentinel)
    assert seen.code == 1
    assert "sentinel: the ledger differs; repair it with `sentinel ledger check --fix`\n" in seen.err
    assert any(found["what"] == what and why in found["why"] for found in seen.json)
    mended = check(sentinel, "--fix")
    assert (mended.code, mended.json) == (0, seen.json), mended.err
    assert "sentinel: the ledger was repaired\n" in mended.err
    sound(sentinel)
    assert lines(owner_engine, "reservations") == lines(owner_engine, "usage") == right
    repaired = [row for row in rows(owner_engine, "audit_log") if row["action"] == "ledger.repaired"]
    assert repaired
    with store.begin() as work:
        assert audit.verify(connection_of(work)) == []


def test_a_reservation_of_no_workload_is_released(
    sentinel: Sentinel, store: Store, deliver: Deliver, owner_engine: sa.Engine
) -> None:
    deliver.decide()
    damage(store, lambda connection: connection.execute(workloads.delete()))
    [found] = check(sentinel).json
    assert (found["who"], found["why"]) == (str(id_of()), "there is no such workload")
    assert check(sentinel, "--fix").code == 0
    assert lines(owner_engine, "reservations") == lines(owner_engine, "usage") == []
    sound(sentinel)


def test_a_hold_that_is_given_anew_can_be_executed(sentinel: Sentinel, store: Store, deliver: Deliver) -> None:
    deliver.decide()
    damage(store, lambda connection: connection.execute(reservations.delete()))
    assert check(sentinel, "--fix").code == 0
    with store.begin() as work:
        known = work.workloads.get(id_of())
        assert known is not None
        assert connection_of(work).execute(sa.select(reservations.c.state)).scalar_one() == "held"
        assert work.ledger.commit(known.plan_id, work.now)


def test_a_removed_workload_that_still_holds_is_released(
    sentinel: Sentinel, store: Store, deliver: Deliver, owner_engine: sa.Engine
) -> None:
    deliver.decide()
    runs(store)
    damage(store, lambda c: c.execute(deployments.update().values(status=RevisionStatus.REMOVED)))
    assert check(sentinel).code == 1
    assert check(sentinel, "--fix").code == 0
    assert lines(owner_engine, "reservations") == lines(owner_engine, "usage") == []


def test_an_update_that_is_being_done_holds_its_surge_and_is_sound(
    sentinel: Sentinel, store: Store, deliver: Deliver, owner_engine: sa.Engine
) -> None:
    deliver.decide()
    runs(store)
    deliver.decide(replicas=4, image="nginx:1.30")
    sound(sentinel)
    damage(store, lambda c: c.execute(reservations.update().values(gpus=6)))
    assert check(sentinel).json[0]["expected"]["gpus"] == 5
    assert check(sentinel, "--fix").code == 0
    assert [line[6] for line in lines(owner_engine, "reservations")] == [5]


def test_what_an_undecided_plan_leaves_standing_is_sound(sentinel: Sentinel, store: Store, deliver: Deliver) -> None:
    deliver.decide()
    deliver.submit(image="nginx:1.30")
    sound(sentinel)
    deliver.submit("never-decided")
    sound(sentinel)


def test_what_stands_until_a_lost_revision_is_decided_anew_is_sound(
    sentinel: Sentinel, store: Store, deliver: Deliver
) -> None:
    deliver.decide()
    runs(store)
    deliver.submit(image="nginx:1.30")
    damage(store, lambda c: c.execute(deployments.update().values(status=RevisionStatus.FAILED)))
    sound(sentinel)
    damage(store, lambda c: c.execute(action_plans.update().values(status=PlanStatus.DENIED)))
    assert check(sentinel).code == 1, "once it is decided, what nothing stands for is too much"


def test_people_get_a_table(sentinel: Sentinel, store: Store, deliver: Deliver) -> None:
    deliver.decide()
    damage(store, lambda c: c.execute(usage.update().values(gpus=9)))
    header, line = sentinel("ledger", "check").lines
    assert header.split() == ["WHAT", "WHO", "CLUSTER", "SKU", "LEDGER", "EXPECTED", "WHY"]
    assert line.split()[:5] == ["usage", "team", "search", "local", "L4"]
    assert "replicas=2,cpu=8,memory=16Gi,gpus=9,usd/h=1.930680" in line
    damage(store, lambda c: c.execute(usage.delete()))
    assert "  nothing  replicas=2," in sentinel("ledger", "check").out


def test_without_kubeconfigs_the_clusters_are_not_compared(sentinel: Sentinel) -> None:
    ran = check(sentinel)
    assert (ran.code, ran.json) == (0, [])
    assert ran.err == ("sentinel: clusters were not compared: set CLUSTERS_DIR to the directory of their kubeconfigs\n")


@pytest.mark.slow
def test_every_state_of_the_chain_is_sound(chain: Chain, sentinel: Sentinel) -> None:
    here = {"CLUSTERS_DIR": str(chain.site.directory)}

    def compared() -> None:
        ran = sentinel("ledger", "check", "-o", "json", **here)
        assert (ran.code, ran.json, ran.err) == (0, [], ""), ran.out

    answer = chain.until_approved(replicas=2)
    compared()
    chain.follow(answer)
    compared()
    chain.settle()
    compared()
    applied = chain.apply(replicas=3, env={"A": "b"})
    assert chain.gpus() == 4, "three, and one of the surge"
    compared()
    chain.follow(applied)
    compared()
    chain.settle()
    compared()
    applied = chain.apply(replicas=1, env={"A": "c"})
    assert chain.gpus() == 4, "the three that it replaces, and one of the surge"
    compared()
    chain.follow(applied)
    compared()
    chain.settle()
    compared()
    chain.withdraw()
    compared()
    chain.settle()
    compared()
    assert chain.reserved() == {}


def test_an_edit_that_was_overtaken_during_a_rollout_leaves_its_surge_to_it(chain: Chain, sentinel: Sentinel) -> None:
    here = {"CLUSTERS_DIR": str(chain.site.directory)}
    chain.submit(replicas=2)
    chain.settle()
    chain.apply(replicas=2, image="fate.test/never-ready:2")
    chain.until_seen(lambda: chain.site.objects("Pod"), lambda pods: len(pods) == 3)
    chain.until_approved(replicas=5, image="fate.test/ready:3")
    chain.limit_gpus(4)
    chain.submit(replicas=6, image="fate.test/ready:4")
    assert chain.workload().phase is Phase.DENIED
    assert chain.gpus() == 3, "two, and one of the surge"
    ran = sentinel("ledger", "check", "--fix", "-o", "json", **here)
    assert (ran.code, ran.json, ran.err) == (0, [], "")
    assert chain.gpus() == len(chain.site.objects("Pod")) == 3


def test_what_clusters_run_is_compared(chain: Chain, sentinel: Sentinel, store: Store) -> None:
    here = {"CLUSTERS_DIR": str(chain.site.directory)}
    chain.submit(replicas=2)
    chain.settle()
    with store.begin() as work:
        nothing = Reservation(chain.id(), "local", "search", {})
        work.ledger.settle([(nothing, chain.id())])
        connection_of(work).execute(deployments.update().values(status=RevisionStatus.REMOVED))
        connection_of(work).execute(action_plans.update().values(status=PlanStatus.EXECUTED))
    ran = sentinel("ledger", "check", "--fix", "-o", "json", **here)
    assert ran.code == 1
    [found] = ran.json
    assert (found["what"], found["who"]) == ("cluster", f"search/{chain.site.namespace}/web")
    assert found["why"] == "2 pods hold resources; 0 replicas are reserved"
    assert "clusters run something else than the ledger says" in ran.err


@pytest.mark.parametrize("change", [lambda chain: chain.submit(replicas=3), Chain.withdraw], ids=["scaled", "removed"])
def test_what_changes_while_clusters_are_looked_at_is_no_difference(
    chain: Chain, sentinel: Sentinel, tmp_path: Path, change: Callable[[Chain], None]
) -> None:
    chain.submit(replicas=1)
    chain.settle()
    kubeconfig, fresh = tmp_path / "local", tmp_path / "fresh"
    os.mkfifo(kubeconfig)
    fresh.write_text(chain.site.kubeconfig.read_text())
    with ThreadPoolExecutor(1) as thread:
        checking = thread.submit(sentinel, "ledger", "check", "-o", "json", CLUSTERS_DIR=str(tmp_path))
        with kubeconfig.open("w") as asked_for:  # opens when the command reads it, with the books read
            change(chain)
            chain.settle()
            fresh.replace(kubeconfig)
            asked_for.write(kubeconfig.read_text())
    ran = checking.result()
    assert (ran.code, ran.json, ran.err) == (0, [], "")


def test_clusters_are_held_against_the_ledger_as_it_was_repaired(
    chain: Chain, sentinel: Sentinel, store: Store
) -> None:
    chain.submit(replicas=2)
    chain.settle()
    damage(store, lambda c: c.execute(reservations.delete()))
    ran = sentinel("ledger", "check", "--fix", "-o", "json", CLUSTERS_DIR=str(chain.site.directory))
    assert ran.code == 0
    assert {found["what"] for found in ran.json} == {"reservation", "usage"}
    assert ran.err == "sentinel: the ledger was repaired\n"


def test_what_is_reserved_for_nothing_is_told(chain: Chain, sentinel: Sentinel) -> None:
    here = {"CLUSTERS_DIR": str(chain.site.directory)}
    chain.submit(replicas=2)
    chain.settle()
    chain.site.someone.delete(chain.site.path("Deployment", "web"))
    chain.until_seen(lambda: chain.site.objects("Pod"), lambda pods: not pods)
    ran = sentinel("ledger", "check", "-o", "json", **here)
    assert ran.code == 1
    assert ran.json[0]["why"].startswith("nothing is left of what 2 replicas are reserved for")


def test_a_cluster_that_is_away_is_said_and_not_asked_again(chain: Chain, sentinel: Sentinel) -> None:
    here = {"CLUSTERS_DIR": str(chain.site.directory)}
    for name in ("web", "other"):
        chain.submit(name)
        chain.settle(name)
    chain.site.go_away()
    ran = sentinel("ledger", "check", **here)
    assert ran.code == 0
    assert len(ran.err.splitlines()) == 1
    assert ran.err.startswith("sentinel: not compared: cluster local has no kubeconfig")
