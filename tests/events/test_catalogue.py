"""The catalogue: every type once, with an example that fits its model and its exported schema."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it carries no types
import pytest
from pydantic import JsonValue

from events import CATALOGUE
from events.__main__ import examples, listing, schemas
from events.telemetry import GpuFault
from events.workload import WorkloadSubmitted
from shared.eventing import codec
from shared.eventing.event_types import Catalogue, EventData, EventType

ROOT = Path(__file__).parents[2]
TYPES = [pytest.param(declared, id=declared.name) for declared in CATALOGUE]


class Something(EventData):
    """Data of a type that only these tests declare."""

    word: str


def test_a_second_declaration_is_an_error() -> None:
    catalogue = Catalogue()
    catalogue.declare("a.b", example={"word": "x"})(Something)
    with pytest.raises(ValueError, match=r"event type a\.b is declared twice"):
        catalogue.declare("a.b", example={"word": "x"})(Something)
    assert [declared.name for declared in catalogue] == ["a.b"]


def test_an_unknown_type_is_an_error() -> None:
    with pytest.raises(KeyError):
        CATALOGUE["dev.sentinel.unknown.v1"]
    with pytest.raises(KeyError):
        CATALOGUE.name_of(Something)
    assert "dev.sentinel.unknown.v1" not in CATALOGUE


def test_a_model_leads_to_its_type() -> None:
    assert CATALOGUE.name_of(WorkloadSubmitted) == "dev.sentinel.workload.submitted.v1"
    assert CATALOGUE.of(GpuFault) == {"dev.sentinel.gpu.fault.v1": CATALOGUE["dev.sentinel.gpu.fault.v1"]}


@pytest.mark.parametrize("declared", TYPES)
def test_names_are_reverse_dns_with_a_version_unless_foreign(declared: EventType) -> None:
    prefix = "dev.knative." if declared.foreign else "dev.sentinel."
    assert declared.name.startswith(prefix)
    assert declared.foreign or declared.name.endswith(".v1")
    assert declared.foreign or declared.name.count(".") == 4
    assert not (declared.terminal and declared.foreign)


@pytest.mark.parametrize("declared", TYPES)
def test_an_example_fits_its_model_and_survives_a_round_trip(declared: EventType) -> None:
    data = declared.data.model_validate(declared.example)
    assert declared.data.model_validate_json(data.model_dump_json(by_alias=True)) == data


@pytest.mark.parametrize("declared", TYPES)
def test_own_types_refuse_unknown_fields_and_foreign_ones_ignore_them(declared: EventType) -> None:
    data = {**declared.example, "surprise": 1}
    if declared.foreign:
        declared.data.model_validate(data)
    else:
        with pytest.raises(ValueError, match="surprise"):
            declared.data.model_validate(data)


SCHEMA: dict[str, Any] = json.loads(schemas())


def validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({**SCHEMA["properties"][name], "$defs": SCHEMA["$defs"]})


def test_the_exported_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert list(SCHEMA["properties"]) == [declared.name for declared in CATALOGUE]


@pytest.mark.parametrize("declared", TYPES)
def test_an_example_fits_the_exported_schema(declared: EventType) -> None:
    validator(declared.name).validate(declared.example)


@pytest.mark.parametrize("declared", TYPES)
def test_what_the_model_writes_fits_the_exported_schema(declared: EventType) -> None:
    written = declared.data.model_validate(declared.example).model_dump_json(by_alias=True)
    validator(declared.name).validate(json.loads(written))


def mutations(example: dict[str, JsonValue]) -> Iterator[dict[str, JsonValue]]:
    yield {**example, "surprise": 1}
    for name in example:
        yield {key: value for key, value in example.items() if key != name}
        yield {**example, name: [[]]}


@pytest.mark.parametrize("declared", TYPES)
def test_what_the_exported_schema_refuses_the_model_refuses_too(declared: EventType) -> None:
    for data in mutations(dict(declared.example)):
        if not validator(declared.name).is_valid(data):
            with pytest.raises(ValueError, match="validation error"):
                declared.data.model_validate(data)


def test_every_example_is_an_event() -> None:
    lines = examples().splitlines()
    names = [codec.decode({"content-type": codec.CONTENT_TYPE_STRUCTURED}, line.encode()).type for line in lines]
    assert names == [declared.name for declared in CATALOGUE]


def test_the_list_says_what_becomes_of_a_type() -> None:
    said = dict(line.split() for line in listing().splitlines())
    assert said["dev.sentinel.plan.denied.v1"] == "terminal"
    assert said["dev.sentinel.plan.approved.v1"] == "taken"
    assert said["dev.knative.sources.ping"] == "foreign"


@pytest.mark.parametrize("what", ["schemas", "examples", "list"])
def test_the_command_prints_it(what: str) -> None:
    command = [sys.executable, "-m", "events", what]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    printed = {"schemas": schemas, "examples": examples, "list": listing}[what]()
    assert (done.stdout, done.stderr) == (printed + "\n", "")


def test_the_command_refuses_what_it_does_not_know() -> None:
    command = [sys.executable, "-m", "events", "everything"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "invalid choice: 'everything'" in done.stderr
