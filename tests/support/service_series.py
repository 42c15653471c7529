"""Metrics of workloads in the text format of Prometheus, with the names and labels of their sources.

Each workload answers ten requests a second, of which some fail; 90 of 100 take at most 0.1 s, all at most 0.5 s.
"""

from collections.abc import Iterator

RATE = 10.0
_MESH = 'reporter="destination",destination_workload_namespace="search",destination_workload="web"'
_KNATIVE = 'k8s_namespace_name="search",kn_service_name="routed"'
_OPENCENSUS = 'namespace_name="search",service_name="census",revision_name="census-00001",pod_name="census-00001-x"'
_VLLM = 'namespace="search",pod="llm-7d9f6c8b5-x2x7k",instance="10.0.0.7:8000",job="llm"'
_TRITON = 'namespace="search",pod="models-0",model="bert",version="1"'

WORKLOADS = {"web": "inference", "routed": "service", "census": "service", "llm": "inference", "models": "stateful"}
"""The workloads of namespace search that these metrics are of, and their types."""


def lines(seconds: float, errors: float) -> Iterator[str]:
    """The series after so many seconds. errors: how many requests a second fail."""
    failed, well = errors * seconds, (RATE - errors) * seconds
    yield f'istio_requests_total{{{_MESH},response_code="200"}} {well}'
    yield f'istio_requests_total{{{_MESH},response_code="503"}} {failed}'
    # What the client's proxy has seen of the same requests counts once.
    yield f'istio_requests_total{{{_MESH.replace("destination", "source", 1)},response_code="200"}} {well}'
    yield from _buckets("istio_request_duration_milliseconds", _MESH, seconds, 1000)
    duration = "kn_serving_invocation_duration_seconds"
    for status, count in ((200, well), (500, failed)):
        labels = f'{_KNATIVE},http_response_status_code="{status}"'
        yield f"{duration}_count{{{labels}}} {count}"
        yield from _buckets(duration, labels, count / RATE, 1)
    for code, count in (("2xx", well), ("5xx", failed)):
        yield f'revision_app_request_count{{{_OPENCENSUS},response_code_class="{code}"}} {count}'
    yield from _buckets("revision_app_request_latencies", _OPENCENSUS, seconds, 1000)
    for reason, share in (("stop", 0.75), ("length", 0.25)):
        yield f'vllm:request_success_total{{{_VLLM},engine="0",finished_reason="{reason}"}} {well * share}'
    yield f'vllm:num_requests_running{{{_VLLM},engine="0"}} 3'
    yield f'http_requests_total{{{_VLLM},handler="/v1/completions",method="POST",status="2xx"}} {well}'
    yield f'http_requests_total{{{_VLLM},handler="/v1/completions",method="POST",status="5xx"}} {failed}'
    # Another server with the same instrumentation is no vLLM.
    other = _VLLM.replace("llm-", "web-")
    yield f'http_requests_total{{{other},handler="/v1/completions",method="POST",status="5xx"}} {failed}'
    yield from _buckets("vllm:e2e_request_latency_seconds", f'{_VLLM},engine="0"', seconds, 1)
    yield f"nv_inference_request_success{{{_TRITON}}} {well}"
    yield f"nv_inference_request_failure{{{_TRITON}}} {failed}"
    for quantile, latency in ((0.5, 50_000), (0.95, 300_000), (0.99, 400_000)):
        yield f'nv_inference_request_summary_us{{{_TRITON},quantile="{quantile}"}} {latency}'


def _buckets(name: str, labels: str, seconds: float, unit: float) -> Iterator[str]:
    for bound, share in ((0.1, 0.9), (0.5, 1.0), (1.0, 1.0)):
        yield f'{name}_bucket{{{labels},le="{bound * unit:g}"}} {RATE * seconds * share}'
    yield f'{name}_bucket{{{labels},le="+Inf"}} {RATE * seconds}'
