"""`python -m tests.bench.work.trainer STEP`: the trainer, its fits a step of `tests.bench.work.steps`."""

from __future__ import annotations

import sys

import uvloop

from services.trainer.__main__ import main
from services.trainer.steps import STEPS

PRELOAD = (
    "services.trainer.table",
    "services.trainer.profile",
    "services.trainer.preview",
    "services.trainer.plan",
    "tests.bench.work.steps",
)

if __name__ == "__main__":
    uvloop.run(main(STEPS | {"fit": f"tests.bench.work.steps:{sys.argv[1]}"}, PRELOAD))
