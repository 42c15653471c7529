"""A workload as the one Kubernetes object that Sentinel applies for it.

A manifest holds the fields that Sentinel owns and no others, because a server-side apply claims whatever it
names. It follows from its arguments alone: the order of a map's keys does not count, that of environment
variables does. The pod template holds nothing that changes without the pods having to: scaling, or a new plan,
must not restart them, so generation, plan and revision are annotations of the object alone.

Names: a Deployment is called like its workload; a StatefulSet too, cut to 52 characters, because its pods carry
`<name>-<hash of 10>` as a label; a Job adds its revision, because its template cannot change, and is cut to 57,
because the host name of an indexed pod is `<name>-<index>`. What is cut ends in a hash of the whole.

Nodes that are excluded from placement are named in the node affinity, so that the scheduler gives no pod to them.
"""

import copy
import hashlib
import math
import re
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shared.models.gpu import GPU_RESOURCE, NVIDIA_PREFIX, PRODUCT_LABEL, matching_products, resource_name
from shared.models.pod import SecretReference, Security, Toleration, Volume
from shared.models.pod_failures import PodFailurePolicy, PodFailureRule
from shared.models.quantities import format_bytes, format_millicores
from shared.models.replicas import ReplicaRange
from shared.models.workload import WorkloadSpec

INSTANCE_LABEL = "app.kubernetes.io/instance"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "sentinel"
GENERATION_ANNOTATION = "sentinel.dev/generation"
PLAN_ANNOTATION = "sentinel.dev/plan"
REVISION_ANNOTATION = "sentinel.dev/revision"
RESTARTED_AT_ANNOTATION = "sentinel.dev/restarted-at"
"""On pods: when they were last asked to be replaced. A change of it replaces them, as that of any pod template."""
REPLICAS_ANNOTATION = "sentinel.dev/replicas"
"""The range that an autoscaler has been given, such as "1-6"; absent where Sentinel sets the replicas."""
_IDENTITY_LABELS = (
    "app.kubernetes.io/name",
    INSTANCE_LABEL,
    MANAGED_BY_LABEL,
    "app.kubernetes.io/part-of",
    "sentinel.dev/team",
)
CONTAINER = "main"
HOSTNAME_LABEL = "kubernetes.io/hostname"
"""The label by which pods avoid nodes; the kubelet sets it to the name of its node."""

_SURGE = {"Deployment": 1, "StatefulSet": 0, "Job": 0}
_NAME_LIMIT = {"Deployment": 63, "StatefulSet": 52, "Job": 57}
_HASH_LENGTH = 8
_KEPT_REPLICA_SETS = 2  # Sentinel rolls back from its own snapshots; these are for people with kubectl

KubernetesObject = dict[str, Any]


def surge_replicas(kind: str) -> int:
    """How many replicas more than it asks for a rollout of this kind runs at a time."""
    return _SURGE[kind]


def object_name(spec: WorkloadSpec, revision: int) -> str:
    """The name of the object for one revision of a workload; only a Job's differs between revisions."""
    kind = spec.type.kind
    suffix = f"-r{revision}" if kind == "Job" else ""
    room = _NAME_LIMIT[kind] - len(suffix)
    if len(spec.name) <= room:
        return spec.name + suffix
    digest = hashlib.sha256(spec.name.encode()).hexdigest()[:_HASH_LENGTH]
    return f"{spec.name[: room - _HASH_LENGTH - 1].rstrip('-')}-{digest}{suffix}"


def manifest(
    spec: WorkloadSpec,
    *,
    workload_id: uuid.UUID,
    plan_id: uuid.UUID,
    revision: int,
    generation: int,
    products: Collection[str] = (),
    excluded: Collection[str] = (),
) -> KubernetesObject:
    """The Deployment, StatefulSet or Job for one revision of a workload, ready for server-side apply.

    products: the GPU products that the nodes of its cluster have shown. excluded: the nodes that its pods must not run
    on.
    """
    labels = _labels(spec, workload_id)
    kind = spec.type.kind
    pods = {"metadata": _pod_metadata(spec, labels), "spec": _pod(spec, products, excluded)}
    return {
        "apiVersion": "batch/v1" if kind == "Job" else "apps/v1",
        "kind": kind,
        "metadata": {
            "name": object_name(spec, revision),
            "namespace": spec.namespace,
            "labels": labels,
            "annotations": {
                GENERATION_ANNOTATION: str(generation),
                PLAN_ANNOTATION: str(plan_id),
                REVISION_ANNOTATION: str(revision),
                **({} if spec.autoscaling is None else {REPLICAS_ANNOTATION: str(spec.autoscaling)}),
            },
        },
        "spec": _SPECS[kind](spec, workload_id, pods),
    }


def restored(
    snapshot: KubernetesObject, *, plan_id: uuid.UUID, revision: int, excluded: Collection[str] = ()
) -> KubernetesObject:
    """What `manifest` wrote, as a new revision: the same fields, but the nodes that its pods must not run on.

    A Job gets the name of the new revision.
    """
    document = copy.deepcopy(snapshot)
    meta = document["metadata"]
    if document["kind"] == "Job":
        meta["name"] = re.sub(r"-r[0-9]+$", f"-r{revision}", meta["name"])
    meta["annotations"] |= {PLAN_ANNOTATION: str(plan_id), REVISION_ANNOTATION: str(revision)}
    pod = document["spec"]["template"]["spec"]
    kept = [one for one in _node_expressions(pod) if not _excludes(one)]
    pod.pop("affinity", None)
    if affinity := _node_affinity([*kept, *_exclusions(excluded)]):
        pod["affinity"] = affinity
    return document


def excluded_nodes_of(document: Mapping[str, Any]) -> frozenset[str]:
    """The nodes that the pods of an object that `manifest` wrote must not run on."""
    expressions = _node_expressions(document["spec"]["template"]["spec"])
    return frozenset(name for one in expressions if _excludes(one) for name in one["values"])


def autoscaling_of(document: Mapping[str, Any]) -> ReplicaRange | None:
    """The range in which an autoscaler chooses the replicas of an object that `manifest` wrote, if one does."""
    annotations = document.get("metadata", {}).get("annotations") or {}
    least, _, most = str(annotations.get(REPLICAS_ANNOTATION, "")).partition("-")
    if not (least.isdecimal() and most.isdecimal()):
        return None
    return ReplicaRange.model_construct(min=int(least), max=int(most))


GPU_TOLERATION: KubernetesObject = {"key": GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule"}
"""What pods with GPUs tolerate, as Kubernetes' ExtendedResourceToleration admission adds it where it is switched on."""


def missing_identity(live: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The labels and annotations by which an object is known as Sentinel's and that `live` lacks.

    Keys are `labels` and `annotations`; there are none when nothing is missing. One with another value is not missing:
    somebody gave the object away, or a newer revision was applied. A workload's own labels are left alone.
    """
    wanted, there = document["metadata"], live["metadata"]
    identity = {
        "labels": {key: wanted["labels"][key] for key in _IDENTITY_LABELS if key in wanted["labels"]},
        "annotations": wanted["annotations"],
    }
    missing = {
        part: {key: text for key, text in values.items() if key not in (there.get(part) or {})}
        for part, values in identity.items()
    }
    return {part: values for part, values in missing.items() if values}


@dataclass(frozen=True)
class Hardening:
    """What of a workload decides whether it may run at all.

    tolerations: the keys that were asked for, "" for every taint; GPU_TOLERATION of a workload with GPUs is not
    among them. node_selector: its keys.
    """

    image: str
    security: Security
    host_paths: tuple[str, ...]
    tolerations: tuple[str, ...] = ()
    node_selector: tuple[str, ...] = ()


def hardening(spec: WorkloadSpec) -> Hardening:
    """What `hardening_of` would read from the manifest of this workload."""
    paths = tuple(volume.host_path for volume in spec.volumes if volume.host_path is not None)
    tolerations = _toleration_keys(map(_toleration, spec.tolerations), gpus=spec.resources.gpu.count > 0)
    return Hardening(spec.image, spec.security, paths, tolerations, tuple(sorted(spec.node_selector)))


def hardening_of(document: KubernetesObject) -> Hardening:
    """Reads back what `manifest` wrote."""
    pod = document["spec"]["template"]["spec"]
    container = pod["containers"][0]
    context = container.get("securityContext", {})
    security = Security(
        privileged=context.get("privileged", False),
        host_network=pod.get("hostNetwork", False),
        host_pid=pod.get("hostPID", False),
        host_ipc=pod.get("hostIPC", False),
        add_capabilities=tuple(context.get("capabilities", {}).get("add", ())),
    )
    paths = tuple(volume["hostPath"]["path"] for volume in pod.get("volumes", ()) if "hostPath" in volume)
    gpus = any(name.startswith(NVIDIA_PREFIX) for name in container["resources"]["limits"])
    tolerations = _toleration_keys(pod.get("tolerations", ()), gpus=gpus)
    return Hardening(container["image"], security, paths, tolerations, tuple(sorted(pod.get("nodeSelector", ()))))


def _toleration_keys(tolerations: Iterable[KubernetesObject], *, gpus: bool) -> tuple[str, ...]:
    return tuple(t.get("key", "") for t in tolerations if not (gpus and t == GPU_TOLERATION))


def _pod_metadata(spec: WorkloadSpec, labels: dict[str, str]) -> KubernetesObject:
    if spec.restarted_at is None:
        return {"labels": labels}
    return {"labels": labels, "annotations": {RESTARTED_AT_ANNOTATION: spec.restarted_at.isoformat()}}


def _labels(spec: WorkloadSpec, workload_id: uuid.UUID) -> dict[str, str]:
    own = {
        "app.kubernetes.io/name": spec.name,
        INSTANCE_LABEL: str(workload_id),
        MANAGED_BY_LABEL: MANAGED_BY,
        "app.kubernetes.io/part-of": "sentinel",
        "sentinel.dev/team": spec.team,
    }
    return dict(sorted({**spec.labels, **own}.items()))


def _deployment(spec: WorkloadSpec, workload_id: uuid.UUID, template: KubernetesObject) -> KubernetesObject:
    return {
        "replicas": _first_replicas(spec),
        "selector": {"matchLabels": {INSTANCE_LABEL: str(workload_id)}},
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge_replicas("Deployment"), "maxUnavailable": 0},
        },
        "progressDeadlineSeconds": math.ceil(spec.deadline.total_seconds()),
        "revisionHistoryLimit": _KEPT_REPLICA_SETS,
        "template": template,
    }


def _stateful_set(spec: WorkloadSpec, workload_id: uuid.UUID, template: KubernetesObject) -> KubernetesObject:
    # Parallel, because an ordered set whose first pod never becomes ready cannot be rolled back without deleting pods.
    return {
        "replicas": _first_replicas(spec),
        "selector": {"matchLabels": {INSTANCE_LABEL: str(workload_id)}},
        "podManagementPolicy": "Parallel",
        "revisionHistoryLimit": _KEPT_REPLICA_SETS,
        "template": template,
    }


def _job(spec: WorkloadSpec, _: uuid.UUID, template: KubernetesObject) -> KubernetesObject:
    # No selector: the API server makes one of the Job's uid.
    template["spec"]["restartPolicy"] = "Never"
    job: KubernetesObject = {
        "completions": spec.most_replicas,
        "parallelism": spec.most_replicas,
        "completionMode": "Indexed" if spec.most_replicas > 1 else "NonIndexed",
        "backoffLimit": spec.backoff_limit,
        "template": template,
    }
    if spec.pod_failure_policy is not None:
        job["podFailurePolicy"] = _failure_policy(spec.pod_failure_policy)
    if spec.retries_pods:
        # A pod is replaced once it has ended: a Job never has more pods than the ledger holds for it.
        job["podReplacementPolicy"] = "Failed"
    return job


def _failure_policy(policy: PodFailurePolicy) -> KubernetesObject:
    return {"rules": [_failure_rule(rule) for rule in policy.rules]}


def _failure_rule(rule: PodFailureRule) -> KubernetesObject:
    if (codes := rule.on_exit_codes) is None:
        return {"action": rule.action, "onPodConditions": [c.model_dump() for c in rule.on_pod_conditions]}
    # An API server takes exit codes in ascending order alone.
    document = codes.model_dump(by_alias=True, exclude_none=True) | {"values": sorted(codes.values)}
    return {"action": rule.action, "onExitCodes": document}


def _first_replicas(spec: WorkloadSpec) -> int:
    """What an object is made with; an autoscaler takes it from there."""
    return spec.most_replicas if spec.autoscaling is None else spec.autoscaling.min


_SPECS = {"Deployment": _deployment, "StatefulSet": _stateful_set, "Job": _job}


def _pod(spec: WorkloadSpec, products: Collection[str], excluded: Collection[str]) -> KubernetesObject:
    pod: KubernetesObject = {"containers": [_container(spec)]}
    if spec.volumes:
        pod["volumes"] = [{"name": volume.name, **_volume_source(volume)} for volume in spec.volumes]
    pod |= dict.fromkeys(spec.security.host_namespaces, True)
    if affinity := _node_affinity([*_product(spec, products), *_exclusions(excluded)]):
        pod["affinity"] = affinity
    if spec.node_selector:
        pod["nodeSelector"] = dict(sorted(spec.node_selector.items()))
    if tolerations := _tolerations(spec):
        pod["tolerations"] = tolerations
    return pod


def _product(spec: WorkloadSpec, products: Collection[str]) -> Iterator[KubernetesObject]:
    gpu = spec.resources.gpu
    if gpu.count and gpu.sku is not None:
        values = matching_products(gpu.sku, gpu.product, products)
        yield {"key": PRODUCT_LABEL, "operator": "In", "values": values}


def _exclusions(excluded: Collection[str]) -> Iterator[KubernetesObject]:
    if excluded:
        yield {"key": HOSTNAME_LABEL, "operator": "NotIn", "values": sorted(excluded)}


def _excludes(expression: KubernetesObject) -> bool:
    return (expression["key"], expression["operator"]) == (HOSTNAME_LABEL, "NotIn")


def _node_affinity(expressions: list[KubernetesObject]) -> KubernetesObject:
    """One term, whose expressions all have to hold: terms are alternatives. Empty without expressions."""
    if not expressions:
        return {}
    terms = [{"matchExpressions": expressions}]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def _node_expressions(pod: Mapping[str, Any]) -> list[KubernetesObject]:
    """What `_node_affinity` was given."""
    required = pod.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", {})
    return [one for term in required.get("nodeSelectorTerms", ()) for one in term["matchExpressions"]]


def _tolerations(spec: WorkloadSpec) -> list[KubernetesObject]:
    asked = [_toleration(toleration) for toleration in spec.tolerations]
    return [*asked, dict(GPU_TOLERATION)] if spec.resources.gpu.count and GPU_TOLERATION not in asked else asked


def _toleration(toleration: Toleration) -> KubernetesObject:
    return toleration.model_dump(by_alias=True, exclude_none=True, exclude={"value"} if not toleration.value else None)


def _container(spec: WorkloadSpec) -> KubernetesObject:
    resources = {"cpu": format_millicores(spec.resources.cpu), "memory": format_bytes(spec.resources.memory)}
    if spec.resources.gpu.count:
        resources[resource_name(spec.resources.gpu.mig)] = str(spec.resources.gpu.count)
    container: KubernetesObject = {
        "name": CONTAINER,
        "image": spec.image,
        "resources": {"requests": resources, "limits": dict(resources)},
    }
    if spec.command:
        container["command"] = list(spec.command)
    if spec.args:
        container["args"] = list(spec.args)
    if spec.env:
        # In the order given: $(NAME) is expanded only from a variable further up (Kubernetes, EnvVar.value).
        container["env"] = [_env(name, entry) for name, entry in spec.env.items()]
    if spec.ports:
        # The protocol is a key of this list; server-side apply needs it stated.
        container["ports"] = [{"containerPort": port, "protocol": "TCP"} for port in spec.ports]
    if spec.probe is not None:
        container["readinessProbe"] = {"httpGet": {"path": spec.probe.path, "port": spec.probe.port}}
    if spec.volumes:
        container["volumeMounts"] = [_mount(volume) for volume in spec.volumes]
    if context := _security_context(spec.security):
        container["securityContext"] = context
    return container


def _security_context(security: Security) -> KubernetesObject:
    context: KubernetesObject = {"privileged": True} if security.privileged else {}
    if security.add_capabilities:
        context["capabilities"] = {"add": sorted(set(security.add_capabilities))}
    return context


def _env(name: str, value: str | SecretReference) -> KubernetesObject:
    if isinstance(value, SecretReference):
        return {"name": name, "valueFrom": {"secretKeyRef": {"name": value.secret, "key": value.key}}}
    return {"name": name, "value": value}


def _mount(volume: Volume) -> KubernetesObject:
    mount: KubernetesObject = {"name": volume.name, "mountPath": volume.mount_path}
    return {**mount, "readOnly": True} if volume.read_only else mount


def _volume_source(volume: Volume) -> KubernetesObject:
    if volume.claim is not None:
        return {"persistentVolumeClaim": {"claimName": volume.claim}}
    if volume.config_map is not None:
        return {"configMap": {"name": volume.config_map}}
    if volume.host_path is not None:
        return {"hostPath": {"path": volume.host_path}}
    if volume.secret is not None:
        return {"secret": {"secretName": volume.secret}}
    return {"emptyDir": {}}
