"""`sentinel submit`: everything or nothing is sent, and what is sent is durable first."""

import json
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml

from shared.store import outbox
from shared.store.tables import outbox as outbox_table
from shared.store.unit_of_work import Store
from tests.functions.cli.conftest import Sentinel
from tests.support.brokers import Broker
from tests.support.builders import SUBMITTED, connection_of, id_of, submission


def stored(store: Store) -> list[sa.Row[tuple[object, ...]]]:
    with store.begin() as work:
        return list(connection_of(work).execute(sa.select(outbox_table).order_by(outbox_table.c.created_at)))


def test_a_workload_reaches_the_broker_as_the_event_that_intake_takes(
    sentinel: Sentinel, broker: Broker, tmp_path: Path
) -> None:
    file = tmp_path / "workload.yaml"
    file.write_text(yaml.safe_dump(submission()))
    ran = sentinel("submit", "-f", file)
    assert (ran.code, ran.out, ran.err) == (0, f"{id_of()}\n", "")
    [event] = broker.events
    assert event.type == SUBMITTED
    assert event.source == "/sentinel/cli"
    assert uuid.UUID(event.id).version == 4
    assert event.subject == event.attributes["partitionkey"] == str(id_of())
    assert event.data == submission()


def test_what_the_user_left_out_is_left_to_intake(sentinel: Sentinel, broker: Broker) -> None:
    minimal = {"name": "a", "type": "service", "image": "nginx:1.29"}
    assert sentinel("submit", "-f", "-", stdin=json.dumps(minimal)).code == 0
    assert broker.events[0].data == minimal


def test_every_document_of_every_file_goes_out(sentinel: Sentinel, broker: Broker, tmp_path: Path) -> None:
    many = tmp_path / "many.yaml"
    many.write_text("---\n" + yaml.safe_dump_all([submission("a"), submission("b")]) + "---\n")
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps([submission("c"), submission("d")]))
    ran = sentinel("submit", "-f", many, "-f", listed)
    assert ran.lines == [str(id_of(name)) for name in "abcd"]
    assert sorted(str(event.subject) for event in broker.events) == sorted(ran.lines)


def test_programs_are_told_which_event_is_of_which_workload(sentinel: Sentinel, broker: Broker) -> None:
    ran = sentinel("submit", "-f", "-", "-o", "json", stdin=json.dumps([submission("a"), submission("b")]))
    events = {event.subject: event.id for event in broker.events}
    assert ran.json == [
        {"id": str(id_of(name)), "workload": f"search/search/{name}", "eventId": events[str(id_of(name))]}
        for name in "ab"
    ]


def test_nothing_is_sent_when_one_document_is_bad_and_every_bad_field_is_named(
    sentinel: Sentinel, broker: Broker, store: Store
) -> None:
    bad = submission("BAD", replicas=-1, secret="hunter2")
    text = yaml.safe_dump_all([submission("good"), bad, {"name": "worse"}, "text"])
    ran = sentinel("submit", "-f", "-", stdin=text)
    assert (ran.code, ran.out) == (2, "")
    second, third, fourth = ran.err.splitlines()
    assert second.startswith("sentinel: stdin, document 2: name: must be a DNS-1123 label")
    assert "replicas: Input should be greater than or equal to 0" in second
    assert "secret: Extra inputs are not permitted" in second
    assert third == "sentinel: stdin, document 3: type: Field required; image: Field required"
    assert fourth.startswith("sentinel: stdin, document 4: data: Input should be a valid dictionary")
    assert "hunter2" not in ran.err
    assert broker.events == stored(store) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nname: b\n", "stdin, line 2: not YAML: the key 'name' appears twice"),
        ('{"name": "a", "name": "b"}', "stdin: not JSON: the key 'name' appears twice in one object"),
        ('{"replicas": NaN}', "stdin: not JSON: NaN is not JSON"),
        ("a: [1\n", "stdin, line 2: not YAML: while parsing a flow sequence: expected"),
        ("a: !!python/object:os.system {}\n", "stdin, line 1: not YAML: could not determine a constructor"),
        ("? [a]\n: b\n", "stdin, line 1: not YAML: while constructing a mapping: found unhashable key"),
        ("a: &x 1\nb: &x 2\n", "stdin, line 2: not YAML: the anchor &x is set a second time, first in line 1"),
        ("a: \x07\n", "stdin: not YAML: unacceptable character"),
        ("- " * 2000, "stdin: not YAML: the document is nested too deeply"),
        ("# nothing\n", "stdin: no document in it"),
        ("[]", "stdin: no document in it"),
        (b"\xff\xfe", "stdin: not UTF-8 at byte 0"),
        ("name: a\ntype: service\nimage: 1.29\n", "stdin: image: must be text, not a number: put quotes around it"),
        (
            "apiVersion: apps/v1\nkind: Deployment\n",
            "stdin: data: is a Kubernetes Deployment; Sentinel takes a workload",
        ),
    ],
)
def test_input_that_is_no_document_is_refused_in_one_line(sentinel: Sentinel, text: str | bytes, said: str) -> None:
    ran = sentinel("submit", "-f", "-", stdin=text)
    assert ran.code == 2
    assert len(ran.err.splitlines()) == 1
    assert ran.err.startswith(f"sentinel: {said}")


@pytest.mark.parametrize(("name", "code"), [("w.yaml", 0), ("w.yml", 0), ("w.json", 2), ("w", 2)])
def test_yaml_that_begins_with_a_brace_is_yaml_in_a_file_of_that_name(
    sentinel: Sentinel, tmp_path: Path, name: str, code: int
) -> None:
    (tmp_path / name).write_text("{name: chat, type: service, image: 'nginx:1.29'}  # a flow mapping\n")
    ran = sentinel("submit", "-f", tmp_path / name)
    assert ran.code == code
    assert ran.err.startswith(f"sentinel: {tmp_path / name}: not JSON: ") == bool(code)


def test_a_file_that_cannot_be_read_is_named(sentinel: Sentinel, tmp_path: Path) -> None:
    missing = sentinel("submit", "-f", tmp_path / "absent.yaml")
    assert (missing.code, missing.err) == (2, f"sentinel: {tmp_path / 'absent.yaml'}: No such file or directory\n")
    assert sentinel("submit", "-f", tmp_path).err == f"sentinel: {tmp_path}: Is a directory\n"


def test_two_documents_for_one_workload_are_refused_because_events_have_no_order(
    sentinel: Sentinel, broker: Broker
) -> None:
    text = yaml.safe_dump_all([submission("a"), submission("b"), submission("a", replicas=3)])
    ran = sentinel("submit", "-f", "-", stdin=text)
    assert ran.code == 2
    assert ran.err.splitlines() == [
        "sentinel: stdin, document 1: search/search/a is in there twice",
        "sentinel: stdin, document 3: search/search/a is in there twice",
    ]
    assert broker.events == []


def test_a_workload_that_fits_into_no_event_is_refused(sentinel: Sentinel, store: Store) -> None:
    env = {f"N{number}": "x" * 32_000 for number in range(30)}
    ran = sentinel("submit", "-f", "-", stdin=json.dumps(submission(env=env)))
    assert ran.code == 2
    assert "at most 900000 fit into one" in ran.err
    assert stored(store) == []


def test_without_a_broker_the_event_waits_in_the_outbox(sentinel: Sentinel, store: Store) -> None:
    ran = sentinel("submit", "-f", "-", stdin=json.dumps(submission()), K_SINK=None)
    assert (ran.code, ran.out) == (0, f"{id_of()}\n")
    assert ran.err.startswith("sentinel: 1 event is stored; the relay publishes")
    [row] = stored(store)
    assert row.published_at is None


def test_a_broker_that_is_away_costs_time_and_no_event(sentinel: Sentinel, broker: Broker, store: Store) -> None:
    broker.status = 503
    text = yaml.safe_dump_all([submission("a"), submission("b")])
    ran = sentinel("submit", "-f", "-", stdin=text)
    assert ran.code == 0
    assert ran.err.startswith("sentinel: 2 events are stored, and published later: ")
    assert "answered 503" in ran.err
    assert [row.published_at for row in stored(store)] == [None, None]
    broker.status = 202
    with store.begin() as work:
        connection_of(work).execute(outbox_table.update().values(next_attempt_at=sa.func.now()))
    assert sentinel("submit", "-f", "-", stdin=json.dumps(submission("c"))).err == ""
    assert {event.subject for event in broker.events} == {str(id_of(name)) for name in "abc"}
    assert all(row.published_at for row in stored(store))


def test_an_event_that_the_broker_will_never_take_fails_the_command(
    sentinel: Sentinel, broker: Broker, store: Store
) -> None:
    broker.status = 400
    ran = sentinel("submit", "-f", "-", stdin=json.dumps(submission()))
    assert ran.code == 1
    assert ran.err.startswith(f"sentinel: {id_of()}: {broker.url} answered 400")
    [row] = stored(store)
    assert "answered 400" in row.refused


def test_the_refusal_of_somebody_elses_event_is_not_this_commands_failure(
    sentinel: Sentinel, broker: Broker, store: Store
) -> None:
    sentinel("submit", "-f", "-", stdin=json.dumps(submission("other")), K_SINK=None)
    with store.begin() as work:
        [other] = outbox.lock_pending(connection_of(work), 10)
    broker.refuse(other.event.attributes["id"], 400)
    assert sentinel("submit", "-f", "-", stdin=json.dumps(submission())).code == 0
    assert [event.subject for event in broker.events] == [str(id_of())]
