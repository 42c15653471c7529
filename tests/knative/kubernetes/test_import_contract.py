"""The import contract of the stand-in covers every other part of the laptop platform."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_import_contract_names_every_other_room_of_the_platform() -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = (c for c in linter["contracts"] if c.get("source_modules") == ["knative.local.kubernetes"])
    platform = ROOT / "knative" / "local"
    rooms = {f"knative.local.{found.parent.name}" for found in platform.glob("*/__init__.py")}
    assert rooms - {"knative.local.kubernetes"} <= set(contract["forbidden_modules"])
    assert {"functions", "events", "shared"} <= set(contract["forbidden_modules"])
