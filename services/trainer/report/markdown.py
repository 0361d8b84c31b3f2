"""Markdown in which every word of a user's stays a word."""

from __future__ import annotations

import re
from collections.abc import Iterable


def plain(text: str) -> str:
    """Text that Markdown leaves as it is: no markup, no HTML, no link, one line."""
    return re.sub(r"([\\`*_\[\]<>|&#~])", r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """A code span of one line; its fence is longer than any run of backticks within (CommonMark 6.1)."""
    line = " ".join(text.split()) or " "
    longest = max((len(run) for run in re.findall(r"`+", line)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    # a bar would end the cell of a table even within code
    return f"{fence}{pad}{line}{pad}{fence}".replace("|", "\\|")


def fenced(text: str, language: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
