"""Overlays of the production manifests."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from knative.local.runtime.platform import BASE


def overlay(directory: Path, *components: str) -> Path:
    """A kustomization in `directory`: the base with these components."""
    for name in ("base", "components", "alerts"):
        shutil.copytree(BASE.parent / name, directory / name)
    kustomization = {"resources": ["../base"], "components": [f"../components/{name}" for name in components]}
    (directory / "overlay").mkdir()
    (directory / "overlay" / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return directory / "overlay"


@cache
def rendered(*components: str) -> list[dict[str, Any]]:
    """The objects of such an overlay, as kubectl renders them."""
    with tempfile.TemporaryDirectory() as directory:
        return render(overlay(Path(directory), *components))


def render(overlay: Path) -> list[dict[str, Any]]:
    """The objects of a kustomization, as kubectl renders them."""
    command = ["kubectl", "kustomize", str(overlay)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return list(yaml.load_all(output, yaml.CSafeLoader))
