"""Nodes over REST: what they have, what fails there, and whether they take pods."""

import uuid
from datetime import UTC, datetime

from shared.models.faults import FaultReport
from shared.models.identity import Role
from shared.models.telemetry import Blame, FaultKind, FaultState
from shared.store.unit_of_work import Store
from tests.support.rest import Rest


def shown(store: Store) -> None:
    """Two nodes of a cluster, and a fault on one."""
    fault = FaultReport(
        uuid.uuid4(),
        "local",
        "gpu-1",
        "GPU-1",
        FaultKind.XID,
        FaultState.RAISED,
        Blame.GPU,
        datetime(2026, 1, 1, tzinfo=UTC),
        79,
    )
    with store.begin() as work:
        work.nodes.keep("local", {"gpu-1": {"H100": 8}, "gpu-2": {"L4": 4}})
        work.faults.add_raised(fault, work.now)
        work.nodes.mark_faulty("local", "gpu-1", work.now)


def test_nodes_are_listed_with_their_gpus_faults_and_exclusions(rest: Rest, store: Store) -> None:
    shown(store)
    first, second = rest("GET", "/nodes").json["items"]
    assert (first["name"], first["gpus"], first["excluded"], first["excludedBy"]) == ("gpu-1", {"H100": 8}, True, None)
    assert [(one["gpu"], one["kind"], one["xid"]) for one in first["faults"]] == [("GPU-1", "xid", 79)]
    assert (second["excluded"], second["faults"], second["lastContact"]) == (False, [], None)
    assert [one["name"] for one in rest("GET", "/nodes?excluded=false&cluster=local").json["items"]] == ["gpu-2"]
    page = rest("GET", "/nodes?limit=1").json
    assert [one["name"] for one in rest("GET", f"/nodes?limit=1&cursor={page['next']}").json["items"]] == ["gpu-2"]
    assert rest("GET", "/nodes/local/gpu-1").json == first


def test_an_operator_excludes_and_clears_a_node_and_the_audit_log_says_who(rest: Rest, store: Store) -> None:
    shown(store)
    rest.bind("ada", Role.OPERATOR)
    for _ in range(2):  # the second time changes nothing
        excluded = rest("POST", "/nodes/local/gpu-2/exclude", {"reason": "its fans rattle"}, user="ada")
        assert (excluded.status, excluded.json["reason"], excluded.json["excludedBy"]) == (
            200,
            "its fans rattle",
            "user:ada",
        )
    cleared = [rest("POST", f"/nodes/local/{name}/clear", user="ada").json for name in ("gpu-1", "gpu-2", "gpu-2")]
    assert [one["excluded"] for one in cleared] == [False] * 3
    assert len(cleared[0]["faults"]) == 1  # what the agent has said stays
    rows = rest("GET", "/audit-logs?object=node/local/gpu-2").json["items"][::-1]
    assert [(row["action"], row["actor"]) for row in rows] == [
        ("node.excluded", "user:ada"),
        ("node.cleared", "user:ada"),
    ]
    fields = [one["field"] for one in rows[0]["detail"]["changes"]["changed"]]
    assert fields == ["excluded", "excludedAt", "excludedBy", "reason"]


def test_a_node_that_nobody_has_shown_can_be_excluded_but_not_cleared(rest: Rest) -> None:
    assert rest("POST", "/nodes/local/new.example.org/clear").status == 404
    assert rest("POST", "/nodes/local/new.example.org/exclude", {}).json["gpus"] is None
    assert rest("POST", "/nodes/local/new.example.org/clear").status == 200
    assert rest("POST", "/nodes/nowhere/gpu-1/exclude", {}).status == 404
    assert rest("POST", "/nodes/local/NOT_A_NODE/exclude", {}).status == 422
