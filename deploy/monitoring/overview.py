"""Whether people are served, and who waits for what."""

from __future__ import annotations

from deploy.monitoring.panels import (
    AT_ONCE,
    SHOWN,
    WINDOW,
    Dashboard,
    Panel,
    Query,
    Row,
    a_minute,
    happened,
    longest,
    of_the_queue,
    quantile,
    spread,
)

FAILING = (
    f'(sum(rate(trainyard_http_requests_total{{status=~"5.."}}[{WINDOW}])) or vector(0))'
    f" / sum(rate(trainyard_http_requests_total[{WINDOW}]))"
)

OVERVIEW = Dashboard(
    "trainyard-overview",
    "Trainyard: overview",
    "Whether people are served, and who waits for what.",
    (
        Row(
            "Now",
            (
                Panel(
                    "Jobs that wait",
                    "In the whole installation. Waiting is no fault; growing old is.",
                    "stat",
                    "short",
                    (Query("sum(max by (kind) (trainyard_queue_depth))", "waiting"),),
                    width=4,
                ),
                Panel(
                    "Oldest of them",
                    "How long it could have been done by now.",
                    "stat",
                    "s",
                    (Query("max(trainyard_queue_oldest_seconds)", "oldest"),),
                    width=4,
                    alarm=(60, 900),
                ),
                Panel(
                    "Jobs under way",
                    "In the whole installation.",
                    "stat",
                    "short",
                    (Query("sum(max by (kind) (trainyard_queue_running))", "under way"),),
                    width=4,
                ),
                Panel(
                    "Slots for fits",
                    "What all trainers do at once. Nought: nobody fits.",
                    "stat",
                    "short",
                    (Query('sum(trainyard_slots{weight="heavy"}) or vector(0)', "slots"),),
                    width=4,
                ),
                Panel(
                    "Requests that fail",
                    "The share that is answered with a 5xx.",
                    "stat",
                    "percentunit",
                    (Query(FAILING, "5xx"),),
                    width=4,
                    alarm=(0.005, 0.02),
                ),
                Panel(
                    "Alerts",
                    "That are firing; docs/operations.md has a paragraph on each.",
                    "stat",
                    "short",
                    (Query('count(ALERTS{alertstate="firing"}) or vector(0)', "firing"),),
                    width=4,
                    alarm=(1, 3),
                ),
            ),
        ),
        Row(
            "Queue",
            (
                Panel(
                    "Waiting, by kind",
                    "Jobs that could be done now.",
                    "timeseries",
                    "short",
                    (of_the_queue("depth"),),
                    stacked=True,
                ),
                Panel(
                    "Age of the oldest, by kind",
                    "Long means too few workers, or a user above USER_CAP.",
                    "timeseries",
                    "s",
                    (of_the_queue("oldest_seconds"),),
                ),
                Panel(
                    "Under way, by kind, and what there is room for",
                    "As much as the slots: more trainers would be of use where jobs wait.",
                    "timeseries",
                    "short",
                    (
                        of_the_queue("running"),
                        Query('sum(trainyard_slots{weight="heavy"})', "slots for fits"),
                    ),
                ),
            ),
        ),
        Row(
            "What becomes of it",
            (
                Panel(
                    "Attempts that ended, a minute",
                    "Handed over: by a drain. Waiting: for Postgres or the store. Lease lost: too slow.",
                    "timeseries",
                    "cpm",
                    (a_minute("trainyard_jobs_total", "outcome"),),
                    stacked=True,
                ),
                Panel(
                    "Models, a minute",
                    "Candidates of runs, by what came of them.",
                    "timeseries",
                    "cpm",
                    (a_minute("trainyard_candidates_total", "outcome"),),
                    stacked=True,
                ),
                Panel(
                    "Taken over",
                    "Jobs claimed after an attempt that did not end: its worker died or froze.",
                    "timeseries",
                    "short",
                    (happened("trainyard_takeovers_total", "kind"),),
                    stacked=True,
                ),
            ),
        ),
        Row(
            "API",
            (
                Panel(
                    "Requests, by status",
                    "304: a poll that has nothing new. 429: over a rate or a quota.",
                    "timeseries",
                    "reqps",
                    (
                        Query(
                            f"sum by (status) (rate(trainyard_http_requests_total[{WINDOW}]))", "{{status}}"
                        ),
                    ),
                    stacked=True,
                ),
                Panel(
                    "Latency",
                    "From the first byte to the end of the answer, long polls and event streams aside.",
                    "timeseries",
                    "s",
                    spread("trainyard_http_request_seconds", given=AT_ONCE),
                ),
                Panel(
                    "Slowest routes",
                    "The 95th percentile of the time shown, the ten slowest.",
                    "bargauge",
                    "s",
                    (
                        Query(
                            longest(
                                quantile(
                                    0.95,
                                    "trainyard_http_request_seconds",
                                    "method, route",
                                    given=AT_ONCE,
                                    window=SHOWN,
                                ),
                                10,
                            ),
                            "{{method}} {{route}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
