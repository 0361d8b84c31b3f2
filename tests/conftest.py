"""Fixtures every test may use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import hypothesis
import pytest

from deploy import embedded

# Machines are shared: how long an example takes says nothing about the code.
hypothesis.settings.register_profile(
    "trainyard", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("trainyard")


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Postgres, Valkey and an S3 server, started once a session: their environment variables.

    `DATABASE_URL` is a superuser's; the other two logins exist once migrations have run.
    """
    with embedded.servers(tmp_path_factory.mktemp("servers")) as env:
        yield env
