"""The fields that a sample of a GPU, a node or a workload may hold: a list for the agent, the events and the store.

The unit is the end of the name, in the base units of Prometheus (bytes, hertz, joules, celsius, watts, percent from 0
to 100). A counter only grows, until the driver or the node starts anew.

Each field of a GPU is a column of `gpu_samples`, and each of its rollups one of `gpu_minutes` and `gpu_hours`: a new
field, or a new rollup, needs a migration.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType


@dataclass(frozen=True)
class Field:
    """One thing that is measured. What lies outside of minimum and maximum is no measurement, but a defect.

    rollup: what is kept of it for each minute and hour: `mean`, `max`, both, or nothing.
    """

    name: str
    counter: bool
    minimum: float
    maximum: float
    help: str
    rollup: tuple[str, ...] = ()

    def check(self, value: float) -> None:
        """Raises ValueError for a value that cannot be one of this field; NaN is none."""
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{self.name}: {value:g} must be between {self.minimum:g} and {self.maximum:g}")


def _read(name: str) -> Mapping[str, Field]:
    with files("shared.telemetry").joinpath(name).open(encoding="utf-8") as file:
        fields = [
            Field(
                row["name"],
                row["kind"] == "counter",
                float(row["minimum"]),
                float(row["maximum"]),
                row["help"],
                tuple((row.get("rollup") or "").split()),
            )
            for row in csv.DictReader(file)
        ]
    return MappingProxyType({field.name: field for field in fields})


GPU_FIELDS = _read("gpu_fields.csv")
NODE_FIELDS = _read("node_fields.csv")
WORKLOAD_FIELDS = _read("workload_fields.csv")
