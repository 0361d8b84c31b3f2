"""The dashboard in a real browser, on a whole stack."""

import pytest

# What this module asserts is explained as in a test.
pytest.register_assert_rewrite("tests.web.pages")
