"""GPUs are idle by all of their rollups of a window, also by those that no look at the newest would show."""

from __future__ import annotations

import random
import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from shared.models.amounts import Amounts
from shared.models.idle import IdleRules
from shared.models.reservation import Reservation
from shared.store.unit_of_work import Store
from tests.support.builders import Deliver, connection_of, id_of

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
CHAT, COPY = id_of("chat"), id_of("copy")

_INSERT = """
    INSERT INTO {table} (cluster, node, gpu, starts_at, samples, allocated_samples, workload_id,
                         utilization_percent_max)
    VALUES ('local', 'gpu-1', :gpu, :starts_at, 6, :allocated, :workload, :percent)
"""


@dataclass(frozen=True)
class Rollup:
    """What a minute or an hour says of a GPU that is sampled 6 times."""

    percent: float | None = 3.0
    workload: uuid.UUID | None = CHAT
    allocated: int = 6

    @property
    def unused(self) -> bool:
        return self.workload is not None and self.allocated == 6 and self.percent is not None and self.percent <= 5


@dataclass(frozen=True)
class Idle:
    """now: half past twelve today, and 30 s. The newest minute that counts is 12:29, and the newest hour 11:00."""

    store: Store
    now: datetime

    @property
    def newest_minute(self) -> datetime:
        return self.now.replace(minute=29, second=0)

    def minutes(self, gpu: str, rollups: Iterable[Rollup | None]) -> None:
        """Rollups of the newest minutes, oldest first; None for a minute without one."""
        self._write("gpu_minutes", gpu, self.newest_minute, MINUTE, list(rollups))

    def hours(self, gpu: str, rollups: Iterable[Rollup | None]) -> None:
        """The same of the newest hours."""
        self._write("gpu_hours", gpu, self.now.replace(hour=11, minute=0, second=0), HOUR, list(rollups))

    def found(self, window: timedelta, teams: Collection[str] | None = None) -> list[str]:
        with self.store.begin() as work:
            return [one.gpu for one in work.idle.gpus(IdleRules(window), self.now, teams)]

    def _write(self, table: str, gpu: str, newest: datetime, unit: timedelta, rollups: Sequence[Rollup | None]) -> None:
        starts = (newest - number * unit for number in reversed(range(len(rollups))))
        written = [
            {
                "gpu": gpu,
                "starts_at": start,
                "allocated": one.allocated,
                "workload": one.workload,
                "percent": one.percent,
            }
            for start, one in zip(starts, rollups, strict=True)
            if one is not None
        ]
        with self.store.begin() as work:
            work.telemetry.make_partitions(table, [self.now])
            connection_of(work).execute(sa.text(_INSERT.format(table=table)), written)


@pytest.fixture
def idle(store: Store, deliver: Deliver) -> Idle:
    """Two workloads of the team search hold GPUs."""
    for name in ("chat", "copy"):
        deliver.submit(name)
        lines = {"L4": Amounts(1, 1000, 2**30, 2, Decimal(3))}
        with store.begin() as work:
            work.ledger.hold(Reservation(id_of(name), "local", "search", lines), uuid.uuid4(), work.now + HOUR)
    with store.begin() as work:
        return Idle(store, work.now.replace(hour=12, minute=30, second=30, microsecond=0))


UNUSED = Rollup()
SPOILING = {
    "busy": Rollup(percent=5.1),
    "of another workload": Rollup(workload=COPY),
    "of no workload": Rollup(workload=None),
    "allocated for a part": Rollup(allocated=5),
    "without utilization": Rollup(percent=None),
}


@pytest.mark.parametrize("spoiling", SPOILING.values(), ids=list(SPOILING))
@pytest.mark.parametrize("place", [0, 30, 59], ids=["oldest", "in the middle", "newest"])
def test_one_minute_of_a_window_keeps_a_gpu_from_being_idle(idle: Idle, spoiling: Rollup, place: int) -> None:
    rollups = [UNUSED] * 60
    rollups[place] = spoiling
    idle.minutes("GPU-spoiled", rollups)
    idle.minutes("GPU-spoiled-before", [spoiling, *[UNUSED] * 60])
    assert idle.found(HOUR) == ["GPU-spoiled-before"]


def test_a_gpu_that_changed_hands_is_idle_when_the_window_has_one_holder(idle: Idle) -> None:
    idle.minutes("GPU-1", [*[Rollup(workload=COPY)] * 40, *[UNUSED] * 20])
    assert idle.found(21 * MINUTE) == []
    assert idle.found(20 * MINUTE) == ["GPU-1"]


def test_utilization_at_the_threshold_is_idle(idle: Idle) -> None:
    idle.minutes("GPU-1", [Rollup(percent=5.0)] * 60)
    assert idle.found(HOUR) == ["GPU-1"]


@pytest.mark.parametrize("first", [0, 27, 54], ids=["oldest", "in the middle", "newest"])
def test_a_tenth_of_the_minutes_may_be_missing_wherever_they_are(idle: Idle, first: int) -> None:
    for missing in (6, 7):
        rollups: list[Rollup | None] = [UNUSED] * 60
        start = min(first, 60 - missing)
        rollups[start : start + missing] = [None] * missing
        idle.minutes(f"GPU-{missing}", rollups)
    assert idle.found(HOUR) == ["GPU-6"]


def test_a_window_that_begins_within_an_hour_is_read_from_the_newest_whole_hours(idle: Idle) -> None:
    """At 12:30 the hours of 3 h begin at 9:00, 10:00 and 11:00: that of 12:00 is not over."""
    busy = Rollup(percent=90.0)
    idle.hours("GPU-busy-at-8", [busy, UNUSED, UNUSED, UNUSED])
    idle.hours("GPU-busy-at-9", [UNUSED, busy, UNUSED, UNUSED])
    assert idle.found(3 * HOUR) == idle.found(3 * HOUR + 30 * MINUTE) == ["GPU-busy-at-8"]
    assert idle.found(4 * HOUR) == []


def test_one_hour_of_ten_may_be_missing(idle: Idle) -> None:
    idle.hours("GPU-1", [*[UNUSED] * 9, None])
    idle.hours("GPU-2", [*[UNUSED] * 8, None, None])
    assert idle.found(10 * HOUR) == ["GPU-1"]


def test_only_gpus_of_workloads_that_hold_some_still_are_idle(idle: Idle, deliver: Deliver) -> None:
    deliver.submit("smaller")
    without = {"": Amounts(1, 1000, 2**30, 0, Decimal(1))}
    with idle.store.begin() as work:
        work.ledger.hold(Reservation(id_of("smaller"), "local", "search", without), uuid.uuid4(), work.now + HOUR)
    idle.minutes("GPU-held", [UNUSED] * 60)
    idle.minutes("GPU-released", [Rollup(workload=id_of("gone"))] * 60)
    idle.minutes("GPU-replaced-by-CPU", [Rollup(workload=id_of("smaller"))] * 60)
    assert idle.found(HOUR) == idle.found(HOUR, {"search"}) == ["GPU-held"]
    assert idle.found(HOUR, {"ads"}) == []


@pytest.mark.parametrize("seed", range(3))
def test_the_idle_gpus_are_those_whose_rollups_all_say_so(idle: Idle, seed: int) -> None:
    """Against the rule as anybody would work it out, with rollups that are missing or spoil a GPU here and there."""
    chance = random.Random(seed)
    written = {}
    for number in range(60):
        rollups: list[Rollup | None] = [chance.choice([UNUSED, Rollup(workload=COPY)])] * 25
        for _ in range(chance.randrange(4)):
            rollups[chance.randrange(25)] = chance.choice([None, None, *SPOILING.values()])
        written[f"GPU-{number:02}"] = rollups
        idle.minutes(f"GPU-{number:02}", rollups)
    for minutes in (5, 10, 20, 25):
        expected = [gpu for gpu, rollups in written.items() if _idle(rollups[-minutes:])]
        assert idle.found(minutes * MINUTE) == expected
        assert 0 < len(expected) < len(written)


def _idle(rollups: Sequence[Rollup | None]) -> bool:
    there = [one for one in rollups if one is not None]
    return (
        len(there) >= int(0.9 * len(rollups))
        and len({one.workload for one in there}) == 1
        and all(one.unused for one in there)
    )
