"""`python -m tests.chaos.trainer`: the trainer, whose fits do what `tests.chaos.steps` makes them do."""

from __future__ import annotations

import uvloop

from services.trainer.__main__ import main
from services.trainer.steps import STEPS

REPLACED = ("plan", "fit", "choose", "combine")
PRELOAD = ("services.trainer.table", "services.trainer.profile", "services.trainer.plan")
"""What its steps need and no more: it is started again and again."""

if __name__ == "__main__":
    uvloop.run(main(STEPS | {name: f"tests.chaos.steps:{name}" for name in REPLACED}, PRELOAD))
