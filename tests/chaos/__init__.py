"""Faults, one after another: the real processes are killed, their servers emptied, restarted and cut off."""

import pytest

# What these modules assert is explained as in a test.
pytest.register_assert_rewrite(
    "tests.chaos.fleet", "tests.chaos.runs", "tests.chaos.takeover", "tests.e2e.person"
)
