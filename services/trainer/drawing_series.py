"""Drawn plots of a time series."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

from services.trainer.drawing import ACCENT, INK, SOFT, axes, floats, magnitudes, shown, style, svg


def forecast(data: dict[str, Any], model: str) -> str:
    past_times, times = data["history"]["time"], data["time"]
    x = _positions([*past_times, *times])
    past_x, x = x[: len(past_times)], x[len(past_times) :]
    past, mean = floats(data["history"]["value"]), floats(data["mean"])
    with style():
        title = "Forecast" if data["series"] is None else f"Forecast of {shown(str(data['series']))}"
        whole, ax = axes(title, model, (7.6, 4.2))
        handles, names = [], []

        def add(handle: Any, name: str) -> None:
            handles.append(handle)
            names.append(name)

        add(ax.plot(past_x, past, color=SOFT, linewidth=1.4)[0], "history")
        if data["actual"]:
            few = len(x) <= 60
            # what really came goes on from the history
            truth_x, truth = [*past_x[-1:], *x], [*past[-1:], *floats(data["actual"])]
            dots: dict[str, Any] = {
                "marker": "o" if few else None,
                "markersize": 3.2,
                "markevery": slice(len(past[-1:]), None),
            }
            add(ax.plot(truth_x, truth, color=INK, linewidth=1.4, **dots)[0], "actual")
        marker = "o" if len(x) == 1 else None
        add(ax.plot(x, mean, color=ACCENT, linewidth=2.2, marker=marker)[0], "forecast")
        for level in sorted(data["bands"], key=float, reverse=True):
            lower, upper = floats(data["bands"][level]["lower"]), floats(data["bands"][level]["upper"])
            alpha = 0.13 if float(level) >= 90 else 0.2
            if len(x) == 1:
                band: Any = ax.vlines(x, lower, upper, color=ACCENT, alpha=alpha * 2, linewidth=10)
            else:
                band = ax.fill_between(x, lower, upper, color=ACCENT, alpha=alpha, linewidth=0)
            add(band, f"{shown(level)}% interval")
        ax.axvline(x[0], color=SOFT, linestyle=(0, (2, 3)), linewidth=1)
        ax.margins(x=0.01)
        if isinstance(x[0], dt.datetime):
            locator = AutoDateLocator(maxticks=8)
            ax.xaxis.set_major_locator(locator)
            ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        ax.set_xlabel("Time")
        ax.set_ylabel("Value")
        magnitudes(ax.yaxis, biggest=np.nanmax(np.abs([*past, *mean, 0.0])))
        ax.grid(visible=False, axis="x")
        whole.legend(handles, names, loc="outside lower center", ncols=len(names))
        return svg(whole)


def _positions(times: Sequence[str]) -> list[Any]:
    """Times as dates, else as numbers, else as 0, 1, 2 …"""
    for read in (_date, float):
        try:
            return [read(time) for time in times]
        except (ValueError, OverflowError):
            continue
    return list(range(len(times)))


def _date(time: str) -> dt.datetime:
    # "2024" and "202401" are ISO dates too, but a series numbered so is drawn better by number
    if "-" not in time[1:]:
        raise ValueError(time)
    return dt.datetime.fromisoformat(time).replace(tzinfo=None)
