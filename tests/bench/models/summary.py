"""The section of docs/benchmarks.md: ranks, duels, every table, overruns, and what was measured with what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from tests.bench.models import ranking
from tests.bench.models.competitors import LABELS, OURS, PEERS
from tests.bench.models.ranking import Standing
from tests.bench.models.results import Result
from tests.bench.models.tables import LOWER_IS_BETTER, METRIC, TABLES, Task
from tests.bench.report import table as lines_of

TOLERANCE = 1.05
"""Of the budget: more than that is an overrun."""
TASKS: tuple[Task, ...] = ("binary", "multiclass", "regression")

Ranks = dict[str, dict[str, float]]
"""Table → competitor → rank."""


def lines(results: Sequence[Result], budget: float) -> list[str]:
    """Markdown. Only tables that every competitor shown was tried on are ranked."""
    results = _of_the_same_rows([r for r in results if r.table in TABLES])
    names = [name for name in LABELS if any(r.competitor == name for r in results)]
    if not results:
        return ["Nothing has been measured yet."]
    ranked = ranks(results, names)
    return [
        f"{budget:g} s and 2 cores for each fit, on tables that come inside packages; each competitor in a "
        "process and an environment of its own, on the same rows. Why these tables and peers, how each is "
        "used, and what is unfair in it: [decision 0019](decisions/0019-the-models-bench.md).",
        "",
        *_standings(results, names, ranked, budget),
        *_duels(names, ranked),
        *_scores(results, names),
        *_costs(results, names),
        *_overruns(results, budget),
        *_failures(results),
        *_tables(results),
        *_measured_with(results, names),
    ]


def _of_the_same_rows(results: Sequence[Result]) -> list[Result]:
    """A table that a package has changed since is another: of each split only what the last had."""
    last = {r.case: r.train_sha256 for r in results}
    return [r for r in results if r.train_sha256 == last[r.case]]


def ranks(results: Iterable[Result], names: Sequence[str]) -> Ranks:
    cases: dict[tuple[str, int], dict[str, float | None]] = {}
    for result in results:
        cases.setdefault(result.case, {})[result.competitor] = result.score
    ranked = {
        case: ranking.ranks(scores, greater_is_better=_metric(case[0]) not in LOWER_IS_BETTER)
        for case, scores in ranking.complete(cases, names).items()
    }
    return ranking.by_table(ranked)


def _metric(table: str) -> str:
    return TABLES[table].metric


def _standings(results: Sequence[Result], names: Sequence[str], ranked: Ranks, budget: float) -> list[str]:
    overall = ranking.standings(ranked)
    if not overall:
        return ["No table was measured with all of them yet, so nothing is ranked.", ""]
    by_task = {task: ranking.standings(_of_task(ranked, task)) for task in TASKS}
    rows = []
    for name, standing in overall.items():
        own = [r for r in results if r.competitor == name]
        over = sum(_over(r, budget) for r in own) if _takes_budget(name) else "takes none"
        rows.append(
            (
                LABELS[name],
                f"{standing.mean_rank:.2f} ({standing.low:.2f} to {standing.high:.2f})",
                *(_mean(by_task[task], name) for task in TASKS),
                str(standing.wins),
                str(sum(bool(r.failed) for r in own)),
                str(over),
                f"{sum(r.seconds for r in own):,.0f}",
            )
        )
    counted = ", ".join(f"{len(_of_task(ranked, task))} {task}" for task in TASKS)
    head = ("", "mean rank", *TASKS, "wins", "failed", "over budget", "seconds in all")
    return [
        "### Mean ranks",
        "",
        f"Over {len(ranked)} tables ({counted}), 1 is best of {len(names)}. In brackets the 95% interval had "
        f"other tables been drawn (bootstrap over tables, {ranking.RESAMPLES:,} resamples). Scores that "
        f"agree to {ranking.DIGITS} decimals are tied; ties share the mean of their places, who fails shares "
        "the last. Wins count for all that are tied. Over budget: by more than 5%.",
        "",
        *lines_of(head, rows),
        "",
    ]


def _of_task(ranked: Ranks, task: Task) -> Ranks:
    return {name: of for name, of in ranked.items() if TABLES[name].task == task}


def _mean(standings: Mapping[str, Standing], name: str) -> str:
    return f"{standings[name].mean_rank:.2f}" if name in standings else ""


def _takes_budget(name: str) -> bool:
    return name == OURS or PEERS[name].takes_budget


def _over(result: Result, budget: float) -> bool:
    return result.seconds > TOLERANCE * budget


def _duels(names: Sequence[str], ranked: Ranks) -> list[str]:
    if OURS not in names or not ranked or len(names) < 2:
        return []
    rows = []
    for name in names:
        if name == OURS:
            continue
        d = ranking.duel(ranked, OURS, name)
        verdict = "ahead" if d.high < 0 else "behind" if d.low > 0 else "not told apart"
        difference = f"{d.difference:+.2f} ({d.low:+.2f} to {d.high:+.2f})"
        rows.append((LABELS[name], str(d.ahead), str(d.level), str(d.behind), difference, verdict))
    head = ("Trainyard against", "better on", "level", "worse on", "difference of mean ranks", "so it is")
    return ["### One against one", "", *lines_of(head, rows), ""]


def _scores(results: Sequence[Result], names: Sequence[str]) -> list[str]:
    """Table × competitor: the metric, the mean over seeds."""
    rows = []
    for table, of in _by_table(results).items():
        means = {name: _mean_score(of, name) for name in names}
        best = _best([score for score in means.values() if score is not None], _metric(table))
        cells = [_cell(means[name], best, of, name) for name in names]
        rows.append((table, _metric(table), *cells))
    head = ("table", "metric", *(LABELS[name] for name in names))
    note = "On held-out rows; the best in bold. " + (
        "roc_auc and r2: greater is better; log_loss: less is better."
    )
    return ["### Scores", "", note, "", *lines_of(head, rows), ""]


def _by_table(results: Sequence[Result]) -> dict[str, list[Result]]:
    return {name: of for name in TABLES if (of := [r for r in results if r.table == name])}


def _mean_score(results: Sequence[Result], name: str) -> float | None:
    found = [r.score for r in results if r.competitor == name and r.score is not None]
    return sum(found) / len(found) if found else None


def _best(scores: Sequence[float], metric: str) -> float | None:
    return (min if metric in LOWER_IS_BETTER else max)(scores) if scores else None


def _cell(score: float | None, best: float | None, results: Sequence[Result], name: str) -> str:
    if score is None:
        return "failed" if any(r.competitor == name for r in results) else ""
    text = f"{score:.{ranking.DIGITS}f}"
    assert best is not None
    return f"**{text}**" if text == f"{best:.{ranking.DIGITS}f}" else text


def _costs(results: Sequence[Result], names: Sequence[str]) -> list[str]:
    """Table × competitor: seconds and size; and a row of medians with the time of a prediction."""
    rows = []
    for table, of in _by_table(results).items():
        cells = []
        for name in names:
            own = [r for r in of if r.competitor == name and not r.failed]
            seconds = median(r.seconds for r in own) if own else 0
            cells.append(f"{seconds:.0f} s, {_size(median(r.size_bytes for r in own))}" if own else "")
        rows.append((table, *cells))
    predicted = []
    for name in names:
        own_ms = [r.predict_ms_per_row for r in results if r.competitor == name and not r.failed]
        predicted.append(f"{median(own_ms):.3f} ms" if own_ms else "")
    rows.append(("a row's prediction, within a batch, median", *predicted))
    head = ("table", *(LABELS[name] for name in names))
    return ["### Seconds of a fit and size of the model", "", *lines_of(head, rows), ""]


def _size(size: float) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"


def _overruns(results: Sequence[Result], budget: float) -> list[str]:
    found = [r for r in results if _takes_budget(r.competitor) and _over(r, budget)]
    told = [
        f"{LABELS[name]}: {', '.join(_overrun(r) for r in found if r.competitor == name)}"
        for name in LABELS
        if any(r.competitor == name for r in found)
    ]
    return ["### More than 5% over the budget", "", *([f"- {line}." for line in told] or ["None."]), ""]


def _overrun(result: Result) -> str:
    return f"{result.table} {result.seconds:.0f} s"


def _failures(results: Sequence[Result]) -> list[str]:
    found = [f"- {LABELS[r.competitor]}, {r.table}: {r.failed}" for r in results if r.failed]
    return ["### Failed", "", *found, ""] if found else []


def _tables(results: Sequence[Result]) -> list[str]:
    sizes = {r.table: (r.rows, r.columns) for r in results}
    rows = []
    for name, (count, columns) in sizes.items():
        table = TABLES[name]
        left_out = "; ".join(f"`{column}` ({why})" for column, why in table.leave_out.items())
        where = f"{table.package}: {table.source}"
        shape, target = f"{count:,} × {columns}", f"`{table.target}`"
        rows.append((name, where, shape, table.task, target, table.note, left_out, table.licence))
    head = ("table", "from", "rows × columns", "task", "target", "what is in it", "left out", "licence")
    told = ", ".join(f"{metric} for {task}" for task, metric in METRIC.items())
    return ["### The tables", "", f"Measured and optimised: {told}.", "", *lines_of(head, rows), ""]


def _measured_with(results: Sequence[Result], names: Sequence[str]) -> list[str]:
    rows = []
    for name in names:
        own = [r for r in results if r.competitor == name]
        dates = sorted({r.date for r in own})
        span = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        versions = {", ".join(f"{k} {v}" for k, v in r.versions.items()) for r in own}
        machines = {r.machine.partition(", load")[0] for r in own}
        loads = [float(r.machine.rpartition("load ")[2]) for r in own if "load " in r.machine]
        busy = f"; load {min(loads):.1f} to {max(loads):.1f}" if loads else ""
        seeds = sorted({r.seed for r in own})
        rows.append(
            (
                LABELS[name],
                "; ".join(sorted(versions)),
                span,
                "; ".join(sorted(machines)) + busy,
                ", ".join(map(str, seeds)),
            )
        )
    head = ("", "versions", "measured", "machine", "seeds")
    return ["### Measured with", "", *lines_of(head, rows)]
