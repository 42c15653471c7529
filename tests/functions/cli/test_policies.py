"""`sentinel policy add|list|show|enable|disable|history|schema`: all or nothing, audited, told, and kept for ever."""

import threading
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # no stubs among the dependencies
import pytest
import sqlalchemy as sa
import yaml

from events.policy import PolicyChanged
from shared.policy.documents import PolicyDocument
from shared.store import audit
from shared.store.tables import policies
from shared.store.unit_of_work import Store
from tests.functions.cli.conftest import Ran, Sentinel
from tests.support.brokers import Broker
from tests.support.builders import POLICY, Deliver, connection_of

GPUS: dict[str, Any] = {"name": "team-gpus", "priority": 10, "rules": [{"type": "quota", "gpus": 16, "memory": "1Ti"}]}
COST: dict[str, Any] = {
    "name": "cheap",
    "mode": "warn",
    "enabled": False,
    "rules": [{"type": "cost_ceiling", "scope": "global", "usd_per_hour": "12.50"}],
}
SPOILT: dict[str, Any] = {"name": "team-gpus", "rules": [{"type": "old"}]}
CHANGED = "dev.sentinel.policy.changed.v1"


def add(sentinel: Sentinel, *documents: dict[str, Any]) -> Ran:
    return sentinel("policy", "add", "-f", "-", stdin=yaml.safe_dump_all(documents))


def audited(store: Store, subject: str) -> list[dict[str, Any]]:
    with store.begin() as work:
        return [{"action": e.action, **e.detail} for e in audit.entries(connection_of(work), subject)]


def spoil(store: Store) -> None:
    """What an upgrade may do: the stored document is no longer one."""
    with store.begin() as work:
        connection_of(work).execute(sa.update(policies).values(document=SPOILT))


def test_policies_are_added_together_audited_and_told(sentinel: Sentinel, store: Store, broker: Broker) -> None:
    ran = add(sentinel, GPUS, COST)
    assert (ran.code, ran.err) == (0, "")
    assert ran.lines == ["team-gpus added, version 1", "cheap added, version 1"]
    header, first, second = sentinel("policy", "list").lines
    assert header.split() == ["NAME", "PRIORITY", "MODE", "ENABLED", "RULES", "VALID", "PROBLEM"]
    assert first.split() == ["cheap", "0", "warn", "no", "cost_ceiling", "always"]
    assert second.split() == ["team-gpus", "10", "enforce", "yes", "quota", "always"]
    [row] = audited(store, "policy/cheap")
    assert (row["action"], row["author"], row["version"]) == ("policy.added", "user:root", 1)
    assert row["document"]["name"] == "cheap"
    told = {event.subject: event for event in broker.events}
    assert told.keys() == {"policy/cheap", "policy/team-gpus"}
    event = told["policy/cheap"]
    assert (event.type, event.attributes["partitionkey"]) == (CHANGED, "policy/cheap")
    assert event.data == {"name": "cheap", "version": 1, "change": "added", "author": "user:root"}


def test_the_event_of_a_change_is_one_that_policy_takes(sentinel: Sentinel, broker: Broker, deliver: Deliver) -> None:
    add(sentinel, GPUS)
    [event] = broker.events
    assert deliver(POLICY, CHANGED, PolicyChanged.model_validate(event.data), subject=event.subject).status == 202


def test_what_policy_list_and_show_print_can_be_added_again(sentinel: Sentinel) -> None:
    add(sentinel, GPUS, COST)
    listed = sentinel("policy", "list", "-o", "yaml")
    assert listed.yaml == sentinel("policy", "list", "-o", "json").json
    assert listed.yaml[0]["rules"][0]["usd_per_hour"] == "12.50"
    shown = sentinel("policy", "show", "cheap")
    assert shown.lines[1].split()[0] == "cheap"
    document = shown.out.split("\n\n", 1)[1]
    for text in (listed.out, document, sentinel("policy", "show", "cheap", "-o", "json").out):
        again = sentinel("policy", "add", "-f", "-", stdin=text)
        assert again.code == 0
        assert {line.rpartition(" ")[2] for line in again.lines} == {"unchanged"}


def test_an_unchanged_policy_makes_no_version_no_audit_row_and_no_event(
    sentinel: Sentinel, store: Store, broker: Broker
) -> None:
    add(sentinel, GPUS)
    ran = add(sentinel, GPUS, COST)
    assert ran.lines == ["team-gpus unchanged", "cheap added, version 1"]
    assert sentinel("policy", "enable", "team-gpus").lines == ["team-gpus unchanged"]
    assert len(audited(store, "policy/team-gpus")) == 1
    assert [event.subject for event in broker.events] == ["policy/team-gpus", "policy/cheap"]
    assert len(sentinel("policy", "history", "team-gpus").lines) == 2


def test_no_policy_is_added_when_one_is_bad(sentinel: Sentinel, store: Store, broker: Broker) -> None:
    bad = {"name": "bad", "mode": "maybe", "rules": [{"type": "quota"}, {"type": "cost_ceiling", "usd_per_hour": "-1"}]}
    ran = add(sentinel, GPUS, bad)
    assert ran.code == 2
    assert ran.err.startswith("sentinel: stdin, document 2: mode: Input should be 'enforce', 'warn' or 'dry_run'")
    assert "rules.0.quota: a quota needs at least one of" in ran.err
    assert "rules.1.cost_ceiling.usd_per_hour: Input should be greater than or equal to 0" in ran.err
    twice = add(sentinel, GPUS, GPUS)
    assert (twice.code, len(twice.err.splitlines())) == (2, 2)
    assert "policy team-gpus is in there twice" in twice.err
    with store.begin() as work:
        assert work.policies.all() == []
    assert broker.events == []


def test_a_policy_is_taken_out_of_force_and_put_back(sentinel: Sentinel, store: Store, broker: Broker) -> None:
    add(sentinel, GPUS)
    assert sentinel("policy", "disable", "team-gpus").lines == ["team-gpus disabled, version 2"]
    assert sentinel("policy", "list").lines[1].split()[3] == "no"
    assert sentinel("policy", "enable", "team-gpus").lines == ["team-gpus enabled, version 3"]
    assert [row["action"] for row in audited(store, "policy/team-gpus")] == [
        *("policy.added", "policy.disabled", "policy.enabled"),
    ]
    assert [(e.data["change"], e.data["author"]) for e in broker.events if isinstance(e.data, dict)][1] == (
        *("disabled", "user:root"),
    )


def test_a_switch_does_not_undo_a_change_that_is_being_made(sentinel: Sentinel, store: Store) -> None:
    add(sentinel, GPUS)
    started = threading.Event()

    def disable() -> None:
        started.set()
        with store.begin() as work:
            work.policies.set_enabled("team-gpus", "bo", enabled=False)

    with store.begin() as work:
        work.policies.put(PolicyDocument.model_validate({**GPUS, "priority": 99}), "ada")
        other = threading.Thread(target=disable)
        other.start()
        started.wait()
        other.join(0.3)  # it waits for this transaction, wherever it is by now
        assert other.is_alive()
    other.join()
    with store.begin() as work:
        stored = work.policies.get("team-gpus")
        assert stored is not None
        assert stored.document is not None
        assert (stored.document.priority, stored.document.enabled, stored.version) == (99, False, 3)


@pytest.mark.parametrize("command", ["show", "enable", "disable", "history"])
def test_a_policy_that_is_not_there_is_said(sentinel: Sentinel, command: str) -> None:
    ran = sentinel("policy", command, "nothing")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "sentinel: there is no policy nothing: see `sentinel policy list`\n"


def test_a_policy_that_can_no_longer_be_read_is_shown_with_the_problem(sentinel: Sentinel, store: Store) -> None:
    add(sentinel, GPUS)
    spoil(store)
    denies = "cannot be read and denies every plan that takes something: rules.0: "
    assert denies in sentinel("policy", "list").lines[1]
    [told] = sentinel("policy", "list", "-o", "json").json
    assert (told["name"], told["enabled"]) == ("team-gpus", True)
    assert told["problem"].startswith("rules.0: ")
    shown = sentinel("policy", "show", "team-gpus", "-o", "json")
    assert shown.json == SPOILT, "as it is stored, to be mended"
    assert shown.err.startswith(f"sentinel: policy team-gpus {denies}")
    assert denies in sentinel("policy", "show", "team-gpus").lines[1]
    assert add(sentinel, GPUS).lines == ["team-gpus replaced, version 2"]
    assert sentinel("policy", "show", "team-gpus", "-o", "json").err == ""


def test_a_policy_that_can_no_longer_be_read_is_disabled_like_any_other(
    sentinel: Sentinel, store: Store, broker: Broker
) -> None:
    add(sentinel, GPUS)
    spoil(store)
    disabled = sentinel("policy", "disable", "team-gpus")
    assert (disabled.code, disabled.lines) == (0, ["team-gpus disabled, version 2"])
    assert sentinel("policy", "disable", "team-gpus").lines == ["team-gpus unchanged"]
    says = "cannot be read and is disabled: rules.0: "
    [_, listed] = sentinel("policy", "list").lines
    assert listed.split()[:3] == ["team-gpus", "no", "cannot"]
    assert says in listed
    [told] = sentinel("policy", "list", "-o", "json").json
    assert (told["name"], told["enabled"]) == ("team-gpus", False)
    shown = sentinel("policy", "show", "team-gpus")
    assert says in shown.lines[1]
    assert "# disabled by user:root at" in shown.out
    row = audited(store, "policy/team-gpus")[-1]
    assert (row["action"], row["author"], row["version"]) == ("policy.disabled", "user:root", 2)
    assert row["document"] == {**SPOILT, "enabled": False}
    changed = broker.events[-1]
    assert isinstance(changed.data, dict)
    assert changed.type == CHANGED
    assert (changed.data["change"], changed.data["version"]) == ("disabled", 2)
    history = sentinel("policy", "history", "team-gpus", "-o", "json").json
    assert (history[-1]["change"], history[-1]["document"]) == ("disabled", {**SPOILT, "enabled": False})
    refused = sentinel("policy", "enable", "team-gpus")
    assert refused.code == 1
    assert refused.err.startswith(f"sentinel: policy team-gpus {says}")
    assert refused.err.endswith("; replace it with `sentinel policy add`\n")
    assert add(sentinel, GPUS).lines == ["team-gpus replaced, version 3"]
    assert sentinel("policy", "list").lines[1].split()[3] == "yes"


def test_history_says_what_each_version_made_different(sentinel: Sentinel) -> None:
    add(sentinel, GPUS)
    add(
        sentinel,
        {**GPUS, "priority": 20, "rules": [{"type": "quota", "gpus": 8}, {"type": "image", "digest_required": True}]},
    )
    sentinel("policy", "disable", "team-gpus")
    ran = sentinel("policy", "history", "team-gpus")
    header, first, second, third = ran.lines
    assert header.split() == ["VERSION", "WHEN", "AUTHOR", "CHANGE", "WHAT"]
    assert first.split()[2:] == ["user:root", "added"]
    assert "rules.0.gpus: 16 -> 8; rules.0.memory: 1Ti -> nothing; rules.1: nothing -> type image, " in second
    assert second.endswith("; priority: 10 -> 20")
    assert third.endswith("disabled  enabled: true -> false")
    told = sentinel("policy", "history", "team-gpus", "-o", "json").json
    assert [(one["version"], one["change"]) for one in told] == [(1, "added"), (2, "replaced"), (3, "disabled")]
    assert told[0]["document"]["rules"][0]["gpus"] == 16
    assert told[2]["differences"] == ["enabled: true -> false"]


def test_validity_is_shown_and_red_when_it_is_not_now(sentinel: Sentinel) -> None:
    add(sentinel, {**GPUS, "valid_from": "2020-01-01T00:00:00Z", "valid_until": "2020-02-01T00:00:00Z"})
    ran = sentinel("policy", "list", FORCE_COLOR="1", TERM="xterm-256color")
    assert "\x1b[31m2020-01-01T00:00:00.000Z..2020-02-01T00:00:00.000Z\x1b[0m" in ran.out
    add(sentinel, {**GPUS, "valid_from": "2020-01-01T00:00:00Z"})
    assert " 2020-01-01T00:00:00.000Z.." in sentinel("policy", "list").lines[1]


def test_the_schema_is_json_schema_and_accepts_what_is_accepted(lost: Sentinel) -> None:
    ran = lost("policy", "schema")
    assert ran.code == 0
    jsonschema.Draft202012Validator.check_schema(ran.json)
    validator = jsonschema.Draft202012Validator(ran.json)
    assert [error.message for document in (GPUS, COST) for error in validator.iter_errors(document)] == []
    assert not validator.is_valid({**GPUS, "mode": "maybe"})
    assert not validator.is_valid({**GPUS, "owner": "ada"})
