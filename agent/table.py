"""A reading as a person reads it, in columns."""

from collections.abc import Sequence

from agent.readings import GpuReading, NodeReading

_NOTHING = "-"
_GIB = 2**30


def as_table(reading: NodeReading) -> str:
    """The node in one line, and one line for each GPU and MIG instance. What is not known is `-`."""
    node = _columns(
        ("NODE", "STATE", "DRIVER", "CPUS", "CPU", "LOAD", "MEMORY", "DISK"),
        [
            (
                reading.node,
                reading.state,
                reading.driver or _NOTHING,
                _number(reading.metrics.get("cpus")),
                _number(reading.metrics.get("cpu_utilization_percent"), "%"),
                _number(reading.metrics.get("load1"), decimals=2),
                _used(_memory_used(reading), reading.metrics.get("memory_total_bytes")),
                _used(reading.metrics.get("disk_used_bytes"), reading.metrics.get("disk_total_bytes")),
            )
        ],
    )
    if not reading.gpus:
        return node
    gpus = _columns(
        ("GPU", "UUID", "PRODUCT", "STATE", "LOAD", "MEMORY", "TEMPERATURE", "POWER", "CONTAINERS"),
        [_gpu(gpu) for gpu in reading.gpus],
    )
    return f"{node}\n{gpus}"


def _gpu(gpu: GpuReading) -> tuple[str, ...]:
    metrics = gpu.metrics
    power = _number(metrics.get("power_watts"))
    return (
        str(gpu.index),
        gpu.gpu,
        f"{gpu.product} MIG {gpu.profile}" if gpu.parent else gpu.product,
        gpu.state,
        _number(metrics.get("utilization_percent"), "%"),
        _used(metrics.get("memory_used_bytes"), metrics.get("memory_total_bytes")),
        _number(metrics.get("temperature_celsius"), "C"),
        power if power == _NOTHING else f"{power}/{_number(metrics.get('power_limit_watts'))} W",
        ",".join(str(one) for one in gpu.containers) or _NOTHING,
    )


def _memory_used(reading: NodeReading) -> float | None:
    total, available = (reading.metrics.get(f"memory_{name}_bytes") for name in ("total", "available"))
    return None if total is None or available is None else total - available


def _used(used: float | None, total: float | None) -> str:
    if used is None or total is None:
        return _NOTHING
    return f"{used / _GIB:.1f}/{total / _GIB:.1f} GiB"


def _number(value: float | None, unit: str = "", *, decimals: int = 0) -> str:
    return _NOTHING if value is None else f"{value:.{decimals}f}{unit}"


def _columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in lines
    )
