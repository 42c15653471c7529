"""`sentinel cluster` and `price`: checked first, and all or nothing."""

import uuid
from pathlib import Path
from typing import Any

import pytest

from shared.models.cluster import Cluster
from shared.models.deployment import ObjectReference
from shared.models.sweep import Orphan
from shared.rollout.pricing import PriceKind
from shared.store import audit
from shared.store.unit_of_work import Store
from tests.functions.cli.conftest import Sentinel
from tests.support.brokers import Broker
from tests.support.builders import Deliver, connection_of

COLUMNS = "kind,sku,usd_per_hour,source,priced_on"


def audited(store: Store, subject: str) -> list[dict[str, Any]]:
    with store.begin() as work:
        return [{"action": e.action, "actor": e.actor, **e.detail} for e in audit.entries(connection_of(work), subject)]


def test_a_cluster_is_registered_with_its_labels_and_gpus(sentinel: Sentinel, store: Store) -> None:
    added = sentinel("cluster", "add", "east", "--label", "region=us", "--label", "tier=", "--gpus", "nvidia h100=8")
    assert (added.code, added.out, added.err) == (0, "", "")
    with store.begin() as work:
        assert Cluster("east", {"region": "us", "tier": ""}, {"H100": 8}) in work.catalogue.clusters()
    [row] = audited(store, "cluster/east")
    assert (row["action"], row["gpus"]) == ("cluster.registered", {"H100": 8})


def test_adding_a_cluster_again_replaces_what_is_known_of_it(sentinel: Sentinel) -> None:
    assert sentinel("cluster", "add", "local").code == 0
    header, line = sentinel("cluster", "list").lines
    assert header.split() == ["NAME", "STATE", "LABELS", "GPUS"]
    assert line.split() == ["local", "active", "unknown"]
    [listed] = sentinel("cluster", "list", "-o", "json").json
    assert (listed["name"], listed["state"], listed["labels"], listed["gpus"]) == ("local", "active", {}, None)


def test_clusters_are_listed_by_name(sentinel: Sentinel) -> None:
    assert sentinel("cluster", "add", "east", "--gpus", "L4=2").code == 0
    assert [line.split() for line in sentinel("cluster", "list").lines[1:]] == [
        ["east", "active", "L4=2"],
        ["local", "active", "region=eu", "A100-80GB=16,H100=16,L4=16"],
    ]
    east = sentinel("cluster", "list", "-o", "yaml").yaml[0]
    assert (east["name"], east["state"], east["labels"], east["gpus"]) == ("east", "active", {}, {"L4": 2})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("EAST",), "name: must be a DNS-1123 label"),
        (("east", "--label", "region"), "--label must be NAME=VALUE, not 'region'"),
        (("east", "--label", "=eu"), "--label must be NAME=VALUE, not '=eu'"),
        (("east", "--label", "a=1", "--label", "a=2"), "--label gives a twice"),
        (("east", "--label", "a=$"), "labels.a: must be a label value"),
        (("east", "--gpus", "L4=-1"), "--gpus L4: must be a number, not '-1'"),
        (("east", "--gpus", "L4=1", "--gpus", "nvidia-l4=2"), "--gpus gives L4 twice"),
        (("east", "--gpus", "L4=many"), "--gpus L4: must be a number, not 'many'"),
    ],
)
def test_a_bad_cluster_is_refused_with_its_field(sentinel: Sentinel, arguments: tuple[str, ...], said: str) -> None:
    ran = sentinel("cluster", "add", *arguments)
    assert ran.code == 2
    assert ran.err.startswith(f"sentinel: {said}")
    assert len(sentinel("cluster", "list").lines) == 2


def test_a_cluster_is_cordoned_and_uncordoned_by_its_operator(sentinel: Sentinel, store: Store) -> None:
    cordoned = sentinel("cluster", "cordon", "local", "-o", "json")
    assert (cordoned.code, cordoned.json["state"]) == (0, "cordoned")
    assert sentinel("cluster", "list").lines[1].split()[:2] == ["local", "cordoned"]
    again = sentinel("cluster", "cordon", "local")
    assert (again.code, again.err) == (0, "sentinel: cluster local is cordoned already\n")
    assert sentinel("cluster", "add", "local", "--label", "region=eu").code == 0  # says nothing of its state
    assert sentinel("cluster", "uncordon", "local", "-o", "yaml").yaml["state"] == "active"
    rows = [row for row in audited(store, "cluster/local") if row["action"] != "cluster.registered"]
    assert [(row["action"], row["actor"]) for row in rows] == [
        ("cluster.cordoned", "user:root"),
        ("cluster.uncordoned", "user:root"),
    ]


def test_an_empty_cluster_is_removed_and_audited(sentinel: Sentinel, store: Store) -> None:
    assert sentinel("cluster", "add", "east").code == 0
    assert sentinel("cluster", "remove", "east", "-o", "json").json == {"name": "east", "removed": True}
    assert len(sentinel("cluster", "list").lines) == 2
    removed = audited(store, "cluster/east")[-1]
    assert (removed["action"], removed["changes"]["after"]) == ("cluster.removed", None)


def test_a_cluster_that_holds_workloads_is_not_removed(sentinel: Sentinel, deliver: Deliver) -> None:
    for number in range(6):
        deliver.submit(f"w{number}")
    ran = sentinel("cluster", "remove", "local")
    assert ran.code == 1
    assert ran.err.startswith("sentinel: cluster local holds 6 workloads: search/search/w")
    assert ran.err.endswith(
        ", ...; withdraw them with `sentinel remove`, or give them up with `sentinel cluster declare-lost local`\n"
    )
    assert len(sentinel("cluster", "list").lines) == 2


@pytest.mark.parametrize("verb", ["cordon", "uncordon", "remove", "declare-lost"])
def test_a_cluster_that_is_not_registered_is_named(sentinel: Sentinel, verb: str) -> None:
    ran = sentinel("cluster", verb, "west", *(("--workloads", "fail") if verb == "declare-lost" else ()))
    said = "sentinel: there is no cluster west; `sentinel cluster list` shows those that there are\n"
    assert (ran.code, ran.err) == (1, said)


def test_the_workloads_of_a_lost_cluster_fail_or_move_by_the_operators_word(
    sentinel: Sentinel, deliver: Deliver, broker: Broker, store: Store
) -> None:
    deliver.decide("web")
    assert sentinel("cluster", "declare-lost", "local").code == 2
    ran = sentinel("cluster", "declare-lost", "local", "--workloads", "reschedule", "-o", "json")
    assert ran.code == 1
    [lost] = ran.json["workloads"]
    assert (lost["workload"], lost["outcome"], lost["cluster"]) == ("search/search/web", "failed", None)
    assert "no cluster matches; local: it was declared lost" in ran.err
    assert sentinel("cluster", "add", "east").code == 0
    deliver.decide("web")
    assert sentinel("cluster", "add", "west").code == 0
    moved = sentinel("cluster", "declare-lost", "east", "--workloads", "reschedule")
    assert (moved.code, moved.lines[1].split()) == (0, ["search/search/web", "rescheduled", "west"])
    assert [event.type for event in broker.events] == ["dev.sentinel.plan.proposed.v1"]
    refused = sentinel("cluster", "cordon", "east")
    assert (refused.code, "east was declared lost" in refused.err) == (1, True)
    [row] = [row for row in audited(store, "cluster/east") if row["action"] == "cluster.lost"]
    assert (row["workloads"], row["actor"].split(":")[0]) == ("reschedule", "operator")
    assert row["changes"]["changed"] == [{"field": "state", "before": "active", "after": "lost"}]


def found_orphans(store: Store, *names: str) -> None:
    with store.begin() as work:
        objects = [ObjectReference("Deployment", "search", name, f"uid-of-{name}") for name in names]
        work.sweeps.keep_orphans([Orphan(uuid.uuid4(), "local", one, "w", 1, work.now) for one in objects], work.now)


def test_orphans_are_listed_and_removed_by_name_or_all_together(sentinel: Sentinel, store: Store) -> None:
    found_orphans(store, "a", "b")
    [header, line, _] = sentinel("cluster", "orphans").lines
    assert header.split() == ["CLUSTER", "OBJECT", "WORKLOAD", "FOUND", "REMOVAL"]
    assert line.split() == ["local", "Deployment/search/a", "w", "0s"]
    ran = sentinel("cluster", "remove-orphans", "local", "Deployment/search/a")
    assert (ran.code, ran.out) == (0, "Deployment/search/a\n")
    requested = [one["removalRequestedBy"] for one in sentinel("cluster", "orphans", "local", "-o", "json").json]
    assert (requested[0].split(":")[0], requested[1]) == ("operator", None)
    both = sentinel("cluster", "remove-orphans", "local", "--all", "-o", "json").json
    assert [one["id"] for one in both] == ["Deployment/search/a", "Deployment/search/b"]
    [first, _] = [row for row in audited(store, "cluster/local") if row["action"] == "orphan.removal_requested"]
    assert first["objects"] == ["Deployment/search/a"]
    [changed] = first["changes"]["changed"]
    assert (changed["field"], changed["before"]) == ("Deployment/search/a.removal_requested_by", None)


def test_what_is_no_orphan_is_not_removed(sentinel: Sentinel, store: Store) -> None:
    found_orphans(store, "a")
    ran = sentinel("cluster", "remove-orphans", "local", "Deployment/search/a", "Job/search/b")
    assert (ran.code, ran.err.startswith("sentinel: Job/search/b is no orphan of cluster local; ")) == (1, True)
    assert sentinel("cluster", "orphans", "-o", "json").json[0]["removalRequestedBy"] is None
    assert sentinel("cluster", "remove-orphans", "local").code == 2
    assert sentinel("cluster", "orphans", "west").code == 1


def test_the_price_list_that_is_shipped_can_be_set_again(sentinel: Sentinel) -> None:
    before = sentinel("price", "list")
    assert before.lines[0].split() == ["KIND", "SKU", "CLUSTER", "USD/H", "PRICED", "ON", "SOURCE"]
    assert before.lines[1].split()[:3] == ["cpu", "all", "0.031611"]
    shipped = Path("shared/rollout/prices.csv")
    ran = sentinel("price", "set", "-f", shipped)
    assert (ran.code, ran.out) == (0, "16 prices set\n")
    assert sentinel("price", "list") == before


def test_prices_are_replaced_and_may_be_of_one_cluster(sentinel: Sentinel, store: Store) -> None:
    text = f"{COLUMNS},cluster\ngpu,h100,2.5,contract,2026-01-01,local\ncpu,,0.02,contract,2026-01-01,\n"
    ran = sentinel("price", "set", "-f", "-", stdin=text)
    assert (ran.code, ran.out) == (0, "2 prices set\n")
    told = sentinel("price", "list", "-o", "json").json
    assert told == sentinel("price", "list", "-o", "yaml").yaml
    [own] = [row for row in told if row["cluster"] == "local"]
    assert own == {
        "kind": "gpu",
        "sku": "H100",
        "cluster": "local",
        "usdPerHour": "2.500000",
        "pricedOn": "2026-01-01",
        "source": "contract",
    }
    with store.begin() as work:
        [cpu] = [str(p.usd_per_hour) for p in work.catalogue.prices() if p.kind is PriceKind.CPU]
    assert cpu == "0.020000"
    [row] = audited(store, "prices")
    assert row["prices"] == ["gpu H100 local 2.5", "cpu 0.02"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ", line 1: there is no column kind; needed are kind, sku, usd_per_hour, source, priced_on"),
        ("kind,sku\n", ", line 1: there is no column usd_per_hour"),
        (COLUMNS.replace(",", ";") + "\n", ", line 1: the columns are separated by ';'; separate them by ','"),
        (f"{COLUMNS}\n", ": no price in it"),
        (f"{COLUMNS}\ngpu,L4,-1,x,2026-01-01\n", ", line 2: usd_per_hour: Input should be greater than or equal to 0"),
        (f"{COLUMNS}\ngpu,L4,NaN,x,2026-01-01\n", ", line 2: usd_per_hour: Input should be a finite number"),
        (f"{COLUMNS}\ngpu,L4,0.0000001,x,2026-01-01\n", ", line 2: usd_per_hour: Decimal input should have no more"),
        (f"{COLUMNS}\ngpu,,1,x,2026-01-01\n", ", line 2: data: a gpu needs a sku, and nothing else has one"),
        (f"{COLUMNS}\ncpu,L4,1,x,2026-01-01\n", ", line 2: data: a gpu needs a sku, and nothing else has one"),
        (f"{COLUMNS}\ntpu,v5,1,x,yesterday\n", ", line 2: kind: Input should be 'gpu', 'cpu' or 'memory'; priced_on:"),
        (f"{COLUMNS}\ngpu,L4,1,x\n", ", line 2, column priced_on: is missing; the line has 4 cells"),
        (f"{COLUMNS}\ngpu,L4,1,x,2026-01-01,y,z\n", ", line 2: has 7 cells, and the header has 5; the cell 'y'"),
        (f"{COLUMNS},colour\ngpu,L4,1,x,2026-01-01,red\n", ", line 2: colour: Extra inputs are not permitted"),
        (f"{COLUMNS}\ngpu,L4,1,x,2026-01-01\ngpu,l4,2,x,2026-01-01\n", ", line 3: the same thing has a price further"),
        (f'{COLUMNS}\ngpu,L4,1,"x"y,2026-01-01\n', ", line 2: not CSV: ',' expected after '\"'"),
    ],
)
def test_no_price_is_set_when_one_is_bad(sentinel: Sentinel, text: str, said: str) -> None:
    before = sentinel("price", "list").out
    ran = sentinel("price", "set", "-f", "-", stdin=text)
    assert ran.code == 2
    assert ran.err.startswith(f"sentinel: stdin{said}")
    assert sentinel("price", "list").out == before
