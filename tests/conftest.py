"""Fixtures every test may use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from deploy import embedded


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Postgres, Valkey and an S3 server, started once a session: their environment variables.

    `DATABASE_URL` is a superuser's; the other two logins exist once migrations have run.
    """
    with embedded.servers(tmp_path_factory.mktemp("servers")) as env:
        yield env
