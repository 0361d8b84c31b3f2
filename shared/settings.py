"""Settings: small frozen structs, one a resource, read from an environment mapping.

Nothing here reads `os.environ`: each process does so once, in its `__main__`, and hands the mapping
to `load`. A field `foo_bar` is the variable `FOO_BAR`; `deploy/env.example` lists them all. A field of
type `Secret` may come from a file instead, which `FOO_BAR_FILE` names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec

from shared.errors import ConfigurationError

T = TypeVar("T", bound="Settings")

A_KEY = 16
"""Characters from which on a part of a secret is a secret itself, and not the name of a key."""


class Secret(str):
    """Text that never shows itself: `str`, `repr` and formatting give `***`. What is done with it as text
    (compared, joined, encoded) is done with the value; `reveal` gives the value to other libraries."""

    __slots__ = ()

    def __str__(self) -> str:
        return "***" if self else ""

    def __repr__(self) -> str:
        return repr(str(self))

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a secret is not pickled")


def reveal(text: str) -> str:
    """A secret's value, for a library that formats what it is given; other text as it is."""
    return str.__str__(text)


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename="upper"):
    """Base of every settings struct: fields are read from upper-case variables."""


class Postgres(Settings, frozen=True, kw_only=True):
    """`DATABASE_URL` is the owner's (it migrates); each service uses its own login."""

    database_url: Secret = Secret("")
    api_database_url: Secret = Secret("")
    worker_database_url: Secret = Secret("")
    scaler_database_url: Secret = Secret("")
    """An autoscaler's login, where there is one: it may ask how much there is to do, and nothing else."""
    db_pool_size: int = 8
    db_statement_cache_size: int = 256
    """0 behind a transaction-mode pooler."""


class Redis(Settings, frozen=True, kw_only=True):
    redis_url: Secret = Secret("redis://127.0.0.1:6379/0")


class S3(Settings, frozen=True, kw_only=True):
    s3_endpoint_url: str = ""
    s3_public_endpoint_url: str = ""
    """What signed links point at, where browsers reach the store under another name."""
    s3_access_key_id: Secret = Secret("")
    s3_secret_access_key: Secret = Secret("")
    s3_region: str = "us-east-1"
    s3_bucket_datasets: str = "datasets"
    s3_bucket_artifacts: str = "artifacts"
    s3_bucket_bundles: str = "bundles"
    s3_bucket_models: str = "model-files"
    signed_url_ttl_s: int = 3600
    downloads: Literal["auto", "redirect", "proxy"] = "auto"


class Auth(Settings, frozen=True, kw_only=True):
    auth_jwt_secret: Secret = Secret("")
    auth_jwt_previous_secret: Secret = Secret("")
    """What tokens were signed with until lately: they go on being taken, and no new ones are signed."""
    auth_jwks_url: str = ""
    auth_issuer: str = ""
    """Who may issue tokens (`iss`), comma-separated; empty: whoever has the secret or one of the keys."""
    auth_audience: str = "authenticated"
    auth_dev_login: bool = False
    supabase_url: str = ""
    """Where the dashboard signs people in by e-mail and password, with `supabase_anon_key`."""
    supabase_anon_key: str = ""
    """Public by its nature: every browser gets it. What it may do, the project's policies say."""


class Api(Settings, frozen=True, kw_only=True):
    host: str = "127.0.0.1"
    port: int = 8000
    max_upload_bytes: int = 5 * 2**30
    allowed_hosts: str = ""
    """Further names, comma-separated, under which dev-login may be called besides loopback."""
    cors_allowed_origins: str = ""
    """Origins, comma-separated, whose pages may call the API; empty: its own alone."""
    forwarded_allow_ips: str = "127.0.0.1"
    """Addresses and networks of proxies, comma-separated, that are believed whom they ask for and how."""
    dashboard_dir: str = ""
    """The built dashboard; empty: `services/web/dist` of this checkout."""


class RateLimits(Settings, frozen=True, kw_only=True):
    """How often a minute, over all API processes; 0: without a limit."""

    rate_limit_reads_per_min: Annotated[int, msgspec.Meta(ge=0)] = 3000
    """GET and HEAD of one user."""
    rate_limit_writes_per_min: Annotated[int, msgspec.Meta(ge=0)] = 300
    """Everything else of one user."""
    rate_limit_failed_logins_per_min: Annotated[int, msgspec.Meta(ge=0)] = 60
    """Tokens of one address that were refused."""


class Http(Settings, frozen=True, kw_only=True):
    """What one connection may cost the API."""

    max_json_bytes: int = 2**20
    """Of a JSON body; the largest that makes sense is a train request that names 2,000 columns."""
    max_head_bytes: int = 64 * 2**10
    """Of a request's first line and headers."""
    head_timeout_s: float = 10.0
    """How long a connection may be open without a whole request's head."""
    body_timeout_s: float = 30.0
    """How long a body may stand still, and how far it may lag behind `min_body_rate`."""
    min_body_rate: int = 500
    """Bytes a second that a body has to come with on average."""
    max_connections: int = 4096


class Quotas(Settings, frozen=True, kw_only=True):
    """What one user may have at once."""

    max_queued_tasks: int = 500
    """Runs that wait for a trainer."""
    max_stored_bytes: int = 100 * 2**30
    """Uploaded files and saved models, those in the trash included."""
    max_api_keys: int = 50


class Worker(Settings, frozen=True, kw_only=True):
    worker_name: str = ""
    """Empty: host name and process id."""
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 0
    """0: no metrics server."""
    lease_s: float = 9.0
    """How long work stays with a worker that no longer answers; renewed every third of it."""
    drain_s: float = 20.0
    """How long SIGTERM waits for running work before handing it over; below the stop grace period."""
    poll_delay_s: float = 0.5
    """How often a worker looks at its queue although nobody woke it."""
    sweep_every_s: float = 1.0
    user_cap: int = 64
    """How much of one user's work runs at once, over the whole fleet."""


class Signing(Settings, frozen=True, kw_only=True):
    artifact_hmac_keys: Secret = Secret("")
    """`id:base64`, comma-separated: the first signs what is trained, all verify (shared/signing.py)."""


class Trainer(Settings, frozen=True, kw_only=True):
    trainer_slots: int = 0
    """Fits at a time; 0: one a core, or as many as have 256 MiB each."""
    trainer_threads: int = 1
    """Threads each fit may use."""
    trainer_memory_bytes: int = 0
    """The guard of one fit child, 256 MiB at least; 0: three quarters of the memory over the slots."""
    trainer_scratch_bytes: int = 0
    """What one fit child may write to the disk; 0: half of what is free there when the trainer starts."""
    trainer_sandbox: Literal["auto", "require", "off"] = "auto"
    """auto: every layer that this machine has; require: not without Landlock and seccomp."""
    trainer_cache_dir: str = ""
    """Decoded tables are kept here; empty: a folder under the system's temporary one."""
    trainer_cache_bytes: int = 10 * 2**30


class Cluster(Settings, frozen=True, kw_only=True):
    """Where the parts of a fit are computed."""

    trainer_joblib_backend: Literal["local", "dask"] = "local"
    """local: in the trainer's own processes; dask: on the workers of `dask_scheduler`."""
    dask_scheduler: str = ""
    """`tcp://host:port`. Whoever reaches it runs programs on its workers: a private network."""


class Tables(Settings, frozen=True, kw_only=True):
    """How large a table may be; one that is over is refused with a reason."""

    table_max_bytes: int = 0
    """Unpacked: as text, and again as columns. 0: a quarter of the disk that holds decoded tables, at most
    20 GiB."""
    table_max_columns: int = 2_000
    table_max_rows: int = 100_000_000
    table_max_record_bytes: int = 16 * 2**20
    """Of one record of text, quoted newlines included."""
    profile_s: float = 600.0
    """How long reading a table, profiling it, or planning a run on it may take each."""


class Retention(Settings, frozen=True, kw_only=True):
    bundle_ttl_s: int = 24 * 3600
    trash_ttl_s: int = 30 * 24 * 3600
    orphan_ttl_s: int = 24 * 3600
    """Objects without a row and uploads never finished are removed after this."""
    idempotency_ttl_s: int = 24 * 3600
    """How long the answer to a POST with an Idempotency-Key is given again."""
    run_ttl_s: int = 0
    """Runs that ended longer ago are deleted, as their owner would: saved models stay. 0: none is."""
    audit_ttl_s: int = 400 * 24 * 3600
    """How long it is known who did what in an account. From three months on it goes by whole months, so
    that a month's first day is known for up to a month longer."""


class Logging(Settings, frozen=True, kw_only=True):
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"


class Tracing(Settings, frozen=True, kw_only=True):
    """OpenTelemetry's own variables; those of its SDK and exporter that are not here it reads itself."""

    otel_exporter_otlp_endpoint: str = ""
    """Where spans are sent, over OTLP/HTTP; `/v1/traces` is added. Empty: nothing is traced."""
    otel_exporter_otlp_headers: Secret = Secret("")
    """`name=value`, comma-separated: what the receiver knows us by."""
    otel_resource_attributes: str = ""
    """`name=value`, comma-separated: what every span says of where it comes from."""
    otel_traces_sampler: Literal[
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ] = "parentbased_always_on"
    otel_traces_sampler_arg: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    """Of traces, the share that the ratio's samplers keep."""


def load(kind: type[T], environ: Mapping[str, str]) -> T:
    """Read one settings struct; empty variables count as not given.

    Raises ConfigurationError naming the variable that is wrong.
    """
    given: dict[str, Any] = {
        f.encode_name: value
        for f in msgspec.structs.fields(kind)
        if (value := _secret(f.encode_name, environ) if f.type is Secret else environ.get(f.encode_name))
    }
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        where = str(error).rsplit("$.", 1)[-1].rstrip("`")
        raise ConfigurationError(f"environment variable {where}: {error}") from None


def _secret(name: str, environ: Mapping[str, str]) -> Secret:
    """The variable `name`, or the content of the file that `name`_FILE names. Raises ConfigurationError."""
    given, file = environ.get(name), environ.get(f"{name}_FILE")
    if not file:
        return Secret(given or "")
    if given:
        raise ConfigurationError(f"{name} and {name}_FILE are both set: one of them has to go")
    try:
        # a file ends with a newline, a secret does not
        return Secret(Path(file).read_text(encoding="utf-8").rstrip("\r\n"))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{name}_FILE: {file} cannot be read ({why})") from None


def secret_names() -> Iterator[str]:
    """Every variable that is a secret."""
    for kind in Settings.__subclasses__():
        yield from (f.encode_name for f in msgspec.structs.fields(kind) if f.type is Secret)


def without_files(environ: Mapping[str, str], names: Iterable[str] = ()) -> dict[str, str]:
    """The environment with each `NAME_FILE` of a secret, or of these alone, replaced by `NAME`.

    Raises ConfigurationError.
    """
    found = dict(environ)
    for name in names or secret_names():
        if value := _secret(name, environ):
            found[name] = reveal(value)
        found.pop(f"{name}_FILE", None)
    return found


def secrets_of(environ: Mapping[str, str]) -> set[str]:
    """What no log may show: the value of every secret, and the password where that is an address.

    Raises nothing: what cannot be read is not known, and is complained about by `load`.
    """
    found = set()
    for name in secret_names():
        try:
            value = reveal(_secret(name, environ))
            password = urlsplit(value).password if "://" in value else None
        except (ConfigurationError, ValueError):
            continue
        found |= {value, password or "", unquote(password or "")}
        if name.endswith("_HEADERS"):
            # `Authorization=Bearer%20…`: the value, and what is secret of it
            for text in (unquote(part.partition("=")[2]) for part in value.split(",")):
                found |= {word for word in (text, text.rpartition(" ")[2]) if len(word) >= A_KEY}
        elif "://" not in value:  # a list of keys: each of them
            found |= {part for part in re.split("[,:]", value) if len(part) >= A_KEY}
    return found - {""}


def require(settings: Settings, *names: str) -> None:
    """Raise ConfigurationError for the first of `names` (fields) that is empty."""
    for name in names:
        if not getattr(settings, name):
            raise ConfigurationError(f"environment variable {name.upper()} is required")
