"""The production manifests with a proxy on every way: to the database, to the ingress and to each function."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from pathlib import Path

import yaml

from tests.support.manifests import base

CLOCK = Path(__file__).parent / "clock"
ROOT = Path(__file__).parents[2]


def functions() -> list[str]:
    """The names of the Services that a Trigger delivers to."""
    found = [each["spec"]["subscriber"]["ref"]["name"] for each in base() if each["kind"] == "Trigger"]
    return list(dict.fromkeys(found))


def write(directory: Path, *, database_url: str, sink: str, subscribers: Mapping[str, str]) -> Path:
    """A kustomization. sink: what replaces the ingress in K_SINK. subscribers: the URL for each of `functions`.

    The clocks of functions are an hour off, fast and slow in turn (R8).
    """
    bound = {each["spec"]["subject"]["name"] for each in base() if each["kind"] == "SinkBinding"}
    objects = copy.deepcopy(base())
    clocks = itertools.cycle((3600, -3600))
    for each in objects:
        name = each["metadata"]["name"]
        if each["kind"] == "Service":
            [container] = each["spec"]["template"]["spec"]["containers"]
            changed = {"DATABASE_URL": database_url} | ({"K_SINK": sink} if name in bound else {})
            changed |= {"PYTHONPATH": f"{CLOCK}:{ROOT}", "CLOCK_SHIFT_SECONDS": str(next(clocks))}
            kept = [variable for variable in container["env"] if variable["name"] not in changed]
            container["env"] = [*kept, *({"name": n, "value": v} for n, v in changed.items())]
        elif each["kind"] == "Trigger":
            each["spec"]["subscriber"] = {"uri": subscribers[each["spec"]["subscriber"]["ref"]["name"]]}
    directory.mkdir()
    (directory / "all.yaml").write_text(yaml.safe_dump_all(objects))
    (directory / "kustomization.yaml").write_text("resources: [all.yaml]\n")
    return directory
