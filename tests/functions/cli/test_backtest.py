"""`sentinel policy backtest`: candidates on the record, with nothing guessed."""

import json
import os
import pty
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from shared.models.identity import Role
from shared.operations import backtest_runs
from shared.policy.documents import PolicyDocument
from shared.policy.queue import MAX_OVERTAKES
from shared.store.tables import action_plans, backtests, policy_decisions
from shared.store.unit_of_work import Store
from tests.functions.cli.conftest import INSTALLED, Api, Ran, Sentinel
from tests.support.builders import Deliver, connection_of, rows

MANY = 30_000
QUOTA = {"type": "quota", "gpus": 3}


def candidate(*rules: dict[str, Any], name: str = "candidate", **fields: Any) -> dict[str, Any]:
    return {"name": name, "rules": list(rules), **fields}


def policy(store: Store, *rules: dict[str, Any], name: str = "limit", **fields: Any) -> None:
    with store.begin() as work:
        work.policies.put(PolicyDocument.model_validate(candidate(*rules, name=name, **fields)), "tests")


def backtest(sentinel: Sentinel, *documents: dict[str, Any], options: Sequence[str] = ("-o", "json")) -> Ran:
    return sentinel("policy", "backtest", "-f", "-", *options, stdin=json.dumps(list(documents)))


def rewrite(store: Store, **fields: Any) -> None:
    """Replaces fields of every recorded document of facts."""
    with store.begin() as work:
        for row in connection_of(work).execute(sa.select(policy_decisions)).all():
            facts = {**row.facts, **fields}
            facts["plan"] = {**row.facts["plan"], **fields.get("plan", {})}
            changed = policy_decisions.update().where(policy_decisions.c.id == row.id)
            connection_of(work).execute(changed.values(facts=facts))


def test_a_first_quota_is_tried_on_what_teams_held(sentinel: Sentinel, deliver: Deliver) -> None:
    deliver.decide("a")
    deliver.decide("b")
    deliver.decide("c", team="ads")
    ran = backtest(sentinel, candidate(QUOTA))
    assert ran.code == 0
    told = ran.json
    assert (told["decisions"], told["replayed"], told["unchanged"], told["interrupted"]) == (3, 3, 2, False)
    assert (told["newlyDenied"], told["newlyAllowed"], told["newlyQueued"], told["notKnown"]) == (1, 0, 0, 0)
    [team] = told["teams"]
    assert (team["team"], team["newlyDenied"]) == ("search", 1)
    [change] = told["changes"]
    assert (change["workload"], change["was"], change["wouldBe"]) == ("search/search/b", "approved", "denied")
    assert change["cause"] == "candidate"
    [violation] = change["violations"]
    assert violation["message"] == "team search would hold 4 GPUs; its quota is 3"


def test_a_first_ceiling_is_tried_on_what_things_cost(sentinel: Sentinel, deliver: Deliver) -> None:
    deliver.decide("a")
    deliver.decide("b")
    ceiling = {"type": "cost_ceiling", "scope": "global", "usd_per_hour": "2"}
    told = backtest(sentinel, candidate(ceiling)).json
    assert [(one["workload"], one["wouldBe"]) for one in told["changes"]] == [("search/search/b", "denied")]


def test_candidates_replace_todays_policies_of_their_name(sentinel: Sentinel, store: Store, deliver: Deliver) -> None:
    policy(store, {"type": "quota", "gpus": 1})
    policy(store, {"type": "quota", "scope": "plan", "replicas": 3}, name="small")
    deliver.decide("a")
    deliver.decide("b", replicas=4)
    told = backtest(sentinel, candidate({"type": "quota", "gpus": 100}, name="limit")).json
    assert [(one["workload"], one["was"], one["wouldBe"]) for one in told["changes"]] == [
        ("search/search/a", "denied", "approved"),
    ]
    alone = backtest(sentinel, candidate({"type": "quota", "gpus": 100}), options=("-o", "json", "--only")).json
    assert alone["newlyAllowed"] == 2


def test_what_todays_policies_do_already_is_not_blamed_on_the_candidate(
    sentinel: Sentinel, store: Store, deliver: Deliver
) -> None:
    deliver.decide("a")
    policy(store, {"type": "quota", "gpus": 1})
    deliver.decide("b")
    told = backtest(sentinel, candidate({"type": "quota", "scope": "plan", "replicas": 9})).json
    assert [(one["workload"], one["cause"]) for one in told["changes"]] == [("search/search/a", "today")]


def test_what_would_have_waited_is_newly_queued(sentinel: Sentinel, deliver: Deliver) -> None:
    deliver.decide("a")
    deliver.decide("b", queue=True)
    told = backtest(sentinel, candidate(QUOTA)).json
    assert (told["newlyQueued"], told["newlyDenied"]) == (1, 0)
    unmendable = {"type": "image", "digest_required": True}
    assert backtest(sentinel, candidate(QUOTA, unmendable)).json["newlyDenied"] == 2


def test_what_waited_is_not_newly_queued_again(sentinel: Sentinel, store: Store, deliver: Deliver) -> None:
    policy(store, QUOTA)
    deliver.decide("a")
    deliver.decide("b", queue=True)
    assert backtest(sentinel, candidate(QUOTA)).json["changes"] == []
    [change] = backtest(sentinel, candidate({"type": "quota", "gpus": 9}, name="limit")).json["changes"]
    assert (change["was"], change["wouldBe"]) == ("queued", "approved")


def test_a_plan_that_let_another_go_first_would_have_had_to_anyway(
    sentinel: Sentinel, store: Store, deliver: Deliver
) -> None:
    policy(store, {"type": "quota", "gpus": 4})
    deliver.decide("running", replicas=3)
    deliver.decide("large", replicas=4, queue=True)
    with store.begin() as work:
        overtaken = action_plans.update().where(action_plans.c.status == "queued").values(overtaken=MAX_OVERTAKES)
        connection_of(work).execute(overtaken)
    deliver.decide("late", replicas=1, queue=True)
    assert backtest(sentinel, candidate({"type": "quota", "gpus": 4}, name="limit")).json["changes"] == []


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (QUOTA, "the usage of team search"),
        ({"type": "rate_limit", "actions": 1, "window": "PT1H"}, "the actions of team search within 1:00:00"),
        (
            {"type": "rate_limit", "actions": 1, "window": "PT1H", "verbs": ["deploy"]},
            "the actions (deploy) of team search within 1:00:00",
        ),
    ],
)
def test_a_fact_that_was_not_recorded_is_not_guessed(
    sentinel: Sentinel, store: Store, deliver: Deliver, rule: dict[str, Any], said: str
) -> None:
    deliver.decide("a")
    rewrite(store, usage=[])
    told = backtest(sentinel, candidate(rule)).json
    assert (told["notKnown"], told["newlyDenied"], told["unchanged"]) == (1, 0, 0)
    assert told["missing"] == {said: 1}
    [change] = told["changes"]
    assert (change["wouldBe"], change["missing"]) == ("not known", [said])
    assert f"{said} was not recorded" in backtest(sentinel, candidate(rule), options=()).out


def test_a_price_and_telemetry_that_were_not_recorded_are_not_guessed(
    sentinel: Sentinel, store: Store, deliver: Deliver
) -> None:
    deliver.decide("a")
    rewrite(store, priced_on=None, plan={"created_at": "2020-01-01T00:00:00Z"})
    ceiling = {"type": "cost_ceiling", "scope": "plan", "usd_per_hour": "1"}
    sla = {"type": "sla", "min_uptime": 0.9, "window": "P1D"}
    told = backtest(sentinel, candidate(ceiling, sla)).json
    assert told["missing"] == {"the date of the prices": 1, "the telemetry over 1 day, 0:00:00": 1}


def test_a_fact_that_does_not_matter_may_be_missing(sentinel: Sentinel, store: Store, deliver: Deliver) -> None:
    deliver.decide("a")
    deliver.decide("b", queue=True)
    rewrite(store, usage=[])
    pinned = candidate({"type": "image", "digest_required": True}, name="pinned")
    assert backtest(sentinel, candidate(QUOTA), pinned).json["newlyDenied"] == 2
    assert backtest(sentinel, candidate(QUOTA, mode="warn")).json["changes"] == []
    small = candidate({"type": "quota", "scope": "plan", "replicas": 1}, name="small")
    assert backtest(sentinel, candidate(QUOTA), small).json["newlyDenied"] == 2, "alone it is too large to wait"


def test_a_candidate_of_tomorrow_is_tried_on_the_past(sentinel: Sentinel, deliver: Deliver) -> None:
    deliver.decide("a")
    deliver.decide("b")
    assert backtest(sentinel, candidate(QUOTA, valid_from="2999-01-01T00:00:00Z")).json["newlyDenied"] == 1


def test_since_bounds_the_replay(sentinel: Sentinel, store: Store, deliver: Deliver) -> None:
    deliver.decide("a")
    with store.begin() as work:
        before = sa.func.now() - sa.text("interval '2 days'")
        connection_of(work).execute(policy_decisions.update().values(created_at=before))
    deliver.decide("b")
    strict = candidate({"type": "quota", "gpus": 1})
    assert backtest(sentinel, strict).json["decisions"] == 2
    assert backtest(sentinel, strict, options=("-o", "json", "--since", "47h")).json["decisions"] == 1
    assert backtest(sentinel, strict, options=("-o", "json", "--since", "PT47H")).json["decisions"] == 1
    assert backtest(sentinel, strict, options=("-o", "json", "--since", "30d")).json["decisions"] == 2
    for since, said in [
        ("soon", "'soon' is not a duration such as 10m, 1h30m, 30d or PT10M"),
        ("P1M", "must not have months or years, whose length depends on the date: write days, such as P30D"),
        ("99999999d", "must be at most 36500d"),
    ]:
        ran = backtest(sentinel, strict, options=("--since", since))
        assert (ran.code, ran.err) == (2, f"sentinel: --since: {said}\n")


def test_people_get_the_sum_the_teams_and_the_plans(sentinel: Sentinel, deliver: Deliver) -> None:
    for name in ("a", "b", "c"):
        deliver.decide(name)
    ran = backtest(sentinel, candidate(QUOTA), options=("--limit", "1"))
    title, _, header, team, _, columns, line = ran.lines
    assert title.startswith("3 decisions since 20")
    assert title.endswith(
        ": 2 newly denied, 0 newly allowed, 0 newly queued, 0 newly awaiting approval, 0 not known, 1 unchanged"
    )
    words = "NEWLY DENIED NEWLY ALLOWED NEWLY QUEUED NEWLY AWAITING APPROVAL NOT KNOWN"
    assert header.split() == ["TEAM", *words.split()]
    assert team.split() == ["search", "2", "0", "0", "0", "0"]
    assert columns.split()[:5] == ["WHEN", "TEAM", "WORKLOAD", "CLUSTER", "VERB"]
    assert line.split()[1:8] == ["search", "search/b", "local", "deploy", "approved", "denied", "candidate"]
    assert line.endswith("candidate: team search would hold 4 GPUs; its quota is 3")
    assert ran.err == "sentinel: 1 more are counted and not listed; see them with --limit\n"
    assert len(backtest(sentinel, candidate({"type": "quota", "gpus": 99}), options=()).lines) == 1


def test_a_record_of_another_version_is_counted(sentinel: Sentinel, store: Store, deliver: Deliver) -> None:
    deliver.decide("a")
    with store.begin() as work:
        connection_of(work).execute(policy_decisions.update().values(facts={"old": True}))
    ran = backtest(sentinel, candidate(QUOTA))
    assert (ran.code, ran.json["unreadable"], ran.json["unchanged"]) == (0, 1, 0)
    assert "1 decisions were recorded by another version and cannot be replayed" in ran.err


def test_a_backtest_changes_nothing(sentinel: Sentinel, deliver: Deliver, owner_engine: sa.Engine) -> None:
    deliver.decide("a")
    before = {name: rows(owner_engine, name) for name in ("policies", "policy_set", "usage", "action_plans", "outbox")}
    assert backtest(sentinel, candidate(QUOTA)).code == 0
    assert {name: rows(owner_engine, name) for name in before} == before


def test_who_may_not_write_policies_is_refused(sentinel: Sentinel, api: Api) -> None:
    api.rest.bind("eve", Role.VIEWER)
    file = json.dumps(candidate(QUOTA))
    ran = sentinel("policy", "backtest", "-f", "-", stdin=file, SENTINEL_TOKEN="eve")
    assert (ran.code, ran.out) == (1, "")
    assert "policies:write" in ran.err


def test_a_backtest_that_failed_says_why(sentinel: Sentinel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backtest_runs, "MAX_ATTEMPTS", 0)
    ran = backtest(sentinel, candidate(QUOTA))
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "sentinel: the backtest failed: it was cut off 0 times: ask for fewer days\n"


@pytest.mark.slow
def test_ctrl_c_ends_it_with_what_was_found(
    api: Api, store: Store, deliver: Deliver, owner_engine: sa.Engine, tmp_path: Path
) -> None:
    deliver.decide("a")
    with owner_engine.begin() as connection:
        columns = "plan_id, workload_id, approved, violations, warnings, determining, facts, duration_us"
        copies = f"SELECT gen_random_uuid(), {columns} FROM policy_decisions, generate_series(2, :n)"
        connection.execute(sa.text(f"INSERT INTO policy_decisions (id, {columns}) {copies}"), {"n": MANY})
    file = tmp_path / "candidate.json"
    file.write_text(json.dumps(candidate({"type": "quota", "gpus": 1})))
    controller, terminal = pty.openpty()
    command = [str(INSTALLED), "policy", "backtest", "-f", str(file), "-o", "json", "--limit", "1"]
    environment = {**os.environ, "SENTINEL_SERVER": api.url, "SENTINEL_TOKEN": "admin", "TERM": "xterm"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal, text=True, env=environment) as process:
        os.close(terminal)
        _until(controller, f"/{MANY}")
        process.send_signal(signal.SIGINT)
        shown = _rest(controller)
        out, _ = process.communicate(timeout=60)
    os.close(controller)
    assert process.returncode == 130
    told = json.loads(out)
    assert (told["decisions"], told["interrupted"]) == (MANY, True)
    assert told["newlyDenied"] == told["replayed"] < MANY
    assert f"stopped after {told['replayed']} of {MANY} decisions" in shown
    with store.read() as work:
        [stored] = connection_of(work).execute(sa.select(backtests.c.state)).scalars()
    assert stored == "cancelled", "the server stops too"


def _until(controller: int, text: str) -> None:
    """Waits until the progress bar shows a text."""
    shown = ""
    while text not in shown:
        shown += os.read(controller, 65_536).decode(errors="replace")


def _rest(controller: int) -> str:
    """What is shown until the terminal is closed at the other end."""
    shown = b""
    try:
        while chunk := os.read(controller, 65_536):
            shown += chunk
    except OSError:
        pass
    return shown.decode()
