"""The colours of the console, light and dark: text on what it lies on has a contrast of at least 4.5 to 1 (WCAG AA)."""

import re
from pathlib import Path

import pytest

import functions.api.console

STYLE = (Path(functions.api.console.__file__).parent / "style.css").read_text()
SCHEMES = dict(zip(("light", "dark"), re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL), strict=True))
TEXTS = ("text", "soft", "accent", "good", "busy", "waits", "bad", "gone")
ON_CELLS = [("text", cell) for cell in ("free", "idle", "low", "middle")] + [("card", "high"), ("soft", "unknown")]


def colours(scheme: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", SCHEMES[scheme]))


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_can_be_read_on_every_ground(scheme: str) -> None:
    found = colours(scheme)
    pairs = [(text, ground) for text in TEXTS for ground in ("page", "card")]
    pairs += [*ON_CELLS, ("on-accent", "accent"), ("bad", "hatch")]
    ratios = {pair: round(contrast(found[pair[0]], found[pair[1]]), 2) for pair in pairs}
    assert {pair: ratio for pair, ratio in ratios.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_edges_of_what_can_be_used_can_be_seen(scheme: str) -> None:
    found = colours(scheme)
    assert min(contrast(found[name], found["card"]) for name in ("soft", "accent", "bad", "waits")) >= 3


def test_dark_has_every_colour_of_light() -> None:
    assert colours("light").keys() == colours("dark").keys()
