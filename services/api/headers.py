"""The security headers that every answer has, whatever made it.

What a handler sets itself stays. Pages are few (the one that waits for a ZIP) and have no script; answers
of the API are never to be shown as a page at all.
"""

from __future__ import annotations

from collections.abc import Iterable

Header = tuple[bytes, bytes]

NO_STORE: Header = (b"cache-control", b"no-store")
API_POLICY: Header = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
PAGE_POLICY: Header = (
    b"content-security-policy",
    b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
)
HSTS: Header = (b"strict-transport-security", b"max-age=31536000")
ALWAYS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
_NAMES = frozenset(name for name, _ in ALWAYS)


def secured(given: Iterable[Header], *, https: bool) -> list[Header]:
    """The headers of an answer with those added that it has not got. `https`: whether the client came by
    TLS, at a trusted proxy if not here; only then it can be told to come no other way."""
    headers = list(given)
    names = {name.lower() for name, _ in headers}
    if names.isdisjoint(_NAMES):  # as good as always, and every poll passes here
        headers += ALWAYS
    else:
        headers += [header for header in ALWAYS if header[0] not in names]
    if b"content-security-policy" not in names:
        headers.append(PAGE_POLICY if _is_page(headers) else API_POLICY)
    if b"cache-control" not in names:
        headers.append(NO_STORE)  # nearly everything here is one user's
    if https:
        headers.append(HSTS)
    return headers


def _is_page(headers: Iterable[Header]) -> bool:
    for name, value in headers:
        if name.lower() == b"content-type":
            return value.lower().startswith(b"text/html")
    return False
