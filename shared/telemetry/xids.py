"""NVIDIA's catalogue of XID errors: what each one means, what NVIDIA says to do, and whose fault it is.

Codes, names and actions are those of NVIDIA's "Analyzing Xid Errors with the Xid Catalog"
(https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html). The summaries are ours. The column `source`
says what the blame rests on:

    source                 blame
    immediate_action       RESTART_APP: the pod. To restart the application is enough, so the GPU is well.
                           IGNORE, XID_154: nobody. It is a notice, and no fault.
                           RESTART_VM, UPDATE_SWFW: the node.
                           Everything else, such as RESET_GPU: the GPU.
    investigatory_action   CHECK_APP/CUDA for an error to ignore: the pod.
    trigger_conditions,    What NVIDIA writes about the cause or the remedy, where it says more than the action. XID 32
    description            is about the PCIe link, "generally not caused by user application actions"; XID 43 and 137
                           are application errors; XID 94 is a memory error, which hits one application.
    conservative           NVIDIA names no action: the GPU.

NVIDIA's device plugin for Kubernetes takes 13, 31, 43, 45, 68 and 109 for application errors. The catalogue agrees but
for 109: since driver 570 it asks for a reset of the GPU, and so 109 is a hardware error here.

A code that the catalogue lacks, or calls unused, is taken for a hardware error until somebody knows better: a pod that
stays on a broken GPU loses more than one that is moved for nothing.
"""

import csv
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType

from shared.models.telemetry import Blame


@dataclass(frozen=True)
class Xid:
    """One kind of XID error. The actions are NVIDIA's words, such as RESET_GPU; None where NVIDIA names none.

    blame: None for a notice, which is no fault. known: whether the catalogue has the code.
    """

    xid: int
    mnemonic: str
    summary: str
    immediate_action: str | None
    investigatory_action: str | None
    blame: Blame | None
    source: str
    known: bool = True

    @property
    def is_hardware(self) -> bool:
        """Whether the GPU or the node has to be looked after, rather than the application."""
        return self.blame in (Blame.GPU, Blame.NODE)

    def __str__(self) -> str:
        """ "XID 79: the GPU has fallen off the bus; NVIDIA says: RESTART_BM, then CONTACT_SUPPORT; hardware"."""
        if not self.known:
            return f"XID {self.xid}: {self.summary}; treated as hardware"
        actions = list(dict.fromkeys(filter(None, (self.immediate_action, self.investigatory_action))))
        advice = f"NVIDIA says: {', then '.join(actions)}" if actions else "NVIDIA names no action"
        cause = "hardware" if self.is_hardware else "application" if self.blame is Blame.POD else "notice"
        return f"XID {self.xid}: {self.summary}; {advice}; {cause}"


def catalogue() -> Mapping[int, Xid]:
    """Every kind of error that NVIDIA's catalogue has in use, by code."""
    return _read()


def lookup(code: int) -> Xid:
    """What is known about a code; an unknown one is taken for a hardware error."""
    return _read().get(code) or Xid(
        code, "UNKNOWN", "not in NVIDIA's catalogue", None, None, Blame.GPU, "conservative", known=False
    )


@functools.cache
def _read() -> Mapping[int, Xid]:
    with files("shared.telemetry").joinpath("xids.csv").open(encoding="utf-8") as file:
        rows = [
            Xid(
                int(row["xid"]),
                row["mnemonic"],
                row["summary"],
                row["immediate_action"] or None,
                row["investigatory_action"] or None,
                None if row["blame"] == "none" else Blame(row["blame"]),
                row["source"],
            )
            for row in csv.DictReader(file)
        ]
    return MappingProxyType({one.xid: one for one in rows})
