"""What came of a replay: figures from the courses and the books, whether they add up, and how they are printed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.table import Table

from knative.local.tools.replay.course import Course, Courses
from knative.local.tools.replay.observing import Books
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
    books: Books
    effort: Effort
    stuck: Sequence[Course] = field(default=())


def summarise(total: int, courses: Courses, books: Books, effort: Effort) -> Summary:
    """The figures."""
    all_courses = list(courses.by_workload.values())
    return Summary(
        total=total,
        submitted=len(all_courses),
        approved=sum(1 for course in all_courses if course.approved),
        denied=sum(1 for course in all_courses if course.phase is Phase.DENIED),
        denials=books.denials,
        rejections=_counted(course.rejected for course in all_courses if course.rejected),
        placed=sum(1 for course in all_courses if course.placed_at is not None),
        not_placeable=sum(1 for course in all_courses if course.not_placeable),
        failures=_counted(
            course.failed.partition(":")[0] for course in all_courses if course.failed and not course.not_placeable
        ),
        removed=sum(1 for course in all_courses if course.phase is Phase.REMOVED),
        latencies=sorted(c.placed_at - c.submitted_at for c in all_courses if c.placed_at is not None),
        books=books,
        effort=effort,
        stuck=courses.open,
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """By nearest rank; NaN of nothing."""
    return ordered[math.ceil(len(ordered) * percent / 100) - 1] if ordered else math.nan


def problems(summary: Summary, *, keep: bool, complete: bool) -> list[str]:
    """What does not add up; empty is good. An interrupted replay leaves workloads open, a complete one none."""
    found = [f"dead letters: {count} of {what}" for what, count in summary.books.dead_letters.items()]
    if not complete:
        return found
    for course in summary.stuck[: 4 * _LISTED]:
        state = f"{course.phase} ({course.reason})" if course.phase else "never seen in the store"
        found.append(f"stuck: {course.pod.name} is {state}")
    if len(summary.stuck) > 4 * _LISTED:
        found.append(f"stuck: and {len(summary.stuck) - 4 * _LISTED} more")
    if summary.submitted != summary.total:
        found.append(f"only {summary.submitted} of {summary.total} workloads were submitted")
    if summary.books.used_gpus != summary.books.reserved_gpus:
        found.append(
            f"the ledger counts {summary.books.used_gpus} GPUs, its reservations {summary.books.reserved_gpus}"
        )
    if not keep and summary.books.reserved_workloads:
        found.append(f"{summary.books.reserved_workloads} workloads still hold a reservation")
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
    table.add_row("denied", f"{summary.denied:,}", _told(summary.denials))
    if summary.rejections:
        table.add_row("rejected", f"{sum(summary.rejections.values()):,}", _told(summary.rejections))
    table.add_row("placed", f"{summary.placed:,}", "became healthy")
    table.add_row("not placeable", f"{summary.not_placeable:,}", "Unschedulable at their deadline")
    if summary.failures:
        table.add_row("failed", f"{sum(summary.failures.values()):,}", _told(summary.failures))
    table.add_row("removed", f"{summary.removed:,}")
    table.add_row("GPUs reserved", f"{summary.books.reserved_gpus:,}", "at the end")
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


def _told(counts: Mapping[str, int]) -> str:
    told = [f"{count:,} {reason}" for reason, count in list(counts.items())[:_LISTED]]
    more = [f"and {len(counts) - _LISTED} other reasons"] if len(counts) > _LISTED else []
    return "; ".join(told + more)
