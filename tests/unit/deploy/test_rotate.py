"""Secrets are changed in steps of which any two that follow one another may be live at once."""

from __future__ import annotations

import itertools
import json
import os
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

import jwt
import pytest

from deploy import rotate
from deploy.embedded.credentials import FILE, load_credentials
from deploy.env import PROJECT
from services.api.tokens import Tokens, check_settings
from shared.errors import ArtifactRefused, Unauthenticated
from shared.settings import Auth, Signing, load
from shared.signing import Artifact, KeyRing

STEPS = ("add", "use", "drop")
ARTIFACT = Artifact(
    sha256="ab" * 32, user_id=uuid.uuid4(), task_id=uuid.uuid4(), slug="random_forest", attempt=1
)


def env_file(folder: Path) -> Path:
    path = folder / ".env"
    path.write_text(
        "# kept\nAUTH_JWT_SECRET=" + "a" * 64 + "\n# AUTH_JWT_PREVIOUS_SECRET=\n"
        "ARTIFACT_HMAC_KEYS=k1:" + "ab" * 32 + "\nLOG_LEVEL=info\n"
    )
    path.chmod(0o600)
    return path


def lives(path: Path, what: str) -> list[dict[str, str]]:
    """What services know before the first step and after each."""
    known = [rotate.read(path)]
    for step in STEPS:
        assert rotate.main([what, step, "--file", str(path)]) == 0
        known.append(rotate.read(path))
    return known


def neighbours(known: list[dict[str, str]]) -> list[tuple[Mapping[str, str], Mapping[str, str]]]:
    """Services of one step beside those of the next, both ways, and each beside itself."""
    pairs = list(itertools.pairwise(known))
    return [*pairs, *[(b, a) for a, b in pairs], *[(a, a) for a in known]]


async def test_tokens_are_taken_by_every_api_that_is_live(tmp_path: Path) -> None:
    known = lives(env_file(tmp_path), "token")
    for signs, checks in neighbours(known):
        issuer, other = Tokens(load(Auth, signs)), Tokens(load(Auth, checks))
        check_settings(load(Auth, checks))
        token, _ = issuer.issue(uuid.uuid4(), "ann@example.org")
        assert (await other.check(token)).role == "authenticated"
    # what was signed before is taken until the end, and no longer
    before, _ = Tokens(load(Auth, known[0])).issue(uuid.uuid4(), "ann@example.org")
    for step, settings in enumerate(known):
        checking = Tokens(load(Auth, settings)).check(before)
        if step < 3:
            assert (await checking).email == "ann@example.org"
        else:
            with pytest.raises(Unauthenticated):
                await checking
    assert known[0]["AUTH_JWT_SECRET"] not in json.dumps(known[3])


async def test_the_provider_may_change_at_any_time_between(tmp_path: Path) -> None:
    """From `add` on a token with the new secret is taken, whoever signs it."""
    known = lives(env_file(tmp_path), "token")
    new = known[3]["AUTH_JWT_SECRET"]
    claims = {
        "sub": str(uuid.uuid4()),
        "aud": "authenticated",
        "role": "authenticated",
        "exp": time.time() + 60,
    }
    token = jwt.encode(claims, new, algorithm="HS256")
    for settings in known[1:]:
        assert (await Tokens(load(Auth, settings)).check(token)).role == "authenticated"


def ring(settings: Mapping[str, str]) -> KeyRing:
    return KeyRing.parse(load(Signing, settings).artifact_hmac_keys)


def test_models_are_taken_by_every_worker_that_is_live(tmp_path: Path) -> None:
    known = lives(env_file(tmp_path), "artifacts")
    for signs, checks in neighbours(known):
        ring(checks).verify(ARTIFACT, ring(signs).sign(ARTIFACT))
    old = ring(known[0]).sign(ARTIFACT)
    for settings in known[:3]:
        ring(settings).verify(ARTIFACT, old)
    with pytest.raises(ArtifactRefused, match="not in ARTIFACT_HMAC_KEYS"):
        ring(known[3]).verify(ARTIFACT, old)
    assert [ring(settings).signs_with for settings in known][:2] == ["k1", "k1"]
    assert ring(known[2]).signs_with == ring(known[3]).signs_with != "k1"


def test_the_rest_of_the_file_and_its_rights_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = env_file(tmp_path)
    for what in rotate.STEPS:
        known = lives(path, what)
    text = path.read_text()
    assert text.startswith("# kept\n")
    assert text.endswith("LOG_LEVEL=info\n")
    assert text.count("AUTH_JWT_PREVIOUS_SECRET=") == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    said = capsys.readouterr().out
    assert "signs" in said
    secret_values = {v for settings in known for v in settings.values() if len(v) > 16}
    assert not any(value.rpartition(":")[2] in said for value in secret_values)


@pytest.mark.parametrize(
    ("what", "steps", "why"),
    [
        ("token", ["use"], "`add` comes first"),
        ("token", ["drop"], "`add` comes first"),
        ("token", ["add", "add"], "`drop` it first"),
        ("artifacts", ["use"], "`add` comes first"),
        ("artifacts", ["add", "add"], "`drop` comes first"),
    ],
)
def test_a_step_out_of_turn_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, steps: list[str], why: str
) -> None:
    path = env_file(tmp_path)
    for step in steps[:-1]:
        assert rotate.main([what, step, "--file", str(path)]) == 0
    before = path.read_text()
    assert rotate.main([what, steps[-1], "--file", str(path)]) == 1
    assert why in capsys.readouterr().err
    assert path.read_text() == before


def test_what_cannot_be_changed_here_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / ".env"
    assert rotate.main(["token", "add", "--file", str(path)]) == 1
    path.write_text("AUTH_JWKS_URL=https://example.org/keys\n")
    assert rotate.main(["token", "add", "--file", str(path)]) == 1
    path.write_text("ARTIFACT_HMAC_KEYS_FILE=/run/secrets/keys\n")
    assert rotate.main(["artifacts", "add", "--file", str(path)]) == 1
    said = capsys.readouterr().err
    assert "cannot be read" in said
    assert "provider's keys" in said
    assert "from a file" in said


def test_the_local_stacks_secrets_are_changed_by_the_same_steps(tmp_path: Path) -> None:
    before = load_credentials(tmp_path)
    path = tmp_path / FILE
    # as make calls it: by itself, without any package
    for what in rotate.STEPS:
        for step in STEPS[:2]:
            command = [sys.executable, "-I", "-S", str(PROJECT / "deploy/rotate.py"), what, step]
            subprocess.run(
                [*command, "--file", str(path)], check=True, capture_output=True, env=dict(os.environ)
            )
    after = load_credentials(tmp_path)
    assert after.auth_jwt_previous_secret == before.auth_jwt_secret
    assert after.auth_jwt_secret != before.auth_jwt_secret
    assert after.artifact_hmac_keys.endswith(f",{before.artifact_hmac_keys}")
    assert after.postgres_password == before.postgres_password
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
