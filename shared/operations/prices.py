"""Prices of GPUs, CPU cores and memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.models.actor import Actor
    from shared.rollout.pricing import Price
    from shared.store.unit_of_work import UnitOfWork


def set_prices(work: UnitOfWork, prices: Sequence[Price], actor: Actor) -> None:
    """Adds prices; a price of the same thing is replaced. One audit row tells all of them."""
    work.catalogue.set_prices(prices)
    lines = [f"{p.kind} {p.sku} {p.cluster}".strip() + f" {p.usd_per_hour:f}" for p in prices]
    work.audit("prices.set", "prices", actor, prices=list(lines))


def list_prices(work: UnitOfWork) -> list[Price]:
    """Every price, by kind, SKU and cluster."""
    return work.catalogue.prices()
