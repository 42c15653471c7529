"""What is asked of NVML: calls.csv as functions of pynvml.

A row gives one field of shared/telemetry/gpu_fields.csv:

    function   of pynvml; its first argument is the GPU
    argument   the second one, a constant of pynvml, or none
    result     uint or ulonglong: what the C function of this name writes through its last argument, and pynvml returns
    part       which part of the result: an attribute, a number in a list, or the whole result where it is empty
    factor     from NVML's unit to the field's
    mig        yes: a MIG instance answers it too
    constant   yes: it is the same as long as NVML is initialised, and asked once

For nvmlDeviceGetFieldValues the argument is one id (NVML_FI_...), and all ids of a GPU are asked for in one call. The
part `links` asks for each NVLink of the GPU, and the field is their sum. Where a field has several rows, the first one
that the GPU supports counts; functions come before field ids.

For nvmlGpmMetricsGet the argument is the id of a metric (NVML_GPM_METRIC_...). MIG instances alone are asked for it;
see agent.nvml.gpm.
"""

import csv
import ctypes
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from operator import attrgetter, itemgetter
from typing import Any, Self

import pynvml

from shared.telemetry.fields import GPU_FIELDS

_FIELD_VALUES = "nvmlDeviceGetFieldValues"
_LINKS = "links"
_GPM_METRICS = "nvmlGpmMetricsGet"

Number = ctypes.c_uint | ctypes.c_ulonglong
_RESULTS: Mapping[str, type[Number]] = {"uint": ctypes.c_uint, "ulonglong": ctypes.c_ulonglong}


@dataclass(frozen=True)
class Output:
    """A field, and how it comes from the result of a call."""

    field: str
    part: Callable[[Any], float]
    factor: float


@dataclass(frozen=True)
class Call:
    """A function that gives one or more fields.

    symbol: its name in the C library. result: what it writes there, where that is one number.
    """

    name: str
    function: Callable[..., Any]
    symbol: str
    arguments: tuple[int, ...]
    result: type[Number] | None
    outputs: tuple[Output, ...]
    mig: bool
    constant: bool


@dataclass(frozen=True)
class FieldId:
    """A field that nvmlDeviceGetFieldValues gives: the sum of the values with this id in these scopes."""

    name: str
    id: int
    output: Output
    each_link: bool
    scopes: tuple[int, ...] = (0,)

    def of_links(self, count: int) -> Self:
        return replace(self, scopes=tuple(range(count)))


@dataclass(frozen=True)
class GpmMetric:
    """A field that nvmlGpmMetricsGet gives of a GPU instance."""

    name: str
    id: int
    output: Output


@dataclass(frozen=True)
class CallTable:
    """Everything that is asked of one GPU, or of one MIG instance."""

    calls: tuple[Call, ...]
    field_ids: tuple[FieldId, ...]
    gpm_metrics: tuple[GpmMetric, ...]

    def of_mig_instance(self) -> "CallTable":
        """What an instance answers: no field ids, which are of the whole GPU."""
        return replace(self, calls=tuple(call for call in self.calls if call.mig), field_ids=())


@functools.cache
def call_table() -> CallTable:
    """The rows of calls.csv."""
    calls: dict[tuple[str, str], Call] = {}
    field_ids = []
    gpm_metrics = []
    with files("agent.nvml").joinpath("calls.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            output = _output(row)
            name, argument = row["function"], row["argument"]
            if name == _FIELD_VALUES:
                field_ids.append(FieldId(argument, getattr(pynvml, argument), output, row["part"] == _LINKS))
            elif name == _GPM_METRICS:
                gpm_metrics.append(GpmMetric(argument, getattr(pynvml, argument), output))
            elif known := calls.get((name, argument)):
                calls[name, argument] = replace(known, outputs=(*known.outputs, output))
            else:
                arguments = (getattr(pynvml, argument),) if argument else ()
                calls[name, argument] = Call(
                    f"{name}({argument})",
                    getattr(pynvml, name),
                    name,
                    arguments,
                    _RESULTS.get(row["result"]),
                    (output,),
                    mig=row["mig"] == "yes",
                    constant=row["constant"] == "yes",
                )
    return CallTable(tuple(calls.values()), tuple(field_ids), tuple(gpm_metrics))


def _output(row: dict[str, str]) -> Output:
    return Output(GPU_FIELDS[row["field"]].name, _part(row["part"]), float(row["factor"]))


def _part(name: str) -> Callable[[Any], float]:
    if not name or name == _LINKS:
        return float
    return itemgetter(int(name)) if name.isdigit() else attrgetter(name)
