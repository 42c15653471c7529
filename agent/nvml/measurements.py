"""Reads one GPU or one MIG instance: asks every call of its table, and remembers which of them it does not support."""

import ctypes
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pynvml

from agent.nvml.calls import Call, CallTable, FieldId
from agent.nvml.failures import Failures

# nvmlFieldValue_t: fieldId, scopeId, timestamp, latencyUsec, valueType, nvmlReturn, value (a union of 8 bytes). Read in
# one go: each attribute of a structure of pynvml costs a call of Python.
_FIELD_VALUE = struct.Struct("=IIqqIi8s")
# By nvmlValueType_t: double, unsigned int, unsigned long, unsigned long long, long long, int, unsigned short.
_VALUES = tuple(struct.Struct(f"={code}") for code in "dIQQqiH")


class _DirectCall:
    """A call of the C function itself, which writes into the same number each time.

    The function of pynvml makes a number for each call, and looks the C function up: more work than the call.
    """

    def __init__(self, call: Call) -> None:
        assert call.result is not None
        (output,) = call.outputs
        self.name, self.arguments, self.field, self.factor = call.name, call.arguments, output.field, output.factor
        self.function: Callable[..., int] = getattr(pynvml.nvmlLib, call.symbol)
        self.number = call.result()
        self.reference = ctypes.byref(self.number)


class Measurements:
    """The measurements of one GPU or instance. Handles change; what it supports does not.

    entity: its name in the log.
    """

    def __init__(self, entity: str, table: CallTable) -> None:
        self._failures = Failures(entity)
        self._calls = list(table.calls)
        self._direct_calls: list[_DirectCall] = []
        self._constants: dict[str, float] = {}
        self._offered_ids = table.field_ids
        self._field_ids: list[FieldId] = []
        self._values: Any = ()
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
            self._read_field_ids(handle, metrics)
        else:
            self._explore_field_ids(handle, metrics)
            self._explored = True
            self._direct_calls = [_DirectCall(call) for call in supported if call.result is not None]
            self._calls = [call for call in supported if call.result is None]
        return metrics

    def _read_directly(self, handle: Any, metrics: dict[str, float]) -> None:
        unsupported = []
        for call in self._direct_calls:
            if code := call.function(handle, *call.arguments, call.reference):
                if not self._failures.comes_back(call.name, code):
                    unsupported.append(call)
            else:
                metrics[call.field] = call.number.value * call.factor
        for call in unsupported:
            self._direct_calls.remove(call)

    def _explore_field_ids(self, handle: Any, metrics: dict[str, float]) -> None:
        """Finds the field ids that the GPU supports: first those of the whole GPU, which say how many links it has."""
        missing = [each for each in self._offered_ids if each.output.field not in metrics]
        self._ask_for([each for each in missing if not each.each_link])
        self._read_field_ids(handle, metrics)
        whole, links = self._field_ids, int(metrics.get("nvlinks_supported", 0))
        given = {each.output.field for each in whole}
        per_link = [each.of_links(links) for each in missing if each.each_link and each.output.field not in given]
        self._ask_for(per_link if links else [])
        self._read_field_ids(handle, metrics)
        self._ask_for([*whole, *self._field_ids])

    def _ask_for(self, field_ids: list[FieldId]) -> None:
        """Makes room for the answers once: pynvml's own function does it in each call, at half the cost of the call."""
        self._field_ids = field_ids
        wanted = [(each.id, scope) for each in field_ids for scope in each.scopes]
        self._values = (pynvml.c_nvmlFieldValue_t * len(wanted))()
        for value, (field_id, scope) in zip(self._values, wanted, strict=True):
            value.fieldId, value.scopeId = field_id, scope

    def _read_field_ids(self, handle: Any, metrics: dict[str, float]) -> None:
        if not self._field_ids:
            return
        code = pynvml.nvmlLib.nvmlDeviceGetFieldValues(handle, len(self._values), self._values)
        if code != pynvml.NVML_SUCCESS:
            if not self._failures.comes_back("nvmlDeviceGetFieldValues", code):
                self._ask_for([])
            return
        answers = _FIELD_VALUE.iter_unpack(self._values)
        supported, settled = [], True
        for each in self._field_ids:
            kept = self._sum(each, answers, metrics) if each.each_link else self._single(each, next(answers), metrics)
            settled = settled and kept is each
            if kept is not None:
                supported.append(kept)
        if not settled:
            self._ask_for(supported)

    def _single(self, wanted: FieldId, answer: tuple[Any, ...], metrics: dict[str, float]) -> FieldId | None:
        """Takes the answer of a field that the GPU has once, and returns it while it is supported, or None."""
        *_, kind, code, raw = answer
        output = wanted.output
        if code != pynvml.NVML_SUCCESS and not self._failures.comes_back(wanted.name, code):
            return None
        if output.field in metrics and not self._explored:
            return None
        if code == pynvml.NVML_SUCCESS:
            metrics[output.field] = (_VALUES[kind].unpack_from(raw)[0] if kind < len(_VALUES) else 0.0) * output.factor
        return wanted

    def _sum(self, wanted: FieldId, answers: Iterator[tuple[Any, ...]], metrics: dict[str, float]) -> FieldId | None:
        """Takes the answers of the links of this field, and returns it with those that are supported, or None."""
        total, complete, unsupported = 0.0, True, set()
        for scope in wanted.scopes:
            *_, kind, code, raw = next(answers)
            if code == pynvml.NVML_SUCCESS:
                total += _VALUES[kind].unpack_from(raw)[0] if kind < len(_VALUES) else 0.0
            elif self._failures.comes_back(wanted.name, code):
                complete = False
            else:
                unsupported.add(scope)
        if len(unsupported) == len(wanted.scopes) or (wanted.output.field in metrics and not self._explored):
            return None
        if complete:
            metrics[wanted.output.field] = total * wanted.output.factor
        if not unsupported:
            return wanted
        return replace(wanted, scopes=tuple(scope for scope in wanted.scopes if scope not in unsupported))
