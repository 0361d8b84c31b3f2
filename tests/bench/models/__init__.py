"""Trainyard beside other AutoML and plain defaults, on tables that come inside packages: `bench_models`.

What runs in an environment other than Trainyard's own (`loading.py`, `peers/`) imports nothing but the
standard library, pandas, numpy and what that environment is for.
"""
