"""Quantities: the grammar of Kubernetes, exact, rounded up, and nothing else."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidQuantity
from shared.models.quantities import format_bytes, format_millicores, millicores, to_bytes

LARGEST = 2**63 - 1
DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4000),
        (4, 4000),
        (0.5, 500),
        ("250m", 250),
        (".5", 500),
        ("1.", 1000),
        ("+2", 2000),
        ("1e3", 1_000_000),
        ("1E-3", 1),
        ("0.0001", 1),  # rounds up
        ("1n", 1),
        ("0", 0),
        ("-0", 0),
        ("2k", 2_000_000),
    ],
)
def test_cpu_is_whole_millicores(text: str | float, value: int) -> None:
    assert millicores(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8Gi", 8 * 2**30),
        ("500M", 500_000_000),
        ("1.5Ki", 1536),
        ("0.3", 1),
        (1024, 1024),
        ("1Ei", 2**60),
        ("1E", 10**18),
        ("100m", 1),
        ("1e2", 100),
    ],
)
def test_memory_is_whole_bytes(text: str | int, value: int) -> None:
    assert to_bytes(text) == value


@pytest.mark.parametrize(
    "bad",
    ["", " 1", "1 ", "1\n", "1.2.3", "1KI", "1mi", "1e", "1e100", "1_000", "0x10", "NaN", "inf", "Infinity", ".", "-",
     "1Gi2", "١", float("nan"), float("inf"), "x" * 10_000],
)  # fmt: skip
def test_what_is_no_quantity_is_refused_with_an_example(bad: str | float) -> None:
    with pytest.raises(InvalidQuantity, match='such as "4", "500m" or "8Gi"') as refusal:
        to_bytes(bad)
    assert len(str(refusal.value)) < 150


@pytest.mark.parametrize("bad", [True, None, [], {}, b"1"])
def test_what_is_not_even_text_is_refused(bad: object) -> None:
    with pytest.raises(InvalidQuantity, match="must be a Kubernetes quantity"):
        millicores(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(("bad", "why"), [("-1", "negative"), (-1, "negative"), ("10E", "too large")])
def test_quantities_out_of_range_are_refused(bad: str | int, why: str) -> None:
    with pytest.raises(InvalidQuantity, match=why):
        to_bytes(bad)


def test_the_largest_quantity_is_an_int64() -> None:
    assert to_bytes(str(LARGEST)) == LARGEST
    with pytest.raises(InvalidQuantity, match="too large"):
        to_bytes(str(LARGEST + 1))


@given(st.integers(0, LARGEST))
def test_bytes_survive_their_own_notation(value: int) -> None:
    assert to_bytes(format_bytes(value)) == value


@given(st.integers(0, LARGEST // 1000))
def test_millicores_survive_their_own_notation(value: int) -> None:
    assert millicores(format_millicores(value)) == value


@given(st.integers(0, 2**33), st.sampled_from([("Ki", 10), ("Mi", 20), ("Gi", 30)]))
def test_binary_notation_is_the_shortest_that_is_exact(count: int, unit: tuple[str, int]) -> None:
    assert len(format_bytes(count << unit[1])) <= len(f"{count}{unit[0]}")


@given(st.decimals(0, 10**6, places=4, allow_nan=False), st.sampled_from(sorted(DECIMAL)))
def test_fractions_are_never_rounded_down(number: Decimal, suffix: str) -> None:
    exact = number.scaleb(DECIMAL[suffix])
    if exact > LARGEST:
        with pytest.raises(InvalidQuantity):
            to_bytes(f"{number}{suffix}")
    else:
        assert exact <= to_bytes(f"{number}{suffix}") < exact + 1


@given(st.text(max_size=12) | st.floats() | st.integers())
def test_any_input_is_a_quantity_or_an_error_of_ours(anything: str | float) -> None:
    try:
        found = to_bytes(anything)
    except InvalidQuantity:
        return
    assert 0 <= found <= LARGEST
