"""`sentinel gpus idle`: what nobody uses, and what it costs."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from shared.models.idle import IdleGpu
from shared.store.idle import IdleRows
from tests.functions.cli.conftest import Sentinel
from tests.support.builders import id_of


def test_idle_gpus_are_shown_with_their_cost(sentinel: Sentinel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sentinel("gpus", "idle").lines[1].split() == ["total", "0", "0.00", "0.00"]
    usd = Decimal("1.5")
    gpu = IdleGpu(
        "local", "gpu-1", "GPU-1", "NVIDIA L4", None, id_of(), "search", "search/search/chat", 1, 3.0, usd, 6 * usd
    )
    monkeypatch.setattr(IdleRows, "gpus", lambda *_: [gpu])
    _, line, total = sentinel("gpus", "idle").lines
    assert line.split() == ["local", "gpu-1", "GPU-1", "NVIDIA", "L4", "search/search/chat", "3%", "1.50", "9.00"]
    assert total.split() == ["total", "1", "1.50", "9.00"]
    found = sentinel("gpus", "idle", "-o", "json", "--window", "12h").json
    assert ([one["gpu"] for one in found["items"]], found["window"]) == (["GPU-1"], "PT12H")
    assert datetime.fromisoformat(found["until"]).tzinfo == UTC
    ran = sentinel("gpus", "idle", "--window", "soon")
    assert (ran.code, "window" in ran.err) == (2, True)
