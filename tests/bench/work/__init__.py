"""Fits of a known amount of work, for measuring what is around them: as a plain scikit-learn script
(`script.py`) and as what a trainer runs in its child processes (`steps.py`, `trainer.py`)."""
