"""The servers and databases of the integration tests."""

from tests.integration.conftest import api_db, buckets, env, template, worker_db

__all__ = ["api_db", "buckets", "env", "template", "worker_db"]
