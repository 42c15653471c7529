"""The component that closes the ways in, beside the base that it is for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from functions.api.session import SOURCE
from knative.local.runtime.platform import BASE
from shared.models.bindings import Bindings, NamespaceBinding, SourceAction, SourceBinding
from tests.support.kustomize import rendered

CLOSED = BASE.parent / "components" / "closed"
BROKER = {"ref": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "default"}}


def documents(file: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(file.read_text()) if one]


def policies() -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one["spec"] for one in documents(CLOSED / "event-policies.yaml")}


def test_every_sender_of_the_base_may_send_to_the_broker_and_nobody_else() -> None:
    sources = [one for one in documents(BASE / "sources.yaml") if one["apiVersion"].startswith("sources.")]
    allowed = []
    for spec in policies().values():
        (sender,) = spec["from"]
        assert (spec["to"], sender["ref"]["namespace"]) == ([BROKER], "sentinel")
        allowed.append((sender["ref"]["kind"], sender["ref"]["name"]))
    assert sorted(allowed) == sorted((one["kind"], one["metadata"]["name"]) for one in sources)


def test_a_function_sends_under_its_own_source_and_only_the_relay_under_any() -> None:
    bound = {name: spec for name, spec in policies().items() if spec["from"][0]["ref"]["kind"] == "SinkBinding"}
    assert "filters" not in bound.pop("event-relay")
    assert bound.pop("agent")["filters"][0] == {"prefix": {"source": "/sentinel/agents/"}}
    for name, spec in bound.items():
        assert spec["filters"] == [{"exact": {"source": f"/sentinel/{name}"}}]
    assert bound["api"]["filters"] == [{"exact": {"source": SOURCE}}]


def test_the_example_binds_the_sources_that_its_policy_lets_in_to_one_team() -> None:
    (policy,) = documents(CLOSED / "example" / "event-policy.yaml")
    prefix = policy["spec"]["filters"][0]["prefix"]["source"]
    fields: dict[str, Any] = {name: tuple(value) for name, value in example("source-binding").items()}
    fields["source"] = example("source-binding")["source"]
    of_team = NamespaceBinding("search", tuple(example("namespace-binding")["namespaces"]))
    bindings = Bindings((SourceBinding("search-ci", **fields),), (of_team,))
    assert bindings.sources[0].source == f"{prefix}*"
    for action in (SourceAction.SUBMIT, SourceAction.WITHDRAW):
        assert bindings.refuse_source(f"{prefix}1", action, "search", "search") is None
        assert bindings.refuse_source(f"{prefix}1", action, "ads", "ads")
    assert bindings.refuse_namespace("search", "search") is None


def example(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CLOSED / "example" / f"{name}.json").read_text())
    return found


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on the PATH")
def test_an_overlay_can_use_it(tmp_path: Path) -> None:
    kinds = [one["kind"] for one in rendered(tmp_path, "closed")]
    assert (kinds.count("EventPolicy"), kinds.count("NetworkPolicy")) == (len(policies()), 2)
