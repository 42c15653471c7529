"""`sentinel submit`: nothing is sent unless all is valid; what there is already gets a new generation."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from events.plan import PlanProposed
from shared.models.identity import Role
from shared.models.workload import WorkloadSpec
from shared.store.unit_of_work import Store
from tests.functions.cli.conftest import Api, Ran, Sentinel
from tests.support.brokers import Broker
from tests.support.builders import PROPOSED, Deliver, id_of, submission


def proposed(broker: Broker) -> list[tuple[str, int]]:
    """The workload and the generation of every plan that was proposed."""
    assert {event.type for event in broker.events} <= {PROPOSED}
    told = [(event.subject, PlanProposed.model_validate(event.data)) for event in broker.events]
    return [(str(subject), plan.generation) for subject, plan in told]


def test_a_workload_is_created_with_what_the_file_says_and_a_plan_is_proposed(
    sentinel: Sentinel, broker: Broker, store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "workload.yaml"
    file.write_text(yaml.safe_dump(submission()))
    ran = sentinel("submit", "-f", file)
    assert (ran.code, ran.out, ran.err) == (0, f"{id_of()}\n", "")
    assert proposed(broker) == [(str(id_of()), 1)]
    with store.read() as work:
        workload = work.workloads.get(id_of())
        assert workload is not None
        assert workload.spec == WorkloadSpec.model_validate(submission())
        [row] = [row for row in work.audit_entries(str(id_of())) if row.action == "plan.proposed"]
    assert str(row.actor) == "user:root"


def test_a_workload_that_is_there_is_replaced_as_a_whole_and_one_that_was_removed_comes_back(
    sentinel: Sentinel, broker: Broker, deliver: Deliver
) -> None:
    def submit(**fields: Any) -> Ran:
        return sentinel("submit", "-f", "-", "-o", "json", stdin=json.dumps(submission(**fields)))

    assert submit(labels={"a": "b"}).json[0]["generation"] == 1
    again = submit(image="nginx:1.30").json[0]
    assert (again["workload"], again["generation"]) == ("search/search/test-inference", 2)
    shown = sentinel("get", id_of(), "-o", "json").json
    assert (shown["spec"]["image"], shown["spec"]["labels"], shown["plan"]) == ("nginx:1.30", {}, again["plan"])
    assert sentinel("remove", id_of()).out == f"{id_of()}\n"
    assert submit().code == 0
    assert sentinel("get", id_of(), "-o", "json").json["withdrawn"] is False


def test_every_document_of_every_file_goes_out(sentinel: Sentinel, broker: Broker, tmp_path: Path) -> None:
    many = tmp_path / "many.yaml"
    many.write_text("---\n" + yaml.safe_dump_all([submission("a"), submission("b")]) + "---\n")
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps([submission("c"), submission("d")]))
    ran = sentinel("submit", "-f", many, "-f", listed)
    assert ran.lines == [str(id_of(name)) for name in "abcd"]
    assert proposed(broker) == [(line, 1) for line in ran.lines]


def test_what_the_server_refuses_is_named_with_its_document_and_what_went_out_is_printed(
    sentinel: Sentinel, broker: Broker, api: Api
) -> None:
    wrong = submission("wrong", resources={"cpu": "1", "memory": "1Gi", "gpu": {"count": 1, "sku": "X9"}})
    ran = sentinel("submit", "-f", "-", stdin=json.dumps([submission(), wrong, submission("never")]))
    assert (ran.code, ran.out) == (2, f"{id_of()}\n")
    assert ran.err.startswith("sentinel: stdin, document 2: ")
    assert "X9" in ran.err
    assert len(broker.events) == 1
    api.rest.bind("ada", Role.SUBMITTER, "ads")
    ran = sentinel("submit", "-f", "-", stdin=json.dumps(submission("other")), SENTINEL_TOKEN="ada")
    assert (ran.code, ran.out) == (1, "")
    assert "workloads:write" in ran.err


def test_nothing_is_sent_when_one_document_is_bad_and_every_bad_field_is_named(
    sentinel: Sentinel, broker: Broker
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
    assert broker.events == []


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


def test_two_documents_for_one_workload_are_refused(sentinel: Sentinel, broker: Broker) -> None:
    text = yaml.safe_dump_all([submission("a"), submission("b"), submission("a", replicas=3)])
    ran = sentinel("submit", "-f", "-", stdin=text)
    assert ran.code == 2
    assert ran.err.splitlines() == [
        "sentinel: stdin, document 1: search/search/a is in there twice",
        "sentinel: stdin, document 3: search/search/a is in there twice",
    ]
    assert broker.events == []
