"""Lists: pages, cursors, sorts and filters, on the list of workloads."""

import base64
import json
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

from shared.models.identity import Role
from shared.models.lifecycle import Phase
from shared.models.page import PageRequest
from shared.models.selector import parse
from shared.models.stored import WorkloadFilter
from shared.store import workloads as rows
from shared.store.pages import page_of
from shared.store.tables import workloads
from shared.store.unit_of_work import Store
from tests.support.builders import Deliver, connection_of
from tests.support.rest import Answer, Rest

_COPIES = """
    INSERT INTO workloads (id, team, namespace, name, generation, spec, usd_per_replica_hour, phase, cluster, plan_id,
                           created_at)
    SELECT gen_random_uuid(), team, namespace, name || number, generation,
           jsonb_set(spec, '{labels}', jsonb_build_object('shard', (number % 100)::text)), usd_per_replica_hour,
           CASE number % 500 WHEN 0 THEN 'failed' ELSE 'healthy' END, 'c' || number % 200, plan_id,
           created_at + number * interval '1 second'
      FROM workloads, generate_series(CAST(:first AS int), :last) AS number WHERE name = 'one'
"""


def names(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.body
    return [item["name"] for item in answer.json["items"]]


def refused(answer: Answer, status: int) -> str:
    assert answer.status == status, answer.body
    return str(answer.json["detail"])


def test_pages_follow_each_other_and_survive_writes(rest: Rest, deliver: Deliver) -> None:
    for name in "bdf":
        deliver.submit(name)
    first = rest("GET", "/workloads?limit=2")
    assert names(first) == ["b", "d"]
    for name in "ace":  # before, between and behind
        deliver.submit(name)
    link = first.headers["link"]
    assert link.endswith('>; rel="next"')
    second = rest("GET", "/" + link[1 : link.index(">")])
    assert names(second) == ["e", "f"]
    assert second.json["next"] is None
    assert "link" not in second.headers
    assert second.body == rest("GET", f"/workloads?cursor={first.json['next']}&limit=2").body


def test_sorts_go_both_ways(rest: Rest, deliver: Deliver) -> None:
    for name in "bca":
        deliver.submit(name)
    for sort, expected in {"-name": "cba", "createdAt": "bca", "-createdAt": "acb"}.items():
        cursor, seen = "", ""
        for _ in range(3):
            answer = rest("GET", f"/workloads?limit=1&sort={sort}{cursor}")
            seen += names(answer)[0]
            cursor = f"&cursor={answer.json['next']}"
        assert seen == expected


def test_filters_and_label_selectors(rest: Rest, deliver: Deliver) -> None:
    deliver.decide("a", labels={"tier": "web", "env": "dev"})
    deliver.submit("b", labels={"tier": "db"}, namespace="other")
    deliver.submit("c", team="ads")
    expected = {
        "team=ads": ["c"],
        "namespace=other": ["b"],
        "name=b": ["b"],
        "phase=approved": ["a"],
        "cluster=local": ["c", "a", "b"],
        "cluster=none": [],
        "labelSelector=tier%3Dweb": ["a"],
        "labelSelector=tier!%3Dweb": ["c", "b"],
        "labelSelector=tier+in+(web,db),!env": ["b"],
        "labelSelector=tier+notin+(web),tier": ["b"],
        "team=search&phase=proposed": ["b"],
    }
    assert {query: sorted(names(rest("GET", f"/workloads?{query}"))) for query in expected} == {
        query: sorted(found) for query, found in expected.items()
    }


def test_a_list_shows_the_teams_that_may_be_read(rest: Rest, deliver: Deliver) -> None:
    deliver.submit("a")
    deliver.submit("b", team="ads")
    rest.bind("ada", Role.VIEWER, "search")
    rest.principals["nobody"] = rest.principals["ada"].__class__(rest.principals["ada"].actor)
    assert names(rest("GET", "/workloads", user="ada")) == ["a"]
    assert names(rest("GET", "/workloads?team=ads", user="ada")) == []
    assert rest("GET", "/workloads", user="nobody").status == 403


def forged(cursor: str, *key: Any) -> str:
    digest = json.loads(base64.urlsafe_b64decode(cursor + "=="))[0]
    return base64.urlsafe_b64encode(json.dumps([digest, *key]).encode()).decode().rstrip("=")


def test_a_cursor_of_another_list_is_refused(rest: Rest, deliver: Deliver) -> None:
    for name in "ab":
        deliver.submit(name)
    cursor = rest("GET", "/workloads?limit=1&team=search").json["next"]
    for other in ("", "&team=ads", "&team=search&sort=-name", "&team=search&phase=proposed"):
        assert "other filters" in refused(rest("GET", f"/workloads?cursor={cursor}{other}"), 400)
    assert names(rest("GET", f"/workloads?cursor={cursor}&team=search&sort=name")) == ["b"]


@pytest.mark.parametrize("sort", ["name", "createdAt"])
def test_a_forged_cursor_is_refused_before_the_database_sees_it(rest: Rest, deliver: Deliver, sort: str) -> None:
    for name in "ab":
        deliver.submit(name)
    good = rest("GET", f"/workloads?limit=1&sort={sort}").json["next"]
    keys: list[list[Any]] = [[], [1, 2, 3], ["2026-01-01", "x"], [None], ["a", "b"], [["a"], "b", "c"], [{}, {}]]
    for cursor in ["x", "%00", "e30", "W10", *(forged(good, *key) for key in keys)]:
        assert "cursor" in refused(rest("GET", f"/workloads?sort={sort}&cursor={cursor}"), 400)


def test_what_is_no_limit_and_no_sort_is_refused(rest: Rest) -> None:
    for query, field in {
        "limit=0": "limit",
        "limit=1001": "limit",
        "sort=spec": "sort",
        "sort=name;drop": "sort",
        "sort=name,team": "sort",
        "team=A": "team",
        "phase=good": "phase",
        "labelSelector=a+in+b": "labelSelector",
    }.items():
        answer = rest("GET", f"/workloads?{query}")
        assert (answer.status, answer.json["errors"][0]["field"]) == (422, field)


class Explain(sa.Executable, sa.ClauseElement):
    """EXPLAIN of a statement, with its parameters."""

    inherit_cache = False

    def __init__(self, statement: sa.Select[Any]) -> None:
        self.statement = statement


@compiles(Explain)
def _explain(element: Explain, compiler: Any, **options: Any) -> str:
    return f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {compiler.process(element.statement, **options)}"


def rows_read(work: Any, wanted: WorkloadFilter, request: PageRequest) -> float:
    """How many rows of the table and of its indexes PostgreSQL looks at for a page."""
    statement = page_of(sa.select(workloads).where(*rows.conditions(wanted)), rows.SORTS[request.sort], request)
    [[plan]] = connection_of(work).execute(Explain(statement))

    def count(node: dict[str, Any]) -> float:
        own = node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        return float(own * node["Actual Loops"]) + sum(map(count, node.get("Plans", ())))

    return count(plan[0]["Plan"])


@pytest.mark.slow
def test_a_page_looks_at_as_many_rows_of_a_large_table_as_of_a_small_one(
    store: Store, deliver: Deliver, owner_engine: sa.Engine
) -> None:
    deliver.submit("one")
    key = ("search", "search", "one15")
    asked = {
        "first": (WorkloadFilter(), PageRequest(20, "name")),
        "later": (WorkloadFilter(), PageRequest(20, "name", after=key)),
        "backwards": (WorkloadFilter(team="search"), PageRequest(20, "name", descending=True, after=key)),
        "newest": (WorkloadFilter(), PageRequest(20, "createdAt", descending=True)),
        "teams": (WorkloadFilter(teams=frozenset({"ads", "search"})), PageRequest(20, "name")),
        "healthy": (WorkloadFilter(phase=Phase.HEALTHY), PageRequest(20, "name", after=key)),
        "none": (WorkloadFilter(phase=Phase.DENIED), PageRequest(20, "name")),
        "cluster": (WorkloadFilter(cluster="c7"), PageRequest(5, "name")),
        "no cluster": (WorkloadFilter(cluster="none"), PageRequest(20, "name")),
        "named": (WorkloadFilter(name="one15"), PageRequest(20, "name")),
        "no label": (WorkloadFilter(labels=parse("shard=none")), PageRequest(20, "name")),
    }
    small: dict[str, float] = {}
    large: dict[str, float] = {}
    for found, first, last in ((small, 1, 500), (large, 501, 8000)):
        with store.begin() as work:
            connection_of(work).execute(sa.text(_COPIES), {"first": first, "last": last})
        with owner_engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("VACUUM ANALYZE workloads"))
        with store.read() as work:
            found |= {name: rows_read(work, wanted, request) for name, (wanted, request) in asked.items()}
    assert {name: (large[name], small[name]) for name in asked if large[name] > 1.2 * small[name] + 5} == {}
    assert max(large.values()) < 150
