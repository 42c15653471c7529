"""Workloads over REST: each write is carried out by the chain, once, and by who may."""

import threading
import time
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI

from functions.api.session import Services
from shared.eventing import codec
from shared.models.identity import Role
from shared.models.lifecycle import Phase
from shared.models.plan import Verb
from shared.operations import bindings
from shared.store.database import connect
from shared.store.tables import audit_log
from shared.store.unit_of_work import Store
from tests.support.builders import TESTS, Deliver, connection_of
from tests.support.chain import Chain
from tests.support.rest import Answer, Rest


def spec(chain: Chain, **fields: Any) -> dict[str, Any]:
    return {
        "name": "web",
        "type": "inference",
        "image": "fate.test/ready",
        "team": "search",
        "namespace": chain.site.namespace,
        "resources": {"cpu": "100m", "memory": "64Mi"},
        "bake": "PT0S",
        **fields,
    }


@pytest.fixture
def path(chain: Chain) -> str:
    return f"/workloads/{chain.id()}"


def run(chain: Chain) -> Phase:
    """Lets the chain carry out what was asked for."""
    chain.run(chain.relayed())
    return chain.settle().phase


def created(rest: Rest, chain: Chain, **fields: Any) -> Answer:
    """A workload that is healthy."""
    answer = rest("POST", "/workloads", spec(chain, **fields))
    assert answer.status == 202, answer.body
    assert run(chain) is Phase.HEALTHY
    return rest("GET", f"/workloads/{chain.id()}")


def test_a_workload_is_created_read_changed_and_deleted(rest: Rest, chain: Chain, path: str) -> None:
    answer = rest("POST", "/workloads", spec(chain))
    assert (answer.status, answer.json["phase"], answer.json["generation"]) == (202, "proposed", 1)
    assert answer.headers["location"] == f"/api/v1{path}"
    assert run(chain) is Phase.HEALTHY
    shown = rest("GET", path)
    assert (shown.status, shown.json["phase"], shown.json["spec"]["image"]) == (200, "healthy", "fate.test/ready")

    replaced = rest("PUT", path, spec(chain, replicas=2), If_Match=shown.headers["etag"])
    assert (replaced.status, replaced.json["generation"], replaced.json["replicas"]) == (202, 2, 2)
    assert run(chain) is Phase.HEALTHY
    patched = rest("PATCH", path, {"env": {"A": "b"}, "replicas": None}, content_type="application/merge-patch+json")
    assert (patched.status, patched.json["spec"]["env"], patched.json["replicas"]) == (202, {"A": "b"}, 1)
    assert run(chain) is Phase.HEALTHY

    assert rest("DELETE", path).json["withdrawn"] is True
    assert run(chain) is Phase.REMOVED
    assert chain.site.objects("Deployment") == []
    assert rest("DELETE", path).status == 200
    assert rest("PATCH", path, {"replicas": 1}).status == 409
    assert rest("POST", "/workloads", spec(chain)).json["generation"] == 4
    assert run(chain) is Phase.HEALTHY


def test_a_workload_is_delivered_in_the_trace_of_the_request(rest: Rest, chain: Chain) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert rest("POST", "/workloads", spec(chain), traceparent=parent, tracestate="a=b").status == 202
    chain.run(chain.relayed())
    assert {event.attributes["traceparent"] for event in chain.told} == {parent}
    assert {event.attributes["tracestate"] for event in chain.told} == {"a=b"}
    other = spec(chain, name="other")
    assert rest("POST", "/workloads", other, traceparent=parent.upper()).status == 202
    assert all("traceparent" not in codec.decode(*message).attributes for message in chain.relayed())


def test_what_is_there_is_not_created_again(rest: Rest, chain: Chain) -> None:
    created(rest, chain)
    answer = rest("POST", "/workloads", spec(chain, image="fate.test/ready:2"))
    assert answer.status == 409
    assert str(chain.id()) in answer.json["detail"]


def test_scale_sets_the_replicas_alone_and_restart_replaces_the_pods(rest: Rest, chain: Chain, path: str) -> None:
    created(rest, chain, env={"A": "b"})
    assert rest("POST", f"{path}/scale", {"replicas": 3}).status == 202
    assert chain.plan().decision.verb is Verb.SCALE
    assert run(chain) is Phase.HEALTHY
    pods = {one["metadata"]["name"] for one in chain.site.objects("Pod")}
    assert len(pods) == 3

    assert rest("POST", f"{path}/restart").status == 202
    assert run(chain) is Phase.HEALTHY
    assert pods.isdisjoint(one["metadata"]["name"] for one in chain.site.objects("Pod"))
    assert rest("POST", f"{path}/scale", {"replicas": 2}).json["spec"]["restartedAt"]
    assert chain.plan().decision.verb is Verb.SCALE  # the restart is over
    assert rest("POST", f"{path}/scale", {"replicas": -1}).json["errors"][0]["field"] == "replicas"


def test_a_rollback_restores_the_revision_that_was_healthy(rest: Rest, chain: Chain, path: str) -> None:
    created(rest, chain)
    assert rest("POST", f"{path}/rollback").status == 409  # there is nothing to go back to
    rest("PATCH", path, {"image": "fate.test/ready:2"})
    assert run(chain) is Phase.HEALTHY
    for revision, said in ((2, "is the newest already"), (9, "was never healthy")):
        assert said in rest("POST", f"{path}/rollback", {"revision": revision}).json["detail"]
    answer = rest("POST", f"{path}/rollback", {"revision": 1})
    assert (answer.status, answer.json["spec"]["image"]) == (202, "fate.test/ready:2")
    assert run(chain) is Phase.ROLLED_BACK
    [container] = chain.site.object()["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "fate.test/ready"


def test_a_rollback_takes_no_more_than_the_workload_holds(rest: Rest, chain: Chain, path: str) -> None:
    created(rest, chain, replicas=2)
    rest("PATCH", path, {"image": "fate.test/ready:2", "replicas": 1})
    assert run(chain) is Phase.HEALTHY
    answer = rest("POST", f"{path}/rollback")
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "revision")


def test_the_history_of_a_workload_is_shown(rest: Rest, chain: Chain, path: str) -> None:
    created(rest, chain)
    rest("PATCH", path, {"image": "fate.test/ready:2"})
    assert run(chain) is Phase.HEALTHY
    page = rest("GET", f"{path}/deployments?limit=1&sort=-revision")
    [newest] = page.json["items"]
    assert (newest["revision"], newest["image"], newest["status"]) == (2, "fate.test/ready:2", "healthy")
    assert newest["appliedAt"] <= newest["healthyAt"]
    older = rest("GET", f"{path}/deployments?limit=1&sort=-revision&cursor={page.json['next']}")
    assert [one["revision"] for one in older.json["items"]] == [1]
    events = [one["what"] for one in rest("GET", f"{path}/timeline").json["items"]]
    assert events[:3] == ["plan.proposed", "plan.approved", "deployment.applied"]
    page = rest("GET", f"{path}/timeline?limit=2")
    assert page.headers["link"] == f'</api/v1{path}/timeline?limit=2&cursor={page.json["next"]}>; rel="next"'
    following = rest("GET", f"{path}/timeline?limit=2&cursor={page.json['next']}").json["items"]
    assert [one["what"] for one in following] == events[2:4]
    backwards = [one["what"] for one in rest("GET", f"{path}/timeline?sort=-time").json["items"]]
    assert backwards == events[::-1]
    plans = rest("GET", f"{path}/plans").json["items"]
    assert [(plan["verb"], plan["status"]) for plan in plans] == [("deploy", "executed"), ("update", "executed")]
    rest.bind("stranger", Role.ADMIN, "ads")
    for part in ("timeline", "deployments", "plans", "explain"):
        assert rest("GET", f"{path}/{part}", user="stranger").status == 404


def test_nobody_overwrites_what_they_have_not_seen(rest: Rest, chain: Chain, path: str) -> None:
    seen = created(rest, chain).headers["etag"]
    assert rest("PUT", path, spec(chain)).status == 428
    assert rest("PUT", path, spec(chain), If_Match="x").status == 400
    assert rest("PUT", path, spec(chain, replicas=2), If_Match=f'"other", {seen}').status == 202
    for method, body in (("PUT", spec(chain)), ("PATCH", {"replicas": 3}), ("DELETE", None)):
        answer = rest(method, path, body, If_Match=seen)
        assert (answer.status, answer.headers["etag"]) == (412, rest("GET", path).headers["etag"])
    assert rest("PUT", path, spec(chain, replicas=3), If_Match="*").status == 202
    assert rest("PUT", path, spec(chain, replicas=4), If_Match=f"W/{seen}").status == 412
    assert chain.workload().spec.replicas == 3


def test_a_request_is_carried_out_once_under_its_key(rest: Rest, chain: Chain, path: str) -> None:
    rest.bind("ada", Role.SUBMITTER)
    rest.bind("bob", Role.SUBMITTER)
    first = rest("POST", "/workloads", spec(chain), user="ada", Idempotency_Key="k")
    assert run(chain) is Phase.HEALTHY
    again = rest("POST", "/workloads", spec(chain), user="ada", Idempotency_Key="k")
    assert (again.status, again.body, again.headers["location"], again.headers["etag"]) == (
        first.status,
        first.body,
        first.headers["location"],
        first.headers["etag"],
    )
    assert rest("POST", "/workloads", spec(chain, replicas=2), user="ada", Idempotency_Key="k").status == 422
    assert rest("POST", "/workloads", spec(chain), user="bob", Idempotency_Key="k").status == 409  # it is there
    assert rest("PATCH", path, {"replicas": 2}, user="bob", Idempotency_Key="k").status == 202  # a key of bob's own
    assert rest("PATCH", path, {"replicas": 2}, user="bob", Idempotency_Key="k y").status == 422
    assert chain.workload().generation == 2


def test_equal_requests_at_once_are_carried_out_once(rest: Rest, chain: Chain) -> None:
    answers: list[Answer] = []

    def ask() -> None:
        answers.append(rest("POST", "/workloads", spec(chain), Idempotency_Key="k"))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers} <= {202, 409}
    assert len({answer.body for answer in answers if answer.status == 202}) == 1
    assert len(chain.relayed()) == 1


def test_a_refused_request_leaves_its_key_free(rest: Rest, chain: Chain) -> None:
    assert (
        rest("POST", "/workloads", spec(chain, clusters={"matchLabels": {"a": "b"}}), Idempotency_Key="k").status == 422
    )
    assert rest("POST", "/workloads", spec(chain), Idempotency_Key="k").status == 202


def test_every_bad_field_is_named(rest: Rest, chain: Chain, path: str) -> None:
    bad = spec(chain, image="a b", phase="healthy", resources={"gpu": {"count": "many"}})
    answer = rest("POST", "/workloads", bad)
    assert answer.status == 422
    assert {one["field"] for one in answer.json["errors"]} == {"image", "phase", "resources.gpu.count"}
    created(rest, chain)
    for change, fields in (
        ({"name": "other"}, {"name"}),
        ({"actor": "user:root", "ports": ["x"]}, {"actor", "ports.0"}),
        ({"node_selector": {"a": "b"}}, {"node_selector"}),
    ):
        answer = rest("PATCH", path, change)
        assert (answer.status, {one["field"] for one in answer.json["errors"]}) == (422, fields)


def test_who_may_do_what_depends_on_the_team_of_the_workload(rest: Rest, chain: Chain, path: str) -> None:
    created(rest, chain)
    for name, role, team in (
        ("viewer", Role.VIEWER, "search"),
        ("submitter", Role.SUBMITTER, "search"),
        ("stranger", Role.ADMIN, "ads"),
    ):
        rest.bind(name, role, team)
    writes = [
        ("PUT", path, spec(chain, replicas=2), {"If_Match": "*"}),
        ("PATCH", path, {"replicas": 3}, {}),
        ("POST", f"{path}/scale", {"replicas": 4}, {}),
        ("POST", f"{path}/restart", None, {}),
        ("POST", f"{path}/rollback", None, {}),
        ("DELETE", path, None, {}),
    ]
    found = {
        name: [rest(method, to, body, user=name, **headers).status for method, to, body, headers in writes]
        for name in ("viewer", "submitter", "stranger")
    }
    assert found["viewer"] == [403] * 6
    assert found["stranger"] == [404] * 6
    assert found["submitter"] == [202, 202, 202, 403, 403, 202]
    assert rest("POST", "/workloads", spec(chain, name="mine"), user="stranger").status == 403


def test_a_write_names_who_asked_for_it(rest: Rest, chain: Chain, store: Store) -> None:
    rest.bind("ada", Role.SUBMITTER)
    rest("POST", "/workloads", spec(chain), user="ada")
    with store.read() as work:
        query = sa.select(audit_log.c.action, audit_log.c.actor).where(audit_log.c.subject == str(chain.id()))
        assert connection_of(work).execute(query).all() == [("plan.proposed", "user:ada")]


def test_a_namespace_that_is_not_the_teams_is_refused(rest: Rest, chain: Chain, store: Store, path: str) -> None:
    created(rest, chain)
    with store.begin() as work:
        bindings.delete_namespaces(work, "*", TESTS)
    for answer in (
        rest("POST", "/workloads", spec(chain, name="new")),
        rest("PATCH", path, {"replicas": 2}),
    ):
        assert (answer.status, answer.json["errors"][0]["field"]) == (422, "namespace")


def test_an_answer_waits_until_the_workload_is_healthy(rest: Rest, chain: Chain, path: str) -> None:
    answers: dict[str, Answer] = {}

    def ask(name: str, method: str, to: str, body: Any) -> threading.Thread:
        thread = threading.Thread(target=lambda: answers.update({name: rest(method, to, body)}))
        thread.start()
        return thread

    waiting = ask("created", "POST", "/workloads?wait=healthy&timeout=30s", spec(chain))
    chain.until_seen(lambda: rest("GET", path).status, lambda status: status == 200)
    assert run(chain) is Phase.HEALTHY
    waiting.join()
    assert (answers["created"].status, answers["created"].json["phase"]) == (200, "healthy")
    assert answers["created"].headers["location"] == f"/api/v1{path}"

    chain.limit_gpus(0)
    gpus = {"resources": {"gpu": {"count": 1, "sku": "L4"}}}
    waiting = ask("denied", "PATCH", f"{path}?wait=healthy", gpus)
    chain.until_seen(lambda: chain.workload().generation, lambda generation: generation == 2)
    assert run(chain) is Phase.DENIED
    waiting.join()
    assert (answers["denied"].status, answers["denied"].json["phase"]) == (202, "denied")


def test_a_wait_that_ends_in_vain_says_how_the_workload_stands(rest: Rest, chain: Chain, path: str) -> None:
    answer = rest("POST", "/workloads?wait=healthy&timeout=100ms", spec(chain))
    assert (answer.status, answer.json["phase"]) == (202, "proposed")
    for query in ("wait=healthy&timeout=1h", "wait=healthy&timeout=0s", "timeout=5s", "wait=gone"):
        assert rest("PATCH", f"{path}?{query}", {"replicas": 2}).status == 422
    assert chain.workload().spec.replicas == 1


def test_waiting_takes_no_connection(
    rest: Rest, application: tuple[FastAPI, int], chain: Chain, database_url: str
) -> None:
    engine = connect(database_url, pool_size=1, max_overflow=0)
    application[0].state.services = Services(Store(engine), rest.authenticate)
    waiting = [
        threading.Thread(target=rest, args=("POST", "/workloads?wait=healthy&timeout=1s", spec(chain, name=name)))
        for name in ("a", "b", "c")
    ]
    begun = time.monotonic()
    for thread in waiting:
        thread.start()
    while len(rest("GET", "/workloads").json["items"]) < len(waiting):
        assert time.monotonic() - begun < 20
    for thread in waiting:
        thread.join()
    engine.dispose()


def test_workloads_are_counted_by_phase_for_the_teams_that_one_may_read(rest: Rest, deliver: Deliver) -> None:
    for name, team in (("chat", "search"), ("rank", "search"), ("copy", "ads")):
        deliver.submit(name, team=team)
    every = [
        {"team": "ads", "phase": "proposed", "workloads": 1},
        {"team": "search", "phase": "proposed", "workloads": 2},
    ]
    assert rest("GET", "/workloads/phases").json["items"] == every
    assert rest("GET", "/workloads/phases?team=ads").json["items"] == every[:1]
    rest.bind("bob", Role.VIEWER, "search")
    assert rest("GET", "/workloads/phases", user="bob").json["items"] == every[1:]
    assert rest("GET", "/workloads/phases?team=ads", user="bob").json["items"] == []
