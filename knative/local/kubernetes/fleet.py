"""The nodes of a new laptop platform: a small GPU fleet with the labels of NVIDIA's GPU feature discovery."""

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

REGION = "local"


@dataclass(frozen=True)
class _Model:
    """`gpu_memory` is in MiB, as the label `nvidia.com/gpu.memory` has it."""

    name: str
    product: str
    nodes: int
    gpus: int
    gpu_memory: int
    family: str
    cpu: str
    memory: str


_FLEET = (
    _Model("h100", "NVIDIA-H100-80GB-HBM3", 2, 8, 81559, "hopper", "192", "2Ti"),
    _Model("a100", "NVIDIA-A100-SXM4-80GB", 2, 8, 81920, "ampere", "128", "1Ti"),
    _Model("l4", "NVIDIA-L4", 4, 4, 23034, "ada-lovelace", "96", "384Gi"),
)


def nodes() -> list[Object]:
    """Nodes as a client would create them, with their capacity."""
    return [_node(model, number) for model in _FLEET for number in range(1, model.nodes + 1)]


def _node(model: _Model, number: int) -> Object:
    name = f"{model.name}-{number}"
    resources = {
        "cpu": model.cpu,
        "memory": model.memory,
        "ephemeral-storage": "1Ti",
        "pods": "250",
        "nvidia.com/gpu": str(model.gpus),
    }
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/region": REGION,
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.product": model.product,
        "nvidia.com/gpu.count": str(model.gpus),
        "nvidia.com/gpu.memory": str(model.gpu_memory),
        "nvidia.com/gpu.family": model.family,
    }
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {},
        "status": {"capacity": resources, "allocatable": resources.copy()},
    }
