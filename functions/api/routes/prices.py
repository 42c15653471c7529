"""Prices of GPUs, CPU cores and memory."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Self

from fastapi import Query, Response
from fastapi.responses import JSONResponse
from pydantic import Field, model_validator

from functions.api.paging import Listing, ListQuery, sorts
from functions.api.problems import responses
from functions.api.requests import Body
from functions.api.requests import router as new_router
from functions.api.session import CurrentSession
from shared.models.fields import DnsLabel, Text
from shared.models.gpu import normalise_sku
from shared.models.identity import Permission
from shared.operations import prices as operations
from shared.operations.authorize import require
from shared.rollout.pricing import Price, PriceKind

router = new_router("prices")

_SORTS = sorts(kind=(str, str, str))


class PriceUpdate(Body):
    """One price. sku: of GPUs only. cluster: one whose own price it is; without it, of all clusters."""

    kind: PriceKind
    sku: Annotated[str, Field(max_length=63, examples=["H100"])] = ""
    cluster: DnsLabel | None = None
    usd_per_hour: Annotated[
        Decimal, Field(ge=0, max_digits=20, decimal_places=6, allow_inf_nan=False, examples=["2.99"])
    ]
    priced_on: date
    source: Annotated[Text, Field(examples=["https://example.com/prices"])]

    @model_validator(mode="after")
    def _sku_of_gpus_only(self) -> Self:
        if (self.kind is PriceKind.GPU) is not bool(self.sku.strip()):
            raise ValueError("a gpu needs a sku, and nothing else has one")
        return self

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.kind.value, normalise_sku(self.sku) if self.sku else "", self.cluster or "")

    def price(self) -> Price:
        kind, sku, cluster = self.key
        return Price(PriceKind(kind), self.usd_per_hour, self.source, self.priced_on, sku=sku, cluster=cluster)


class PriceUpdates(Body):
    """Prices to set. A price of the same thing is replaced; others stay."""

    items: Annotated[list[PriceUpdate], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        keys = [one.key for one in self.items]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise ValueError(f"the same thing has two prices: {' '.join(filter(None, twice))}")
        return self


@router.get("/prices", response_model=Listing, responses=responses())
def list_prices(
    session: CurrentSession,
    page: Annotated[ListQuery, _SORTS],
    cluster: Annotated[DnsLabel | None, Query(description="Only the prices of its own.")] = None,
) -> Response:
    """The prices by kind, SKU and cluster; a price whose cluster is empty is of all clusters."""
    with session.read() as work:
        require(session.principal, Permission.READ_PRICES, None)
        found = operations.page(work, cluster, page.request)
    return page.answer(found, Price.as_json)


@router.put("/prices", responses=responses())
def set_prices(body: PriceUpdates, session: CurrentSession) -> Response:
    """Sets prices, all of them or none. What is submitted from now on is priced by them."""
    prices = [one.price() for one in body.items]
    with session.begin() as work:
        require(session.principal, Permission.WRITE_PRICES, None)
        operations.set_prices(work, prices, session.principal.actor)
    return JSONResponse({"items": [price.as_json() for price in prices], "next": None})
