"""What came of a replay: figures from the lifecycles and the store, whether they add up, how they print."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.table import Table

from knative.local.tools.replay.lifecycles import Lifecycle, Lifecycles
from knative.local.tools.replay.observation import StoreTotals
from shared.models.lifecycle import Phase

_LISTED = 5
_MIB = 1024**2


@dataclass(frozen=True)
class Effort:
    """What the replay took. events: deliveries that succeeded; retries: those that did not."""

    seconds: float
    events: int
    retries: int
    peak_bytes: int


@dataclass(frozen=True)
class Summary:
    """latencies: seconds from submission to health, sorted. stuck: workloads that nothing will become of."""

    total: int
    submitted: int
    approved: int
    denied: int
    denials: Mapping[str, int]
    rejections: Mapping[str, int]
    placed: int
    not_placeable: int
    failures: Mapping[str, int]
    removed: int
    latencies: Sequence[float]
    totals: StoreTotals
    effort: Effort
    stuck: Sequence[Lifecycle] = field(default=())


def summarise(total: int, lifecycles: Lifecycles, totals: StoreTotals, effort: Effort) -> Summary:
    """The figures."""
    everything = list(lifecycles.by_workload.values())
    return Summary(
        total=total,
        submitted=len(everything),
        approved=sum(1 for lifecycle in everything if lifecycle.approved),
        denied=sum(1 for lifecycle in everything if lifecycle.phase is Phase.DENIED),
        denials=totals.denials,
        rejections=_counted(lifecycle.rejected for lifecycle in everything if lifecycle.rejected),
        placed=sum(1 for lifecycle in everything if lifecycle.placed_at is not None),
        not_placeable=sum(1 for lifecycle in everything if lifecycle.not_placeable),
        failures=_counted(
            lifecycle.failed.partition(":")[0]
            for lifecycle in everything
            if lifecycle.failed and not lifecycle.not_placeable
        ),
        removed=sum(1 for lifecycle in everything if lifecycle.phase is Phase.REMOVED),
        latencies=sorted(c.placed_at - c.submitted_at for c in everything if c.placed_at is not None),
        totals=totals,
        effort=effort,
        stuck=lifecycles.open,
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """By nearest rank; NaN of nothing."""
    return ordered[math.ceil(len(ordered) * percent / 100) - 1] if ordered else math.nan


def problems(summary: Summary, *, keep: bool, complete: bool) -> list[str]:
    """What does not add up; empty is good. An interrupted replay leaves workloads open, a complete one none."""
    found = [f"dead letters: {count} of {what}" for what, count in summary.totals.dead_letters.items()]
    if not complete:
        return found
    for lifecycle in summary.stuck[: 4 * _LISTED]:
        state = f"{lifecycle.phase} ({lifecycle.reason})" if lifecycle.phase else "never seen in the store"
        found.append(f"stuck: {lifecycle.pod.name} is {state}")
    if len(summary.stuck) > 4 * _LISTED:
        found.append(f"stuck: and {len(summary.stuck) - 4 * _LISTED} more")
    if summary.submitted != summary.total:
        found.append(f"only {summary.submitted} of {summary.total} workloads were submitted")
    if summary.totals.used_gpus != summary.totals.reserved_gpus:
        found.append(
            f"the ledger counts {summary.totals.used_gpus} GPUs, its reservations {summary.totals.reserved_gpus}"
        )
    if not keep and summary.totals.reserved_workloads:
        found.append(f"{summary.totals.reserved_workloads} workloads still hold a reservation")
    return found


def rendered(summary: Summary) -> Table:
    """For people."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(justify="left")
    table.add_column(justify="right")
    table.add_column(justify="left")
    of_all = "" if summary.submitted == summary.total else f"of {summary.total:,}"
    table.add_row("submitted", f"{summary.submitted:,}", of_all)
    table.add_row("approved", f"{summary.approved:,}")
    table.add_row("denied", f"{summary.denied:,}", _listed(summary.denials))
    if summary.rejections:
        table.add_row("rejected", f"{sum(summary.rejections.values()):,}", _listed(summary.rejections))
    table.add_row("placed", f"{summary.placed:,}", "became healthy")
    table.add_row("not placeable", f"{summary.not_placeable:,}", "Unschedulable at their deadline")
    if summary.failures:
        table.add_row("failed", f"{sum(summary.failures.values()):,}", _listed(summary.failures))
    table.add_row("removed", f"{summary.removed:,}")
    table.add_row("GPUs reserved", f"{summary.totals.reserved_gpus:,}", "at the end")
    for percent in (50, 95, 99):
        seconds = percentile(summary.latencies, percent)
        table.add_row(f"end to end p{percent}", f"{seconds * 1000:,.0f}", "ms, submitted to healthy")
    effort = summary.effort
    table.add_row("events", f"{effort.events:,}", f"delivered, and {effort.retries:,} attempts that failed")
    table.add_row("events a second", f"{effort.events / max(effort.seconds, 0.001):,.0f}")
    table.add_row("peak memory", f"{effort.peak_bytes / _MIB:,.0f}", "MiB, all processes together")
    table.add_row("wall time", f"{effort.seconds:,.1f}", "s")
    return table


def _counted(reasons: Iterable[str]) -> dict[str, int]:
    return dict(Counter(reasons).most_common())


def _listed(counts: Mapping[str, int]) -> str:
    listed = [f"{count:,} {reason}" for reason, count in list(counts.items())[:_LISTED]]
    more = [f"and {len(counts) - _LISTED} other reasons"] if len(counts) > _LISTED else []
    return "; ".join(listed + more)
