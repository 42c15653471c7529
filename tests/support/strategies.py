"""Workloads as Hypothesis draws them: every field at its limits now and then, all of them valid."""

import string
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from shared.models.durations import format_iso8601
from shared.models.workload import WorkloadSpec, WorkloadType

_ALPHANUMERIC = string.ascii_lowercase + string.digits


def _edged(inner: str, size: int) -> st.SearchStrategy[str]:
    """Texts of at most `size` characters that begin and end alphanumerically."""
    return st.builds(
        lambda head, middle, tail: head + middle + tail,
        st.sampled_from(_ALPHANUMERIC),
        st.text(_ALPHANUMERIC + inner, max_size=size - 2),
        st.sampled_from(_ALPHANUMERIC),
    )


dns_labels = st.one_of(st.sampled_from(["a", "0", "x" * 63, "a" + "-" * 61 + "b"]), _edged("-", 63))
dns_subdomains = st.lists(_edged("-", 20), min_size=1, max_size=4).map(".".join)
label_values = st.one_of(st.just(""), _edged("-_.", 63))
label_keys = st.one_of(_edged("-_.", 60).map(lambda name: f"x{name}"), dns_subdomains.map(lambda p: f"{p}.org/key"))
skus = st.one_of(st.none(), st.sampled_from(["H100", "L4", "nvidia a100 80gb", "G2"]))
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
env_values = st.one_of(
    texts,
    st.builds(lambda s, k: {"secret": s, "key": k}, dns_subdomains, st.sampled_from(["key", "a.b-c_d"])),
)
tolerations = st.one_of(
    st.sampled_from([{"operator": "Exists"}, {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]),
    st.fixed_dictionaries({"key": label_keys, "value": label_values}, optional={"effect": st.just("PreferNoSchedule")}),
    st.fixed_dictionaries(
        {"key": label_keys, "operator": st.just("Exists"), "effect": st.just("NoExecute")},
        optional={"tolerationSeconds": st.integers(-(2**63), 2**63 - 1)},
    ),
)
volume_sources = st.one_of(
    st.just({"emptyDir": True}),
    dns_subdomains.map(lambda name: {"claim": name}),
    dns_subdomains.map(lambda name: {"configMap": name}),
    dns_subdomains.map(lambda name: {"secret": name}),
)


replicas = st.one_of(
    st.integers(0, 10_000),
    st.none(),
    st.builds(lambda least, more: {"min": least, "max": least + more}, st.integers(0, 5000), st.integers(1, 5000)),
)
pod_failure_rules = st.one_of(
    st.fixed_dictionaries(
        {
            "action": st.sampled_from(["FailJob", "Ignore", "Count"]),
            "onExitCodes": st.fixed_dictionaries(
                {
                    "operator": st.sampled_from(["In", "NotIn"]),
                    "values": st.lists(st.integers(1, 2**31 - 1), min_size=1, max_size=3, unique=True),
                },
                optional={"containerName": st.just("main")},
            ),
        }
    ),
    st.fixed_dictionaries(
        {
            "action": st.sampled_from(["FailJob", "Ignore", "Count"]),
            "onPodConditions": st.lists(
                st.fixed_dictionaries(
                    {"type": label_keys}, optional={"status": st.sampled_from(["True", "False", "Unknown"])}
                ),
                min_size=1,
                max_size=2,
            ),
        }
    ),
)
retries: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "backoffLimit": st.sampled_from([0, 1, 2**31 - 1]),
        "podFailurePolicy": st.fixed_dictionaries({"rules": st.lists(pod_failure_rules, min_size=1, max_size=2)}),
    },
)


@st.composite
def _volumes(draw: st.DrawFn) -> list[dict[str, Any]]:
    names = draw(st.lists(dns_labels, max_size=3, unique=True))
    return [
        {"name": name, "mountPath": f"/mnt/{index}", "readOnly": draw(st.booleans()), **draw(volume_sources)}
        for index, name in enumerate(names)
    ]


@st.composite
def wire_workloads(draw: st.DrawFn) -> dict[str, Any]:
    """The JSON of a valid workload."""
    kind = draw(st.sampled_from([t.value for t in WorkloadType]))
    return {
        "name": draw(dns_labels),
        "type": kind,
        "image": draw(st.sampled_from(["nginx", "registry.example:5000/a/b:tag", "a@sha256:" + "0" * 64])),
        "team": draw(dns_labels),
        "namespace": draw(dns_labels),
        "replicas": draw(st.integers(1, 10_000) if kind in ("training", "batch") else replicas),
        "resources": {
            "cpu": draw(st.sampled_from(["10m", "250m", "4", 0.5])),
            "memory": draw(st.sampled_from(["6Mi", "1.5Gi", "500M", "8Gi"])),
            "gpu": {
                "count": draw(st.integers(0, 64)),
                "sku": draw(skus),
                "mig": draw(st.sampled_from([None, "1g.10gb", "7g.80gb", "1g.10gb.me"])),
            },
        },
        "command": draw(st.lists(st.sampled_from(["sh", "-c", "é", "", "a\nb"]), max_size=2)),
        "args": draw(st.lists(texts, max_size=2)),
        "env": draw(
            st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,20}", fullmatch=True), env_values, max_size=3)
        ),
        "ports": draw(st.lists(st.integers(1, 65535), max_size=3, unique=True)),
        "probe": draw(
            st.one_of(st.none(), st.fixed_dictionaries({"path": st.just("/health"), "port": st.integers(1, 65535)}))
        ),
        "volumes": draw(_volumes()),
        "nodeSelector": draw(st.dictionaries(label_keys, label_values, max_size=2)),
        "tolerations": draw(st.lists(tolerations, max_size=3)),
        "labels": draw(st.dictionaries(label_keys, label_values, max_size=3)),
        "deadline": format_iso8601(draw(st.timedeltas(timedelta(microseconds=1), timedelta(days=30)))),
        **(draw(retries) if kind in ("training", "batch") else {}),
    }


workloads = wire_workloads().map(WorkloadSpec.model_validate)
