"""Reads one GPU or one MIG instance: asks every call of its table, and remembers which of them it does not support."""

from typing import Any

import pynvml

from agent.nvml.calls import CallTable
from agent.nvml.direct_calls import DirectCall, direct_call
from agent.nvml.failures import Failures
from agent.nvml.field_values import FieldValues


class Measurements:
    """The measurements of one GPU or instance. Handles change; what it supports does not.

    entity: its name in the log.
    """

    def __init__(self, entity: str, table: CallTable) -> None:
        self._failures = Failures(entity)
        self._calls = list(table.calls)
        self._direct_calls: list[DirectCall] = []
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
            found = [(call, direct_call(call)) for call in supported]
            self._direct_calls = [direct for _, direct in found if direct is not None]
            self._calls = [call for call, direct in found if direct is None]
        return metrics

    def _read_directly(self, handle: Any, metrics: dict[str, float]) -> None:
        unsupported = []
        for call in self._direct_calls:
            name, function, arguments, result, outputs = call
            if code := function(handle, *arguments):
                if not self._failures.comes_back(name, code):
                    unsupported.append(call)
            else:
                for part, field, factor in outputs:
                    metrics[field] = part(result) * factor
        for call in unsupported:
            self._direct_calls.remove(call)
