"""The defaults of the real API server for the served kinds, as users and Sentinel's own comparison of specs see them.

`apply` changes the object it is given, which must be a fresh copy. What a write prepares (identity, generated
selectors) is in `strategy`.
"""

from typing import Any

from knative.local.kubernetes.kinds import DEPLOYMENT, JOB, NAMESPACE, POD, REPLICA_SET, STATEFUL_SET, Kind

Object = dict[str, Any]

_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_VOLUME_MODES = ("secret", "configMap")


def apply(kind: Kind, obj: Object) -> None:
    if kind is NAMESPACE:
        obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"].get("name", "")
    elif fill := _BY_KIND.get(kind):
        fill(obj, obj.setdefault("spec", {}))


def _fill(spec: Object, **values: Any) -> None:
    for name, value in values.items():
        spec.setdefault(name, value)


def _rolling(spec: Object, name: str, **values: Any) -> None:
    """The update strategy, which has numbers of its own when it is a rolling update."""
    strategy = spec.setdefault(name, {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        _fill(strategy.setdefault("rollingUpdate", {}), **values)


def _deployment(_: Object, spec: Object) -> None:
    _fill(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    _rolling(spec, "strategy", maxUnavailable="25%", maxSurge="25%")
    _template(spec)


def _replica_set(obj: Object, spec: Object) -> None:
    _fill(spec, replicas=1)
    _template(spec)
    _labels_of_template(obj)


def _stateful_set(_: Object, spec: Object) -> None:
    _fill(spec, replicas=1, revisionHistoryLimit=10, podManagementPolicy="OrderedReady")
    _rolling(spec, "updateStrategy", partition=0, maxUnavailable=1)
    _fill(spec.setdefault("persistentVolumeClaimRetentionPolicy", {}), whenDeleted="Retain", whenScaled="Retain")
    _template(spec)


def _job(obj: Object, spec: Object) -> None:
    if "parallelism" not in spec:
        _fill(spec, completions=1)
    _fill(spec, parallelism=1, backoffLimit=6, completionMode="NonIndexed", suspend=False)
    _fill(spec, podReplacementPolicy="TerminatingOrFailed", manualSelector=False)
    _template(spec)
    _labels_of_template(obj)


def _labels_of_template(obj: Object) -> None:
    labels = obj["spec"]["template"].get("metadata", {}).get("labels")
    if labels and not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = dict(labels)


def _template(spec: Object) -> None:
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    _pod_spec(template.setdefault("spec", {}))


def _pod(_: Object, spec: Object) -> None:
    for container in spec.get("containers") or ():
        resources = container.setdefault("resources", {})
        for name, amount in (resources.get("limits") or {}).items():
            resources.setdefault("requests", {}).setdefault(name, amount)
    _pod_spec(spec)
    _fill(spec, enableServiceLinks=True, priority=0, preemptionPolicy="PreemptLowerPriority")
    tolerations = spec.setdefault("tolerations", [])
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(t.get("key", key) == key and t.get("effect", "NoExecute") == "NoExecute" for t in tolerations):
            tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})


def _pod_spec(spec: Object) -> None:
    _fill(spec, restartPolicy="Always", terminationGracePeriodSeconds=30, dnsPolicy="ClusterFirst")
    _fill(spec, securityContext={}, schedulerName="default-scheduler")
    for container in spec.get("containers") or ():
        _container(container)
    for volume in spec.get("volumes") or ():
        _volume(volume)


def _container(container: Object) -> None:
    image = container.get("image", "")
    tag = image.rpartition("/")[2].partition(":")[2]
    pulled = "Always" if "@" not in image and tag in ("", "latest") else "IfNotPresent"
    _fill(container, resources={}, imagePullPolicy=pulled)
    _fill(container, terminationMessagePath="/dev/termination-log", terminationMessagePolicy="File")
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            _fill(container[name], **_PROBE)
            if "httpGet" in container[name]:
                _fill(container[name]["httpGet"], path="/", scheme="HTTP")


def _volume(volume: Object) -> None:
    if len(volume) == 1 and "name" in volume:
        volume["emptyDir"] = {}
    for name in _VOLUME_MODES:
        if name in volume:
            volume[name].setdefault("defaultMode", 420)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")


_BY_KIND = {
    DEPLOYMENT: _deployment,
    REPLICA_SET: _replica_set,
    STATEFUL_SET: _stateful_set,
    JOB: _job,
    POD: _pod,
}
