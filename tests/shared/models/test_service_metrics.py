"""The PromQL of a workload reads series of its own namespace alone, and says what is wrong where it does not."""

import time

import pytest
from pydantic import ValidationError

from shared.models.service_metrics import MAX_QUERY
from shared.models.workload import WorkloadSpec
from tests.support.builders import submission


def spec(**metrics: object) -> WorkloadSpec:
    return WorkloadSpec.model_validate(submission("web", metrics=metrics))


def refusal(**metrics: object) -> str:
    with pytest.raises(ValidationError) as refused:
        spec(**metrics)
    return str(refused.value.errors()[0]["msg"])


def test_placeholders_stand_for_the_workload() -> None:
    found = spec(
        requestsPerSecond='sum(rate(hits_total{namespace="{namespace}",app="{name}"}[5m]))',
        latencyP99Seconds='max(slowest{namespace="search"})',
    ).metrics
    assert found is not None
    assert found.queries("search", "web") == {
        "requests_per_second": 'sum(rate(hits_total{namespace="search",app="web"}[5m]))',
        "latency_p99_seconds": 'max(slowest{namespace="search"})',
    }


@pytest.mark.parametrize(
    "query",
    [
        "sum(rate(hits_total[5m]))",
        'hits{namespace="other"}',
        'hits{namespace=~"{namespace}"}',
        'hits{namespace!="{namespace}"}',
        'hits{namespace="{namespace}"} or secrets',
        'hits{namespace="{namespace}" or job="x"}',
        'hits{namespace="{namespace}"} * on () group_left () secrets',
        'quantile(scalar(secrets), hits{namespace="{namespace}"})',
        'max_over_time(secrets[1h:1m]) + hits{namespace="{namespace}"}',
        'hits{namespace="{namespace}"} offset 5m + -(secrets @ 0)',
    ],
)
def test_each_selector_is_held_to_the_namespace(query: str) -> None:
    message = refusal(requestsPerSecond=query)
    assert "metrics.requestsPerSecond: " in message
    assert "must be held to the workload's namespace" in message


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("sum(", "is no PromQL"),
        ("time()", "reads no metric"),
        ('"text"', "reads no metric"),
        ('hits{namespace="{namespace}"}[5m]', "gives values of a time"),
        ('rate(hits{namespace="{namespace}"}[5m])[1h:1m]', "gives values of a time"),
    ],
)
def test_what_gives_no_number_is_refused(query: str, reason: str) -> None:
    assert reason in refusal(up=query)


def test_metrics_say_something() -> None:
    assert "name at least one query" in refusal()
    assert "errorsPerSecond needs requestsPerSecond" in refusal(errorsPerSecond='e{namespace="{namespace}"}')
    assert "at least 1" in refusal(up="")
    assert f"at most {MAX_QUERY}" in refusal(up="x" * (MAX_QUERY + 1))
    assert "control characters" in refusal(up='up{namespace="{namespace}"} #\nor x')
    assert "Extra inputs" in refusal(latency="x")


@pytest.mark.parametrize("query", ["(" * 500 + "1" + ")" * 499, " or ".join(["a"] * 200), "-" * 999 + "1"])
def test_a_query_that_is_made_to_be_hard_takes_no_time(query: str) -> None:
    began = time.process_time()
    refusal(up=query[:MAX_QUERY])
    assert time.process_time() - began < 2


def test_a_stored_workload_is_read_whatever_its_queries_are() -> None:
    content = {**spec(up='up{namespace="{namespace}"}').content(), "metrics": {"up": "up"}}
    assert WorkloadSpec.from_content(content).content()["metrics"]["up"] == "up"  # type: ignore[index]
