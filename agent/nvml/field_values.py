"""The measurements that NVML gives by field ids, all of a GPU in one call: nvmlDeviceGetFieldValues."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import mul
from typing import Any

import pynvml

from agent.nvml.calls import FieldId
from agent.nvml.failures import Failures

# nvmlFieldValue_t: fieldId, scopeId, timestamp, latencyUsec, valueType, nvmlReturn, value (a union of 8 bytes). Read in
# one go: each attribute of a structure of pynvml costs a call of Python.
_FIELD_VALUE = struct.Struct("=24xIi8s")
# By nvmlValueType_t: double, unsigned int, unsigned long, unsigned long long, long long, int, unsigned short. Each is
# filled up to 8 bytes.
_VALUE_FORMATS = ("d", "I4x", "Q", "Q", "q", "i4x", "H6x")
_VALUES = tuple(struct.Struct(f"={code}") for code in _VALUE_FORMATS)


class FieldValues:
    """The fields of one GPU or instance. offered: those to ask for, the first one first where several give a field."""

    def __init__(self, failures: Failures, offered: Sequence[FieldId]) -> None:
        self._failures = failures
        self._offered = offered
        self._field_ids: list[FieldId] = []
        self._values: Any = ()
        self._layout: _Layout | None = None

    def explore(self, handle: Any, metrics: dict[str, float]) -> None:
        """As `read`, the first time. It finds the fields that the GPU supports and `metrics` does not have yet: first
        those of the whole GPU, which say how many links it has."""
        missing = [each for each in self._offered if each.output.field not in metrics]
        self._ask_for([each for each in missing if not each.each_link])
        self._read(handle, metrics, first=True)
        whole, links = self._field_ids, int(metrics.get("nvlinks_supported", 0))
        given = {each.output.field for each in whole}
        per_link = [each.of_links(links) for each in missing if each.each_link and each.output.field not in given]
        self._ask_for(per_link if links else [])
        self._read(handle, metrics, first=True)
        self._ask_for([*whole, *self._field_ids])

    def read(self, handle: Any, metrics: dict[str, float]) -> None:
        """Adds what the GPU says now, by field. A field that fails is absent this time, and one that is not supported
        for good. Raises NVMLError whose meaning is GPU_LOST or SESSION_OVER."""
        self._read(handle, metrics, first=False)

    def _ask_for(self, field_ids: list[FieldId]) -> None:
        """Makes room for the answers once: pynvml's own function does it in each call, at half the cost of the call."""
        self._field_ids = field_ids
        self._layout = None
        wanted = [(each.id, scope) for each in field_ids for scope in each.scopes]
        self._values = (pynvml.c_nvmlFieldValue_t * len(wanted))()
        for value, (field_id, scope) in zip(self._values, wanted, strict=True):
            value.fieldId, value.scopeId = field_id, scope

    def _read(self, handle: Any, metrics: dict[str, float], *, first: bool) -> None:
        if not self._field_ids:
            return
        code = pynvml.nvmlLib.nvmlDeviceGetFieldValues(handle, len(self._values), self._values)
        if code != pynvml.NVML_SUCCESS:
            if not self._failures.comes_back("nvmlDeviceGetFieldValues", code):
                self._ask_for([])
            return
        if self._layout is not None and self._layout.take(self._values, metrics):
            return
        answers = list(_FIELD_VALUE.iter_unpack(self._values))
        supported = list(self._supported(iter(answers), metrics, first=first))
        if supported != self._field_ids:
            self._ask_for(supported)
        elif all(code == pynvml.NVML_SUCCESS and kind < len(_VALUES) for kind, code, _ in answers):
            self._layout = _Layout(supported, [kind for kind, _, _ in answers])

    def _supported(
        self, answers: Iterator[tuple[int, int, bytes]], metrics: dict[str, float], *, first: bool
    ) -> Iterator[FieldId]:
        """Takes the answers one by one, and gives out what to ask for from now on."""
        for wanted in self._field_ids:
            total, complete, unsupported = 0.0, True, set()
            for scope in wanted.scopes:
                kind, code, raw = next(answers)
                if code == pynvml.NVML_SUCCESS:
                    total += _VALUES[kind].unpack(raw)[0] if kind < len(_VALUES) else 0.0
                elif self._failures.comes_back(wanted.name, code):
                    complete = False
                else:
                    unsupported.add(scope)
            if len(unsupported) == len(wanted.scopes) or (first and wanted.output.field in metrics):
                continue
            if complete:
                metrics[wanted.output.field] = total * wanted.output.factor
            if unsupported:
                yield replace(wanted, scopes=tuple(scope for scope in wanted.scopes if scope not in unsupported))
            else:
                yield wanted


class _Layout:
    """Where the answers are, while all are there and of the types that they had: all are taken at once, in a fifth of
    the time that one by one takes."""

    def __init__(self, field_ids: Sequence[FieldId], kinds: Sequence[int]) -> None:
        """field_ids: those of links after all others. kinds: nvmlValueType_t of each answer."""
        self._struct = struct.Struct("=" + "".join(f"24xIi{_VALUE_FORMATS[kind]}" for kind in kinds))
        self._kinds = tuple(kinds)
        self._codes = (pynvml.NVML_SUCCESS,) * len(kinds)
        whole = [each for each in field_ids if not each.each_link]
        self._fields = tuple(each.output.field for each in whole)
        self._factors = tuple(each.output.factor for each in whole)
        self._sums: list[tuple[str, float, slice]] = []
        start = len(whole)
        for each in field_ids[len(whole) :]:
            end = start + len(each.scopes)
            self._sums.append((each.output.field, each.output.factor, slice(start, end)))
            start = end

    def take(self, values: Any, metrics: dict[str, float]) -> bool:
        """False, and nothing is taken, when an answer has failed or is of another type."""
        found = self._struct.unpack(values)
        if found[1::3] != self._codes or found[0::3] != self._kinds:
            return False
        numbers = found[2::3]
        metrics.update(zip(self._fields, map(mul, numbers, self._factors), strict=True))
        for field, factor, part in self._sums:
            metrics[field] = sum(numbers[part]) * factor
        return True
