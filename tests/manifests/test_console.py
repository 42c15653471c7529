"""The component that gives the console a name outside the cluster."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.support.kustomize import overlay, render


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on the PATH")
def test_an_overlay_names_the_console_and_maps_it_to_the_api_over_tls(tmp_path: Path) -> None:
    directory = overlay(tmp_path, "console")
    comment = (tmp_path / "components" / "console" / "kustomization.yaml").read_text()
    lines = [line.removeprefix("#   ") for line in comment.splitlines() if line.startswith("#   ")]
    file = directory / "kustomization.yaml"
    example = yaml.safe_load("\n".join(lines))
    assert example["components"] == ["../../components/console"]
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"patches": example["patches"]}))
    objects = {(one["kind"], one["metadata"]["name"]): one for one in render(directory)}
    mapping = objects["DomainMapping", "console.your-domain"]
    service = objects[mapping["spec"]["ref"]["kind"], mapping["spec"]["ref"]["name"]]
    assert service["metadata"]["namespace"] == mapping["metadata"]["namespace"] == mapping["spec"]["ref"]["namespace"]
    assert service["metadata"]["labels"]["networking.knative.dev/visibility"] == "cluster-local"
    assert mapping["spec"]["tls"] == {"secretName": "console-tls"}
