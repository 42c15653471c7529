"""The component that has functions record spans."""

from shared.settings import FunctionSettings
from tests.support.kustomize import rendered


def test_every_function_sends_spans_to_one_collector() -> None:
    services = [one for one in rendered("closed", "tracing") if one["apiVersion"].startswith("serving.knative.dev/")]
    assert len(services) == 8
    for service in services:
        [container] = service["spec"]["template"]["spec"]["containers"]
        given = {one["name"]: one.get("value", "") for one in container["env"]}
        assert given["OTEL_EXPORTER_OTLP_ENDPOINT"].startswith("http://opentelemetry-collector.")
        name = "OTEL_EXPORTER_OTLP_ENDPOINT"
        assert FunctionSettings.from_environment({"DATABASE_URL": "postgresql://h/d", name: given[name]}).traced
