"""The dashboard: files that were built (`services/web`), served from memory as they are.

An address of the dashboard that is no file answers with its one page, whose script reads the address.
Without a built dashboard those addresses say how to build it, and nothing else changes.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog
from litestar import HttpMethod, Request, Response, Router, route
from litestar.datastructures import Headers
from msgspec import Struct

from services.api.auth import PUBLIC
from services.api.openapi import VERSION
from shared.errors import NotFound

log = structlog.get_logger(__name__)

PAGE = "index.html"
BUILT = Path(__file__).parents[1] / "web" / "dist"
HOME = "/dashboard"
ADDRESSES = ["/sign-in", "/dashboard", "/dashboard/{rest:path}"]
"""Those of `services/web/src/router.tsx`."""

FOR_EVER = "public, max-age=31536000, immutable"
"""Of files that have the digest of their content in their name."""
ASK_AGAIN = "no-cache"
HASHED = "assets"
KINDS = mimetypes.MimeTypes()
"""Without what the machine's own tables say: a script of another type is not run."""
GET_AND_HEAD = [HttpMethod.GET, HttpMethod.HEAD]


class NotBuilt(NotFound):
    """The dashboard is not built here: `make setup` builds it. The API is all there"""

    slug = "dashboard-not-built"


class Product(Struct):
    """What answers here, and where to go on."""

    name: str
    version: str
    schema: str
    health: str


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, whole and squeezed, with the headers it goes with."""

    content: bytes
    squeezed: bytes
    media_type: str
    tag: str
    """The ETag without what makes it weak: how a cache in between may send it back."""
    cache_control: str

    def is_known(self, if_none_match: str) -> bool:
        """Weak comparison (RFC 9110, section 8.8.3.2); the tag is a digest, and part of no other."""
        return self.tag in if_none_match or if_none_match.strip() == "*"


class Pages:
    """The files below a folder. Raises OSError for one that cannot be read."""

    def __init__(self, folder: Path, sign_in_url: str = "") -> None:
        files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
        self.assets = {path.relative_to(folder).as_posix(): _asset(path, folder) for path in files}
        self.policy = policy(sign_in_url)
        self.folder = folder

    @property
    def built(self) -> bool:
        return PAGE in self.assets

    def tell(self) -> None:
        """In the log, what whoever opens the address would be told."""
        if not self.built:
            log.warning("the dashboard is not built, and the API runs without it", folder=str(self.folder))

    def answer(self, name: str, headers: Headers) -> Response[bytes]:
        """Raises NotBuilt where there is no such file."""
        asset = self.assets.get(name)
        if asset is None:
            raise NotBuilt
        # weak: the same file is sent squeezed and not
        given = {"ETag": f"W/{asset.tag}", "Cache-Control": asset.cache_control, "Vary": "Accept-Encoding"}
        if asset.media_type.startswith("text/html"):
            given["Content-Security-Policy"] = self.policy
        if asset.is_known(headers.get("if-none-match", "")):
            return Response(b"", status_code=304, headers=given, media_type=asset.media_type)
        smaller = len(asset.squeezed) < len(asset.content)
        squeeze = smaller and takes_gzip(headers.get("accept-encoding", ""))
        if squeeze:
            given["Content-Encoding"] = "gzip"
        content = asset.squeezed if squeeze else asset.content
        return Response(content, headers=given, media_type=asset.media_type)


def policy(sign_in_url: str) -> str:
    """What the pages may load: their own files, and besides the API only whoever signs people in.

    Inline styles are React's and the charts'; no inline script is allowed.
    """
    elsewhere = f" {origin}" if (origin := _origin(sign_in_url)) else ""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        f"connect-src 'self'{elsewhere}; font-src 'self'; manifest-src 'self'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    )


def takes_gzip(accept_encoding: str) -> bool:
    """Whether it is named, and not as what is not wanted (RFC 9110, section 12.5.3)."""
    return any(
        re.fullmatch(r"\s*gzip\s*(;\s*q=(1(\.0*)?|0?\.\d*[1-9]\d*))?\s*", coding, re.IGNORECASE)
        for coding in accept_encoding.split(",")
    )


def router(pages: Pages) -> Router:
    """Handlers for every address of the dashboard and every file of it."""

    @route("/", http_method=GET_AND_HEAD, status_code=200, sync_to_thread=False)
    def get_root(request: Request[Any, Any, Any]) -> Response[Any]:
        """For whoever opens the address to see what is there: a person goes on to the dashboard."""
        headers = {"Vary": "Accept"}
        if pages.built and "text/html" in request.headers.get("accept", "").lower():
            return Response(
                b"", status_code=302, headers=headers | {"Location": HOME}, media_type="text/html"
            )
        return Response(
            Product(name="Trainyard", version=VERSION, schema="/schema/openapi.json", health="/health/ready"),
            headers=headers,
        )

    @route(ADDRESSES, http_method=GET_AND_HEAD, status_code=200, sync_to_thread=False)
    def get_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        return pages.answer(PAGE, request.headers)

    @route(
        [f"/{name}" for name in sorted({PAGE, *pages.assets})],
        http_method=GET_AND_HEAD,
        status_code=200,
        sync_to_thread=False,
    )
    def get_asset(request: Request[Any, Any, Any]) -> Response[bytes]:
        # the route's own path: the one asked for may have a slash more
        return pages.answer(request.scope["path_template"].removeprefix("/"), request.headers)

    return Router(
        path="/",
        route_handlers=[get_root, get_page, get_asset],
        opt={PUBLIC: True},
        include_in_schema=False,
    )


def _asset(path: Path, folder: Path) -> Asset:
    content = path.read_bytes()
    kind = KINDS.guess_type(path.name)[0] or "application/octet-stream"
    text = kind.startswith("text/") or kind in ("application/javascript", "image/svg+xml", "application/json")
    hashed = path.relative_to(folder).parts[0] == HASHED
    return Asset(
        content=content,
        squeezed=gzip.compress(content, 9, mtime=0) if text else content,
        media_type=kind,  # Litestar adds the charset
        tag=f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        cache_control=FOR_EVER if hashed else ASK_AGAIN,
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme and parts.netloc else ""
