"""`python -m tests.integration.chatty services.api`: a service whose every library logs all it has."""

from __future__ import annotations

import importlib
import inspect
import logging
import sys
from typing import Any

import uvloop


def main(name: str) -> int:
    process: Any = importlib.import_module(f"{name}.__main__")
    configure = process.configure

    def configured(*arguments: Any, **named: Any) -> None:
        configure(*arguments, **named)
        for logger in (None, *logging.root.manager.loggerDict):
            logging.getLogger(logger).setLevel(logging.DEBUG)

    process.configure = configured
    if inspect.iscoroutinefunction(process.main):
        uvloop.run(process.main())
        return 0
    return int(process.main())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
