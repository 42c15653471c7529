"""Deployments, ReplicaSets, StatefulSets and Jobs."""

import re
from typing import Any

from knative.local.kubernetes import selectors
from knative.local.kubernetes.errors import Cause
from knative.local.kubernetes.validation import metadata, pods

Object = dict[str, Any]

_ALWAYS = ("Always",)
_JOB_RESTART = ("OnFailure", "Never")
_SELECTOR_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
_PERCENT = re.compile(r"^\d+%$")
_PERCENT_RULE = (
    "a valid percent string must be a numeric string followed by an ending '%' "
    "(e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
)


def _not_negative(spec: Object, names: tuple[str, ...]) -> list[Cause]:
    return [
        Cause.invalid(f"spec.{name}", spec[name], "must be greater than or equal to 0")
        for name in names
        if spec.get(name) is not None and spec[name] < 0
    ]


def _selected_template(spec: Object, *, empty_detail: str) -> list[Cause]:
    """The selector is there, well formed, not empty, and selects the template."""
    selector = spec.get("selector")
    if selector is None:
        causes = [Cause.required("spec.selector")]
    else:
        causes = _selector(selector)
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            causes.append(Cause.invalid("spec.selector", {}, empty_detail))
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels")
    selects = bool(selector) and selectors.matches(selectors.of_object(selector), labels)
    if not selects and selector != {}:
        causes.append(
            Cause.invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
        )
    return causes + pods.template(template, "spec.template", _ALWAYS)


def _selector(selector: Object) -> list[Cause]:
    causes = metadata.labels(selector.get("matchLabels"), "spec.selector.matchLabels")
    for index, expression in enumerate(selector.get("matchExpressions") or ()):
        at = f"spec.selector.matchExpressions[{index}]"
        if expression.get("operator") not in _SELECTOR_OPERATORS:
            causes.append(
                Cause.invalid(f"{at}.operator", expression.get("operator", ""), "not a valid selector operator")
            )
        elif expression["operator"] in ("In", "NotIn") and not expression.get("values"):
            causes.append(Cause.required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    return causes


def deployment(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    numbers = ("replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
    causes = _not_negative(spec, numbers)
    causes += _selected_template(spec, empty_detail="empty selector is invalid for deployment")
    causes += _strategy(spec.get("strategy") or {})
    deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds", 0)
    if deadline is not None and 0 <= deadline <= ready:
        detail = "must be greater than minReadySeconds"
        causes.append(Cause.invalid("spec.progressDeadlineSeconds", deadline, detail))
    return causes


def _strategy(strategy: Object) -> list[Cause]:
    kind = strategy.get("type")
    if kind == "Recreate":
        if "rollingUpdate" in strategy:
            detail = "may not be specified when strategy `type` is 'Recreate'"
            return [Cause.forbidden("spec.strategy.rollingUpdate", detail)]
        return []
    if kind != "RollingUpdate":
        return [Cause.unsupported("spec.strategy", strategy, ("Recreate", "RollingUpdate"))]
    rolling = strategy.get("rollingUpdate") or {}
    causes = []
    for name in ("maxUnavailable", "maxSurge"):
        value = rolling.get(name)
        field = f"spec.strategy.rollingUpdate.{name}"
        if isinstance(value, int) and value < 0:
            causes.append(Cause.invalid(field, value, "must be greater than or equal to 0"))
        elif isinstance(value, str) and not _PERCENT.match(value):
            detail = _PERCENT_RULE
            causes.append(Cause.invalid(field, value, detail))
    if not causes and all(rolling.get(name) in (0, "0%") for name in ("maxUnavailable", "maxSurge")):
        detail = "may not be 0 when `maxSurge` is 0"
        causes.append(Cause.invalid("spec.strategy.rollingUpdate.maxUnavailable", rolling["maxUnavailable"], detail))
    return causes


def replica_set(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = _not_negative(spec, ("replicas", "minReadySeconds"))
    return causes + _selected_template(spec, empty_detail="empty selector is invalid for deployment")


def stateful_set(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = _not_negative(spec, ("replicas", "minReadySeconds", "revisionHistoryLimit"))
    if spec.get("podManagementPolicy") not in ("OrderedReady", "Parallel"):
        policy = spec.get("podManagementPolicy")
        detail = "must be 'OrderedReady' or 'Parallel'"
        causes.append(Cause.invalid("spec.podManagementPolicy", policy, detail))
    strategy = (spec.get("updateStrategy") or {}).get("type")
    if strategy not in ("RollingUpdate", "OnDelete"):
        detail = "must be 'RollingUpdate' or 'OnDelete'"
        causes.append(Cause.invalid("spec.updateStrategy", spec.get("updateStrategy"), detail))
    rolling = (spec.get("updateStrategy") or {}).get("rollingUpdate")
    if strategy == "OnDelete" and rolling is not None:
        detail = "only allowed for updateStrategy 'RollingUpdate'"
        causes.append(Cause.invalid("spec.updateStrategy.rollingUpdate", rolling, detail))
    start = (spec.get("ordinals") or {}).get("start", 0)
    if start < 0:
        causes.append(Cause.invalid("spec.ordinals.start", start, "must be greater than or equal to 0"))
    return causes + _selected_template(spec, empty_detail="empty selector is invalid for statefulset")


def job(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    numbers = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")
    causes = _not_negative(spec, numbers)
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        causes.append(Cause.required("spec.completions", "when completion mode is Indexed"))
    causes += _selector(spec.get("selector") or {})
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    if not selectors.matches(selectors.of_object(spec.get("selector")), labels):
        causes.append(
            Cause.invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
        )
    causes += metadata.labels(labels, "spec.template.labels")
    pod_causes = pods.template(
        {**template, "metadata": {"annotations": (template.get("metadata") or {}).get("annotations")}},
        "spec.template",
        ("Always", *_JOB_RESTART),
    )
    if (template.get("spec") or {}).get("restartPolicy") == "Always":
        detail = 'valid values: "OnFailure", "Never"'
        pod_causes.append(Cause.required("spec.template.spec.restartPolicy", detail))
    return causes + pod_causes
