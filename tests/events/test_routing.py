"""The routing table (knative/base) and the catalogue agree: nothing is sent to nobody, and nothing goes in a circle."""

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from events import CATALOGUE, rollout
from events.continuation import RelayContinued, SweepContinued, VerificationContinued
from events.plan import PlanProposed, PlanReconsidered
from events.policy import QueueContinued
from functions import serve

CONTINUATIONS = {
    CATALOGUE.name_of(model)
    for model in (RelayContinued, SweepContinued, VerificationContinued, QueueContinued, PlanReconsidered)
}
ROOT = Path(__file__).parents[2]
OPERATIONS = ROOT / "shared" / "operations"
BASE = ROOT / "knative" / "base"


@dataclass(frozen=True)
class Route:
    """One Trigger: its name, the exact types that it takes, and the Service that it delivers to."""

    name: str
    types: tuple[str, ...]
    service: str


def documents(kind: str) -> list[dict[str, Any]]:
    found = [document for file in sorted(BASE.glob("*.yaml")) for document in yaml.safe_load_all(file.read_text())]
    return [document for document in found if document and document.get("kind") == kind]


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


def emitted_by(service: str) -> set[str]:
    """The types that a function emits: those that its modules make, and those of its operations' results."""
    names = {declared.data.__name__: declared.name for declared in CATALOGUE}
    results = {result.__name__: CATALOGUE.name_of(model) for result, model in rollout.EVENTS.items()}
    trees = [ast.parse(file.read_text()) for file in (ROOT / "functions" / service.replace("-", "_")).glob("*.py")]
    made = set().union(*map(calls, trees))
    found = {names[name] for name in made & names.keys()}
    if "proposal" in made:
        found.add(CATALOGUE.name_of(PlanProposed))
    if "outgoing" in made:
        operations = [ast.parse((OPERATIONS / f"{name}.py").read_text()) for name in reached(trees)]
        found |= {results[name] for tree in operations for name in calls(tree) & results.keys()}
    return found


def calls(tree: ast.AST) -> set[str]:
    """The names that are called, or whose attributes are: `Name(...)` and `Name.of(...)`."""
    made = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    owners = (node.value if isinstance(node, ast.Attribute) else node for node in made)
    return {node.id for node in owners if isinstance(node, ast.Name)}


def reached(trees: list[ast.Module]) -> set[str]:
    """The modules of shared.operations that are imported, by each other too."""
    known = {file.stem for file in OPERATIONS.glob("*.py")}
    found: set[str] = set()
    waiting = list(trees)
    while waiting:
        for node in ast.walk(waiting.pop()):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("shared.operations"):
                continue
            module = (node.module or "").removeprefix("shared.operations").lstrip(".")
            names = {module} if module else {alias.name for alias in node.names}
            new = names & known - found
            found |= new
            waiting += [ast.parse((OPERATIONS / f"{name}.py").read_text()) for name in new]
    return found


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_a_reply_is_of_another_type_than_its_trigger_takes(route: Route) -> None:
    # A continuation follows itself: it counts its pages, and the hop limit ends it in any case.
    assert emitted_by(route.service).isdisjoint(set(route.types) - CONTINUATIONS)


def test_every_type_is_emitted_by_a_function_or_comes_from_outside() -> None:
    """Whoever posts an event could give it any number of hops; one that a function emits has those that it made."""
    emitted = set().union(*(emitted_by(route.service) for route in ROUTES))
    assert {"dev.sentinel.plan.proposed.v1", "dev.sentinel.plan.approved.v1"} <= emitted
    assert emitted == {declared.name for declared in CATALOGUE if not declared.outside}
