"""Amounts: arithmetic field by field."""

from dataclasses import fields
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from shared.models.amounts import NOTHING, Amounts

small = st.integers(0, 10**6)
amounts = st.builds(Amounts, small, small, small, small, st.decimals(0, 10**6, places=6))


def test_fields_are_combined_one_by_one() -> None:
    first, second = Amounts(1, 20, 3, 40, Decimal("0.1")), Amounts(10, 2, 30, 4, Decimal("0.2"))
    assert first + second == Amounts(11, 22, 33, 44, Decimal("0.3"))
    assert second - first == Amounts(9, -18, 27, -36, Decimal("0.1"))
    assert first.largest(second) == Amounts(10, 20, 30, 40, Decimal("0.2"))
    assert first.times(3) == Amounts(3, 60, 9, 120, Decimal("0.3"))


@given(amounts, amounts)
def test_what_is_added_can_be_taken_away(first: Amounts, second: Amounts) -> None:
    assert first + second - second == first
    assert first + NOTHING == first


@given(amounts, amounts)
def test_the_largest_holds_both(first: Amounts, second: Amounts) -> None:
    largest = first.largest(second)
    assert first.within(largest)
    assert second.within(largest)
    assert largest == second.largest(first)


@given(amounts, amounts)
def test_within_is_within_in_every_field(first: Amounts, second: Amounts) -> None:
    inside = all(getattr(first, f.name) <= getattr(second, f.name) for f in fields(Amounts))
    assert first.within(second) == inside


@given(small, small, small, st.decimals(0, 10**4, places=6), st.integers(1, 10_000))
def test_one_of_many_equal_replicas_is_found_again(cpu: int, memory: int, gpus: int, usd: Decimal, n: int) -> None:
    one = Amounts(1, cpu, memory, gpus, usd)
    assert one.times(n).per_replica() == one


def test_of_no_replicas_one_is_nothing() -> None:
    assert NOTHING.per_replica() == NOTHING
