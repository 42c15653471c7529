"""Every alert fires when it should and not before, by promtool's unit tests of rules."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from knative.local.runtime.platform import BASE
from shared.telemetry.metrics import METRICS
from tests.support.kustomize import rendered

ALERTS = BASE.parent / "alerts" / "rules.yaml"
BUCKETS = 'sentinel_submitted_to_healthy_seconds_bucket{le="%s"}'
CEILING = 'sentinel_ceiling_usd_per_month{policy="p",scope="team",key="search"}'
COST = 'sentinel_cost_usd_per_hour{team="search",cluster="local",sku="%s"}'
OLDEST = 'sentinel_unfinished_oldest_seconds{status="%s"}'

ROLLOUTS = 'sentinel_rollouts_total{outcome="%s"}'
BREACHES = 'sentinel_slo_breaches{team="search",policy="slo",factor="%s"}'

_LONG = {"SentinelNodesExcluded": "1450m"}
"""When the alerts are looked at that need longer than two hours."""

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool, of Debian's package prometheus"
)

# Of each alert: series that make it fire, and series that look alike and do not. Values are of every minute, in
# promtool's notation: `5x99` is five, and then 99 times more.
CASES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "SentinelMetricsAbsent": ({"other": "1x150"}, {'sentinel_audit_rows_total{shard="0"}': "1x150"}),
    "SentinelWorkStuck": (
        {OLDEST % "applying": "400x150"},
        {OLDEST % "applying": "200x150", OLDEST % "queued": "9999x150"},
    ),
    "SentinelClusterWaitsLong": ({OLDEST % "waiting": "2000x150"}, {OLDEST % "waiting": "1700x150"}),
    "SentinelRolloutStuck": ({OLDEST % "verifying": "8000x150"}, {OLDEST % "verifying": "7000x150"}),
    "SentinelApprovalWaits": (
        {OLDEST % "awaiting_approval": "15000x150"},
        {OLDEST % "awaiting_approval": "14000x150"},
    ),
    "SentinelQueueWaitsLong": (
        {"sentinel_queue_longest_wait_seconds": "15000x150"},
        {"sentinel_queue_longest_wait_seconds": "14000x150"},
    ),
    "SentinelDeadLetters": (
        {'sentinel_dead_letters{consumer="workload-intake"}': "2x150"},
        {'sentinel_dead_letters{consumer="workload-intake"}': "0x150"},
    ),
    "SentinelOutboxStale": (
        {"sentinel_outbox_oldest_seconds": "90x150"},
        {"sentinel_outbox_oldest_seconds": "50x150"},
    ),
    "SentinelEventsRefused": (
        {"sentinel_outbox_refused_events": "1x150"},
        {"sentinel_outbox_refused_events": "0x150"},
    ),
    "SentinelInboxStale": (
        {"sentinel_inbox_oldest_seconds": "400x150"},
        {"sentinel_inbox_oldest_seconds": "200x150"},
    ),
    "SentinelClusterAway": (
        {'sentinel_cluster_away{cluster="east"}': "1x150"},
        {'sentinel_cluster_away{cluster="east"}': "0x150"},
    ),
    "SentinelTelemetryStale": (
        {'sentinel_telemetry_lag_seconds{cluster="east"}': "400x150"},
        {'sentinel_telemetry_lag_seconds{cluster="east"}': "200x150"},
    ),
    "SentinelCollectionStale": (
        {'sentinel_collection_lag_seconds{source="istio"}': "1000x150"},
        {'sentinel_collection_lag_seconds{source="istio"}': "800x150"},
    ),
    "SentinelSamplesDropped": (
        {'sentinel_telemetry_samples_dropped_total{kind="gpu",reason="future"}': "0+1x150"},
        {'sentinel_telemetry_samples_dropped_total{kind="gpu",reason="future"}': "7x150"},
    ),
    "SentinelGpuHardwareFault": (
        {'sentinel_gpu_faults{cluster="east",kind="xid",blame="gpu"}': "1x150"},
        {'sentinel_gpu_faults{cluster="east",kind="xid",blame="pod"}': "1x150"},
    ),
    "SentinelNodesExcluded": (
        {'sentinel_nodes_excluded{cluster="east"}': "1x1500"},
        {'sentinel_nodes_excluded{cluster="east"}': "1x1000 0x400"},
    ),
    "SentinelRollbacksMany": (
        {'sentinel_rollbacks_total{reason="ImagePullBackOff"}': "0+1x150"},
        {'sentinel_rollbacks_total{reason="requested"}': "0+1x150"},
    ),
    # 0.8 of all fail; or 0.8 for the last four minutes, or of too few.
    "SentinelRolloutsBurnFast": (
        {ROLLOUTS % "failed": "0+4x150", ROLLOUTS % "healthy": "0+1x150"},
        {ROLLOUTS % "failed": "0x136 0+4x14", ROLLOUTS % "healthy": "0+10x136 1360+1x14"},
    ),
    # 0.2 of all fail; or 0.04.
    "SentinelRolloutsBurnSlowly": (
        {ROLLOUTS % "failed": "0+1x150", ROLLOUTS % "healthy": "0+4x150"},
        {ROLLOUTS % "failed": "0+1x150", ROLLOUTS % "healthy": "0+24x150"},
    ),
    "SentinelErrorBudgetBurnsFast": (
        {BREACHES % "14.4": "1x150", BREACHES % "1": "1x150"},
        {BREACHES % "3": "1x150", BREACHES % "1": "1x150", BREACHES % "6": "1x100 0x50"},
    ),
    "SentinelErrorBudgetBurnsSlowly": (
        {BREACHES % "14.4": "0x150", BREACHES % "1": "1x150"},
        {BREACHES % "6": "1x150", BREACHES % "14.4": "1x150"},
    ),
    "SentinelHealthySlow": (
        {BUCKETS % "600": "0x150", BUCKETS % "3600": "0+1x150", BUCKETS % "+Inf": "0+1x150"},
        {BUCKETS % "600": "0+1x150", BUCKETS % "3600": "0+1x150", BUCKETS % "+Inf": "0+1x150"},
    ),
    "SentinelBudgetPace": (
        {COST % "H100": "1x150", COST % "L4": "1x150", CEILING: "1000x150"},
        {COST % "H100": "1x150", CEILING: "1000x150"},
    ),
}


def groups() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["spec"]["groups"]
    return found


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in groups() for rule in group["rules"] if "alert" in rule}


def test_every_alert_has_a_case_a_severity_and_a_runbook() -> None:
    assert alerts().keys() == CASES.keys()
    for rule in alerts().values():
        assert rule["labels"]["severity"] in ("page", "ticket", "info")
        assert len(rule["annotations"]["runbook"]) > 80


def test_rules_ask_for_metrics_that_there_are() -> None:
    known = {*METRICS, *(f"{name}_bucket" for name, one in METRICS.items() if one.type == "histogram")}
    recorded = {rule["record"] for group in groups() for rule in group["rules"] if "record" in rule}
    for group in groups():
        for rule in group["rules"]:
            asked = set(re.findall(r"sentinel[_:][a-z0-9_:]+", rule["expr"]))
            assert asked or rule["expr"].startswith("vector("), rule
            assert asked <= known | recorded, rule


@needs_promtool
@pytest.mark.slow
def test_each_alert_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump({"groups": groups()}))
    tests = [
        _case(name, series, fires)
        for name, cases in CASES.items()
        for series, fires in zip(cases, (True, False), strict=True)
    ]
    document = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump(document))
    for command in (["check", "rules", str(rules)], ["test", "rules", str(file)]):
        ran = subprocess.run(["promtool", *command], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_the_component_brings_the_rules_and_what_to_collect() -> None:
    objects = {(one["kind"], one["metadata"]["name"]): one for one in rendered("prometheus-operator")}
    assert objects["PrometheusRule", "sentinel"]["spec"]["groups"] == groups()
    [endpoint] = objects["ServiceMonitor", "api"]["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": "sentinel-metrics", "key": "token"}
    selected = objects["PodMonitor", "agent"]["spec"]["selector"]["matchLabels"]
    template = objects["DaemonSet", "agent"]["spec"]["template"]
    assert selected.items() <= template["metadata"]["labels"].items()
    annotations = objects["Service", "api"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["autoscaling.knative.dev/min-scale"] == "1"


def _case(name: str, series: dict[str, str], fires: bool) -> dict[str, Any]:
    """A test whose one alert fires, with whatever labels, or does not: promtool compares the number of alerts."""
    count = f'count(ALERTS{{alertname="{name}",alertstate="firing"}})'
    expected = [{"labels": "{}", "value": 1}] if fires else []
    return {
        "interval": "1m",
        "name": f"{name} {'fires' if fires else 'does not fire'}",
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "promql_expr_test": [{"expr": count, "eval_time": _LONG.get(name, "140m"), "exp_samples": expected}],
    }
