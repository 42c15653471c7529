import pytest

from knative.local.resources import durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT0.2S", 0.2),
        ("PT30S", 30),
        ("PT10M", 600),
        ("PT1H30M", 5400),
        ("P1DT2H", 93_600),
        ("P1W", 604_800),
        ("PT0S", 0),
    ],
)
def test_iso8601(text: str, seconds: float) -> None:
    assert durations.iso8601(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "P", "PT", "P1DT", "30s", "PT-1S", "pt1s", "PT1", "1S", "P1M", "P1Y", "PT1S "])
def test_what_is_not_iso8601_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"write for instance PT0\.2S"):
        durations.iso8601(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("1m30s", 90), ("1h", 3600), ("1.5s", 1.5), ("250ms", 0.25), ("0", 0)]
)
def test_go(text: str, seconds: float) -> None:
    assert durations.go(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "30", "PT30S", "30 s", "-1s", "s"])
def test_what_is_not_a_go_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write for instance 30s"):
        durations.go(text)
