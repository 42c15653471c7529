"""Pods and pod templates."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from knative.local.kubernetes import quantity
from knative.local.kubernetes.errors import Cause
from knative.local.kubernetes.validation import metadata

Object = dict[str, Any]

_RESTART = ("Always", "OnFailure", "Never")
_SELECTOR_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
_PORT_RULE = "must be between 1 and 65535, inclusive"
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
# Resources that may be overcommitted: a request may be lower than the limit. All others are whole devices.
_NATIVE = ("cpu", "memory", "ephemeral-storage")


def pod(obj: Object) -> list[Cause]:
    return spec(obj.get("spec") or {}, "spec", _RESTART)


def template(value: Object, field: str, restart_policies: tuple[str, ...]) -> list[Cause]:
    head = value.get("metadata") or {}
    causes = metadata.labels(head.get("labels"), f"{field}.metadata.labels")
    causes += metadata.annotations(head.get("annotations"), f"{field}.metadata.annotations")
    return causes + spec(value.get("spec") or {}, f"{field}.spec", restart_policies)


def spec(value: Object, field: str, restart_policies: tuple[str, ...]) -> list[Cause]:
    causes: list[Cause] = []
    volumes = _volumes(value.get("volumes") or [], f"{field}.volumes", causes)
    containers = value.get("containers") or []
    if not containers:
        causes.append(Cause.required(f"{field}.containers"))
    names: set[str] = set()
    for index, container in enumerate(containers):
        at = f"{field}.containers[{index}]"
        causes += _container(container, at, volumes)
        if container.get("name") in names:
            causes.append(Cause.duplicate(f"{at}.name", container["name"]))
        names.add(container.get("name", ""))
    policy = value.get("restartPolicy")
    for allowed in (_RESTART, restart_policies):
        if policy not in allowed:
            causes.append(Cause.unsupported(f"{field}.restartPolicy", policy, allowed))
    causes += metadata.labels(value.get("nodeSelector"), f"{field}.nodeSelector")
    causes += _affinity(value.get("affinity") or {}, f"{field}.affinity")
    return causes


def _volumes(volumes: list[Object], field: str, causes: list[Cause]) -> set[str]:
    names: set[str] = set()
    for index, volume in enumerate(volumes):
        name = volume.get("name", "")
        if not name:
            causes.append(Cause.required(f"{field}[{index}].name"))
        else:
            causes += metadata.dns_label(name, f"{field}[{index}].name")
        if name in names:
            causes.append(Cause.duplicate(f"{field}[{index}].name", name))
        names.add(name)
        path = (volume.get("hostPath") or {}).get("path", "")
        if ".." in path.split("/"):
            causes.append(Cause.invalid(f"{field}[{index}].hostPath.path", path, "must not contain '..'"))
    return names


def _container(container: Object, field: str, volumes: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    name = container.get("name", "")
    causes += metadata.dns_label(name, f"{field}.name") if name else [Cause.required(f"{field}.name")]
    image = container.get("image", "")
    if not image:
        causes.append(Cause.required(f"{field}.image"))
    causes += _ports(container.get("ports") or [], f"{field}.ports")
    causes += _environment(container.get("env") or [], f"{field}.env")
    causes += _mounts(container.get("volumeMounts") or [], f"{field}.volumeMounts", volumes)
    causes += _resources(container.get("resources") or {}, f"{field}.resources")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in container:
            causes += _probe(container[probe], f"{field}.{probe}")
    return causes


def _ports(ports: list[Object], field: str) -> list[Cause]:
    causes = []
    for index, port in enumerate(ports):
        at, number = f"{field}[{index}].containerPort", port.get("containerPort")
        if not number:
            causes.append(Cause.required(at))
        elif not 1 <= number <= 65535:
            causes.append(Cause.invalid(at, number, _PORT_RULE))
    return causes


def _environment(variables: list[Object], field: str) -> list[Cause]:
    causes = []
    for index, variable in enumerate(variables):
        name = variable.get("name", "")
        if not name:
            causes.append(Cause.required(f"{field}[{index}].name"))
        elif "=" in name or not name.isprintable() or not name.isascii():
            detail = "a valid environment variable name must consist only of printable ASCII characters other than '='"
            causes.append(Cause.invalid(f"{field}[{index}].name", name, detail))
    return causes


def _mounts(mounts: list[Object], field: str, volumes: set[str]) -> list[Cause]:
    causes = []
    paths: set[str] = set()
    for index, mount in enumerate(mounts):
        name, path = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            causes.append(Cause.required(f"{field}[{index}].name"))
        if not path:
            causes.append(Cause.required(f"{field}[{index}].mountPath"))
        elif path in paths:
            causes.append(Cause.invalid(f"{field}[{index}].mountPath", path, "must be unique"))
        paths.add(path)
        if name and name not in volumes:
            causes.append(Cause.not_found(f"{field}[{index}].name", name))
    return causes


def _resources(resources: Object, field: str) -> list[Cause]:
    causes = []
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for part, amounts in (("limits", limits), ("requests", requests)):
        for name, text in amounts.items():
            causes += _amount(name, text, f"{field}.{part}[{name}]")
    for name, text in requests.items():
        limit = limits.get(name)
        if limit is None:
            if name not in _NATIVE and not name.startswith("hugepages-"):
                causes.append(Cause.required(f"{field}.limits", "Limit must be set for non overcommitable resources"))
            continue
        if name not in _NATIVE and quantity.value(text) != quantity.value(limit):
            causes.append(Cause.invalid(f"{field}.requests", text, f"must be equal to {name} limit of {limit}"))
        elif quantity.value(text) > quantity.value(limit):
            causes.append(
                Cause.invalid(f"{field}.requests", text, f"must be less than or equal to {name} limit of {limit}")
            )
    return causes


def _amount(name: str, text: str, field: str) -> list[Cause]:
    causes = metadata.qualified_name(name, field)
    if "/" not in name and name not in _NATIVE and not name.startswith("hugepages-"):
        causes.append(Cause.invalid(field, name, "must be a standard resource type or fully qualified"))
        causes.append(Cause.invalid(field, name, "must be a standard resource for containers"))
    number = quantity.value(text)
    if number < 0:
        causes.append(Cause.invalid(field, text, "must be greater than or equal to 0"))
    elif "/" in name and number != Decimal(int(number)):
        causes.append(Cause.invalid(field, text, "must be an integer"))
    return causes


def _probe(probe: Object, field: str) -> list[Cause]:
    if not any(name in probe for name in _HANDLERS):
        return [Cause.required(field, "must specify a handler type")]
    port = (probe.get("httpGet") or {}).get("port", 1)
    if isinstance(port, int) and not 1 <= port <= 65535:
        return [Cause.invalid(f"{field}.httpGet.port", port, _PORT_RULE)]
    return []


def _affinity(affinity: Object, field: str) -> list[Cause]:
    node = affinity.get("nodeAffinity") or {}
    required = node.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return []
    at = f"{field}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
    terms = required.get("nodeSelectorTerms") or []
    if not terms:
        return [Cause.required(at, "must have at least one node selector term")]
    return [
        cause
        for index, term in enumerate(terms)
        for cause in expressions(term.get("matchExpressions") or (), f"{at}[{index}].matchExpressions")
    ]


def expressions(items: Iterable[Object], field: str) -> list[Cause]:
    """The expressions of a label selector or a node selector; `Gt` and `Lt` are not implemented here."""
    causes = []
    for index, expression in enumerate(items):
        at, operator = f"{field}[{index}]", expression.get("operator", "")
        if operator not in _SELECTOR_OPERATORS:
            causes.append(Cause.invalid(f"{at}.operator", operator, "not a valid selector operator"))
        elif operator in ("In", "NotIn") and not expression.get("values"):
            causes.append(Cause.required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        causes += metadata.qualified_name(expression.get("key", ""), f"{at}.key")
    return causes
