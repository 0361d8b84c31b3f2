"""What trainers and packagers do, how long it takes them and what it needs."""

from __future__ import annotations

from deploy.monitoring.panels import (
    SHOWN,
    WINDOW,
    Dashboard,
    Panel,
    Query,
    Row,
    happened,
    longest,
    of_the_queue,
    quantile,
    spread,
)

WORK = Dashboard(
    "trainyard-work",
    "Trainyard: work",
    "What trainers and packagers do, how long it takes them and what it needs.",
    (
        Row(
            "Models",
            (
                Panel(
                    "Seconds of a fit, by model: median",
                    "Validation, search and fit, of the time shown; the twelve slowest.",
                    "bargauge",
                    "s",
                    (
                        Query(
                            longest(quantile(0.5, "trainyard_fit_seconds", "model_name", window=SHOWN)),
                            "{{model_name}}",
                        ),
                    ),
                ),
                Panel(
                    "Seconds of a fit, by model: 95th percentile",
                    "Of the time shown; the twelve slowest.",
                    "bargauge",
                    "s",
                    (
                        Query(
                            longest(quantile(0.95, "trainyard_fit_seconds", "model_name", window=SHOWN)),
                            "{{model_name}}",
                        ),
                    ),
                ),
                Panel(
                    "Models that came to nothing",
                    "The ten that failed or were skipped most, of the time shown.",
                    "bargauge",
                    "short",
                    (
                        Query(
                            longest(
                                "sum by (model_name, outcome)"
                                f' (increase(trainyard_candidates_total{{outcome!="done"}}[{SHOWN}]))',
                                10,
                            ),
                            "{{model_name}}: {{outcome}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Jobs",
            (
                Panel(
                    "From asked for to begun",
                    "First claims only: what waits for workers.",
                    "timeseries",
                    "s",
                    spread("trainyard_job_wait_seconds"),
                    width=6,
                ),
                Panel(
                    "From begun to ended: 95th percentile",
                    "Attempts, however they ended.",
                    "timeseries",
                    "s",
                    (Query(quantile(0.95, "trainyard_job_seconds", "kind"), "{{kind}}"),),
                    width=6,
                ),
                Panel(
                    "To be done later",
                    "Retries after a while, and ZIPs that wait for their models' conversions.",
                    "timeseries",
                    "short",
                    (of_the_queue("delayed"),),
                    width=6,
                    stacked=True,
                ),
                Panel(
                    "Given up",
                    "Jobs that ended with a reason, not a result; of profiles and fits mostly the table's.",
                    "timeseries",
                    "short",
                    (happened("trainyard_jobs_given_up_total", "kind"),),
                    width=6,
                    stacked=True,
                ),
            ),
        ),
        Row(
            "Steps",
            (
                Panel(
                    "How steps ended, a minute",
                    "Processes of their own: memory, killed and deadline are the fit's limits.",
                    "timeseries",
                    "cpm",
                    (
                        Query(
                            f"60 * sum by (outcome) (rate(trainyard_steps_total[{WINDOW}])) > 0",
                            "{{outcome}}",
                        ),
                    ),
                    stacked=True,
                ),
                Panel(
                    "Most memory of a step: 95th percentile",
                    "Beside what a step may have (TRAINER_MEMORY_BYTES). Of the time shown.",
                    "bargauge",
                    "bytes",
                    (
                        Query(
                            longest(quantile(0.95, "trainyard_step_peak_bytes", "step", window=SHOWN)),
                            "{{step}}",
                        ),
                    ),
                ),
                Panel(
                    "Slots in use",
                    "Jobs that each process has in hand; beside a trainer's fits there is room for reports.",
                    "timeseries",
                    "short",
                    (Query("sum by (job, instance) (trainyard_jobs_running)", "{{job}} {{instance}}"),),
                ),
            ),
        ),
        Row(
            "ZIPs and disks",
            (
                Panel(
                    "Bytes of ZIPs, a second",
                    "As they are when they are built, whoever copied them.",
                    "timeseries",
                    "Bps",
                    (Query(f'sum(rate(trainyard_bundle_bytes_total{{job="packager"}}[{WINDOW}]))', "ZIPs"),),
                ),
                Panel(
                    "Bytes of ZIPs",
                    "Of the time shown.",
                    "stat",
                    "bytes",
                    (
                        Query(
                            f'sum(increase(trainyard_bundle_bytes_total{{job="packager"}}[{SHOWN}]))', "ZIPs"
                        ),
                    ),
                    width=4,
                ),
                Panel(
                    "No room left",
                    "Times that a disk was full: a trainer's, or that of Postgres.",
                    "timeseries",
                    "short",
                    (happened("trainyard_disk_full_total", "where"),),
                    width=4,
                ),
                Panel(
                    "Left on trainers' disks",
                    "For decoded tables and fits.",
                    "timeseries",
                    "bytes",
                    (Query("min by (instance) (trainyard_disk_free_bytes)", "{{instance}}"),),
                ),
            ),
        ),
    ),
)
