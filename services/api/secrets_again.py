"""SIGHUP: secrets that come from files are read again, and no request notices.

For a single API process, which cannot be started again without a moment in which nobody answers. What comes
from the environment itself stays as it was when the process began.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from services.api.tokens import Tokens, check_settings
from shared.errors import ConfigurationError
from shared.settings import Auth, load

log = structlog.get_logger(__name__)


def read_again(tokens: Tokens, environ: Mapping[str, str], hide: Callable[[], None]) -> None:
    """Have tokens checked with what the files hold now; where that is of no use, everything stays as it is,
    and the log says why. `hide`: has the log know what is secret now."""
    try:
        settings = load(Auth, environ)
        check_settings(settings)
    except ConfigurationError as error:
        log.error("secrets stay as they were", reason=error.detail)
        return
    hide()
    tokens.change_secrets(settings)
    log.info("secrets were read again")
