"""`python -m tests.chaos.trainer_of_before`: the same trainer as it was before there were random forests."""

from __future__ import annotations

import uvloop

from services.trainer.__main__ import main
from services.trainer.steps import STEPS
from shared.contracts.catalogue import MODELS
from tests.chaos.trainer import PRELOAD, REPLACED

UNKNOWN = "random_forest"

if __name__ == "__main__":
    for models in MODELS.values():
        models.pop(UNKNOWN, None)
    uvloop.run(main(STEPS | {name: f"tests.chaos.steps:{name}" for name in REPLACED}, PRELOAD))
