"""What no line of a log may show: known secrets, and whatever looks like one.

It is done to the finished line, so that it holds for tracebacks and for other libraries' words too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

HIDDEN = "[redacted]"
SHORTEST = 6
"""A shorter value would hide words that are none; the patterns below still find it in its place."""

_LOOKS_LIKE_ONE = re.compile(
    r"""
      (?P<url>\b[a-z][a-z0-9+.-]{0,20}://[^\s:/@"'\\]*:)[^\s/"'\\]+(?=@)      # the password of an address
    | (?P<signed>\b(?:X-Amz-(?:Signature|Credential|Security-Token)|Signature|Credential|AWSAccessKeyId)
        =)[^&\s"',\\)]+                                                   # a signed link or request
    | (?P<header>\b(?:authorization|proxy-authorization|cookie|set-cookie|x-api-key)
        ['"\\]*\s*[:=,]\s*(?:b(?=['"]))?['"\\]*)[^\s'"\\][^'"\\\r\n]*       # a header, sent or in a dict
    | (?P<scheme>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}
    | (?P<jwt>\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)?)
    | (?P<key>\bty_[A-Za-z0-9_-]{12,})                                    # an API key
    """,
    re.IGNORECASE | re.VERBOSE,
)
_KEPT = ("url", "signed", "header", "scheme")
"""What introduces a secret stays, so that the line can still be understood."""


def redactor(secrets: Iterable[str] = ()) -> Callable[[str], str]:
    """A function that takes all of `secrets`, as they are or escaped, and all that looks like one out."""
    forms = {
        form
        for secret in secrets
        if len(secret) >= SHORTEST
        for form in (
            secret,
            repr(secret)[1:-1],
            *(json.dumps(secret, ensure_ascii=a)[1:-1] for a in (True, False)),
        )
    }
    # the longest first: one may begin with another
    known = re.compile("|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True)) or r"(?!)")

    def redact(line: str) -> str:
        return _LOOKS_LIKE_ONE.sub(_hide, known.sub(HIDDEN, line))

    return redact


def _hide(match: re.Match[str]) -> str:
    return next((kept for name in _KEPT if (kept := match[name])), "") + HIDDEN
