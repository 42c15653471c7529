"""The routing table (knative/base) and the catalogue agree: nothing is sent to nobody, and nothing goes in a circle."""

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from events import CATALOGUE, rollout
from events.continuation import CollectionDue, RelayContinued, SweepContinued, VerificationContinued
from events.plan import PlanProposed, PlanReconsidered
from events.policy import QueueContinued
from functions import serve
from tests.support.manifests import Document, base

CONTINUATIONS = {
    CATALOGUE.name_of(model)
    for model in (
        CollectionDue,
        RelayContinued,
        SweepContinued,
        VerificationContinued,
        QueueContinued,
        PlanReconsidered,
    )
}
ROOT = Path(__file__).parents[2]
OPERATIONS = ROOT / "shared" / "operations"


@dataclass(frozen=True)
class Route:
    """One Trigger: its name, the exact types that it takes, and the Service that it delivers to."""

    name: str
    types: tuple[str, ...]
    service: str


def documents(kind: str) -> list[Document]:
    return [document for document in base() if document["kind"] == kind]


def routes() -> list[Route]:
    found = []
    for trigger in documents("Trigger"):
        types = tuple(entry["exact"]["type"] for entry in trigger["spec"]["filters"])
        found.append(Route(trigger["metadata"]["name"], types, trigger["spec"]["subscriber"]["ref"]["name"]))
    return found


ROUTES = routes()


def test_every_type_is_taken_or_terminal_and_not_both() -> None:
    taken = {name for route in ROUTES for name in route.types}
    terminal = {declared.name for declared in CATALOGUE if declared.terminal}
    assert taken.isdisjoint(terminal)
    assert taken | terminal == {declared.name for declared in CATALOGUE}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_a_trigger_takes_one_declared_type_to_a_function_that_is_there(route: Route) -> None:
    assert len(route.types) == 1
    assert route.types[0] in CATALOGUE
    assert route.service in {service["metadata"]["name"] for service in documents("Service")}
    assert route.service.replace("-", "_") in serve.names()


def test_every_function_but_the_dead_letter_sink_and_the_rest_face_is_a_subscriber() -> None:
    subscribers = {route.service.replace("-", "_") for route in ROUTES}
    assert subscribers == set(serve.names()) - {"dead_letter", "api"}


def test_no_type_goes_to_one_function_twice() -> None:
    pairs = [(name, route.service) for route in ROUTES for name in route.types]
    assert len(pairs) == len(set(pairs))


@cache
def emitted_by(service: str) -> set[str]:
    """The types that a function emits: those that its modules make, and those of its operations' results."""
    names = {declared.data.__name__: declared.name for declared in CATALOGUE}
    results = {result.__name__: CATALOGUE.name_of(model) for result, model in rollout.EVENTS.items()}
    modules = [parsed(file) for file in (ROOT / "functions" / service.replace("-", "_")).glob("*.py")]
    made = set().union(*(module.calls for module in modules))
    found = {names[name] for name in made & names.keys()}
    if "proposal" in made:
        found.add(CATALOGUE.name_of(PlanProposed))
    if "outgoing" in made:
        found |= {results[name] for operation in reached(modules) for name in operation.calls & results.keys()}
    return found


@dataclass(frozen=True)
class Module:
    """What a source file calls, and the modules of shared.operations that it may import.

    calls: names that are called, or whose attributes are: `Name(...)` and `Name.of(...)`.
    """

    calls: frozenset[str]
    operations: frozenset[str]


@cache
def parsed(file: Path) -> Module:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    made = (node.func for node in nodes if isinstance(node, ast.Call))
    owners = (node.value if isinstance(node, ast.Attribute) else node for node in made)
    calls = frozenset(node.id for node in owners if isinstance(node, ast.Name))
    operations: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("shared.operations"):
            module = (node.module or "").removeprefix("shared.operations").lstrip(".")
            operations |= {module} if module else {alias.name for alias in node.names}
    return Module(calls, frozenset(operations))


def reached(modules: Iterable[Module]) -> list[Module]:
    """The modules of shared.operations that are imported, by each other too."""
    known = {file.stem: file for file in OPERATIONS.glob("*.py")}
    found: dict[str, Module] = {}
    waiting = list(modules)
    while waiting:
        for name in waiting.pop().operations & known.keys() - found.keys():
            found[name] = parsed(known[name])
            waiting.append(found[name])
    return list(found.values())


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_a_reply_is_of_another_type_than_its_trigger_takes(route: Route) -> None:
    # A continuation follows itself: it counts its pages, and the hop limit ends it in any case.
    assert emitted_by(route.service).isdisjoint(set(route.types) - CONTINUATIONS)


def test_every_type_is_emitted_by_a_function_or_comes_from_outside() -> None:
    """Whoever posts an event could give it any number of hops; one that a function emits has those that it made."""
    emitted = set().union(*(emitted_by(route.service) for route in ROUTES))
    assert {"dev.sentinel.plan.proposed.v1", "dev.sentinel.plan.approved.v1"} <= emitted
    assert emitted == {declared.name for declared in CATALOGUE if not declared.outside}
