"""Benchmarks: each measures two things in turn, in one run, and says their ratio. `make bench` runs them."""
