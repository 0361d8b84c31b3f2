"""What the dashboards show: rows of panels, each a question asked of Prometheus in PromQL.

docs/observability.md says what the metrics are. The queue's figures are of the whole installation and the
same on every process, so they are taken by `max`; everything else is of one process, and added up.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Kind = Literal["stat", "timeseries", "bargauge"]
Unit = Literal["short", "s", "bytes", "Bps", "percentunit", "reqps", "ops", "cpm", "cores"]
"""Grafana's names of units; `cores` is one that it does not know and writes behind the number."""

WINDOW = "$__rate_interval"
"""Grafana's: at least four scrapes, more where a pixel is more than that."""
SHOWN = "$__range"
"""Grafana's: all of the time that is looked at."""
OURS = 'job=~"api|trainer|packager"'
AT_ONCE = 'route!~"/ml/(status|events|download-all-models)/.+|/account/export"'
"""Requests that are answered at once: the others are held for as long as their caller likes."""


class Query(Struct, frozen=True):
    """`legend`: what one of its series is called, with labels in `{{…}}`."""

    expr: str
    legend: str


class Panel(Struct, frozen=True):
    """`width`: of 24 columns. `alarm`: from which value on a figure is amber, and red. `stacked`: its series
    add up to something. `top`: where its axis ends, if not where its values do."""

    title: str
    says: str
    kind: Kind
    unit: Unit
    queries: tuple[Query, ...]
    width: int = 8
    alarm: tuple[float, float] | None = None
    stacked: bool = False
    top: float | None = None


class Row(Struct, frozen=True):
    title: str
    panels: tuple[Panel, ...]


class Dashboard(Struct, frozen=True):
    """`uid`: what its address ends in, for good."""

    uid: str
    title: str
    says: str
    rows: tuple[Row, ...]


def quantile(share: float, histogram: str, by: str, *, given: str = "", window: str = WINDOW) -> str:
    """A quantile of a histogram over all processes, for each value of the labels `by`."""
    grouped = ", ".join(filter(None, ("le", by)))
    selected = f"{histogram}_bucket{{{given}}}" if given else f"{histogram}_bucket"
    return f"histogram_quantile({share}, sum by ({grouped}) (rate({selected}[{window}])))"


def spread(histogram: str, *, given: str = "") -> tuple[Query, ...]:
    """Median, 95th and 99th percentile."""
    return tuple(
        Query(quantile(share, histogram, "", given=given), name)
        for share, name in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))
    )


def longest(query: str, count: int = 12) -> str:
    """The largest of its series, the largest first; without those of which nothing is known."""
    return f"sort_desc(topk({count}, {query} >= 0))"


def of_the_queue(figure: str) -> Query:
    return Query(f"max by (kind) (trainyard_queue_{figure})", "{{kind}}")


def happened(counter: str, by: str) -> Query:
    return Query(f"sum by ({by}) (increase({counter}[{WINDOW}]))", f"{{{{{by}}}}}")


def a_minute(counter: str, by: str) -> Query:
    return Query(f"60 * sum by ({by}) (rate({counter}[{WINDOW}]))", f"{{{{{by}}}}}")
