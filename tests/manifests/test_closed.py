"""The component that closes the ways in, beside the base that it is for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from functions.api.session import SOURCE
from knative.local.runtime.platform import BASE
from shared.models.bindings import Bindings, NamespaceBinding, SourceAction, SourceBinding
from shared.settings import CallerSettings
from tests.support.kustomize import rendered
from tests.support.manifests import read

CLOSED = BASE.parent / "components" / "closed"
BROKER = {"ref": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "default"}}


def policies() -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one["spec"] for one in read(CLOSED / "event-policies.yaml")}


def test_every_sender_of_the_base_may_send_to_the_broker_and_nobody_else() -> None:
    sources = [one for one in read(BASE / "sources.yaml") if one["apiVersion"].startswith("sources.")]
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
    (policy,) = read(CLOSED / "example" / "event-policy.yaml")
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
def test_an_overlay_can_use_it() -> None:
    kinds = [one["kind"] for one in rendered("closed")]
    assert (kinds.count("EventPolicy"), kinds.count("NetworkPolicy")) == (len(policies()), 2)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on the PATH")
def test_brokers_show_functions_a_token_that_these_take() -> None:
    objects = rendered("closed")
    for trigger in (one["spec"] for one in objects if one["kind"] == "Trigger"):
        for called in (trigger["subscriber"], trigger["delivery"]["deadLetterSink"]):
            assert called["audience"] == "sentinel-functions"
    services = [one for one in objects if one["kind"] == "Service"]
    subscribers = {one["spec"]["subscriber"]["ref"]["name"] for one in objects if one["kind"] == "Trigger"}
    checking = {one["metadata"]["name"] for one in services if callers(one) is not None}
    assert checking == subscribers | {"dead-letter"} == {one["metadata"]["name"] for one in services} - {"api"}
    for service in services:
        if (settings := callers(service)) is None:
            continue
        assert (settings.audience, settings.subjects) == ("sentinel-functions", ("system:serviceaccount:sentinel:*",))
        template = service["spec"]["template"]["spec"]
        [mounted] = [one for one in template["containers"][0]["volumeMounts"] if one["name"] == "issuer"]
        [volume] = [one for one in template["volumes"] if one["name"] == "issuer"]
        account, authority = volume["projected"]["sources"]
        place = Path(mounted["mountPath"])
        assert settings.token == place / account["serviceAccountToken"]["path"]
        assert settings.certificate_authority == place / authority["configMap"]["items"][0]["path"]


def callers(service: dict[str, Any]) -> CallerSettings | None:
    container = service["spec"]["template"]["spec"]["containers"][0]
    return CallerSettings.from_environment({one["name"]: one.get("value", "") for one in container["env"]})
