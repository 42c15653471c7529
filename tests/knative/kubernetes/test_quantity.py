import pytest
from hypothesis import given
from hypothesis import strategies as st

from knative.local.kubernetes import quantity


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1000m", "1"),
        ("0.5", "500m"),
        ("1500m", "1500m"),
        ("2048Mi", "2Gi"),
        ("1.5Gi", "1536Mi"),
        ("1e9", "1e9"),
        ("1000000000", "1G"),
        ("1024", "1024"),
        ("0.5Ki", "512"),
        ("0", "0"),
        ("-1", "-1"),
        ("+3", "3"),
        (".5", "500m"),
        ("0.0000000001", "1n"),
    ],
)
def test_the_canonical_form_has_no_fraction_and_the_largest_suffix(text: str, canonical: str) -> None:
    assert quantity.canonical(text) == canonical


@pytest.mark.parametrize("text", ["", "abc", "1x", "1 Gi", "1e", "--1", "1.2.3", "Gi", "NaN", "١"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match"):
        quantity.value(text)


@given(st.integers(0, 10**15), st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi"]))
def test_the_canonical_form_means_the_same_and_is_stable(number: int, suffix: str) -> None:
    text = f"{number}{suffix}"
    canonical = quantity.canonical(text)
    assert quantity.value(canonical) == quantity.value(text)
    assert quantity.canonical(canonical) == canonical


def test_thousandths_are_rounded_up() -> None:
    assert quantity.milli("1.0001") == 1001
    assert quantity.milli("1Gi") == 1024**3 * 1000
