"""Prices over REST."""

import pytest

from shared.models.identity import Role
from tests.support.rest import Rest

PRICE = {"kind": "gpu", "sku": "h100", "usdPerHour": "2.5", "pricedOn": "2026-11-01", "source": "a contract"}


def test_prices_are_set_and_listed(rest: Rest) -> None:
    answer = rest("PUT", "/prices", {"items": [PRICE, {**PRICE, "cluster": "eu", "usdPerHour": "2"}]})
    assert (answer.status, answer.json["items"][0]["sku"]) == (200, "H100")
    [own] = rest("GET", "/prices?cluster=eu").json["items"]
    assert (own["cluster"], own["usdPerHour"], own["pricedOn"]) == ("eu", "2.000000", "2026-11-01")
    everything = rest("GET", "/prices").json["items"]
    assert next(one for one in everything if one["sku"] == "H100" and not one["cluster"])["usdPerHour"] == "2.500000"
    first = rest("GET", "/prices?limit=2")
    second = rest("GET", f"/prices?limit=1000&cursor={first.json['next']}")
    assert first.json["items"] + second.json["items"] == everything


def test_who_may_read_and_who_may_set_prices(rest: Rest) -> None:
    rest.bind("eve", Role.VIEWER, "search")
    rest.bind("oli", Role.OPERATOR)
    rest.bind("pat", Role.POLICY_ADMIN)
    assert rest("GET", "/prices", user="eve").status == 200
    statuses = {user: rest("PUT", "/prices", {"items": [PRICE]}, user=user).status for user in ("eve", "oli", "pat")}
    assert statuses == {"eve": 403, "oli": 403, "pat": 200}


@pytest.mark.parametrize(
    ("items", "field"),
    [
        ([], "items"),
        ([{**PRICE, "usdPerHour": "-1"}], "items.0.usdPerHour"),
        ([{**PRICE, "usdPerHour": "1e400"}], "items.0.usdPerHour"),
        ([{**PRICE, "sku": ""}], "items.0"),
        ([{**PRICE, "pricedOn": "soon"}], "items.0.pricedOn"),
        ([PRICE, {**PRICE, "sku": "H100"}], ""),
        ([{**PRICE, "currency": "EUR"}], "items.0.currency"),
    ],
)
def test_a_bad_price_is_refused_by_its_field_and_none_is_set(rest: Rest, items: object, field: str) -> None:
    before = rest("GET", "/prices").body
    answer = rest("PUT", "/prices", {"items": items})
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, field)
    assert rest("GET", "/prices").body == before
