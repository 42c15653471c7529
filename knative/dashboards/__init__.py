"""Grafana dashboards, written from panels.yaml: `python -m knative.dashboards` writes the JSON files beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DIRECTORY = Path(__file__).parent
_WIDTH, _HEIGHT, _COLUMNS = 12, 8, 2
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_SCHEMA = 39
"""Of Grafana 10 and later; later ones migrate it as they load it."""

VARIABLES = {
    "cluster": "label_values(sentinel_cluster_away, cluster)",
    "team": "label_values(sentinel_workloads, team)",
    "workload": "label_values(DCGM_FI_DEV_FB_USED, pod)",
}
"""What a reader chooses, and where the choices come from; all of them at first."""


@dataclass(frozen=True)
class Panel:
    """One panel of a dashboard; see panels.yaml."""

    title: str
    type: str
    unit: str
    legend: str
    query: str


@dataclass(frozen=True)
class Dashboard:
    """A dashboard; `name` is its file's and its id."""

    name: str
    title: str
    panels: tuple[Panel, ...]


def dashboards() -> Iterator[Dashboard]:
    """The dashboards of panels.yaml, in its order."""
    document = yaml.safe_load((DIRECTORY / "panels.yaml").read_text(encoding="utf-8"))
    for name, dashboard in document.items():
        yield Dashboard(name, dashboard["title"], tuple(Panel(**panel) for panel in dashboard["panels"]))


def grafana(dashboard: Dashboard) -> str:
    """The dashboard as Grafana reads it."""
    document = {
        "uid": f"sentinel-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["sentinel"],
        "schemaVersion": _SCHEMA,
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "editable": False,
        "templating": {"list": [_source(), *(_variable(name, query) for name, query in VARIABLES.items())]},
        "panels": [_panel(number, panel) for number, panel in enumerate(dashboard.panels)],
    }
    return json.dumps(document, indent=2) + "\n"


def write(directory: Path) -> list[Path]:
    """Writes every dashboard into a directory; returns the files."""
    written = []
    for dashboard in dashboards():
        file = directory / f"{dashboard.name}.json"
        file.write_text(grafana(dashboard), encoding="utf-8")
        written.append(file)
    return written


def _source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": _DATASOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
        "sort": 1,
    }


def _panel(number: int, panel: Panel) -> Mapping[str, Any]:
    return {
        "id": number + 1,
        "title": panel.title,
        "type": panel.type,
        "datasource": _DATASOURCE,
        "gridPos": {
            "x": number % _COLUMNS * _WIDTH,
            "y": number // _COLUMNS * _HEIGHT,
            "w": _WIDTH,
            "h": _HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": "A",
                "datasource": _DATASOURCE,
                "expr": panel.query,
                "legendFormat": panel.legend,
                "instant": panel.type == "table",
                "format": "table" if panel.type == "table" else "time_series",
            }
        ],
    }
