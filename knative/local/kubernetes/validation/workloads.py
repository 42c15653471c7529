"""Deployments, ReplicaSets, StatefulSets and Jobs."""

import re
from typing import Any

from knative.local.kubernetes import selectors
from knative.local.kubernetes.errors import Cause
from knative.local.kubernetes.validation import metadata, pods

Object = dict[str, Any]

_PERCENT = re.compile(r"^\d+%$")
_PERCENT_RULE = "a valid percent string is required (regex '[0-9]+%')"
_NO_MATCH = "`selector` does not match template `labels`"


def _not_negative(spec: Object, *names: str) -> list[Cause]:
    return [
        Cause.invalid(f"spec.{name}", spec[name], "must be greater than or equal to 0")
        for name in names
        if spec.get(name) is not None and spec[name] < 0
    ]


def _selected_template(spec: Object, kind: str) -> list[Cause]:
    """The selector is there, well formed, not empty, and selects the template."""
    selector = spec.get("selector")
    if selector is None:
        causes = [Cause.required("spec.selector")]
    else:
        causes = _selector(selector)
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            causes.append(Cause.invalid("spec.selector", {}, f"empty selector is invalid for {kind}"))
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels")
    selects = bool(selector) and selectors.matches(selectors.of_object(selector), labels)
    if not selects and selector != {}:
        causes.append(Cause.invalid("spec.template.metadata.labels", labels, _NO_MATCH))
    return causes + pods.template(template, "spec.template", ("Always",))


def _selector(selector: Object) -> list[Cause]:
    causes = metadata.labels(selector.get("matchLabels"), "spec.selector.matchLabels")
    return causes + pods.expressions(selector.get("matchExpressions") or (), "spec.selector.matchExpressions")


def deployment(obj: Object) -> list[Cause]:
    spec = obj["spec"]
    causes = _not_negative(spec, "replicas", "revisionHistoryLimit", "progressDeadlineSeconds")
    causes += _selected_template(spec, "deployment")
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    causes += [
        cause
        for name in ("maxUnavailable", "maxSurge")
        for cause in _share(f"spec.strategy.rollingUpdate.{name}", rolling.get(name))
    ]
    if rolling and all(rolling.get(name) in (0, "0%") for name in ("maxUnavailable", "maxSurge")):
        detail = "may not be 0 when `maxSurge` is 0"
        causes.append(Cause.invalid("spec.strategy.rollingUpdate.maxUnavailable", rolling["maxUnavailable"], detail))
    if spec["progressDeadlineSeconds"] == 0:
        causes.append(Cause.invalid("spec.progressDeadlineSeconds", 0, "must be greater than minReadySeconds"))
    return causes


def _share(field: str, value: int | str | None) -> list[Cause]:
    """A number of pods, or a percentage of them."""
    if isinstance(value, int) and value < 0:
        return [Cause.invalid(field, value, "must be greater than or equal to 0")]
    if isinstance(value, str) and not _PERCENT.match(value):
        return [Cause.invalid(field, value, _PERCENT_RULE)]
    return []


def replica_set(obj: Object) -> list[Cause]:
    return _not_negative(obj["spec"], "replicas") + _selected_template(obj["spec"], "deployment")


def stateful_set(obj: Object) -> list[Cause]:
    causes = _not_negative(obj["spec"], "replicas", "revisionHistoryLimit")
    return causes + _selected_template(obj["spec"], "statefulset")


def job(obj: Object) -> list[Cause]:
    spec, template = obj["spec"], obj["spec"].get("template") or {}
    causes = _not_negative(spec, "parallelism", "completions")
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        causes.append(Cause.required("spec.completions", "when completion mode is Indexed"))
    labels = (template.get("metadata") or {}).get("labels") or {}
    if not selectors.matches(selectors.of_object(spec.get("selector")), labels):
        causes.append(Cause.invalid("spec.template.metadata.labels", labels, _NO_MATCH))
    causes += pods.template(template, "spec.template", ("Always", "OnFailure", "Never"))
    if (template.get("spec") or {}).get("restartPolicy") == "Always":
        causes.append(Cause.required("spec.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"'))
    return causes
