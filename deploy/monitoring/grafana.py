"""`python -m deploy.monitoring.grafana`: write the dashboards as Grafana wants them, into grafana/dashboards.

What a dashboard shows is said in overview.py, work.py and services.py; this is how Grafana 12 draws it, in
the JSON of its dashboards (schema version 41).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deploy.monitoring.overview import OVERVIEW
from deploy.monitoring.panels import SHOWN, Dashboard, Panel, Query
from deploy.monitoring.services import SERVICES
from deploy.monitoring.work import WORK

DASHBOARDS = (OVERVIEW, WORK, SERVICES)
FOLDER = Path(__file__).with_name("grafana") / "dashboards"
SCHEMA_VERSION = 41
PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}
"""Whichever the variable of the dashboard names: the provisioned one, or yours."""
COLUMNS = 24
HEIGHT = {"stat": 5, "timeseries": 8, "bargauge": 8}
TAG = "trainyard"


def written(dashboard: Dashboard) -> str:
    return json.dumps(_dashboard(dashboard), indent=1, ensure_ascii=False) + "\n"


def path_of(dashboard: Dashboard) -> Path:
    return FOLDER / f"{dashboard.uid}.json"


def _dashboard(dashboard: Dashboard) -> dict[str, Any]:
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.says,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "30s",
        "graphTooltip": 1,  # one crosshair for all panels
        "templating": {"list": [_datasource_variable()]},
        "annotations": {"list": [_alerts()]},
        "links": [_others()],
        "panels": _panels(dashboard),
    }


def _panels(dashboard: Dashboard) -> list[dict[str, Any]]:
    """All panels, each row's beside one another and wrapped where they are wider than the page."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row in dashboard.rows:
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": top}
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": row.title, "gridPos": place}
            | {"collapsed": False, "panels": []}
        )
        left, top, height = 0, top + 1, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                left, top = 0, top + height
            # one height in a row, whatever stands in it
            height = max(HEIGHT[panel.kind] for panel in row.panels)
            place = {"h": height, "w": panel.width, "x": left, "y": top}
            panels.append({"id": len(panels) + 1, "gridPos": place} | _panel(panel))
            left += panel.width
        top += height
    return panels


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": PROMETHEUS,
        "targets": [
            _target(query, chr(ord("A") + place), instant=panel.kind == "bargauge" or SHOWN in query.expr)
            for place, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": OPTIONS[panel.kind],
    }


def _target(query: Query, ref: str, *, instant: bool) -> dict[str, Any]:
    return {
        "refId": ref,
        "datasource": PROMETHEUS,
        "editorMode": "code",
        "expr": query.expr,
        "legendFormat": query.legend,
        "range": not instant,
        "instant": instant,
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    """How values are written and coloured."""
    alarm = zip(("orange", "red"), panel.alarm or (), strict=False)
    steps = [{"color": "green", "value": None}, *({"color": c, "value": v} for c, v in alarm)]
    defaults: dict[str, Any] = {
        "unit": "suffix:cores" if panel.unit == "cores" else panel.unit,
        "min": 0,
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.unit == "short" and panel.kind != "timeseries":
        defaults["decimals"] = 0
    if panel.top is not None:
        defaults["max"] = panel.top
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "drawStyle": "line",
            "lineInterpolation": "stepAfter" if panel.unit == "short" else "linear",
            # what adds up is an area without a line, so that nothing is drawn of what is nought
            "lineWidth": 0 if panel.stacked else 1,
            "fillOpacity": 60 if panel.stacked else 0,
            "showPoints": "auto",
            "pointSize": 4,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
    return defaults


_LAST = {"calcs": ["lastNotNull"], "fields": "", "values": False}
OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "reduceOptions": _LAST,
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "value",
        "wideLayout": True,
    },
    "bargauge": {
        "reduceOptions": _LAST,
        "displayMode": "basic",
        "orientation": "horizontal",
        "valueMode": "text",
        "namePlacement": "left",
        "showUnfilled": False,
        "sizing": "auto",
        "minVizWidth": 8,
        "minVizHeight": 14,
        "maxVizHeight": 28,
    },
}


def _datasource_variable() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "regex": "",
        "refresh": 1,
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "skipUrlSync": False,
        "current": {},
        "options": [],
    }


def _alerts() -> dict[str, Any]:
    """Where an alert fired, in every panel."""
    return {
        "name": "Alerts",
        "datasource": PROMETHEUS,
        "enable": True,
        "hide": False,
        "iconColor": "red",
        "expr": 'ALERTS{alertstate="firing"}',
        "step": "60s",
        "titleFormat": "{{alertname}}",
        "tagKeys": "severity,kind,instance",
    }


def _others() -> dict[str, Any]:
    return {
        "type": "dashboards",
        "title": "Trainyard",
        "tags": [TAG],
        "asDropdown": False,
        "icon": "external link",
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "tooltip": "",
        "url": "",
    }


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for dashboard in DASHBOARDS:
        path_of(dashboard).write_text(written(dashboard))


if __name__ == "__main__":
    main()
