"""Calls of NVML's C functions themselves, which write into the same place each time.

The functions of pynvml make a place for each call, and look the C function up: more work than the call. So the agent
asks through pynvml until it knows what a GPU supports, and directly from then on.
"""

import ctypes
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import pynvml

from agent.nvml.calls import Call


class DirectCall(NamedTuple):
    """function: of the C library; it takes the GPU and `arguments`, writes into `result`, and returns NVML's code.

    outputs: how each field comes from the result, the field, and the factor to its unit.
    """

    name: str
    function: Callable[..., int]
    arguments: tuple[Any, ...]
    result: Any
    outputs: tuple[tuple[Callable[[Any], float], str, float], ...]


def direct_call(call: Call) -> DirectCall | None:
    """The same call without pynvml, or None where only pynvml knows how the C function answers."""
    symbol = call.symbol
    arguments: tuple[Any, ...] = call.arguments
    parts: Sequence[Callable[[Any], float]] = [output.part for output in call.outputs]
    if call.result is not None:
        result: Any = call.result()
        arguments = (*arguments, ctypes.byref(result))
        parts = (attrgetter("value"),)
    elif symbol in ("nvmlDeviceGetEncoderUtilization", "nvmlDeviceGetDecoderUtilization"):
        result = (ctypes.c_uint * 2)()  # the utilization, and the time that it was sampled over
        arguments = (ctypes.byref(result), ctypes.byref(result, ctypes.sizeof(ctypes.c_uint)))
    elif symbol == "nvmlDeviceGetUtilizationRates":
        result = pynvml.c_nvmlUtilization_t()
        arguments = (ctypes.byref(result),)
    elif symbol == "nvmlDeviceGetMemoryInfo" and arguments:
        symbol, result = "nvmlDeviceGetMemoryInfo_v2", pynvml.c_nvmlMemory_v2_t()
        (result.version,) = arguments
        arguments = (ctypes.byref(result),)
    elif symbol == "nvmlDeviceGetTemperatureV":
        result = pynvml.c_nvmlTemperature_v1_t()
        result.version, (result.sensorType,) = pynvml.nvmlTemperature_v1, arguments
        arguments = (ctypes.byref(result),)
        parts = (attrgetter("temperature"),)
    else:
        return None
    outputs = tuple((part, output.field, output.factor) for part, output in zip(parts, call.outputs, strict=True))
    return DirectCall(call.name, getattr(pynvml.nvmlLib, symbol), arguments, result, outputs)
