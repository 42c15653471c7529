"""Prices of GPUs, CPU cores and memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from shared.models.changes import changes

if TYPE_CHECKING:
    from shared.models.actor import Actor
    from shared.models.page import Page, PageRequest
    from shared.rollout.pricing import Price
    from shared.store.unit_of_work import UnitOfWork


def set_prices(work: UnitOfWork, prices: Sequence[Price], actor: Actor) -> None:
    """Adds prices; a price of the same thing is replaced. One audit row tells all of them."""
    before = {_thing(p): f"{p.usd_per_hour:f}" for p in work.catalogue.prices()}
    work.catalogue.set_prices(prices)
    after = {_thing(p): f"{p.usd_per_hour:f}" for p in prices}
    lines = [f"{thing} {usd}" for thing, usd in after.items()]
    work.audit("prices.set", "prices", actor, prices=[*lines], changes=changes(before, {**before, **after}))


def _thing(price: Price) -> str:
    """What a price is of, for instance `gpu H100 eu`."""
    return f"{price.kind} {price.sku} {price.cluster}".strip()


def page(work: UnitOfWork, cluster: str | None, request: PageRequest) -> Page[Price]:
    """A page of the prices, sorted by `kind` (then SKU and cluster). cluster: "" for those of all clusters."""
    return work.catalogue.price_page(cluster, request)
