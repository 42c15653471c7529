"""The PromQL that Prometheus is asked for workloads that name none themselves. Pure.

service_queries.csv lists, for each source of metrics, the rates that it has. A query is made of each, for all workloads
together: it costs as much for a thousand workloads as for one. Its answer has the labels `namespace` and `workload`.

    source      who has the metrics. Where several have them of a workload, the first in the file counts.
    namespace   the label with the namespace
    workload    the label with the name of the Deployment or StatefulSet, or of the Knative Service
    pod         or the label with the name of the pod, which tells that name; see shared.rollout.pod_names
    measure     requests, or successes, which are requests that have not failed; errors; buckets, of a histogram of
                latencies, from which the percentiles are computed; or a latency, of which the slowest pod's counts
    seconds     of a latency: how many seconds its unit has
    rate        PromQL: requests a second; of a latency, its value

The first measure of a source is asked of it while it has nothing; the others only where that has an answer.

Sources of the names: Istio's standard metrics (https://istio.io/latest/docs/reference/config/metrics/); Knative Serving
since 1.19 (https://knative.dev/docs/serving/observability/metrics/serving-metrics/) and before, with OpenCensus
(https://knative.dev/v1.10-docs/serving/services/service-metrics/); vLLM (https://docs.vllm.ai/en/latest/usage/metrics/),
whose counter of requests knows no failures, so that answers 5xx of its API are counted beside; Triton
(https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/metrics.html), which has
percentiles with `--metrics-config summary_latencies=true` alone.

Rates are over 5 minutes, so that Prometheus may collect once a minute and miss a time. So a failure counts for five
minutes, a fifth of it in each.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType

from shared.telemetry.rollups import LATENCIES

REQUESTS, SUCCESSES, ERRORS = "requests", "successes", "errors"

_RANDOM = "[bcdfghjklmnpqrstvwxz2456789]"
_OWNERS = ("(.+)-(?:0|[1-9][0-9]*)", f"(.+)-{_RANDOM}{{1,10}}-{_RANDOM}{{5}}")
"""Of a StatefulSet's pod, and of a Deployment's, which counts where both fit."""


@dataclass(frozen=True)
class _Measure:
    namespace: str
    workload: str
    pod: str
    measure: str
    seconds: str
    rate: str

    def queries(self) -> Mapping[str, str]:
        """PromQL by what it measures."""
        owned = self.rate
        if self.namespace != "namespace":
            owned = f'label_replace({owned}, "namespace", "$1", "{self.namespace}", "(.+)")'
        if self.workload:
            owned = f'label_replace({owned}, "workload", "$1", "{self.workload}", "(.+)")'
        else:
            for owner in _OWNERS:
                owned = f'label_replace({owned}, "workload", "$1", "{self.pod}", "{owner}")'
        if self.measure in (REQUESTS, SUCCESSES, ERRORS):
            return {self.measure: f"sum by (namespace, workload) ({owned})"}
        if self.measure == "buckets":
            return {
                latency: f"histogram_quantile({percentile / 100:g}, sum by (namespace, workload, le) ({owned}))"
                f" * {self.seconds}"
                for percentile, (latency, _) in LATENCIES.items()
            }
        return {self.measure: f"max by (namespace, workload) ({owned}) * {self.seconds}"}


def _read() -> Mapping[str, Mapping[str, str]]:
    found: dict[str, dict[str, str]] = {}
    with files("shared.telemetry").joinpath("service_queries.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row.pop("source"), {}).update(_Measure(**row).queries())
    return MappingProxyType(found)


SOURCES: Mapping[str, Mapping[str, str]] = _read()
"""By source, the PromQL of each measure: requests or successes, errors, and latencies by their fields."""
