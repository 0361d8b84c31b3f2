"""Settings from an environment, and secrets that do not show."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import msgspec
import pytest

from shared import settings
from shared.errors import ConfigurationError
from shared.settings import S3, Auth, Postgres, Redis, Secret, load, reveal, secrets_of, without_files

SECRETS = {
    "DATABASE_URL",
    "API_DATABASE_URL",
    "WORKER_DATABASE_URL",
    "REDIS_URL",
    "S3_ACCESS_KEY_ID",
    "S3_SECRET_ACCESS_KEY",
    "AUTH_JWT_SECRET",
}
SOUNDS_SECRET = ("SECRET", "PASSWORD", "ACCESS_KEY", "DATABASE_URL", "REDIS_URL", "SIGNING_KEY", "HMAC")


def test_every_variable_that_sounds_like_a_secret_is_one() -> None:
    names = set(settings.secret_names())
    assert names >= SECRETS
    every = {
        field.encode_name
        for kind in settings.Settings.__subclasses__()
        for field in msgspec.structs.fields(kind)
    }
    assert {name for name in every if any(word in name for word in SOUNDS_SECRET)} <= names


def test_a_secret_shows_itself_to_nobody() -> None:
    given = load(Auth, {"AUTH_JWT_SECRET": "correct horse battery staple"})
    secret = given.auth_jwt_secret
    shown = [str(given), repr(given), f"{secret} {secret!r} {secret:>5}", "%s" % secret, str([secret])]  # noqa: UP031
    shown.append(str(msgspec.structs.asdict(given)))
    assert not any("horse" in text for text in shown)
    assert "***" in repr(given)
    with pytest.raises(TypeError):
        msgspec.json.encode(given)
    for copied in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            copied(secret)
    assert reveal(secret) == secret == "correct horse battery staple"
    assert type(reveal(secret)) is str
    assert secret.encode() + b"" == b"correct horse battery staple"
    assert (str(Secret("")), repr(load(Auth, {}).auth_jwt_secret)) == ("", "''")


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_secret_from_a_file(tmp_path: Path, ending: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b" a secret with blanks " + ending.encode())
    environ = {"S3_SECRET_ACCESS_KEY_FILE": str(file), "S3_ACCESS_KEY_ID": "me"}
    given = load(S3, environ)
    assert (reveal(given.s3_secret_access_key), reveal(given.s3_access_key_id)) == (
        " a secret with blanks ",
        "me",
    )
    assert secrets_of(environ) == {" a secret with blanks ", "me"}
    assert without_files(environ | {"HOME": "/"}) == {
        "S3_SECRET_ACCESS_KEY": " a secret with blanks ",
        "S3_ACCESS_KEY_ID": "me",
        "HOME": "/",
    }


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_secret_and_a_file_for_it_are_one_too_many(tmp_path: Path, name: str) -> None:
    file = tmp_path / "secret"
    file.write_text("one")
    kind = next(k for k in (Postgres, Redis, S3, Auth) if name.lower() in k.__struct_fields__)
    with pytest.raises(ConfigurationError, match=f"{name} and {name}_FILE are both set"):
        load(kind, {name: "two", f"{name}_FILE": str(file)})
    assert reveal(getattr(load(kind, {name: "", f"{name}_FILE": str(file)}), name.lower())) == "one"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\xff")
    for bad, why in (("missing", "No such file"), ("binary", "not UTF-8"), (".", "Is a directory")):
        with pytest.raises(ConfigurationError, match=f"AUTH_JWT_SECRET_FILE: .*{why}"):
            load(Auth, {"AUTH_JWT_SECRET_FILE": str(tmp_path / bad)})
        assert secrets_of({"AUTH_JWT_SECRET_FILE": str(tmp_path / bad)}) == set()


def test_what_is_no_secret_has_no_file(tmp_path: Path) -> None:
    (tmp_path / "region").write_text("nowhere")
    assert load(S3, {"S3_REGION_FILE": str(tmp_path / "region")}).s3_region == "us-east-1"


def test_the_passwords_of_addresses_are_secrets_too() -> None:
    environ = {"REDIS_URL": "redis://:p%40ss%2Fword@host:1/0", "DATABASE_URL": "postgresql://u@host/x"}
    assert secrets_of(environ) == {*environ.values(), "p%40ss%2Fword", "p@ss/word"}
    assert secrets_of({"REDIS_URL": "redis://[broken"}) == set()


def test_each_of_several_keys_is_a_secret() -> None:
    first, second = "Zmlyc3QtZmlyc3QtZmlyc3Q=", "c2Vjb25kLXNlY29uZA=="
    value = f"k1:{first},k2:{second}"
    assert secrets_of({"AUTH_JWT_SECRET": value}) == {value, first, second}
