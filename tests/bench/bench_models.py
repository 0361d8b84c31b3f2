"""Models beside other AutoML and plain defaults, on tables that come inside packages: `tests/bench/models`.

    make bench NAME=models [BUDGET=60] [TABLES="ames wine"] [PEERS="lightgbm flaml"] [SEEDS="0 1"]

`PEERS=` measures ours alone, beside what is known of the peers. What is known is not measured again (AGAIN=1
does), so a run that was stopped goes on when it is started again. RESULTS= and REPORT= name other files to
keep the results in and to write into; ONLY_REPORT=1 writes without measuring.
"""

from __future__ import annotations

import os

from tests.bench.models import results, run, summary

TITLE = "Models"
LONG = True


def measure() -> list[str]:
    request = run.requested(os.environ)
    if not request.only_report:
        run.run(request, say=lambda line: print(line, flush=True))
    return summary.lines(results.of_budget(results.read(request.file), request.budget), request.budget)
