"""What the ledger says: who holds what, and what it has cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.models.page import Page, PageRequest
    from shared.models.reservation import LineFilter, ReservationLine, UsageLine
    from shared.store.unit_of_work import UnitOfWork


def reservations(work: UnitOfWork, wanted: LineFilter, request: PageRequest) -> Page[ReservationLine]:
    """A page of the lines that workloads hold, sorted by `workload` or `team`."""
    return work.ledger_records.reservation_page(wanted, request)


def usage(work: UnitOfWork, wanted: LineFilter, request: PageRequest) -> Page[UsageLine]:
    """A page of what teams hold and have spent this month, sorted by `team`."""
    return work.ledger_records.usage_page(wanted, request)
