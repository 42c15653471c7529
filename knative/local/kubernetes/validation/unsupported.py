"""Fields of the real API that the controllers here do not implement.

Sentinel's manifests never set them. A value that would ask for something else is refused: it must not be stored and
then have no effect.
"""

from typing import Any

from knative.local.kubernetes.errors import Cause
from knative.local.kubernetes.kinds import DEPLOYMENT, JOB, POD, STATEFUL_SET, Kind

Object = dict[str, Any]

_DETAIL = "the stand-in does not implement this; leave the field out, or use a real cluster"

# Path below the spec -> the values that are implemented; None stands for an absent field.
_IMPLEMENTED: dict[Kind, dict[str, tuple[Any, ...]]] = {
    DEPLOYMENT: {"strategy.type": ("RollingUpdate",), "paused": (None, False), "minReadySeconds": (None, 0)},
    STATEFUL_SET: {
        "podManagementPolicy": ("Parallel",),
        "updateStrategy.type": ("RollingUpdate",),
        "updateStrategy.rollingUpdate.partition": (0,),
        "ordinals": (None,),
        "minReadySeconds": (None, 0),
    },
    JOB: {
        "backoffLimit": (0,),
        "manualSelector": (False,),
        "activeDeadlineSeconds": (None,),
        "ttlSecondsAfterFinished": (None,),
        "podFailurePolicy": (None,),
    },
    POD: {"schedulingGates": (None,)},
}


def check(kind: Kind, obj: Object) -> list[Cause]:
    causes = []
    for path, implemented in _IMPLEMENTED.get(kind, {}).items():
        value: Any = obj.get("spec") or {}
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if value not in implemented:
            causes.append(Cause.invalid(f"spec.{path}", value, _DETAIL))
    return causes
