"""Reads one GPU or one MIG instance: asks every call of its table, and remembers which of them it does not support."""

import ctypes
from collections.abc import Callable
from typing import Any, NamedTuple

import pynvml

from agent.nvml.calls import Call, CallTable
from agent.nvml.failures import Failures
from agent.nvml.field_values import FieldValues


class _DirectCall(NamedTuple):
    """A call of the C function itself, which writes into the same number each time; `arguments` end with that.

    The function of pynvml makes a number for each call, and looks the C function up: more work than the call.
    """

    name: str
    function: Callable[..., int]
    arguments: tuple[Any, ...]
    number: Any
    field: str
    factor: float


def _direct(call: Call) -> _DirectCall:
    assert call.result is not None
    (output,) = call.outputs
    function: Callable[..., int] = getattr(pynvml.nvmlLib, call.symbol)
    number = call.result()
    arguments = (*call.arguments, ctypes.byref(number))
    return _DirectCall(call.name, function, arguments, number, output.field, output.factor)


class Measurements:
    """The measurements of one GPU or instance. Handles change; what it supports does not.

    entity: its name in the log.
    """

    def __init__(self, entity: str, table: CallTable) -> None:
        self._failures = Failures(entity)
        self._calls = list(table.calls)
        self._direct_calls: list[_DirectCall] = []
        self._constants: dict[str, float] = {}
        self._field_values = FieldValues(self._failures, table.field_ids)
        self._explored = False

    def read(self, handle: Any) -> dict[str, float]:
        """What the GPU says, by field; who reads it checks the bounds. A call that fails is absent this time, and one
        that is not supported for good.

        Raises NVMLError whose meaning is GPU_LOST or SESSION_OVER.
        """
        metrics = dict(self._constants)
        supported = []
        for call in self._calls:
            if not self._explored and all(output.field in metrics for output in call.outputs):
                continue
            try:
                result = call.function(handle, *call.arguments)
            except pynvml.NVMLError as error:
                if self._failures.comes_back(call.name, error.value):
                    supported.append(call)
                continue
            if call.constant:
                for output in call.outputs:
                    self._constants[output.field] = metrics[output.field] = output.part(result) * output.factor
                continue
            supported.append(call)
            for output in call.outputs:
                metrics[output.field] = output.part(result) * output.factor
        self._calls = supported
        if self._explored:
            self._read_directly(handle, metrics)
            self._field_values.read(handle, metrics)
        else:
            self._field_values.explore(handle, metrics)
            self._explored = True
            self._direct_calls = [_direct(call) for call in supported if call.result is not None]
            self._calls = [call for call in supported if call.result is None]
        return metrics

    def _read_directly(self, handle: Any, metrics: dict[str, float]) -> None:
        unsupported = []
        for call in self._direct_calls:
            name, function, arguments, number, field, factor = call
            if code := function(handle, *arguments):
                if not self._failures.comes_back(name, code):
                    unsupported.append(call)
            else:
                metrics[field] = number.value * factor
        for call in unsupported:
            self._direct_calls.remove(call)
