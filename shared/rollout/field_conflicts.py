"""What an apply does about fields that other field managers own, and set to other values than it wants. Pure.

| plan        | field                                                    | what becomes of it              |
|-------------|----------------------------------------------------------|---------------------------------|
| any         | `.spec.replicas`                                         | left to its owner               |
| a rollback  | what may have broken the revision that it goes back from | taken                           |
| a rollback  | a label or annotation of Sentinel's own                  | taken                           |
| a rollback  | any other                                                | left to its owner               |
| other plans | any other                                                | the apply ends with a conflict  |

For example, a rollback from a revision whose image cannot be pulled takes the image from whoever has set it, and leaves
the resources to whoever has set those.

A field that is left is left out of the apply: its owner keeps it, and all other fields are applied.
"""

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.models.deployment import OwnedField
from shared.models.workload import OWN_LABEL_PREFIXES
from shared.rollout.symptoms import FAILED_STARTS, PULL_REASONS, UNSCHEDULABLE

_REPLICAS = ".spec.replicas"
_POD = ".spec.template.spec."
_IDENTITY = tuple(f".metadata.{part}.{prefix}" for part in ("labels", "annotations") for prefix in OWN_LABEL_PREFIXES)
_WHERE_TO_RUN = re.compile(r"(affinity|nodeSelector|tolerations)\b")
_WHAT_NODES_NEED = re.compile(r"(affinity|nodeSelector|tolerations|volumes|host[A-Z]\w*|.*\.(resources|ports))\b")
# An element of a list by its keys, as in [name="main"] or [containerPort=80,protocol="TCP"]: JSON values.
_ELEMENT = re.compile(r'\[((?:[^"\]]|"(?:\\.|[^"\\])*")+)\]')
_KEY = re.compile(r'(\w+)=("(?:\\.|[^"\\])*"|[^,]+)')


@dataclass(frozen=True)
class Resolution:
    """What to apply instead, by force where fields are taken, and whose fields are taken and left."""

    document: dict[str, Any]
    taken: tuple[OwnedField, ...]
    left: tuple[OwnedField, ...]


def resolve(document: Mapping[str, Any], conflicts: Sequence[OwnedField], failure: str | None) -> Resolution | None:
    """What to do about the conflicts of an apply of `document`; None when it ends with a conflict.

    failure: for a rollback, the reason for which the revision that it goes back from is broken, "" if none is known.
    None for other plans.
    """
    others = [one for one in conflicts if one.field != _REPLICAS]
    if failure is None and others:
        return None
    taken = [one for one in others if failure is not None and _is_taken(one.field, failure)]
    left = [one for one in conflicts if one not in taken]
    reduced: dict[str, Any] = copy.deepcopy(dict(document))
    if not all(_leave_out(reduced, path) for path in {one.field for one in left}):
        return None
    return Resolution(reduced, tuple(taken), tuple(left))


def _is_taken(field: str, failure: str) -> bool:
    return field.startswith(_IDENTITY) or (field.startswith(_POD) and _may_cause(field.removeprefix(_POD), failure))


def _may_cause(field: str, failure: str) -> bool:
    """Whether a field of the pod may be why a revision is broken."""
    if failure in PULL_REASONS:
        return field.endswith(".image")
    if failure == UNSCHEDULABLE:
        return _WHAT_NODES_NEED.match(field) is not None
    if failure in FAILED_STARTS:
        return _WHERE_TO_RUN.match(field) is None
    return True


def _leave_out(value: Any, path: str) -> bool:
    """Deletes what a path leads to, as an API server writes paths; False when it leads nowhere.

    A name may hold dots, as in `.metadata.labels.example.org/stage`.
    """
    if isinstance(value, dict) and path.startswith("."):
        names = (name for name in value if re.match(rf"{re.escape(name)}(?=[.\[]|$)", path[1:]))
        for name in sorted(names, key=len, reverse=True):
            rest = path[1 + len(name) :]
            if not rest:
                del value[name]
                return True
            if _leave_out(value[name], rest):
                return True
    if isinstance(value, list) and (element := _ELEMENT.match(path)) is not None:
        keys = {name: json.loads(text) for name, text in _KEY.findall(element[1])}
        found = [item for item in value if isinstance(item, dict) and keys.items() <= _scalars(item).items()]
        rest = path[element.end() :]
        if keys and len(found) == 1 and rest:
            return _leave_out(found[0], rest)
    return False


def _scalars(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in item.items() if not isinstance(one, dict | list)}
