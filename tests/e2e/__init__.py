"""The product from end to end: real processes, real tables, HTTP like any client's."""

import pytest

# What these modules assert is explained as in a test.
pytest.register_assert_rewrite("tests.e2e.checks", "tests.e2e.person", "tests.e2e.stack")
