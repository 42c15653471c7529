"""What Prometheus gets from a reading: dcgm-exporter's names, units and labels, and our own for the rest."""

import csv
import re
from importlib.resources import files

from prometheus_client import CollectorRegistry

from agent.metrics import ReadingCollector, exposition
from agent.readings import NodeReading
from shared.models.telemetry import GpuState, NodeState
from shared.telemetry.fields import GPU_FIELDS, NODE_FIELDS
from tests.support.gpus import PRODUCT, gpu_reading, node_reading

LABELS = {
    "gpu": "0",
    "UUID": "GPU-0",
    "pci_bus_id": "00000000:00:00.0",
    "device": "nvidia0",
    "modelName": PRODUCT,
    "Hostname": "gpu-0",
    "DCGM_FI_DRIVER_VERSION": "580.95.05",
}
Series = dict[str, list[tuple[dict[str, str], float]]]


def text_of(reading: NodeReading | None) -> str:
    registry = CollectorRegistry()
    registry.register(ReadingCollector(lambda: reading))
    return exposition(registry).decode()


def series_of(reading: NodeReading) -> Series:
    """As they are in the text: the parser of Prometheus' client would end the names of counters in _total."""
    found: Series = {}
    for name, labels, value in re.findall(r"^(\w+)\{(.*)\} (\S+)$", text_of(reading), re.MULTILINE):
        found.setdefault(name, []).append((dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)))
    return found


def test_a_gpu_has_the_name_labels_and_unit_of_dcgm_exporter() -> None:
    metrics = {"sm_clock_hertz": 1.98e9, "memory_used_bytes": 40 * 2**30, "energy_joules_total": 123.456}
    series = series_of(node_reading(gpu_reading(metrics=metrics)))
    assert series["DCGM_FI_DEV_SM_CLOCK"] == [(LABELS, 1980.0)]
    assert series["DCGM_FI_DEV_FB_USED"] == [(LABELS, 40960.0)]
    assert series["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"] == [(LABELS, 123456.0)]


def test_a_counter_of_dcgm_exporter_keeps_its_name_and_one_of_ours_ends_in_total() -> None:
    lines = text_of(node_reading(gpu_reading(metrics={"pcie_replays_total": 3}))).splitlines()
    assert "# TYPE DCGM_FI_DEV_PCIE_REPLAY_COUNTER counter" in lines
    assert "# TYPE sentinel_agent_node_disk_read_bytes_total counter" in lines
    assert not [line for line in lines if "_total_total" in line]


def test_every_field_is_exported_under_one_name() -> None:
    gpu = gpu_reading(metrics=dict.fromkeys(GPU_FIELDS, 1.0))
    series = series_of(node_reading(gpu, metrics=dict.fromkeys(NODE_FIELDS, 1.0)))
    states = {"sentinel_agent_node_state", "sentinel_agent_gpu_state"}
    assert len(series.keys() - states) == len(GPU_FIELDS) + len(NODE_FIELDS)
    assert {"sentinel_agent_gpu_nvlinks_active", "sentinel_agent_node_load1"} <= series.keys()


def test_the_table_names_fields_that_are_there_each_once_for_gpus_and_for_mig_instances() -> None:
    with files("agent").joinpath("metrics.csv").open(encoding="utf-8") as file:
        rows = [(row["field"], row["entity"]) for row in csv.DictReader(file)]
    assert {field for field, _ in rows} <= set(GPU_FIELDS)
    entities: dict[str, list[str]] = {}
    for field, entity in rows:
        entities.setdefault(field, []).append(entity)
    assert {tuple(of_field) for of_field in entities.values()} == {("",), ("gpu", "mig")}


def test_a_container_is_named_and_each_of_several_gets_the_series() -> None:
    shared = gpu_reading(1, containers=("search/web-0/main", "search/web-1/main"))
    series = series_of(node_reading(gpu_reading(containers=("train/llm-0/worker",)), shared, gpu_reading(2)))
    holders = [
        (labels["gpu"], labels.get("namespace"), labels.get("pod"), labels.get("container"))
        for labels, _ in series["DCGM_FI_DEV_GPU_UTIL"]
    ]
    assert holders == [
        ("0", "train", "llm-0", "worker"),
        ("1", "search", "web-0", "main"),
        ("1", "search", "web-1", "main"),
        ("2", None, None, None),
    ]


def test_a_mig_instance_has_the_labels_of_its_gpu_and_its_own() -> None:
    one, other = (gpu_reading(gpu=f"MIG-{n}", parent="GPU-0", profile="1g.10gb", instance=n) for n in (7, None))
    series = series_of(node_reading(gpu_reading(metrics={}), one, other))
    mig = {**LABELS, "GPU_I_PROFILE": "1g.10gb"}
    assert [labels for labels, _ in series["DCGM_FI_DEV_FB_USED"]] == [
        {**mig, "GPU_I_ID": "7"},
        {**mig, "GPU_I_ID": "MIG-None"},
    ]


def test_the_utilization_of_a_mig_instance_is_a_ratio_with_the_names_of_dcgm_exporter() -> None:
    metrics = {"utilization_percent": 87.5, "memory_utilization_percent": 25.0}
    instance = gpu_reading(gpu="MIG-7", parent="GPU-0", profile="1g.10gb", instance=7, metrics=metrics)
    series = series_of(node_reading(gpu_reading(metrics={"utilization_percent": 40.0}), instance))
    mig = {**LABELS, "GPU_I_PROFILE": "1g.10gb", "GPU_I_ID": "7"}
    assert series["DCGM_FI_PROF_GR_ENGINE_ACTIVE"] == [(mig, 0.875)]
    assert series["DCGM_FI_PROF_DRAM_ACTIVE"] == [(mig, 0.25)]
    assert series["DCGM_FI_DEV_GPU_UTIL"] == [(LABELS, 40.0)]
    assert "DCGM_FI_DEV_MEM_COPY_UTIL" not in series


def test_a_state_is_one_and_the_others_are_zero() -> None:
    lost = gpu_reading(1, state=GpuState.LOST, metrics={})
    series = series_of(node_reading(gpu_reading(), lost, state=NodeState.DRIVER_CHANGED))
    gpus = {(labels["gpu"], labels["state"]) for labels, value in series["sentinel_agent_gpu_state"] if value}
    nodes = {labels["state"] for labels, value in series["sentinel_agent_node_state"] if value}
    assert (gpus, nodes) == ({("0", "ok"), ("1", "lost")}, {"driver_changed"})


def test_without_a_reading_there_is_nothing() -> None:
    assert text_of(None) == ""
