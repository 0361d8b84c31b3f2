"""Processes, and what they stand on: Postgres, Redis, the store."""

from __future__ import annotations

from deploy.monitoring.panels import (
    OURS,
    WINDOW,
    Dashboard,
    Panel,
    Query,
    Row,
    happened,
    quantile,
)

STORE_FAILS = (
    f'sum by (operation) (rate(trainyard_store_seconds_count{{outcome=~"error|cut_short"}}[{WINDOW}]))'
    f" / sum by (operation) (rate(trainyard_store_seconds_count[{WINDOW}]))"
)
BUSY = 'sum by (job, instance) (trainyard_db_connections{{state="{0}"}})'

SERVICES = Dashboard(
    "trainyard-services",
    "Trainyard: services",
    "Processes, and what they stand on: Postgres, Redis, the store.",
    (
        Row(
            "The store",
            (
                Panel(
                    "Calls a second",
                    "Of all services, by operation.",
                    "timeseries",
                    "ops",
                    (
                        Query(
                            f"sum by (operation) (rate(trainyard_store_seconds_count[{WINDOW}]))",
                            "{{operation}}",
                        ),
                    ),
                    stacked=True,
                ),
                Panel(
                    "Until the answer begins: 95th percentile",
                    "Retries included.",
                    "timeseries",
                    "s",
                    (Query(quantile(0.95, "trainyard_store_seconds", "operation"), "{{operation}}"),),
                ),
                Panel(
                    "Calls that fail",
                    "Errors, and calls that were cut short; what is not there (4xx) is an answer.",
                    "timeseries",
                    "percentunit",
                    (Query(STORE_FAILS, "{{operation}}"),),
                    top=1,
                ),
            ),
        ),
        Row(
            "Postgres and Redis",
            (
                Panel(
                    "Connections in use",
                    "Of each process; as many as there may be, for long, means that requests wait for one.",
                    "timeseries",
                    "short",
                    (
                        Query(
                            f"{BUSY.format('open')} - {BUSY.format('idle')}", "{{job}} {{instance}}: in use"
                        ),
                        Query('max(trainyard_db_connections{state="limit"})', "most that there may be"),
                    ),
                ),
                Panel(
                    "Messages left to the sweep",
                    "Redis did not take them: their work began up to a second later.",
                    "timeseries",
                    "short",
                    (happened("trainyard_messages_left_to_sweep_total", "job"),),
                    stacked=True,
                ),
                Panel(
                    "Since the last sweep",
                    "Of each worker, to the end: it needs Postgres.",
                    "timeseries",
                    "s",
                    (
                        Query(
                            "time() - (trainyard_last_sweep_timestamp_seconds"
                            " and on (job, instance) trainyard_slots)",
                            "{{job}} {{instance}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Processes",
            (
                Panel(
                    "Processes that answer",
                    "As Prometheus asks them.",
                    "timeseries",
                    "short",
                    (Query(f"sum by (job) (up{{{OURS}}})", "{{job}}"),),
                ),
                Panel(
                    "Cores in use",
                    "Of the service's own process; fits and tables are read in children of a trainer's.",
                    "timeseries",
                    "cores",
                    (
                        Query(
                            f"sum by (job, instance) (rate(process_cpu_seconds_total{{{OURS}}}[{WINDOW}]))",
                            "{{job}} {{instance}}",
                        ),
                    ),
                ),
                Panel(
                    "Memory",
                    "Resident, of the service's own process.",
                    "timeseries",
                    "bytes",
                    (Query(f"process_resident_memory_bytes{{{OURS}}}", "{{job}} {{instance}}"),),
                ),
            ),
        ),
        Row(
            "What is guarded, and who asks",
            (
                Panel(
                    "Layers of the sandbox",
                    "On how many trainers each holds; SECURITY.md says what it keeps in.",
                    "bargauge",
                    "short",
                    (Query("sum by (layer) (trainyard_sandbox)", "{{layer}}"),),
                    width=5,
                ),
                Panel(
                    "Models refused",
                    "Neither opened nor copied: their signature does not match.",
                    "timeseries",
                    "short",
                    (happened("trainyard_artifacts_refused_total", "kind"),),
                    width=5,
                    stacked=True,
                ),
                Panel(
                    "Audit trail",
                    "Months to come that have a partition, and rows that are in no month: three, and none.",
                    "timeseries",
                    "short",
                    (
                        Query('max(trainyard_audit_months_ahead{job="packager"})', "months ahead"),
                        Query('max(trainyard_audit_unplaced_rows{job="packager"})', "rows in no month"),
                    ),
                    width=5,
                ),
                Panel(
                    "Requests, by route",
                    "The ten that are asked most.",
                    "timeseries",
                    "reqps",
                    (
                        Query(
                            "topk(10, sum by (method, route)"
                            f" (rate(trainyard_http_requests_total[{WINDOW}])))",
                            "{{method}} {{route}}",
                        ),
                    ),
                    width=9,
                ),
            ),
        ),
    ),
)
